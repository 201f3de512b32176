"""The provider's ledger: which client committed to what, in which epoch, before it was closed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rescind.core.canonical import digest, keyed, plain
from rescind.core.errors import Refused, VerificationFailed
from rescind.core.protocols import Entry, Write, chain_digest
from rescind.proofs import merkle
from rescind.zk.terms import Commitment, Epoch

if TYPE_CHECKING:
    from rescind.backends import Backends

ENTERED, CLOSED = "mask.committed", "mask.closed"
TABLE = "mask_commitments"  # by epoch and client


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """That a commitment stands in the ledger, at ``seq``, in the entry with this digest.

    ``client`` is a keyed hash of the name that the provider knows it by. ``previous`` is the digest
    of the entry before, ``root`` that of the tree of all entries up to this one, and ``path`` leads
    from this one to it; receipts of before this have none of the three.
    """

    epoch: str
    client: str
    commitment: str
    seq: int
    entry: str
    at: str
    previous: str = ""
    root: str = ""
    path: tuple[str, ...] = ()


def enter(b: Backends, epoch: Epoch, commitment: Commitment, name: str) -> Receipt:
    """Enter the one commitment of a client in an epoch.

    Args:
        b: the provider's workspace.
        epoch: that is open.
        commitment: as the client handed it in.
        name: of the client; the ledger keeps a keyed hash of it.

    Raises:
        Refused: the commitment is for another epoch, the epoch is closed, or the client has
            committed already.
    """
    from rescind.committed import digests  # what is checked offline needs no database

    which, client = digest(plain(epoch)), keyed(b.keys.get("workspace"), "mask client", name)
    if commitment.epoch != which:
        raise Refused("The commitment is for another epoch.", do="Ask the client for one of this.")
    with b.ledger.claim(f"mask-{which[:16]}"):
        if b.ledger.get(TABLE, which) is not None:
            raise Refused(
                "The epoch is closed: its order may be known.",
                "Gradients that are chosen after the mask give any compensation.",
                "Take the client's commitment in the next epoch.",
            )
        if b.ledger.get(TABLE, f"{which}/{client}") is not None:
            raise Refused(
                "This client has committed in this epoch already.",
                "Of several commitments one could be picked after the mask is known.",
                "The first one counts.",
            )
        said = digest(plain(commitment))
        made = b.ledger.append(_entry(which, client, said))
    leaves = digests(b, made.seq)
    return Receipt(
        epoch=which,
        client=client,
        commitment=said,
        seq=made.seq,
        entry=made.digest,
        at=made.at,
        previous=made.previous,
        root=merkle.root(leaves),
        path=merkle.inclusion(leaves, made.seq - 1),
    )


def included(receipt: Receipt) -> str:
    """What is shown when the entry is just this commitment's, and stands under the root.

    Raises:
        VerificationFailed: it is another's, it is not under the root, or the receipt is of before
            there were roots.
    """
    if not receipt.root:
        raise _refused(
            "It holds no path to a root of the ledger.", "Ask for the receipt of another epoch."
        )
    entry = replace(
        _entry(receipt.epoch, receipt.client, receipt.commitment),
        at=receipt.at,
        seq=receipt.seq,
        previous=receipt.previous,
    )
    if chain_digest(entry) != receipt.entry:
        raise _refused(f"Entry {receipt.seq} is not what it says of it.")
    try:
        merkle.verify_inclusion(
            receipt.entry, receipt.seq - 1, receipt.seq, receipt.path, receipt.root
        )
    except VerificationFailed as error:
        raise _refused(error.what) from error
    return (
        f"the commitment stands in the provider's ledger as entry {receipt.seq}, under the root"
        f" {receipt.root}"
    )


def _entry(epoch: str, client: str, commitment: str) -> Entry:
    facts = {"epoch": epoch, "client": client, "commitment": commitment}
    return Entry(ENTERED, None, facts, (Write(TABLE, f"{epoch}/{client}", commitment),))


def _refused(what: str, do: str = "Ask the provider for the receipt.") -> VerificationFailed:
    return VerificationFailed(
        "receipt", what, "So the commitment is not shown to stand in the provider's ledger.", do
    )


def close(b: Backends, epoch: Epoch) -> int:
    """Close an epoch for good, before its order is published; how many clients committed.

    Raises:
        Refused: it is closed.
    """
    which = digest(plain(epoch))
    with b.ledger.claim(f"mask-{which[:16]}"):
        if b.ledger.get(TABLE, which) is not None:
            raise Refused("The epoch is closed already.", do="Publish its order.")
        count = sum(key.startswith(f"{which}/") for key in b.ledger.items(TABLE))
        facts = {"epoch": which, "clients": count}
        b.ledger.append(Entry(CLOSED, None, facts, (Write(TABLE, which, count),)))
    return count
