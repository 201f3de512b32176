"""What a provider signs of a spot check: which gradients a client shows, and that it did in time.

The random numbers at a row's end let the columns of a proof fit any row. So what is shown must
stand in the ledger before the order is published, since the columns follow from the order.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from math import comb

from rescind.core.canonical import digest, plain
from rescind.core.errors import BadParameter, VerificationFailed
from rescind.zk.entries import Receipt
from rescind.zk.terms import Commitment

SHARE = 4  # at most one in so many gradients is shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick:
    """Which of a commitment's ``sketches`` are to be shown: ``numbers``, from 0, in order.

    They follow from ``nonce``, which was drawn at ``seq`` of the provider's ledger.
    """

    epoch: str
    commitment: str
    sketches: int
    numbers: tuple[int, ...]
    nonce: str
    seq: int = 0

    def __post_init__(self) -> None:
        most = self.sketches // SHARE
        if not 1 <= len(self.numbers) <= most or self.sketches > 4096:
            raise BadParameter(
                f"{len(self.numbers)} of {self.sketches} gradients are picked.",
                "What is shown is hidden no more, and the rest has to hide the client.",
                f"Pick from 1 to {most}, a quarter at most.",
            )
        if self.numbers != drawn(self.nonce, self.commitment, self.sketches, len(self.numbers)):
            raise BadParameter(
                "The numbers do not follow from the nonce.", do="Ask the provider for its pick."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """That a file with the SHA-256 ``opened`` came for a pick, while the order was closed."""

    pick: Pick
    opened: str
    seq: int
    entry: str
    at: str


def drawn(nonce: str, commitment: str, sketches: int, count: int) -> tuple[int, ...]:
    """So many different numbers below ``sketches``, each set as likely."""

    def place(number: int) -> bytes:
        return hashlib.sha256(f"spot check\n{nonce}\n{commitment}\n{number}".encode()).digest()

    return tuple(sorted(sorted(range(sketches), key=place)[:count]))


def caught(sketches: int, count: int, fakes: int) -> float:
    """The probability that ``count`` of ``sketches``, drawn without replacement, hold a fake."""
    return 1.0 - comb(sketches - fakes, count) / comb(sketches, count)


def chances(pick: Pick) -> tuple[str, ...]:
    """The probabilities that some of the fakes would have been picked, in words."""
    n, s = pick.sketches, len(pick.numbers)
    counts = sorted({1, *(-(-n // part) for part in (10, 4, 2))})
    return tuple(
        f"{m} of {n} gradients false: one is among the {s} with probability {caught(n, s, m):.3f}"
        f" (1 - (1 - {m / n:.3f})^{s} = {1 - (1 - m / n) ** s:.3f} if one could be drawn twice)"
        for m in counts
    )


def check_taken(taken: Taken, commitment: Commitment, receipt: Receipt, sketches: int) -> None:
    """Return if it is about this commitment, and later than that.

    Raises:
        VerificationFailed: it is not.
    """
    found = taken.pick
    names = (digest(plain(commitment)), commitment.epoch, sketches)
    if (found.commitment, found.epoch, found.sketches) != names:
        raise VerificationFailed(
            "pick", "The pick is for another commitment.", do="Use the files of one client."
        )
    if not receipt.seq < found.seq < taken.seq:
        raise VerificationFailed(
            "pick",
            "Commitment, pick and gradients were not entered in this order.",
            "A client that knows the pick commits to fakes elsewhere.",
            "Ask the provider for its ledger.",
        )
