from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal, localcontext

import pytest
import torch
from torch import Tensor

from rescind.core.errors import BadData, BadParameter
from rescind.metrics.loss import cross_entropy
from rescind.metrics.membership import (
    advantage,
    auc,
    confidence,
    margin,
    negative_entropy,
    negative_modified_entropy,
    true_positive_rate,
)

SCORES = [confidence, negative_modified_entropy, margin]


def draw(n: int = 30, classes: int = 4, seed: int = 0, scale: float = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(n, classes, generator=generator, dtype=torch.float64)
    return logits, torch.randint(classes, (n,), generator=generator)


def exact(row: list[float]) -> list[Decimal]:
    """Softmax to 400 digits, so that 1 - p is what it is."""
    powers = [Decimal(z).exp() for z in row]
    return [p / sum(powers) for p in powers]


def slow_scores(row: list[float], label: int) -> dict[str, float]:
    with localcontext() as context:
        context.prec = 400
        p = exact(row)
        modified = (1 - p[label]) * p[label].ln()
        modified += sum(q * (1 - q).ln() for c, q in enumerate(p) if c != label)
        return {
            "confidence": float(p[label]),
            "negative_entropy": float(sum(q * q.ln() for q in p)),
            "negative_modified_entropy": float(modified),
            "margin": float((p[label] / (1 - p[label])).ln()),
        }


@pytest.mark.parametrize("scale", [1.0, 20.0, 150.0])
def test_scores_are_those_of_exact_arithmetic(scale: float) -> None:
    logits, labels = draw(8, scale=scale)
    slow = [slow_scores(r, y) for r, y in zip(logits.tolist(), labels.tolist(), strict=True)]
    for score in SCORES:
        expected = [s[score.__name__] for s in slow]
        assert score(logits, labels).tolist() == pytest.approx(expected, rel=1e-9, abs=1e-300)
    expected = [s["negative_entropy"] for s in slow]
    assert negative_entropy(logits).tolist() == pytest.approx(expected, rel=1e-9, abs=1e-300)


@pytest.mark.parametrize("score", [*SCORES, lambda z, y: -cross_entropy(z, y)])
def test_a_surer_right_answer_is_more_like_a_member(
    score: Callable[[Tensor, Tensor], Tensor],
) -> None:
    z = torch.linspace(-30, 30, 21, dtype=torch.float64)
    logits = torch.stack([z, torch.zeros_like(z), torch.zeros_like(z)], 1)
    steps = score(logits, torch.zeros(21, dtype=torch.long)).diff()
    assert (steps > 0).all()


def test_entropy_does_not_see_the_label_and_modified_entropy_does() -> None:
    logits = torch.tensor([[20.0, 0.0], [0.0, 20.0]])
    same = negative_entropy(logits)
    assert same[0] == same[1]
    right, wrong = negative_modified_entropy(logits, torch.tensor([0, 0])).tolist()
    assert right == pytest.approx(0, abs=1e-15)
    assert wrong == pytest.approx(-40, rel=1e-6)


def test_sure_answers_have_finite_scores_and_margins_keep_them_apart() -> None:
    logits = torch.tensor([[800.0, 0.0, 0.0], [900.0, 0.0, 0.0]])
    for label in (0, 1):
        labels = torch.tensor([label, label])
        for score in SCORES:
            assert score(logits, labels).isfinite().all()
        first, second = margin(logits, labels).tolist()
        assert first != second
    assert negative_entropy(logits).isfinite().all()
    assert confidence(logits, torch.tensor([0, 0])).tolist() == [1.0, 1.0]


def scores(n: int, seed: int, levels: int | None = None) -> Tensor:
    values = torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return values if levels is None else (values * levels).round()


CASES = [(1, 1, None), (20, 30, None), (30, 20, 2), (40, 40, 1), (25, 7, 3)]


@pytest.mark.parametrize(("n", "m", "levels"), CASES)
def test_auc_counts_pairs(n: int, m: int, levels: int | None) -> None:
    inside, outside = scores(n, 1, levels) + 0.5, scores(m, 2, levels)
    won = sum((a > b) + 0.5 * (a == b) for a in inside.tolist() for b in outside.tolist())
    assert auc(inside, outside) == pytest.approx(won / (n * m), abs=1e-15)
    assert auc(inside, outside) + auc(outside, inside) == pytest.approx(1)


def slow_rates(inside: Tensor, outside: Tensor) -> list[tuple[float, float]]:
    """(true, false positive rate) of every threshold, and of one above all scores."""
    a, b = inside.tolist(), outside.tolist()
    return [
        (sum(x >= t for x in a) / len(a), sum(x >= t for x in b) / len(b))
        for t in [*a, *b, math.inf]
    ]


@pytest.mark.parametrize(("n", "m", "levels"), CASES)
def test_advantage_tries_every_threshold(n: int, m: int, levels: int | None) -> None:
    for shift in (-1.0, 0.0, 1.0):
        inside, outside = scores(n, 3, levels) + shift, scores(m, 4, levels)
        slow = max(t - f for t, f in slow_rates(inside, outside))
        assert advantage(inside, outside) == pytest.approx(slow, abs=1e-15)


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.29, 0.5])
@pytest.mark.parametrize("levels", [None, 2])
def test_the_rate_at_few_false_positives_tries_every_threshold(
    rate: float, levels: int | None
) -> None:
    for shift in (-1.0, 0.0, 1.0):
        inside, outside = scores(50, 5, levels) + shift, scores(100, 6, levels)
        slow = max(t for t, f in slow_rates(inside, outside) if f <= rate)
        assert true_positive_rate(inside, outside, rate) == pytest.approx(slow, abs=1e-15)


