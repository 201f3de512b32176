"""A value beside draws from a few models that move with each: the level, and where p is small."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rescind.audits.few_models import critical, p_above

MODELS, SETS = 8, 200


def drawn(seed: int, apart: float) -> tuple[Tensor, float]:
    """Draws (models x sets) about each model's own middle, and a value of one more model."""
    draw = torch.Generator().manual_seed(seed)
    middles = apart * torch.randn(MODELS + 1, 1, generator=draw)
    own = middles + torch.randn(MODELS + 1, SETS, generator=draw)
    return own[:-1].flatten(), float(own[-1, 0])


def rejected(apart: float, *, ranks_alone: bool) -> int:
    """How many of 400 values that are like the draws."""
    found = (drawn(seed, apart) for seed in range(400))
    return sum(p_above(x, null, MODELS, ranks_alone=ranks_alone) < 0.05 for null, x in found)


def test_the_level_holds_where_sets_move_with_their_model_and_ranks_alone_break_it() -> None:
    assert rejected(3.0, ranks_alone=False) <= 36  # 20 expected: the exact 99.9 % range
    assert rejected(3.0, ranks_alone=True) > 36


def test_it_is_never_surer_than_the_rank_and_no_blind_test() -> None:
    for seed in range(20):
        null, value = drawn(seed, 1.0)
        assert p_above(value, null, MODELS) >= p_above(value, null, MODELS, ranks_alone=True)
        assert p_above(value + 20, null, MODELS) < 0.01


@pytest.mark.parametrize("ranks_alone", [False, True])
def test_the_critical_value_is_where_p_meets_the_level(ranks_alone: bool) -> None:
    null, _ = drawn(0, 1.0)
    at = critical(null, 0.05, MODELS, ranks_alone=ranks_alone)
    assert p_above(at + 0.02, null, MODELS, ranks_alone=ranks_alone) < 0.05
    assert p_above(at - 0.02, null, MODELS, ranks_alone=ranks_alone) > 0.05


def test_draws_that_do_not_vary_leave_the_rank() -> None:
    assert p_above(1.0, torch.zeros(99), MODELS) == pytest.approx(0.01)
    assert p_above(0.0, torch.zeros(99), MODELS) == 1.0
