from __future__ import annotations

import dataclasses
import itertools
import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescind.core.errors import BadParameter
from rescind.core.judgement import Verdict
from rescind.metrics.scores import (
    ACCURACIES,
    CAP,
    WEIGHTS,
    Cost,
    Entry,
    Weighting,
    h_lr,
    rank,
    saving,
    score,
)

SHARE = st.floats(0, 1)
OURS = {"FA": 0.5, "RA": 0.98, "TFA": 0.45, "TRA": 0.9}
RETRAINED = {"FA": 0.4, "RA": 1.0, "TFA": 0.4, "TRA": 0.92}
NEAR = {"shirt": 0.8, "coat": 0.6}
NEAR_RETRAINED = {"shirt": 0.7, "coat": 0.65}
RETRAINING = Cost(100.0, 1000, 10**9, 10**8, 10**7)
NOTHING = Cost(0.0, 0, 0, 0, 0)


def test_the_scores_by_hand() -> None:
    found = score(OURS, RETRAINED, 0.75, NEAR, NEAR_RETRAINED)
    agl, agr = 0.9 * 0.98 * 0.95 * 0.98, 0.75 * 0.9 * 0.95
    assert found.agl == pytest.approx(agl)
    assert found.agr == pytest.approx(agr)
    assert found.h_lr == pytest.approx(2 * agl * agr / (agl + agr))
    assert [part.name for part in found.logit_parts] == list(ACCURACIES)
    assert [part.name for part in found.representation_parts] == ["CKA", "coat", "shirt"]
    assert found.undefined == ""


@given(st.lists(SHARE, min_size=8, max_size=8), SHARE, st.lists(SHARE, min_size=4, max_size=4))
def test_the_parts_are_enough_to_compute_the_scores(
    accuracies: list[float], cka: float, near: list[float]
) -> None:
    ours, theirs = (dict(zip(ACCURACIES, accuracies[i:], strict=False)) for i in (0, 4))
    found = score(
        ours, theirs, cka, dict(zip("ab", near, strict=False)), {"a": near[2], "b": near[3]}
    )
    assert found.agl == math.prod(part.factor for part in found.logit_parts)
    assert found.agr == math.prod(part.factor for part in found.representation_parts)
    assert found.h_lr is not None and 0.0 <= found.h_lr <= 1.0
    for part in (*found.logit_parts, *found.representation_parts[1:]):
        assert part.retrained is not None
        assert part.factor == 1 - abs(part.value - part.retrained)


def test_like_retraining_is_one() -> None:
    found = score(RETRAINED, RETRAINED, 1.0, NEAR, NEAR)
    assert (found.agl, found.agr, found.h_lr) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(("cka", "factor"), [(-0.3, 0.0), (0.0, 0.0), (0.4, 0.4), (1.2, 1.0)])
def test_the_cka_is_clipped_and_its_value_kept(cka: float, factor: float) -> None:
    found = score(RETRAINED, RETRAINED, cka, NEAR, NEAR)
    assert found.agr == factor
    assert found.representation_parts[0].value == cka
    assert found.h_lr == (0.0 if factor == 0.0 else pytest.approx(2 * factor / (1 + factor)))


def test_without_downstream_set_or_cka_it_is_undefined_not_one() -> None:
    none = score(RETRAINED, RETRAINED, 1.0, {}, {})
    assert (none.agl, none.agr, none.h_lr) == (1.0, None, None)
    assert none.undefined == "There is no downstream set."
    no_cka = score(RETRAINED, RETRAINED, None, NEAR, NEAR)
    assert (no_cka.agr, no_cka.h_lr) == (None, None)
    assert no_cka.undefined == "The normalised CKA is undefined."
    assert [part.name for part in no_cka.representation_parts] == ["coat", "shirt"]
    assert score(RETRAINED, RETRAINED, None, {}, {}).undefined.count(".") == 2


@given(SHARE, SHARE)
def test_the_harmonic_mean_lies_between_and_is_zero_with_either(a: float, b: float) -> None:
    assert h_lr(a, 0.0) == h_lr(0.0, b) == h_lr(0.0, 0.0) == 0.0
    assert h_lr(a, b) == h_lr(b, a)
    if a and b:
        assert min(a, b) <= h_lr(a, b) * (1 + 1e-12) and h_lr(a, b) <= max(a, b) * (1 + 1e-12)
        assert h_lr(a, b) <= 2 * min(a, b) * (1 + 1e-12)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"accuracies": {**OURS, "FA": 50.0}}, "FA is 50.0.*not in percent"),
    ({"retrained": {**OURS, "TRA": math.nan}}, "TRA of retrained models is nan"),
    ({"accuracies": {"FA": 0.5, "RA": 0.5, "TFA": 0.5}}, r"accuracies lack \['TRA'\]"),
    ({"retrained": {**OURS, "VA": 0.5}}, r"retrained accuracies .* \['VA'\] too many"),
    ({"neighbours_retrained": {"coat": 0.5}}, r"k-NN accuracies lack \['shirt'\]"),
    ({"normalised_cka": math.nan}, "CKA is nan.*Pass None"),
    ({"neighbours": {**NEAR, "coat": -0.1}}, "coat is -0.1"),
]


