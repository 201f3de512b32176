"""What a receipt shows offline: just this entry stands in the provider's ledger, under its root."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rescind.core.errors import VerificationFailed
from rescind.core.protocols import Entry, Write, chain_digest
from rescind.proofs import merkle

ENTERED = "mask.committed"
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
        entry_of(receipt.epoch, receipt.client, receipt.commitment),
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


def entry_of(epoch: str, client: str, commitment: str) -> Entry:
    """As it is appended."""
    facts = {"epoch": epoch, "client": client, "commitment": commitment}
    return Entry(ENTERED, None, facts, (Write(TABLE, f"{epoch}/{client}", commitment),))


def _refused(what: str, do: str = "Ask the provider for the receipt.") -> VerificationFailed:
    return VerificationFailed(
        "receipt", what, "So the commitment is not shown to stand in the provider's ledger.", do
    )
