from __future__ import annotations

import dataclasses
import math
import random

import pytest

from rescind.core.errors import BadParameter, InsufficientEvidence
from rescind.core.judgement import Margin
from rescind.metrics.drift import REQUESTS, Drift, drift, retraining_due
from rescind.metrics.equivalence import tost

Sequences = dict[int, dict[str, list[float]]]
MARGINS = (Margin("test_accuracy", 0.05, "utility"), Margin("forget_accuracy", 0.2, "forgetting"))


def measured(seeds: int, step: float, seed: int = 0) -> Sequences:
    """Test accuracy falls by ``step`` a request; forget accuracy stays."""
    generator = random.Random(seed)
    return {
        requests: {
            "test_accuracy": [generator.gauss(0.9 - step * requests, 0.005) for _ in range(seeds)],
            "forget_accuracy": [generator.gauss(0.4, 0.01) for _ in range(seeds)],
        }
        for requests in REQUESTS
    }


RETRAINED = measured(8, 0.002)


def point(requests: int, low: float, high: float, metric: str = "test_accuracy") -> Drift:
    return Drift(requests, metric, 0.9, (low + high) / 2, (low, high), 0.01, 8)


def test_gaps_are_those_to_models_retrained_after_the_same_requests() -> None:
    candidate = measured(3, 0.012, seed=1)
    gaps = drift(candidate, RETRAINED, MARGINS)
    assert [(g.requests, g.metric) for g in gaps] == [
        (n, name) for n in (1, 2, 5, 10) for name in ("forget_accuracy", "test_accuracy")
    ]
    for gap in gaps:
        expected = tost(
            candidate[gap.requests][gap.metric], RETRAINED[gap.requests][gap.metric], 1.0
        )
        assert (gap.gap, gap.interval, gap.references) == (expected.gap, expected.interval, 8)
        assert 0.0 < gap.natural_spread < 0.02
    assert gaps[-1].gap == pytest.approx(-0.1, abs=0.02)


def test_retraining_is_due_when_the_drift_leaves_the_margin() -> None:
    gaps = drift(measured(3, 0.012, seed=1), RETRAINED, MARGINS)
    assert retraining_due(gaps, MARGINS) == 5
    assert retraining_due(gaps[::-1], MARGINS[::-1]) == 5
    steady = drift(measured(3, 0.002, seed=1), RETRAINED, MARGINS)
    assert retraining_due(steady, MARGINS) is None
    assert retraining_due(drift(measured(3, 0.1, seed=1), RETRAINED, MARGINS), MARGINS) == 1


@pytest.mark.parametrize(
    ("second", "due"),
    [
        ((-0.01, 0.04), None),
        ((-0.01, 0.06), 2),  # the gap itself is within
        ((-0.06, 0.01), 2),  # on the other side
        ((-0.01, 0.05), 2),  # at the margin is not within it
        ((0.06, 0.09), 2),
    ],
)
def test_the_far_end_of_the_interval_decides(second: tuple[float, float], due: int | None) -> None:
    gaps = [point(1, -0.01, 0.01), point(2, *second), point(5, -0.01, 0.01)]
    assert retraining_due(gaps, MARGINS[:1]) == due


def test_any_metric_makes_it_due_by_its_own_margin() -> None:
    gaps = [point(1, 0.0, 0.1, "forget_accuracy"), point(1, 0.0, 0.01)]
    later = [point(2, 0.0, 0.3, "forget_accuracy"), point(2, 0.0, 0.01)]
    assert retraining_due(gaps, MARGINS) is None
    assert retraining_due([*later, *gaps], MARGINS) == 2


def test_three_references_only_show() -> None:
    few = {n: {name: v[:3] for name, v in values.items()} for n, values in RETRAINED.items()}
    candidate = measured(3, 0.03, seed=1)
    with pytest.raises(InsufficientEvidence, match=r"3 retrained.*needs 8"):
        drift(candidate, few, MARGINS)
    gaps = drift(candidate, few, MARGINS, display=True)
    assert {gap.references for gap in gaps} == {3}
    with pytest.raises(InsufficientEvidence, match=r"3 retrained.*needs 8"):
        retraining_due(gaps, MARGINS)
    assert retraining_due(gaps, MARGINS, display=True) == 2
    with pytest.raises(InsufficientEvidence, match=r"2 retrained.*needs 3"):
        retraining_due([dataclasses.replace(g, references=2) for g in gaps], MARGINS, display=True)


def test_what_was_not_measured_is_an_error() -> None:
    candidate = measured(3, 0.0)
    fewer = {n: values for n, values in candidate.items() if n != 10}
    with pytest.raises(BadParameter, match="after 10 requests only one side"):
        drift(fewer, RETRAINED, MARGINS)
    without = {**candidate, 2: {"test_accuracy": [0.9] * 3}}
    with pytest.raises(BadParameter, match="after 2 requests forget_accuracy of the candidate"):
        drift(without, RETRAINED, MARGINS)
    with pytest.raises(BadParameter, match="after 2 requests forget_accuracy of the retrained"):
        drift(candidate, {**RETRAINED, 2: {"test_accuracy": [0.9] * 8}}, MARGINS)
    with pytest.raises(BadParameter, match="nothing to compare"):
        drift({}, {}, MARGINS)
    with pytest.raises(BadParameter, match="nothing to compare"):
        drift(candidate, RETRAINED, ())
    with pytest.raises(BadParameter, match="0 is no number of requests"):
        drift({0: candidate[1]}, {0: RETRAINED[1]}, MARGINS)
    bad = {**candidate, 5: {**candidate[5], "test_accuracy": [math.nan] * 3}}
    with pytest.raises(BadParameter, match="not finite"):
        drift(bad, RETRAINED, MARGINS)


def test_a_margin_without_gaps_and_gaps_without_a_margin_are_refused() -> None:
    with pytest.raises(BadParameter, match="forget_accuracy has gaps or a margin"):
        retraining_due([point(1, 0.0, 0.0)], MARGINS)
    with pytest.raises(BadParameter, match="test_accuracy has gaps or a margin"):
        retraining_due([point(1, 0.0, 0.0)], [])