@pytest.mark.parametrize(("changed", "reason"), BAD)
def test_bad_parts_are_refused(changed: dict[str, Any], reason: str) -> None:
    good: dict[str, Any] = {
        "accuracies": OURS, "retrained": RETRAINED, "normalised_cka": 0.5,
        "neighbours": NEAR, "neighbours_retrained": NEAR_RETRAINED,
    }  # fmt: skip
    score(**good)
    with pytest.raises(BadParameter, match=reason):
        score(**{**good, **changed})


def times(factor: float) -> Cost:
    return Cost(*(value / factor for value in dataclasses.astuple(RETRAINING)))


def entry(name: str, verdict: Verdict, cost: Cost, control: bool = False) -> Entry:
    return Entry(name, verdict, cost, control)


ENTRIES = (
    entry("slow", "admissible", times(2)),
    entry("quick", "admissible", times(10)),
    entry("retrain", "admissible", RETRAINING),
    entry("wrong", "not_admissible", times(50)),
    entry("shown", "display_only", times(60)),
    entry("no_op", "not_admissible", NOTHING, control=True),
    entry("original", "admissible", NOTHING, control=True),
)


def test_weights_sum_to_one() -> None:
    assert set(WEIGHTS) == {"balanced", "fast", "small"}
    for weights in WEIGHTS.values():
        assert sum(weights) == pytest.approx(1.0)
        assert len(weights) == len(dataclasses.fields(Cost))


@pytest.mark.parametrize("weighting", ["balanced", "fast", "small"])
def test_a_saving_is_a_geometric_mean_with_a_cap(weighting: Weighting) -> None:
    assert saving(RETRAINING, RETRAINING, weighting) == pytest.approx(1.0)
    assert saving(times(7), RETRAINING, weighting) == pytest.approx(7.0)
    assert saving(times(0.2), RETRAINING, weighting) == pytest.approx(0.2)
    instant = (NOTHING, times(1e9), times(CAP))
    assert [saving(c, RETRAINING, weighting) for c in instant] == pytest.approx([CAP] * 3)
    assert saving(NOTHING, RETRAINING, weighting, cap=5) == pytest.approx(5.0)


def test_a_saving_by_hand() -> None:
    """Four times the processor time saved, twice the bytes stored, the rest as retraining."""
    cost = dataclasses.replace(RETRAINING, cpu_seconds=25.0, bytes_stored=2 * 10**7)
    assert saving(cost, RETRAINING, "balanced") == pytest.approx((4 / 2) ** 0.2)
    assert saving(cost, RETRAINING, "fast") == pytest.approx(4**0.6)
    assert saving(cost, RETRAINING, "small") == pytest.approx(4**0.1 / 2**0.4)
    free = dataclasses.replace(RETRAINING, bytes_stored=0)
    assert saving(free, free) == pytest.approx(1.0)
    assert saving(RETRAINING, free) == pytest.approx(CAP**-0.2)


def test_admissible_methods_come_first_and_controls_are_never_ranked() -> None:
    lines = rank(ENTRIES, RETRAINING)
    assert [(line.entry.name, line.rank) for line in lines] == [
        ("quick", 1), ("slow", 2), ("retrain", 3),
        ("shown", None), ("wrong", None),
        ("no_op", None), ("original", None),
    ]  # fmt: skip


def test_an_instant_no_op_wins_nothing_where_nothing_is_admissible() -> None:
    entries = [dataclasses.replace(e, verdict="no_power") for e in ENTRIES]
    entries.append(entry("hidden_no_op", "no_power", NOTHING))
    assert {line.rank for line in rank(entries, RETRAINING)} == {None}


def test_beyond_the_cap_methods_share_a_rank() -> None:
    entries = [*ENTRIES, entry("b", "admissible", times(200)), entry("a", "admissible", NOTHING)]
    lines = rank(entries, RETRAINING)
    assert [(line.entry.name, line.rank) for line in lines][:3] == [
        ("a", 1),
        ("b", 1),
        ("quick", 3),
    ]


def test_the_order_of_the_lines_plays_no_part() -> None:
    expected = rank(ENTRIES, RETRAINING, "small")
    for order in random.Random(0).sample(list(itertools.permutations(ENTRIES)), 20):
        assert rank(order, RETRAINING, "small") == expected


def test_weightings_change_the_order() -> None:
    fast = entry("fast", "admissible", dataclasses.replace(RETRAINING, cpu_seconds=1.0))
    small = entry("small", "admissible", dataclasses.replace(RETRAINING, peak_bytes=10**7))
    assert rank([fast, small], RETRAINING, "fast")[0].entry == fast
    assert rank([fast, small], RETRAINING, "small")[0].entry == small
    assert [line.rank for line in rank([fast, small], RETRAINING, "balanced")] == [1, 1]


def test_bad_costs_weightings_and_names_are_refused() -> None:
    for wrong in (-1.0, math.nan, math.inf):
        with pytest.raises(BadParameter, match="Costs of"):
            saving(dataclasses.replace(RETRAINING, cpu_seconds=wrong), RETRAINING)
    unknown: Any = "cheap"
    with pytest.raises(BadParameter, match=r"weighting 'cheap'.*balanced, fast, small"):
        saving(RETRAINING, RETRAINING, unknown)
    with pytest.raises(BadParameter, match=r"cap is 0\.5"):
        saving(RETRAINING, RETRAINING, cap=0.5)
    with pytest.raises(BadParameter, match="slow is listed twice"):
        rank([*ENTRIES, ENTRIES[0]], RETRAINING)
