from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal, localcontext

import pytest
import torch
from torch import Tensor

from rescind.core.errors import BadData
from rescind.metrics.divergence import (
    agreement,
    jensen_shannon,
    kl,
    mean_jensen_shannon,
    mean_kl,
    same_answer,
)

EACH = [kl, jensen_shannon]
MEANS = [mean_kl, mean_jensen_shannon]


def draw(seed: int, n: int = 12, classes: int = 4, scale: float = 2.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(n, classes, generator=generator, dtype=torch.float64)


def softmax(row: list[float]) -> list[float]:
    top = max(row)
    powers = [math.exp(z - top) for z in row]
    return [p / sum(powers) for p in powers]


def slow_kl(p: list[float], q: list[float]) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def slow(first: Tensor, second: Tensor) -> tuple[list[float], list[float]]:
    kls, js = [], []
    for a, b in zip(first.tolist(), second.tolist(), strict=True):
        p, q = softmax(a), softmax(b)
        m = [(x + y) / 2 for x, y in zip(p, q, strict=True)]
        kls.append(slow_kl(p, q))
        js.append((slow_kl(p, m) + slow_kl(q, m)) / 2)
    return kls, js


@pytest.mark.parametrize("scale", [0.5, 2.0, 20.0])
def test_divergences_are_those_of_loops(scale: float) -> None:
    first, second = draw(0, scale=scale), draw(1, scale=scale)
    for each, mean, expected in zip(EACH, MEANS, slow(first, second), strict=True):
        found = each(first, second)
        assert found.dtype == torch.float64
        assert found.tolist() == pytest.approx(expected, rel=1e-10, abs=1e-14)
        assert mean(first, second) == pytest.approx(sum(expected) / len(expected), rel=1e-10)


def exact_kl(first: list[float], second: list[float]) -> float:
    with localcontext() as context:
        context.prec = 80
        rows = [[Decimal(z).exp() for z in row] for row in (first, second)]
        p, q = ([z / sum(row) for z in row] for row in rows)
        return float(sum(a * (a / b).ln() for a, b in zip(p, q, strict=True)))


@pytest.mark.parametrize("step", [1e-2, 1e-4, 1e-6])
def test_models_that_are_nearly_alike_do_not_drown_in_rounding(step: float) -> None:
    first = draw(0)
    second = first + step * draw(1)
    exact = [exact_kl(a, b) for a, b in zip(first.tolist(), second.tolist(), strict=True)]
    assert kl(first, second).tolist() == pytest.approx(exact, rel=1e-6 + 1e-9 / step)


def test_the_direction_of_kl_is_from_retrained_to_unlearned() -> None:
    even, sure = torch.zeros(1, 2), torch.tensor([[30.0, 0.0]])
    assert mean_kl(retrained=even, unlearned=sure) == pytest.approx(15 - math.log(2))
    assert mean_kl(retrained=sure, unlearned=even) == pytest.approx(math.log(2))


def test_the_same_model_has_no_divergence_also_with_a_shift_of_its_logits() -> None:
    logits = draw(0)
    for each in EACH:
        assert each(logits, logits).tolist() == pytest.approx([0.0] * 12, abs=1e-30)
        assert each(logits, logits + 1000).tolist() == pytest.approx([0.0] * 12, abs=1e-20)


def test_jensen_shannon_is_symmetric_and_kl_is_not() -> None:
    first, second = draw(0), draw(1)
    assert torch.equal(jensen_shannon(first, second), jensen_shannon(second, first))
    assert not torch.allclose(kl(first, second), kl(second, first))


def test_jensen_shannon_ends_at_log_2() -> None:
    first, second = torch.tensor([[5e4, 0.0]]), torch.tensor([[0.0, 5e4]])
    assert mean_jensen_shannon(first, second) == math.log(2)
    assert mean_kl(first, second) == 5e4
    for seed in range(10):  # without a cap, rounding goes beyond it
        first, second = (draw(2 * seed + i, 200, 100, 30.0) for i in (0, 1))
        assert float(jensen_shannon(first, second).max()) <= math.log(2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_extreme_logits_of_any_precision_are_finite(dtype: torch.dtype) -> None:
    first = torch.tensor([[6e4, -6e4, 0.0]], dtype=dtype)
    second = torch.tensor([[-6e4, 6e4, 0.0]], dtype=dtype)
    for each in EACH:
        assert each(first, second).isfinite().all()
        assert (each(first, second) > 0).all()


def test_agreement_compares_answers_not_labels() -> None:
    first = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [2.0, 1.0]])
    second = torch.tensor([[9.0, 0.0], [1.0, 0.0], [1.0, 0.0], [2.0, 3.0]])
    assert same_answer(first, second).tolist() == [1.0, 0.0, 1.0, 0.0]
    assert agreement(first, second) == 0.5


@pytest.mark.parametrize("metric", [agreement, *MEANS])
def test_what_cannot_be_compared_is_refused(metric: Callable[[Tensor, Tensor], float]) -> None:
    good = torch.zeros(3, 2)
    with pytest.raises(BadData, match=r"\(3, 2\) and \(2, 2\)"):
        metric(good, good[:2])
    with pytest.raises(BadData, match=r"\(3, 2\) and \(3, 3\)"):
        metric(good, torch.zeros(3, 3))
    with pytest.raises(BadData, match=r"shape \(0, 2\)"):
        metric(good[:0], good[:0])
    bad = torch.tensor([[0.0, 0.0], [math.nan, 0.0], [0.0, 0.0]])
    with pytest.raises(BadData, match="1 of the logits of the second model are NaN"):
        metric(good, bad)
