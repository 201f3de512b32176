"""Index work on the snapshots that exist: what a cut leaves, and what would bring a shard back."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rescind.core.partition import Cell
from rescind.core.protocols import Withdrawal
from rescind.core.run import Order, Snapshot


def withdraw(parts: Sequence[Snapshot], cells: frozenset[Cell]) -> Withdrawal:
    """Cut every part whose prefix holds one of the cells.

    The same as cutting each order before the first such slice (S3T, Algorithm 4): a prefix holds a
    slice exactly when the slice's place lies within it.
    """
    names = frozenset(str(cell) for cell in cells)
    kept = tuple(part for part in parts if part.cells.isdisjoint(names))
    cut = tuple(part for part in parts if not part.cells.isdisjoint(names))
    return Withdrawal(kept=kept, cut=cut)


def rebuild_orders(
    orders: Sequence[Order], parts: Sequence[Snapshot], shards: Collection[int]
) -> tuple[Order, ...]:
    """The orders of these shards that lack a stage, in planned order: all of a dead shard's.

    Training them on the retain set gives the shards the full budget again.
    """
    live = {(part.shard, part.slices) for part in parts}
    return tuple(order for order in orders if order.shard in shards and not _complete(order, live))


def _complete(order: Order, live: set[tuple[int, tuple[int, ...]]]) -> bool:
    return all(
        (order.shard, order.slices[: stage + 1]) in live for stage in range(len(order.slices))
    )
