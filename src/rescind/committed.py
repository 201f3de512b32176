"""Commit to all parts that may serve and to the manifest, so that proofs can name them later."""

from __future__ import annotations

from rescind import state
from rescind.backends import Backends
from rescind.core.canonical import plain
from rescind.core.protocols import Entry, Write
from rescind.core.request import Request
from rescind.proofs import merkle
from rescind.proofs.commitments import KIND, Committed, part_leaf
from rescind.proofs.key_tree import TreeHead

TABLE = "committed"
MASKS = "mask_orders"  # seals, by request


def commit(b: Backends, request: Request | None = None) -> None:
    """Enter a commitment to all parts that may serve, and to the manifest, if there is none yet.

    After the erasure of a request it names the cells that were cut.
    """
    parts, listed = state.parts(b), state.manifest(b)
    found = Committed(
        parts=merkle.root([part_leaf(p) for p in parts]),
        count=len(parts),
        manifest=TreeHead(listed.digest, listed.depth, listed.nonce),
        request=request.id if request else None,
        cells=tuple(sorted(request.cells)) if request else (),
    )
    now = {"parts": found.parts, "manifest": found.manifest.root, "request": found.request}
    known = b.ledger.get(TABLE, "current") or {}
    if known == now or (request is None and known == now | {"request": known.get("request")}):
        return
    write = Write(TABLE, "current", now)
    b.ledger.append(Entry(KIND, found.request, plain(found), (write,)))


def ledger_root(b: Backends, size: int) -> str:
    """The Merkle root over the digests of the first ``size`` entries."""
    return merkle.root(digests(b, size))


def digests(b: Backends, size: int) -> list[str]:
    """The digests of the first ``size`` entries."""
    return [e.digest for e in b.ledger.entries() if e.seq <= size]


def mask_seals(b: Backends, request_id: str) -> tuple[str, ...]:
    """Seals of the orders that were made of a request's records: digests, salted, of mask, forget
    gradient and terms (``zk.terms.MaskOrder``).
    """
    return tuple(b.ledger.get(MASKS, request_id) or ())
