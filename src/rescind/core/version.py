"""A model as it is served: a selection of snapshots, what it has forgotten, what is claimed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rescind.core.canonical import digest
from rescind.core.guarantee import Guarantee
from rescind.core.run import Snapshot


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """``weights`` is the digest of the served selection, ``forgotten`` the Merkle root of the
    suppression list (None where that list is turned off).
    """

    id: str
    run: str
    parent: str | None
    weights: str
    forgotten: str | None
    guarantee: Guarantee
    request: str | None = None


def selection(parts: Iterable[Snapshot]) -> tuple[Snapshot, ...]:
    """The served snapshots: in each shard the longest prefix, ties by planned order index."""
    best: dict[int, Snapshot] = {}
    for part in parts:
        now = best.get(part.shard)
        if now is None or (-part.stage, part.order) < (-now.stage, now.order):
            best[part.shard] = part
    return tuple(best[shard] for shard in sorted(best))


def weights_digest(served: Iterable[Snapshot]) -> str:
    """One digest over which snapshot each shard serves and with what weight (retained records)."""
    return digest([[s.shard, list(s.slices), s.digest, s.records] for s in served])
