from __future__ import annotations

import dataclasses
import math
import random
from statistics import fmean
from typing import Any

import pytest

from rescind.core import canonical
from rescind.core.errors import BadParameter, InsufficientEvidence
from rescind.core.judgement import Gap, Judgement, Margin
from rescind.metrics.admissible import has_power, judge, rejection_rate
from rescind.metrics.equivalence import holm, tost

Values = dict[str, list[float]]
# mean of retrained models, standard deviation between them, mean of the original, margin
METRICS: dict[str, tuple[float, float, float, float]] = {
    "forget_accuracy": (0.40, 0.01, 0.99, 0.06),
    "forget_loss": (1.80, 0.05, 0.05, 0.30),
    "test_accuracy": (0.90, 0.005, 0.91, 0.03),
}
MARGINS = (
    Margin("forget_accuracy", 0.06, "forgetting"),
    Margin("forget_loss", 0.30, "forgetting"),
    Margin("test_accuracy", 0.03, "utility"),
)


def drawn(seed: int, count: int, of: str = "retrained", changed: Values | None = None) -> Values:
    """Seeds of retrained models, or of the original, with some metrics put in place of these."""
    generator = random.Random(f"{of} {seed}")
    which = 0 if of != "original" else 2
    values = {
        name: [generator.gauss(numbers[which], numbers[1]) for _ in range(count)]
        for name, numbers in METRICS.items()
    }
    return values | (changed or {})


RETRAINED = drawn(0, 10)
ORIGINAL = drawn(0, 3, "original")


def verdict(candidate: Values, original: Values = ORIGINAL, retrained: Values = RETRAINED) -> str:
    return judge(candidate, original, retrained, MARGINS, "influence").verdict


def by_name(judgement: Judgement) -> dict[str, Gap]:
    return {gap.metric: gap for gap in judgement.gaps}


def test_a_candidate_like_the_retrained_is_admissible() -> None:
    found = judge(drawn(1, 4, "candidate"), ORIGINAL, RETRAINED, MARGINS, "influence")
    assert (found.verdict, found.references, found.seeds) == ("admissible", 10, 4)
    assert "All 3 metrics that count" in found.because
    assert [gap.power for gap in found.gaps] == [True, True, False]
    assert all(gap.counts and gap.equivalent for gap in found.gaps)
    assert holm([gap.p_equivalent for gap in found.gaps]) == tuple(
        gap.p_corrected for gap in found.gaps
    )
    assert canonical.build(Judgement, canonical.plain(found)) == found


@pytest.mark.parametrize("seed", range(20))
def test_a_no_op_and_the_original_are_never_admitted(seed: int) -> None:
    original = drawn(seed, 3, "original")
    assert verdict(original, original) == "not_admissible"
    one = {name: values[:1] for name, values in original.items()}
    assert verdict(one, one) == "not_admissible"


def test_where_no_metric_separates_the_verdict_is_no_power() -> None:
    """One record of many: the original is inside the band, and so is whoever did nothing."""
    original = drawn(7, 3)
    for candidate in (original, drawn(8, 4), drawn(9, 4, "original")):
        found = judge(candidate, original, RETRAINED, MARGINS, "influence")
        assert found.verdict == "no_power"
        assert found.because.endswith("retrained models: forget_accuracy, forget_loss.")
        for name in ("forget_accuracy", "forget_loss"):
            gap = by_name(found)[name]
            assert (gap.power, gap.counts, gap.equivalent, gap.p_corrected) == (
                False, False, False, None,
            )  # fmt: skip


def test_a_metric_without_power_neither_helps_nor_hurts() -> None:
    original = ORIGINAL | {"forget_loss": drawn(7, 3)["forget_loss"]}
    bad_there = drawn(1, 4, changed={"forget_loss": [9.0, 9.1, 9.0, 9.2]})
    found = judge(bad_there, original, RETRAINED, MARGINS, "influence")
    assert found.verdict == "admissible"
    gaps = by_name(found)
    assert not gaps["forget_loss"].counts and not gaps["forget_loss"].equivalent
    # two metrics count: the larger p-value stays as it is, the smaller is doubled at most
    counted = [gaps["forget_accuracy"], gaps["test_accuracy"]]
    assert [g.p_corrected for g in counted] == list(holm([g.p_equivalent for g in counted]))


