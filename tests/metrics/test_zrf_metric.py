from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from rescind.core.errors import BadData
from rescind.metrics.zrf import zrf


def draw(seed: int, n: int = 20, classes: int = 5, scale: float = 2.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(n, classes, generator=generator, dtype=torch.float64)


def slow_zrf(unlearned: Tensor, incompetent: Tensor) -> float:
    total = 0.0
    for a, b in zip(unlearned.tolist(), incompetent.tolist(), strict=True):
        p, q = ([math.exp(z) / sum(map(math.exp, row)) for z in row] for row in (a, b))
        for x, y in zip(p, q, strict=True):
            m = (x + y) / 2
            total += (x * math.log(x / m) + y * math.log(y / m)) / 2
    return 1 - total / len(unlearned)


def test_it_is_that_of_a_loop() -> None:
    first, second = draw(0), draw(1, scale=0.1)
    assert zrf(first, second) == pytest.approx(slow_zrf(first, second), rel=1e-12)


def test_it_goes_from_1_minus_log_2_to_1() -> None:
    first, second = torch.tensor([[1e4, 0.0]]), torch.tensor([[0.0, 1e4]])
    assert zrf(first, first) == 1.0
    assert zrf(first, second) == pytest.approx(1 - math.log(2))


def test_a_model_that_answers_at_random_has_more_than_a_retrained_one_that_knows_better() -> None:
    incompetent = draw(0, scale=0.1)
    retrained = 5 * torch.nn.functional.one_hot(torch.arange(20) % 5, 5).double()
    assert zrf(draw(1, scale=0.1), incompetent) > zrf(retrained, incompetent) + 0.2


def test_what_cannot_be_compared_is_refused() -> None:
    good = draw(0)
    with pytest.raises(BadData, match="shapes"):
        zrf(good, good[:3])
    with pytest.raises(BadData, match=r"shape \(0, 5\)"):
        zrf(good[:0], good[:0])
    with pytest.raises(BadData, match="NaN"):
        zrf(good, good * math.nan)
