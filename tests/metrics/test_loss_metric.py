from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from rescind.core.errors import BadData
from rescind.metrics.loss import (
    accuracy,
    correct,
    cross_entropy,
    mean_cross_entropy,
    mean_squared_error,
    squared_error,
)

NAN, INF = math.nan, math.inf


def draw(n: int = 40, classes: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(n, classes, generator=generator)
    return logits, torch.randint(classes, (n,), generator=generator)


def slow_cross_entropy(logits: list[float], label: int) -> float:
    top = max(logits)
    return math.log(sum(math.exp(z - top) for z in logits)) + top - logits[label]


def test_cross_entropy_is_that_of_a_loop() -> None:
    logits, labels = draw()
    rows = zip(logits.double().tolist(), labels.tolist(), strict=True)
    slow = [slow_cross_entropy(z, y) for z, y in rows]
    found = cross_entropy(logits, labels)
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx(slow, rel=1e-12)
    assert mean_cross_entropy(logits, labels) == pytest.approx(sum(slow) / len(slow), rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_large_logits_of_any_precision_have_a_finite_loss(dtype: torch.dtype) -> None:
    logits = torch.tensor([[3e4, -3e4], [0.0, 0.0]], dtype=dtype)
    found = cross_entropy(logits, torch.tensor([1, 0])).tolist()
    assert found == pytest.approx([float(logits[0, 0] - logits[0, 1].double()), math.log(2)])


def test_accuracy_counts_the_largest_logit() -> None:
    logits = torch.tensor([[1.0, 2.0, 0.0], [5.0, 2.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 9.0]])
    labels = torch.tensor([1, 1, 0, 2])
    assert correct(logits, labels).tolist() == [1.0, 0.0, 1.0, 1.0]
    assert accuracy(logits, labels) == 0.75


def test_squared_error_is_that_of_a_loop() -> None:
    predictions, targets = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([3.0, 1.0, 0.5])
    assert squared_error(predictions, targets).tolist() == [4.0, 9.0, 0.0]
    assert mean_squared_error(predictions, targets) == pytest.approx(13 / 3)


def test_no_gradient_is_kept() -> None:
    logits, labels = draw()
    assert not cross_entropy(logits.requires_grad_(), labels).requires_grad


@pytest.mark.parametrize(
    ("logits", "labels", "what"),
    [
        (torch.zeros(0, 3), torch.zeros(0, dtype=torch.long), r"shape \(0, 3\)"),
        (torch.zeros(3, 1), torch.zeros(3, dtype=torch.long), r"shape \(3, 1\)"),
        (torch.zeros(3), torch.zeros(3, dtype=torch.long), r"shape \(3,\)"),
        (torch.tensor([[0.0, NAN]]), torch.tensor([0]), "1 of the logits are NaN"),
        (torch.tensor([[INF, -INF]]), torch.tensor([0]), "2 of the logits"),
        (torch.tensor([[1e200, 0.0]], dtype=torch.float64), torch.tensor([0]), "1 of the logits"),
        (torch.zeros(2, 3), torch.tensor([0]), "labels have the shape"),
        (torch.zeros(2, 3), torch.tensor([[0], [1]]), "labels have the shape"),
        (torch.zeros(2, 3), torch.tensor([0.0, 1.0]), "float32"),
        (torch.zeros(2, 3), torch.tensor([0, 3]), "from 0 to 3, and there are 3"),
        (torch.zeros(2, 3), torch.tensor([-100, 2]), "from -100 to 2"),
    ],
)
def test_what_cannot_be_scored_is_refused(logits: Tensor, labels: Tensor, what: str) -> None:
    for metric in (cross_entropy, accuracy):
        with pytest.raises(BadData, match=what) as caught:
            metric(logits, labels)
        assert caught.value.why
        assert caught.value.do


@pytest.mark.parametrize(
    ("predictions", "targets", "what"),
    [
        (torch.zeros(0), torch.zeros(0), r"predictions have the shape \(0,\)"),
        (torch.zeros(3, 1), torch.zeros(3), r"predictions have the shape \(3, 1\)"),
        (torch.zeros(3), torch.zeros(3, 1), r"targets have the shape \(3, 1\)"),
        (torch.zeros(3), torch.zeros(2), "3 predictions and 2 targets"),
        (torch.zeros(1), torch.tensor([NAN]), "1 of the targets"),
    ],
)
def test_values_that_do_not_pair_are_refused(
    predictions: Tensor, targets: Tensor, what: str
) -> None:
    with pytest.raises(BadData, match=what):
        squared_error(predictions, targets)
