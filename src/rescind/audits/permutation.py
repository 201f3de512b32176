"""The permutation test of requested records beside their controls.

Were nothing done about the requested records, they would be a random choice among themselves and
their matches. Each has matches of its own, so that the test, which chooses one of each group at
random, has its level exactly under that assumption. Records are not quite exchangeable where one is
a neighbour of another; nothing else is assumed of their distribution.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rescind.audits.intervals import ENTRIES
from rescind.core.errors import BadData, BadParameter, InsufficientEvidence
from rescind.metrics.loss import checked_values

if TYPE_CHECKING:
    from torch import Tensor

DRAWS = 9_999


def adjusted(values: Tensor, covariate: Tensor) -> Tensor:
    """Values (n, 1 + controls) without what follows linearly from a covariate within the groups.

    Matches differ a little from their record. The slope is fitted on records and matches alike, so
    that the test stays exact: P. R. Rosenbaum, Statist. Sci. 17:286-327 (2002).
    """
    x = covariate.double() - covariate.double().mean(1, keepdim=True)
    y = values.double() - values.double().mean(1, keepdim=True)
    total = (x * x).sum()
    found: Tensor = y - x * ((x * y).sum() / total) if total > 0 else y
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Permuted:
    """How records differ from their matches, beside random choices of one in each group.

    ``gaps`` (n,) are record minus mean of its matches, ``gap`` their mean. ``null`` (draws,) are
    the same means of random choices, whose standard deviation is ``spread``. ``below``, ``above``
    and ``both`` are the p-values: gap as low, as high, as far from 0.
    """

    gaps: Tensor
    gap: float
    null: Tensor
    spread: float
    below: float
    above: float
    both: float


def permuted(values: Tensor, draws: int = DRAWS, seed: int = 0, level: float = 0.05) -> Permuted:
    """The permutation test of ``values`` (n, 1 + controls), the requested records first.

    All choices are counted where there are at most ``draws`` of them. Else they are drawn and what
    was seen counts as one, so that no p is below 1 / (draws + 1): B. Phipson and G. K. Smyth, Stat.
    Appl. Genet. Mol. Biol. 9:39 (2010).

    Raises:
        BadData: not two dimensions, no group, no control, a value that is not finite.
        InsufficientEvidence: no p could be below ``level``, so few are records and controls, or
            draws.
    """
    import torch

    x = _checked_groups(values)
    n, width = x.shape
    _refuse_powerless(n, width, draws, level)
    # what is left of a group without the one chosen is its sum minus that one
    gaps = (x - x.mean(1, keepdim=True)) * (width / (width - 1))
    if width**n <= draws:
        null = torch.cartesian_prod(*gaps).reshape(-1, n).mean(1)
    else:
        null = torch.cat([gaps[:, 0].mean()[None], _drawn(gaps, draws, seed)])
    gap, size = float(gaps[:, 0].mean()), null.abs()
    near = 1e-9 * float(size.max())  # sums in another order round otherwise
    return Permuted(
        gaps=gaps[:, 0],
        gap=gap,
        null=null,
        spread=float(null.std(correction=0)),
        below=float((null <= gap + near).double().mean()),
        above=float((null >= gap - near).double().mean()),
        both=float((size >= abs(gap) - near).double().mean()),
    )


def _drawn(gaps: Tensor, draws: int, seed: int) -> Tensor:
    """Means (draws,) of one entry of each group."""
    import torch

    n, width = gaps.shape
    generator, found = torch.Generator().manual_seed(seed), []
    step = max(1, ENTRIES // n)
    for start in range(0, draws, step):
        size = (min(step, draws - start), n)
        index = torch.randint(width, size, generator=generator)
        found.append(gaps[torch.arange(n), index].mean(1))
    return torch.cat(found)


def _checked_groups(values: Tensor) -> Tensor:
    if values.dim() != 2 or len(values) < 1 or values.shape[1] < 2:
        raise BadData(
            f"The values have the shape {tuple(values.shape)}.",
            "A row is a requested record and its controls, at least one.",
            "Pass values[groups.rows].",
        )
    checked_values(values.flatten(), "values")
    return values.detach().double().cpu()


def _refuse_powerless(n: int, width: int, draws: int, level: float) -> None:
    if not 0.0 < level < 1.0:
        raise BadParameter(f"level is {level}.", "It is a share of tests.", "Use 0.05.")
    lowest = max(1 / float(width) ** min(n, 64), 1 / (draws + 1))
    if lowest >= level:
        raise InsufficientEvidence(
            f"{n} records with {width - 1} controls each and {draws} draws give no p below"
            f" {lowest:.3g}.",
            f"No result could be significant at {level:g}.",
            "Give more controls, more records or more draws.",
        )
