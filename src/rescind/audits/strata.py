"""Strata of records that look alike, and the randomisation test of a request within them.

A stratum is some fifty records of one class whose margins in the model before are next to each
other. It is cut from all records that could have been requested, without a look at those that were.
So a request that was made without a look at the model after is, given how many it has of each
stratum, as likely as any other with the same numbers, and the test that draws such requests has its
level by construction: R. A. Fisher, The Design of Experiments (1935), ch. 2. Groups around each
requested record have not quite: the lowest record of a class has all its matches above it, and
varies more than they do.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, product
from math import comb, log
from typing import TYPE_CHECKING

from rescind.audits.subsets import distinct
from rescind.core.errors import BadParameter, InsufficientEvidence

if TYPE_CHECKING:
    from torch import Generator, Tensor

# of 32, 48 and 64 that with which most was seen in the models that chose it
SIZE = 48
ROUNDING = 1e-6  # nats


@dataclass(frozen=True, slots=True, eq=False)
class Strata:
    """Those that hold a requested record.

    ``rows`` (m,) are the records of one stratum after another, ``sizes`` how many each has, and
    ``asked`` (m,) says which of them are requested.
    """

    rows: Tensor
    sizes: tuple[int, ...]
    asked: Tensor

    @property
    def counts(self) -> list[int]:
        """How many are requested of each stratum."""
        return [int(part.sum()) for part in self.parts(self.asked)]

    def parts(self, values: Tensor) -> tuple[Tensor, ...]:
        """Values (..., m) of one stratum after another."""
        import torch

        return torch.split(values, list(self.sizes), dim=-1)


def stratified(
    values: Tensor, kinds: Tensor, requested: Tensor, eligible: Tensor, size: int = SIZE
) -> Strata:
    """Cut the eligible records of each class, ordered by value, into strata of about ``size``.

    Args:
        values: (n,), such as margins of the model before; equal ones are ordered by row.
        kinds: (n,) whole numbers.
        requested: (n,) bool, eligible ones.
        eligible: (n,) bool, all that could have been requested.
        size: of a stratum, about.
    """
    import torch

    parts: list[Tensor] = []
    for kind in torch.unique(kinds[requested]).tolist():
        rows = (eligible & (kinds == kind)).nonzero().flatten()
        rows = rows[values[rows].argsort(stable=True)]
        parts += rows.tensor_split(max(1, round(len(rows) / size)))
    held = [part for part in parts if bool(requested[part].any())]
    rows = torch.cat(held)
    return Strata(rows, tuple(len(part) for part in held), requested[rows])


def standardised(values: Tensor, strata: Strata) -> Tensor:
    """Values (m,) less the median of their stratum, over its spread.

    The spread is the median distance from the median over .6745, as that of a normal; not below
    ``ROUNDING``.
    """
    import torch

    found = []
    for part in strata.parts(values.double()):
        away = part - part.median()
        found.append(away / (away.abs().median() / 0.6745).clamp(min=ROUNDING))
    return torch.cat(found)


def moved(changes: Tensor, strata: Strata) -> Tensor:
    """Which (m,) changed by more than rounding, or lie in a stratum whose median did."""
    import torch

    parts = strata.parts(changes.double())
    return torch.cat([part.abs().clamp(min=part.median().abs()) > ROUNDING for part in parts])


def p_high(scores: Tensor, strata: Strata, draws: int, seed: int, level: float) -> list[float]:
    """The p of each kind of scores (kinds, m): the requested ones sum to as much or more by chance.

    All requests with as many of each stratum are counted where there are at most ``draws``. Else
    they are drawn, and what was seen counts as one: B. Phipson and G. K. Smyth, Stat. Appl. Genet.
    Mol. Biol. 9:39 (2010).

    Raises:
        BadParameter: ``level`` outside (0, 1).
        InsufficientEvidence: no p could be below ``level``.
    """
    import torch

    counts = strata.counts
    many = sum(log(comb(w, k)) for w, k in zip(strata.sizes, counts, strict=True))
    refuse_powerless(strata, many, draws, level)
    x = scores.double()
    seen = x[:, strata.asked].sum(1, keepdim=True)
    if every := many <= log(draws) + 1e-9:
        chosen = _all(strata.sizes, counts)
        null = x[:, chosen].sum(2)
    else:
        null = _drawn(x, strata, draws, torch.Generator().manual_seed(seed))
    near = 1e-9 * null.abs().amax(1, keepdim=True)  # sums in another order round otherwise
    hits = (null >= seen - near).sum(1)
    total = null.shape[1]
    found: list[float] = (hits / total if every else (hits + 1) / (total + 1)).tolist()
    return found


def _all(sizes: tuple[int, ...], counts: list[int]) -> Tensor:
    """Positions (choices, n) of every request with these numbers."""
    import torch

    start, each = 0, []
    for w, k in zip(sizes, counts, strict=True):
        each.append(list(combinations(range(start, start + w), k)))
        start += w
    return torch.tensor([sum(choice, ()) for choice in product(*each)])


def _drawn(x: Tensor, strata: Strata, draws: int, generator: Generator) -> Tensor:
    """Sums (kinds, draws) over drawn requests with as many of each stratum."""
    total = x.new_zeros(len(x), draws)
    for part, count in zip(strata.parts(x), strata.counts, strict=True):
        total += part[:, distinct(part.shape[1], count, draws, generator)].sum(2)
    return total


def refuse_powerless(strata: Strata, many: float, draws: int, level: float) -> None:
    """Refuse a level that no p could be below; ``many`` is the log of how many requests there are.

    Raises:
        BadParameter: ``level`` outside (0, 1).
        InsufficientEvidence: no p could be below ``level``.
    """
    if not 0.0 < level < 1.0:
        raise BadParameter(f"level is {level}.", "It is a share of tests.", "Use 0.05.")
    if max(-many, -log(draws + 1)) >= log(level):
        n = int(strata.asked.sum())
        raise InsufficientEvidence(
            f"{n} records among {len(strata.rows)} that are like them and {draws} draws give no p"
            f" below {level:g}.",
            "No result could be significant.",
            "Give more records, requested or retained, or more draws.",
        )
