from __future__ import annotations

import random
from statistics import fmean

import pytest

from rescind.core.errors import BadParameter
from rescind.core.judgement import Margin
from rescind.metrics.admissible import judge
from rescind.metrics.distance import distance

Values = dict[str, list[float]]
MARGINS = (
    Margin("forget_accuracy", 0.06, "forgetting"),
    Margin("forget_loss", 0.30, "forgetting"),
    Margin("test_accuracy", 0.03, "utility"),
)
CENTRE = {"forget_accuracy": 0.40, "forget_loss": 1.80, "test_accuracy": 0.90}


def around(count: int, seed: int = 0, spread: float = 0.004, **moved: float) -> Values:
    """Seeds near the centre, some metrics moved by so much."""
    generator = random.Random(seed)
    return {
        name: [generator.gauss(value + moved.get(name, 0.0), spread) for _ in range(count)]
        for name, value in CENTRE.items()
    }


RETRAINED = around(8)


def test_what_equals_the_retrained_is_at_0() -> None:
    assert distance(RETRAINED, RETRAINED, MARGINS) == 0.0


@pytest.mark.parametrize("margin", MARGINS, ids=lambda m: m.metric)
@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_each_metric_alone_reaches_1_at_the_edge_of_its_margin(margin: Margin, side: float) -> None:
    moved = [value + side * margin.width for value in RETRAINED[margin.metric]]
    assert distance(RETRAINED | {margin.metric: moved}, RETRAINED, MARGINS) == pytest.approx(1.0)


def test_it_is_the_worst_of_all_gaps() -> None:
    for seed in range(50):
        candidate = around(3, seed, spread=0.2)
        gaps = [
            abs(fmean(candidate[m.metric]) - fmean(RETRAINED[m.metric])) / m.width for m in MARGINS
        ]
        assert distance(candidate, RETRAINED, MARGINS) == pytest.approx(sorted(gaps)[-1])
        assert distance(candidate, RETRAINED, MARGINS[::-1]) == pytest.approx(sorted(gaps)[-1])


def test_nothing_admissible_is_beyond_1_and_little_within_is_refused() -> None:
    """The search makes small what the verdict asks for: on 60 candidates the two agree so far."""
    original = around(3, 99, forget_accuracy=0.5, forget_loss=-1.7)
    verdicts = []
    for seed in range(60):
        generator = random.Random(seed)
        moved = {m.metric: generator.uniform(-1.5, 1.5) * m.width for m in MARGINS}
        candidate = around(3, 1_000 + seed, **moved)
        found = distance(candidate, RETRAINED, MARGINS)
        verdict = judge(candidate, original, RETRAINED, MARGINS, "influence").verdict
        verdicts.append((verdict == "admissible", found))
    assert max(found for admitted, found in verdicts if admitted) < 1.0
    assert sum(admitted for admitted, _ in verdicts) >= 5
    assert all(admitted for admitted, found in verdicts if found < 0.5)


def test_one_metric_cannot_be_bought_with_the_others() -> None:
    """A model that forgets perfectly and is broken is further than one that misses all a little."""
    broken = around(3, test_accuracy=-0.5)
    assert distance(broken, RETRAINED, MARGINS) > 10 * distance(
        around(3, forget_accuracy=0.05, forget_loss=0.2, test_accuracy=-0.02), RETRAINED, MARGINS
    )


@pytest.mark.parametrize(
    ("candidate", "retrained", "margins", "says"),
    [
        ({"forget_loss": []}, {}, MARGINS, "candidate values.*forget_loss was not measured"),
        ({}, {"test_accuracy": [0.9, float("nan")]}, MARGINS, "retrained values.*not finite"),
        ({"forget_loss": [float("inf")] * 3}, {}, MARGINS, "candidate values.*not finite"),
        ({"forget_loss": [1.0]}, {}, MARGINS, r"numbers of seeds are \[1, 3\]"),
        ({}, {}, MARGINS[:2], "no metric has the role utility"),
        ({}, {}, MARGINS[2:], "no metric has the role forgetting"),
        ({}, {}, (), "no metric has the role"),
        ({}, {}, (*MARGINS, MARGINS[0]), "forget_accuracy is named twice"),
        ({}, {}, (*MARGINS, Margin("x", 0.0, "utility")), "x has the width 0"),
        ({}, {}, (*MARGINS, Margin("x", float("nan"), "utility")), "x has the width nan"),
        ({}, {}, (*MARGINS, Margin("x", 0.1, "utility")), "x was not measured"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    candidate: Values, retrained: Values, margins: tuple[Margin, ...], says: str
) -> None:
    with pytest.raises(BadParameter, match=says):
        distance(around(3) | candidate, RETRAINED | retrained, margins)
