"""How far margins fall when records leave the training set, from records that never were in it."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

from rescind.audits.rows import checked_kinds
from rescind.audits.subsets import distinct
from rescind.core.errors import BadData
from rescind.metrics.loss import checked_values

if TYPE_CHECKING:
    from torch import Generator, Tensor

PRESENCE_DRAWS = 999


@dataclass(frozen=True, slots=True, eq=False)
class Holdout:
    """Margins (m,) in the model before, and labels (m,), of records that no training has seen."""

    margins: Tensor
    labels: Tensor


@dataclass(frozen=True, slots=True)
class Gap:
    """How far margins lie above those of the holdout: ``expected`` fall, its standard error.

    ``p_present`` belongs to the null that the requested records were never trained on: it is small
    where they lie above the holdout before. A large one is *no evidence of presence before*, and an
    audit of what was never there finds nothing.
    """

    expected: float
    error: float
    p_present: float


def holdout_gap(
    margins: Tensor, kinds: Tensor, asked: Tensor, retained: Tensor, holdout: Holdout, seed: int
) -> Gap:
    """The gap of a request: of classes weighted by how often they are requested.

    Args:
        margins: (n,) in the model before, of the training records.
        kinds: their classes (n,).
        asked: (n,) bool, requested.
        retained: (n,) bool, what was trained on and stays.
        holdout: margins and classes of other records.
        seed: of the draws of ``p_present``.

    Raises:
        BadData: shapes that do not fit, a class of the request with fewer than two held-out
            records.
    """
    import torch

    outside = checked_values(holdout.margins, "margins of the holdout").cpu()
    their = checked_kinds(holdout.labels, len(outside))
    generator = torch.Generator().manual_seed(seed)
    expected, variance = 0.0, 0.0
    seen, null = 0.0, torch.zeros(PRESENCE_DRAWS, dtype=torch.float64)
    for kind in torch.unique(kinds[asked]).tolist():
        own, inside = margins[asked & (kinds == kind)], margins[retained & (kinds == kind)]
        out = outside[their == kind]
        _refuse_small(out, kind)
        weight = len(own) / int(asked.sum())
        expected += weight * float(inside.mean() - out.mean())
        variance += weight**2 * sum(
            float(x.var(correction=0)) / (len(x) - 1 or 1) for x in (inside, out)
        )
        seen += float(own.sum())
        null += _sums(torch.cat([own, out]), len(own), generator)
    above = int((null >= seen - 1e-9 * abs(seen)).sum())
    return Gap(expected, sqrt(variance), (1 + above) / (1 + PRESENCE_DRAWS))


def _sums(pool: Tensor, n: int, generator: Generator) -> Tensor:
    """Sums (draws,) of n values of the pool, drawn without replacement."""
    found: Tensor = pool[distinct(len(pool), n, PRESENCE_DRAWS, generator)].sum(1)
    return found


def _refuse_small(out: Tensor, kind: int) -> None:
    if len(out) < 2:
        raise BadData(
            f"The holdout has {len(out)} records of class {kind}.",
            "What retraining would change is the gap between trained and held-out records of it.",
            "Hold out more records, or pass no holdout and do without the extent.",
        )
