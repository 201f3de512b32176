"""What the rule of a judgement says of models of which it is known."""

from __future__ import annotations

import math
import random
from statistics import fmean

import pytest

from rescind.core.control import Control, Kind, warning
from rescind.core.judgement import Judgement, Margin
from rescind.metrics.admissible import judge, left_out, rejection_rate
from rescind.metrics.controls import controls, each_retrained

Values = dict[str, list[float]]
MARGINS = (
    Margin("forget accuracy", 0.06, "forgetting"),
    Margin("forget loss", 0.30, "forgetting"),
    Margin("test accuracy", 0.03, "utility"),
)
MEANS = {"forget accuracy": 0.4, "forget loss": 1.8, "test accuracy": 0.9}
SPREADS = {"forget accuracy": 0.01, "forget loss": 0.05, "test accuracy": 0.005}
ORIGINAL: Values = {"forget accuracy": [0.99], "forget loss": [0.05], "test accuracy": [0.91]}
RANDOM: Values = {"forget accuracy": [0.1], "forget loss": [2.3], "test accuracy": [0.1]}
LIKE: Values = {name: [mean] for name, mean in MEANS.items()}


def drawn(seed: int, spread: float = 1.0) -> Values:
    draw = random.Random(seed)
    return {n: [draw.gauss(m, spread * SPREADS[n]) for _ in range(8)] for n, m in MEANS.items()}


def judged(
    read: dict[Kind, Values], retrained: Values, refused: dict[Kind, str] | None = None
) -> tuple[Judgement, dict[str, Control]]:
    found = judge(LIKE, read["original"], retrained, MARGINS, "influence")
    made = controls(found, read, refused or {}, retrained, MARGINS)
    assert len({c.kind for c in made}) == len(made)
    return found, {c.kind: c for c in made}


def test_each_control_is_judged_as_a_candidate_would_be() -> None:
    retrained = drawn(0)
    read: dict[Kind, Values] = {"original": ORIGINAL, "random_weights": RANDOM, "last_layer": LIKE}
    _, found = judged(read, retrained)
    assert {kind: c.verdict for kind, c in found.items()} == {
        "original": "not_admissible",
        "random_weights": "not_admissible",
        "last_layer": "admissible",
        "retrained": "admissible",
    }
    alone = judge(RANDOM, ORIGINAL, retrained, MARGINS, "influence")
    assert [(g.metric, g.gap, g.equivalent) for g in found["random_weights"].gaps] == [
        (g.metric, g.gap, g.equivalent) for g in alone.gaps
    ]
    assert "last layer only" in warning(tuple(found.values()))
    assert "random" not in warning(tuple(found.values()))


@pytest.mark.parametrize("spread", [0.1, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("seed", range(3))
def test_retrained_pass_just_where_the_rate_of_rejection_is_zero(seed: int, spread: float) -> None:
    retrained = drawn(seed, spread)
    found, made = judged({"original": ORIGINAL}, retrained)
    rate = rejection_rate(retrained, MARGINS)
    assert found.rejection_rate_of_retrained == rate
    assert (made["retrained"].verdict == "admissible") == (rate == 0.0)
    assert all(g.equivalent for g in made["retrained"].gaps) == (rate == 0.0)


def test_retrained_models_are_corrected_for_several_metrics() -> None:
    """Each p is below the level and above a third of it: without Holm all would pass."""
    steps = [0, 0, 0, 0, 1, 1, -1, -2]
    retrained = {
        m.metric: [MEANS[m.metric] + m.width / 3.85 * step for step in steps] for m in MARGINS
    }
    farthest = left_out(retrained, 7, MARGINS).values()
    assert all(0.05 / 3 < test.p_equivalent < 0.05 for test in farthest)
    made = each_retrained(
        judge(LIKE, ORIGINAL, retrained, MARGINS, "influence"), retrained, MARGINS
    )
    assert [g.equivalent for g in made.gaps] == [False] * 3
    assert made.verdict == "not_admissible"


def test_the_gap_of_retrained_is_the_mean_distance_to_the_others() -> None:
    retrained = drawn(1)
    _, made = judged({"original": ORIGINAL}, retrained)
    for gap in made["retrained"].gaps:
        values = retrained[gap.metric]
        others = [fmean(values[:i] + values[i + 1 :]) for i in range(8)]
        far = [abs(v - o) for v, o in zip(values, others, strict=True)]
        assert gap.gap == pytest.approx(fmean(far))
        assert gap.gap > 0


def test_where_no_metric_has_power_nothing_passes_and_nothing_warns() -> None:
    read: dict[Kind, Values] = {"original": LIKE, "last_layer": LIKE}
    found, made = judged(read, drawn(2))
    assert found.verdict == "no_power"
    assert {c.verdict for c in made.values()} == {"no_power"}
    counted = {g.metric for c in made.values() for g in c.gaps if g.equivalent}
    assert counted <= {"test accuracy"}
    assert warning(tuple(made.values())) == ""


def test_a_control_without_numbers_says_why() -> None:
    broken = RANDOM | {"forget loss": [math.inf]}
    read: dict[Kind, Values] = {"original": ORIGINAL, "random_weights": broken}
    _, made = judged(read, drawn(3), {"last_layer": "k is 1, and the model has 0 layers"})
    assert made["random_weights"].verdict == made["last_layer"].verdict == "refused"
    assert "forget loss are not finite" in made["random_weights"].because
    assert made["last_layer"].because == "k is 1, and the model has 0 layers."
    assert made["last_layer"].gaps == ()
    assert made["retrained"].verdict == "admissible"


def test_a_metric_without_power_is_never_equivalent() -> None:
    same = ORIGINAL | {"forget loss": [MEANS["forget loss"]]}
    _, made = judged({"original": same}, drawn(4))
    of = {g.metric: g.equivalent for g in made["retrained"].gaps}
    assert of == {"forget accuracy": True, "forget loss": False, "test accuracy": True}
    assert made["retrained"].verdict == "admissible"


def test_an_admissible_retrained_model_is_no_reason_to_warn() -> None:
    found = judge(LIKE, ORIGINAL, drawn(5), MARGINS, "influence")
    one = each_retrained(found, drawn(5), MARGINS)
    assert (one.verdict, warning([one])) == ("admissible", "")
