"""Commit to what may serve, the planned orders and the manifest, for later proofs to name them."""

from __future__ import annotations

from rescind import methods_of, state
from rescind.backends import Backends
from rescind.core.canonical import plain
from rescind.core.protocols import Entry, Write
from rescind.core.request import Request
from rescind.core.run import Order
from rescind.proofs import merkle
from rescind.proofs.commitments import KIND, Committed, facts_of, order_leaf, part_leaf
from rescind.proofs.key_tree import TreeHead

TABLE = "committed"
MASKS = "mask_orders"  # seals, by request


def commit(b: Backends, request: Request | None = None) -> None:
    """Enter a commitment to all parts that may serve, to the orders that they are prefixes of, and
    to the manifest, if there is none yet.

    After the erasure of a request it names the cells that were cut.
    """
    parts, listed, planned = state.parts(b), state.manifest(b), orders(b)
    found = Committed(
        parts=merkle.root([part_leaf(p) for p in parts]),
        count=len(parts),
        manifest=TreeHead(listed.digest, listed.depth, listed.nonce),
        request=request.id if request else None,
        cells=tuple(sorted(request.cells)) if request else (),
        orders=merkle.root([order_leaf(o) for o in planned]),
        planned=len(planned),
    )
    now = {"parts": found.parts, "manifest": found.manifest.root, "request": found.request}
    known = b.ledger.get(TABLE, "current") or {}
    if known == now or (request is None and known == now | {"request": known.get("request")}):
        return
    write = Write(TABLE, "current", now)
    b.ledger.append(Entry(KIND, found.request, plain(found), (write,)))


def last(b: Backends) -> Committed:
    """The latest commitment."""
    return facts_of([e for e in b.ledger.entries() if e.kind == KIND][-1])


def orders(b: Backends) -> tuple[Order, ...]:
    """The orders that the recipe plans, whose prefixes serve."""
    run = state.run(b)
    return methods_of.orders(run.recipe, run.blocks)


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
