"""What accepted residuals leave open, from public numbers alone: statement, mask and g.

A row is an unmasked weight of a block that is touched and no exception. The statement bounds its
(dN I + G^T G) D - c g by the limit 2^(residual_bits - 1), so that where c |g_i| is not above that
nobody can tell whether it was pulled. dN I + G^T G is at least dN: an accepted block is at most
limit sqrt(block) / dN from the exact one for the gradients that were committed to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from rescind.proofs.attested import readable
from rescind.proofs.mask_proof.statement import Public, Statement
from rescind.zk.terms import slacks


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Of one tensor.

    At ``untold`` of its ``rows``, a share of ``untold_share``, no pull cannot be told from the
    ordered one; ``unpulled`` of its ``blocks`` have only such rows, and the exact compensation of
    them without a pull would pass. An accepted block is at most ``distance`` (Euclidean, in
    weights) from the exact one, which is ``units`` of the tensor's scale; ``of_pull`` is that over
    c rms(g) sqrt(block) / dN, what the pull moves a block that nothing but the damping holds. All
    blocks together are off by at most a share ``of_change`` of the tensor's whole change, the least
    of which follows from its floor; None where no floor above 0 gives one.
    """

    tensor: str
    rows: int
    untold: int
    untold_share: float
    blocks: int
    unpulled: int
    units: float
    distance: float
    of_pull: float
    of_change: float | None


def rooms(statement: Statement, public: Public) -> tuple[Room, ...]:
    """For each tensor, in the statement's order; mask and g are those that it names."""
    touched = np.asarray(public.mask.any(1))
    touched[list(statement.exceptions)] = False
    limit, found, start = 2 ** (statement.residual_bits - 1), list[Room](), 0
    for t, of_pull in zip(statement.tensors, slacks(statement, public), strict=True):
        end = start + t.blocks(statement.block)
        mask, g = public.mask[start:end], public.direction[start:end].astype(np.int64)
        rows = touched[start:end, None] & ~mask
        rows.reshape(-1)[prod(t.shape) :] = False
        clear = rows & (t.pull * np.abs(g) > limit)
        count, untold = int(rows.sum()), int(rows.sum() - clear.sum())
        blocks = int(rows.any(1).sum())
        units = limit * statement.block**0.5 / t.damping
        # by Cauchy and Schwarz <g, D> is at most |g| |D|, over what may change at all
        longest = float((g[rows | mask] ** 2).sum()) ** 0.5
        of_change = units * blocks**0.5 * longest / t.floor if t.floor > 0 else None
        found.append(
            Room(
                tensor=t.name,
                rows=count,
                untold=untold,
                untold_share=round(untold / count, 4) if count else 0.0,
                blocks=blocks,
                unpulled=int((rows.any(1) & ~clear.any(1)).sum()),
                units=_short(units),
                distance=_short(units * 2.0**-t.weight_bits),
                of_pull=round(of_pull, 4),
                of_change=None if of_change is None else _short(of_change),
            )
        )
        start = end
    return tuple(found)


def told(found: Sequence[Room]) -> dict[str, str]:
    """For a reader, by a short name: the largest of each over the tensors."""
    rows = max(found, key=lambda room: room.untold_share)
    off = max(found, key=lambda room: room.distance)
    pull = max(found, key=lambda room: room.of_pull)
    unpulled, blocks = sum(room.unpulled for room in found), sum(room.blocks for room in found)
    return {
        "Pull not told": f"at most {rows.untold_share:.1%} of a tensor's rows ({_name(rows)});"
        f" {unpulled} of {blocks} blocks wholly",
        "Worst accepted": f"a block {off.distance:.2g} from the exact one ({_name(off)}:"
        f" {off.units:.3g} units); {pull.of_pull:.2%} of what the pull moves against damping alone"
        f" ({_name(pull)})",
        "Of the change": _of_change(found),
    }


def _of_change(found: Sequence[Room]) -> str:
    shares = {_name(room): room.of_change for room in found if room.of_change is not None}
    if not shares:
        return "no floor is above 0, so that public numbers bound no share of it"
    name, share = max(shares.items(), key=lambda item: item[1])
    return (
        f"at most {share:.1%} of a tensor's ({name}), by floors alone;"
        f" {len(shares)} of {len(found)} tensors have one"
    )


def _name(room: Room) -> str:
    return readable(room.tensor)[:80]


def _short(value: float) -> float:
    return float(f"{value:.3g}")
