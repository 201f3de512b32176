"""The provider's ledger: which client committed to what, in which epoch, before it was closed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rescind.core.canonical import digest, keyed, plain
from rescind.core.errors import Refused
from rescind.core.protocols import Entry, Write
from rescind.proofs import merkle
from rescind.zk.entries import TABLE, entry_of
from rescind.zk.entries import Receipt as Receipt
from rescind.zk.terms import Commitment, Epoch

if TYPE_CHECKING:
    from rescind.backends import Backends

CLOSED = "mask.closed"


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
        made = b.ledger.append(entry_of(which, client, said))
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
