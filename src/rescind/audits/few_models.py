"""Is a value beyond those of sets that were drawn from a few models?

The sets of one model move together with it, so hundreds of draws from eight models are no hundreds
of models: their rank alone rejected a true null in .07 to .11 of cases at .05
(``benchmarks/shadow_null.py``, as it was first). So a value must also be beyond what Student's t
foretells of one more model, with the spread of all draws and models - 1 degrees of freedom, as in
``metrics.equivalence.compare``.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

from rescind.metrics.equivalence import t_below, t_quantile

if TYPE_CHECKING:
    from torch import Tensor


def p_above(value: float, drawn: Tensor, models: int, *, ranks_alone: bool = False) -> float:
    """How often a value as large as this comes, if it is one of these (n,).

    Raises:
        MissingExtra: scipy is not installed.
    """
    rank = (1 + int((drawn >= value).sum())) / (1 + len(drawn))
    if ranks_alone:
        return rank
    middle, error = _foretold(drawn, models)
    if error == 0.0:
        return rank
    return max(rank, t_below((middle - value) / error, models - 1.0))


def critical(drawn: Tensor, level: float, models: int, *, ranks_alone: bool = False) -> float:
    """The value above which ``p_above`` is below the level.

    Raises:
        MissingExtra: scipy is not installed.
    """
    import torch

    rank = float(torch.quantile(drawn, 1 - level))
    if ranks_alone:
        return rank
    middle, error = _foretold(drawn, models)
    return max(rank, middle + error * t_quantile(1 - level, models - 1.0))


def _foretold(drawn: Tensor, models: int) -> tuple[float, float]:
    """Mean and standard error of a value of one more model."""
    return float(drawn.mean()), float(drawn.std()) * sqrt(1 + 1 / models)
