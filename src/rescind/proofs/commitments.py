"""What a ledger commits to, and the proofs and receipts that open it."""

from __future__ import annotations

from dataclasses import dataclass

from rescind.core.canonical import build, digest, dumps
from rescind.core.errors import RescindError, VerificationFailed
from rescind.core.protocols import Entry
from rescind.core.run import Order, Snapshot
from rescind.proofs.key_tree import Place, TreeHead

VERSION = "lineage 2"
KIND = "parts.committed"  # of the ledger entries that hold a commitment


@dataclass(frozen=True, slots=True)
class Committed:
    """The facts of a commitment: all parts that may serve, the manifest, and the planned orders.

    ``request`` and ``cells`` name what was erased before it, if anything was.
    """

    parts: str
    count: int
    manifest: TreeHead
    request: str | None = None
    cells: tuple[str, ...] = ()
    orders: str = ""
    planned: int = 0


@dataclass(frozen=True, slots=True)
class Opened:
    """A ledger entry, and its path in the tree of the ledger."""

    entry: Entry
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PlannedOrder:
    """An order with its place and path among those of the earlier commitment."""

    order: Order
    index: int
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ServedPart:
    """A served part with its place and path among the parts of the earlier commitment; ``index`` is
    None for one that was made later, ``planned`` for one of no committed order.
    """

    part: Snapshot
    index: int | None = None
    path: tuple[str, ...] = ()
    planned: PlannedOrder | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the subject of a record may take along: its opening in a manifest. It names the key."""

    key: str
    digest: str
    multiplicity: int
    cell: str
    manifest: TreeHead
    place: Place

    @property
    def content(self) -> bytes:
        """What stands at the key: as ``data.manifest.content_of``."""
        return dumps([self.digest, self.multiplicity, self.cell])


@dataclass(frozen=True, slots=True)
class LineageProof:
    """The whole proof. ``receipted`` is the commitment to a receipt's manifest, if that is neither
    of the two; ``absent`` opens the place of the receipt's key after the erasure.
    """

    version: str
    request: str
    size: int
    root: str
    before: Opened
    after: Opened
    served: tuple[ServedPart, ...]
    receipted: Opened | None = None
    absent: Place | None = None


def part_leaf(part: Snapshot) -> str:
    """The leaf of a part: what it holds and what it is a function of, not where it is stored."""
    return digest([part.shard, part.order, part.slices, part.blocks, part.digest, part.records])


def order_leaf(order: Order) -> str:
    """The leaf of an order: whose it is, its slices one after another, the blocks of each stage."""
    return digest([order.shard, order.index, order.slices, order.blocks])


def facts_of(entry: Entry) -> Committed:
    """The commitment in an entry.

    Raises:
        VerificationFailed: it holds none.
    """
    if entry.kind != KIND:
        raise wrong(f"entry {entry.seq} is of the kind {entry.kind}, not {KIND}")
    try:
        return build(Committed, dict(entry.facts))
    except (RescindError, TypeError, ValueError, AttributeError) as error:
        raise wrong(f"entry {entry.seq} holds no commitment") from error


def wrong(what: str) -> VerificationFailed:
    """The error of a proof of lineage that does not hold."""
    return VerificationFailed(
        "lineage",
        f"{what[0].upper()}{what[1:]}.",
        "So it is not shown that the served model is a prefix without the records.",
        "Ask the signer for another proof.",
    )
