"""What would be done for a request, and at what cost, before anything is done."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """Slices served by a shard before and after; orders that survive; 0 after means it is dead."""

    shard: int
    slices_before: int
    slices_after: int
    orders_after: int


@dataclass(frozen=True, slots=True)
class Plan:
    """``passes`` counts record-epochs that the evidence will train (the replay), ``rebuild`` those
    that bringing dead shards back would take. ``expected_accuracy`` is an estimate: the mean over
    live shards of the ensemble accuracy measured after training at that many slices.
    """

    request: str
    method: str
    cells: frozenset[str]
    records: int
    test_records: int
    snapshots_cut: int
    shards: tuple[ShardPlan, ...]
    retained_share: float
    outage: bool
    passes: int
    rebuild_passes: int
    expected_accuracy: float | None
    due_at: str
    warnings: tuple[str, ...] = ()