def test_the_direction_is_that_members_score_higher() -> None:
    high, low = torch.arange(100.0) + 100, torch.arange(100.0)
    assert (auc(high, low), advantage(high, low), true_positive_rate(high, low, 0.01)) == (1, 1, 1)
    assert (auc(low, high), advantage(low, high), true_positive_rate(low, high, 0.01)) == (0, 0, 0)
    same = torch.zeros(100)
    assert auc(same, same) == 0.5
    assert (advantage(same, same), true_positive_rate(same, same, 0.01)) == (0, 0)


def test_seven_of_a_hundred_is_a_rate_of_seven_percent() -> None:
    outside = torch.arange(100.0)
    assert true_positive_rate(torch.tensor([93.0]), outside, 0.07) == 1
    assert true_positive_rate(torch.tensor([92.5]), outside, 0.07) == 1
    assert true_positive_rate(torch.tensor([92.0]), outside, 0.07) == 0
    assert true_positive_rate(torch.tensor([90.0]), outside, 1 - 0.9) == 1


def test_scores_without_information_have_the_stated_advantage_by_chance() -> None:
    found = [advantage(scores(200, 2 * s), scores(300, 2 * s + 1)) for s in range(100)]
    chance = math.sqrt(1 / 200 + 1 / 300)
    assert 0.5 * chance < sum(found) / 100 < 0.8 * chance


def test_a_planted_leak_is_found_by_every_score() -> None:
    logits, labels = draw(400, 10, scale=1)
    trained = logits + 4 * torch.nn.functional.one_hot(labels, 10)
    held_out, other = draw(400, 10, seed=1, scale=1)
    for score in SCORES:
        assert auc(score(trained, labels), score(held_out, other)) > 0.9
        assert abs(auc(score(logits, labels), score(held_out, other)) - 0.5) < 0.08


NONE, NAN = torch.zeros(0), torch.tensor([0.0, math.nan])


@pytest.mark.parametrize("metric", [auc, advantage, lambda a, b: true_positive_rate(a, b, 0.5)])
def test_a_missing_side_is_refused(metric: Callable[[Tensor, Tensor], float]) -> None:
    for bad, what in ((NONE, r"shape \(0,\)"), (NAN, "NaN"), (torch.zeros(2, 1), r"\(2, 1\)")):
        with pytest.raises(BadData, match=f"scores of members.*{what}|{what}"):
            metric(bad, torch.zeros(2))
        with pytest.raises(BadData, match="non-members"):
            metric(torch.zeros(2), bad)


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, math.nan])
def test_a_rate_outside_its_range_is_refused(rate: float) -> None:
    with pytest.raises(BadParameter, match="false-positive rate is"):
        true_positive_rate(torch.zeros(5), torch.zeros(5), rate)


def test_a_rate_too_low_for_the_holdout_set_is_refused() -> None:
    with pytest.raises(BadParameter, match=r"0\.001 is asked of 999 non-members") as caught:
        true_positive_rate(torch.zeros(5), torch.zeros(999), 0.001)
    assert "at least 1000 records" in caught.value.do
    assert true_positive_rate(torch.ones(5), torch.zeros(1000), 0.001) == 1


def test_bad_rows_are_refused() -> None:
    logits, labels = draw(5)
    for score in SCORES:
        with pytest.raises(BadData, match="from 4 to 4"):
            score(logits, torch.full_like(labels, 4))
    with pytest.raises(BadData, match="1 of the logits are NaN"):
        negative_entropy(torch.tensor([[0.0, math.nan]]))