@pytest.mark.parametrize(
    ("original", "power"),
    [
        ([0.99, 0.98, 0.99], True),
        ([0.99], True),
        ([0.43, 0.43, 0.43], False),  # differs significantly, but is equivalent all the same
        ([0.46, 0.46, 0.46], False),  # neither equivalent nor farther away than the margin
        ([0.20, 0.90, 0.55], False),  # far away on average, but not significantly
        ([0.40, 0.41, 0.40], False),
    ],
)
def test_power_takes_a_gap_that_is_wide_and_sure(original: list[float], power: bool) -> None:
    assert has_power({"forget_accuracy": original}, RETRAINED, MARGINS[0]) is power


def test_the_cases_of_power_are_what_they_say() -> None:
    retrained, width = RETRAINED["forget_accuracy"], MARGINS[0].width
    equivalent, between, unsure = (
        tost(original, retrained, width)
        for original in ([0.43, 0.43, 0.43], [0.46, 0.46, 0.46], [0.20, 0.90, 0.55])
    )
    assert equivalent.p_different < 0.05 and equivalent.p_equivalent < 0.05
    assert between.p_different < 0.05 <= between.p_equivalent and abs(between.gap) < width
    assert unsure.p_different > 0.05 and abs(unsure.gap) > width


def test_a_destroyed_model_fails_although_it_forgot() -> None:
    destroyed = drawn(1, 4, changed={"test_accuracy": [0.55, 0.52, 0.60, 0.57]})
    found = judge(destroyed, ORIGINAL, RETRAINED, MARGINS, "influence")
    assert found.verdict == "not_admissible"
    assert "test_accuracy (gap -0.3" in found.because and "forget" not in found.because
    assert by_name(found)["forget_accuracy"].equivalent


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_forgetting_too_much_or_too_little_fails(value: float) -> None:
    assert verdict(drawn(1, 3, changed={"forget_accuracy": [value] * 3})) == "not_admissible"


def test_models_that_were_retrained_are_mostly_admitted() -> None:
    rates, admitted = [], []
    for seed in range(60):
        retrained = drawn(seed, 8)
        found = judge(drawn(seed, 1, "candidate"), ORIGINAL, retrained, MARGINS, "influence")
        admitted.append(found.verdict == "admissible")
        assert found.rejection_rate_of_retrained is not None
        rates.append(found.rejection_rate_of_retrained)
    assert fmean(admitted) > 0.75
    assert 1 - fmean(rates) == pytest.approx(fmean(admitted), abs=0.12)


@pytest.mark.parametrize(("scale", "without_holm"), [(1.0, True), (0.8, False)])
def test_the_rejection_rate_is_each_model_judged_against_the_others(
    scale: float, without_holm: bool
) -> None:
    """Slow: the whole judgement once a model; nine are left of ten, enough to decide."""
    retrained = drawn(3, 10, changed={"forget_loss": [*drawn(3, 9)["forget_loss"], 2.1]})
    margins = [dataclasses.replace(margin, width=margin.width * scale) for margin in MARGINS]
    rejected, uncorrected = [], []
    for i in range(10):
        one = {name: [values[i]] for name, values in retrained.items()}
        rest = {name: values[:i] + values[i + 1 :] for name, values in retrained.items()}
        found = judge(one, ORIGINAL, rest, margins, "influence")
        rejected.append(found.verdict != "admissible")
        uncorrected.append(any(gap.p_equivalent >= 0.05 for gap in found.gaps))
    rate = judge(drawn(1, 3), ORIGINAL, retrained, margins, "influence").rejection_rate_of_retrained
    assert rate == fmean(rejected) > 0.0
    assert (uncorrected == rejected) is without_holm


def test_the_rejection_rate_is_of_the_metrics_that_count() -> None:
    noisy = RETRAINED | {"forget_loss": [1.0, 3.0] * 5}
    original = ORIGINAL | {"forget_loss": [2.0, 2.1, 1.9]}
    found = judge(drawn(1, 3), original, noisy, MARGINS, "influence")
    assert not by_name(found)["forget_loss"].counts
    assert (
        found.rejection_rate_of_retrained == rejection_rate(noisy, (MARGINS[0], MARGINS[2])) == 0.0
    )
    assert rejection_rate(noisy, MARGINS) == 1.0
    assert rejection_rate(noisy, ()) is None


def test_margins_narrower_than_the_spread_reject_even_retrained_models() -> None:
    narrow = [dataclasses.replace(margin, width=margin.width / 20) for margin in MARGINS]
    found = judge(drawn(1, 3), ORIGINAL, RETRAINED, narrow, "influence")
    assert found.verdict == "not_admissible"
    assert found.rejection_rate_of_retrained == 1.0


