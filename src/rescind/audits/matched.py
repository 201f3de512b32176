"""Retained records that look like the requested ones: their controls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rescind.audits.rows import checked_kinds, checked_mask
from rescind.core.errors import BadData, BadParameter, InsufficientEvidence
from rescind.metrics.loss import checked_values

if TYPE_CHECKING:
    from torch import Tensor

CONTROLS = 30


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """Rows (n, 1 + controls): a requested record first, then its matches; no row comes twice."""

    rows: Tensor

    @property
    def records(self) -> Tensor:
        """Rows (n,) of the requested records."""
        return self.rows[:, 0]

    @property
    def flat(self) -> Tensor:
        """All rows, group after group."""
        return self.rows.flatten()


def match(
    values: Tensor,
    labels: Tensor,
    requested: Tensor,
    candidates: Tensor,
    controls: int = CONTROLS,
) -> Groups:
    """For each requested record the nearest candidates of its class by ``values``.

    Candidates are dealt out in rounds, in which each record takes the nearest one that is left. All
    records get the same number, at most ``controls``: fewer where a class has too few to share.

    Args:
        values: (n,), such as margins of the model before.
        labels: (n,) whole numbers.
        requested: (n,) bool.
        candidates: (n,) bool, trained on, never requested, in no cut cell.
        controls: wanted for each record.

    Raises:
        BadData: shapes that do not fit, no requested record, a candidate that is requested.
        BadParameter: ``controls`` below 1.
        InsufficientEvidence: a class has fewer candidates than requested records.
    """
    import torch

    x = checked_values(values, "values").cpu()
    kinds = checked_kinds(labels, len(x))
    asked = checked_mask(requested, len(x), "requested")
    free = checked_mask(candidates, len(x), "candidates")
    _refuse(asked, free, controls)
    each = min(controls, *_shares(kinds, asked, free))
    rows = asked.nonzero().flatten()
    groups = torch.cat([rows[:, None], rows.new_empty(len(rows), each)], 1)
    for kind in torch.unique(kinds[rows]).tolist():
        here = (kinds[rows] == kind).nonzero().flatten()
        pool = (free & (kinds == kind)).nonzero().flatten()
        groups[here, 1:] = _dealt(x, rows[here], pool, each)
    return Groups(groups)


def _dealt(values: Tensor, rows: Tensor, pool: Tensor, each: int) -> Tensor:
    """Rows (n, each) of the pool, none twice; of those equally near the first."""
    import numpy as np
    import torch

    # numpy: calls of torch on so few values took most of the time of the audit of margins
    left = values[pool].numpy().copy()
    nearest = np.empty((len(rows), each), dtype=np.int64)
    for turn in range(each):
        for i, x in enumerate(values[rows].tolist()):
            nearest[i, turn] = found = np.abs(left - x).argmin()
            left[found] = np.inf
    return pool[torch.from_numpy(nearest)]


def _shares(kinds: Tensor, asked: Tensor, free: Tensor) -> list[int]:
    """How many candidates each requested record of a class can have."""
    import torch

    shares = []
    for kind in torch.unique(kinds[asked]).tolist():
        here = kinds == kind
        records, pool = int((asked & here).sum()), int((free & here).sum())
        if pool < records:
            raise InsufficientEvidence(
                f"Class {kind} has {records} requested records and {pool} retained ones to match.",
                "Each needs at least one that was trained on, not requested and in no cut cell.",
                "Audit a random part of the request; for a whole class use another audit.",
            )
        shares.append(pool // records)
    return shares


def _refuse(asked: Tensor, free: Tensor, controls: int) -> None:
    if controls < 1:
        raise BadParameter(f"{controls} controls are asked for.", "Nothing is compared.", "Use 30.")
    if not bool(asked.any()) or bool((asked & free).any()):
        raise BadData(
            f"{int(asked.sum())} records are requested, {int((asked & free).sum())} of them also"
            " candidates.",
            "A requested record is no control, and there must be one.",
            "Mark the requested rows, and as candidates retained ones only.",
        )
