"""A spot check in the provider's ledger: one pick a commitment, one answer, before the closing."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from rescind.core.canonical import digest, plain
from rescind.core.errors import Refused
from rescind.core.protocols import Entry, Write
from rescind.zk.entries import TABLE
from rescind.zk.picks import Pick, Taken, drawn
from rescind.zk.terms import Commitment, Epoch

if TYPE_CHECKING:
    from rescind.backends import Backends

PICKED, OPENED = "mask.picked", "mask.opened"
PICKS, OPENINGS = "mask_picks", "mask_openings"  # by commitment


def pick(b: Backends, epoch: Epoch, commitment: Commitment, count: int) -> Pick:
    """Draw the one pick for a commitment in the ledger.

    Raises:
        Refused: the commitment is not in it, the epoch is closed, or there is a pick.
        BadParameter: no gradient, or more than a quarter.
    """
    which, said, nonce = digest(plain(epoch)), digest(plain(commitment)), os.urandom(32).hex()
    numbers = drawn(nonce, said, epoch.sketches, max(0, count))
    found = Pick(
        epoch=which, commitment=said, sketches=epoch.sketches, numbers=numbers, nonce=nonce
    )
    with b.ledger.claim(f"mask-{which[:16]}"):
        _check_open(b, which)
        entered = b.ledger.items(TABLE)
        if not any(key.startswith(f"{which}/") and v == said for key, v in entered.items()):
            raise Refused(
                "The commitment is not in the ledger.",
                "Who commits after the pick is known commits to fakes elsewhere.",
                "Enter it first: `rescind zk enter`.",
            )
        if b.ledger.get(PICKS, said) is not None:
            raise Refused(
                "There is a pick for this commitment.",
                "With a second one more of the client would be shown than it was told.",
                "Use the file of the first.",
            )
        facts = {"epoch": which, "commitment": said, "numbers": numbers, "nonce": nonce}
        made = b.ledger.append(Entry(PICKED, None, facts, (Write(PICKS, said, nonce),)))
    return replace(found, seq=made.seq)


def take(b: Backends, found: Pick, data: bytes) -> Taken:
    """Enter what a client shows, before the epoch is closed and the order published.

    Raises:
        Refused: the pick is not in the ledger, the epoch is closed, or a file was taken.
    """
    opened = hashlib.sha256(data).hexdigest()
    with b.ledger.claim(f"mask-{found.epoch[:16]}"):
        _check_open(b, found.epoch)
        if b.ledger.get(PICKS, found.commitment) != found.nonce:
            raise Refused("The pick is not in the ledger.", do="Name the file of this workspace's.")
        if b.ledger.get(OPENINGS, found.commitment) is not None:
            raise Refused("Gradients were taken for this pick.", do="The first file counts.")
        facts = {"epoch": found.epoch, "commitment": found.commitment, "opened": opened}
        write = Write(OPENINGS, found.commitment, opened)
        made = b.ledger.append(Entry(OPENED, None, facts, (write,)))
    return Taken(pick=found, opened=opened, seq=made.seq, entry=made.digest, at=made.at)


def _check_open(b: Backends, which: str) -> None:
    if b.ledger.get(TABLE, which) is not None:
        raise Refused(
            "The epoch is closed: its order may be known.",
            "Gradients that are shown after it can be made to fit the proof.",
            "Pick and take gradients before `rescind zk close`.",
        )