def test_the_order_of_metrics_plays_no_part() -> None:
    candidate = drawn(1, 3, changed={"forget_loss": [1.6, 1.5, 1.55]})
    expected = judge(candidate, ORIGINAL, RETRAINED, MARGINS, "influence")
    for seed in range(6):
        names = random.Random(seed).sample(list(METRICS), 3)
        maps = [{n: values[n] for n in names} for values in (candidate, ORIGINAL, RETRAINED)]
        margins = random.Random(seed).sample(MARGINS, 3)
        assert judge(maps[0], maps[1], maps[2], margins, "influence") == expected


def test_fewer_than_eight_retrained_models_only_show() -> None:
    three = {name: values[:3] for name, values in RETRAINED.items()}
    with pytest.raises(InsufficientEvidence, match=r"3 retrained.*needs 8"):
        judge(drawn(1, 3), ORIGINAL, three, MARGINS, "influence")
    found = judge(drawn(1, 3), ORIGINAL, three, MARGINS, "influence", display=True)
    assert (found.verdict, found.references) == ("display_only", 3)
    assert found.rejection_rate_of_retrained is not None
    two = {name: values[:2] for name, values in RETRAINED.items()}
    with pytest.raises(InsufficientEvidence, match=r"2 retrained.*needs 3"):
        judge(drawn(1, 3), ORIGINAL, two, MARGINS, "influence", display=True)
    enough = judge(drawn(1, 3), ORIGINAL, RETRAINED, MARGINS, "influence", display=True)
    assert enough.verdict == "admissible"


def test_a_concept_is_not_judged_by_retraining() -> None:
    with pytest.raises(BadParameter, match=r"2604\.07962.*relearned"):
        judge(drawn(1, 3), ORIGINAL, RETRAINED, MARGINS, "concept")


@pytest.mark.parametrize("which", ["candidate", "original", "retrained"])
def test_a_metric_that_is_missing_is_named(which: str) -> None:
    maps: dict[str, Values] = {
        "candidate": drawn(1, 3),
        "original": ORIGINAL,
        "retrained": RETRAINED,
    }
    maps[which] = {name: values for name, values in maps[which].items() if name != "forget_loss"}
    with pytest.raises(BadParameter, match=f"{which} values lack forget_loss"):
        judge(maps["candidate"], maps["original"], maps["retrained"], MARGINS, "influence")


@pytest.mark.parametrize("which", ["candidate", "original", "retrained"])
@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([], "forget_loss: 0"),
        ([1.8, 1.8], "forget_loss: 2"),
        ([*[1.8] * 9, math.nan], "forget_loss.*not finite"),
        ([*[1.8] * 9, math.inf], "forget_loss.*not finite"),
    ],
)
def test_seeds_that_are_missing_or_diverged_are_refused(
    which: str, values: list[float], reason: str
) -> None:
    maps: dict[str, Values] = {
        "candidate": drawn(1, 3),
        "original": ORIGINAL,
        "retrained": RETRAINED,
    }
    enough = values[-len(maps[which]["forget_loss"]) :]
    maps[which] = maps[which] | {"forget_loss": enough}
    with pytest.raises(BadParameter, match=reason):
        judge(maps["candidate"], maps["original"], maps["retrained"], MARGINS, "influence")


def test_metrics_without_a_margin_are_not_judged() -> None:
    more = {"seconds": [1.0] * 3}
    assert verdict(drawn(1, 3) | more) == "admissible"


CASES: list[tuple[list[Any], float, str]] = [
    ([*MARGINS, MARGINS[0]], 0.05, "forget_accuracy is named twice"),
    ([MARGINS[0]], 0.05, "no metric has the role utility"),
    ([MARGINS[2]], 0.05, "no metric has the role forgetting"),
    ([], 0.05, "role forgetting; no metric has the role utility"),
    ([Margin("forget_accuracy", 0.0, "forgetting"), MARGINS[2]], 0.05, "width 0.0"),
    ([Margin("forget_accuracy", math.nan, "forgetting"), MARGINS[2]], 0.05, "width nan"),
    (list(MARGINS), 0.5, "level is 0.5"),
    (list(MARGINS), math.nan, "level is nan"),
]


@pytest.mark.parametrize(("margins", "level", "reason"), CASES)
def test_margins_that_cannot_judge_are_refused(
    margins: list[Margin], level: float, reason: str
) -> None:
    with pytest.raises(BadParameter, match=reason):
        judge(drawn(1, 3), ORIGINAL, RETRAINED, margins, "influence", level)
