from __future__ import annotations

import math
from typing import Any, get_args

import pytest
import torch
from margin_worlds import normal
from scipy import stats
from torch import Tensor

from rescind.audits.population import Kind, p_values, population_scores, threshold
from rescind.core.errors import BadData, BadParameter
from rescind.metrics.membership import auc

KINDS: tuple[Kind, ...] = get_args(Kind)


def world(n: int, seed: int, boost: float = 0.0) -> tuple[Tensor, Tensor]:
    """Logits (n, 5) with the label's raised by 1, and by ``boost`` more where it was trained on."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(5, (n,), generator=generator)
    logits = torch.randn(n, 5, generator=generator, dtype=torch.float64)
    return logits + (1 + boost) * torch.nn.functional.one_hot(labels, 5), labels


def test_scores_are_sums_over_classes() -> None:
    logits, labels = world(12, 0)
    p = logits.softmax(1)
    rows = list(zip(p.tolist(), labels.tolist(), strict=True))
    slow = {
        "loss": [math.log(q[y]) for q, y in rows],
        "confidence": [q[y] for q, y in rows],
        "entropy": [sum(x * math.log(x) for x in q) for q, _ in rows],
        "modified_entropy": [
            (1 - q[y]) * math.log(q[y])
            + sum(x * math.log(1 - x) for c, x in enumerate(q) if c != y)
            for q, y in rows
        ],
    }
    for kind in KINDS:
        assert population_scores(logits, labels, kind).tolist() == pytest.approx(slow[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_every_score_finds_a_planted_leak_and_none_in_a_null_world(kind: Kind) -> None:
    held_out = population_scores(*world(400, 1), kind)
    assert auc(population_scores(*world(400, 2, boost=3), kind), held_out) > 0.8
    assert abs(auc(population_scores(*world(400, 3), kind), held_out) - 0.5) < 0.06


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.1, 0.5])
@pytest.mark.parametrize("levels", [None, 3])
def test_threshold_and_p_value_are_one_rule(rate: float, levels: int | None) -> None:
    scores, holdout = normal(300, seed=4) + 1, normal(199, seed=5)
    if levels:
        scores, holdout = (scores * levels).round(), (holdout * levels).round()
    at = threshold(holdout, rate)
    slow = [(1 + sum(h >= s for h in holdout.tolist())) / 200 for s in scores.tolist()]
    assert p_values(scores, holdout).tolist() == pytest.approx(slow, abs=1e-15)
    assert [p <= rate for p in slow] == (scores > at).tolist()
    assert int((holdout > at).sum()) < rate * 200


def test_new_records_pass_the_threshold_as_often_as_stated() -> None:
    """1000 holdout sets of 39 and a new record each: 2 of 40 pass at .05; standard error .7 %."""
    passed = sum(
        float(normal(1, seed=5000 + s)) > threshold(normal(39, seed=s), 0.05) for s in range(1000)
    )
    assert passed / 1000 == pytest.approx(0.05, abs=0.021)


def test_p_values_of_a_null_world_are_uniform_and_those_of_a_planted_one_have_its_power() -> None:
    holdout = normal(20_000, seed=6)
    null = p_values(normal(500, seed=7), holdout)
    assert stats.kstest(null.numpy(), "uniform").pvalue > 0.01
    planted = p_values(normal(4000, seed=8) + 1.5, holdout)
    power = stats.norm.sf(stats.norm.isf(0.05) - 1.5)
    assert float((planted <= 0.05).double().mean()) == pytest.approx(power, abs=0.03)


def test_order_does_not_matter() -> None:
    scores, holdout = normal(30, seed=9), normal(40, seed=10)
    shuffled = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    assert torch.equal(
        p_values(scores[shuffled], holdout.flip(0)), p_values(scores, holdout)[shuffled]
    )
    assert threshold(holdout.flip(0), 0.1) == threshold(holdout, 0.1)


def test_what_cannot_be_thresholded_is_refused() -> None:
    wrong: Any = "margin"
    with pytest.raises(BadParameter, match="no population score 'margin'") as caught:
        population_scores(*world(3, 0), wrong)
    assert "modified_entropy" in caught.value.do
    with pytest.raises(BadParameter, match="asked of 98 records") as caught:
        threshold(normal(98, seed=0), 0.01)
    assert "at least 99" in caught.value.do
    assert threshold(normal(99, seed=0), 0.01) == float(normal(99, seed=0).max())
    for rate in (0.0, 1.0, math.nan):
        with pytest.raises(BadParameter, match="false-positive rate is"):
            threshold(normal(9, seed=0), rate)
    with pytest.raises(BadData, match="holdout scores"):
        p_values(normal(3, seed=0), torch.zeros(0))
    with pytest.raises(BadData, match="NaN"):
        threshold(torch.tensor([math.nan]), 0.5)
