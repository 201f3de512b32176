"""Anybody's side of a spot check: are the gradients that were shown those of the proof?"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from rescind.core.errors import VerificationFailed
from rescind.proofs.mask_proof.proof_file import read as read_proof
from rescind.proofs.mask_proof.statement import Statement
from rescind.zk.check import NOT_COVERED, Received, Verdict, check
from rescind.zk.opened import Opened, check_rows, read
from rescind.zk.picks import Pick, Taken, check_taken


@dataclass(frozen=True, slots=True, kw_only=True)
class Recomputed:
    """That the shown gradients were computed again from ``records`` different records.

    They differ by at most ``units`` of 8 bits, and at all in the ``share`` of their numbers.
    """

    records: int
    units: int
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotCheck:
    """What a certificate says of a spot check; ``recomputed`` is the word of its signer."""

    taken: Taken
    recomputed: Recomputed | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Spotted:
    """A proof that holds, and gradients that are those of its commitment."""

    got: Received
    verdict: Verdict
    spot: SpotCheck
    opened: Opened


def check_spot(got: Received, taken: Taken, data: bytes) -> Spotted:
    """Check the proof, and that the shown gradients are those that it is about.

    Args:
        got: what a verifier has; ``taken`` was opened with the same key.
        taken: what the provider says of the pick and of the file.
        data: the file.

    Raises:
        VerificationFailed: it names the first check that failed.
        BadData, BadParameter: files that do not belong together.
    """
    check_taken(taken, got.commitment, got.receipt, got.statement.sketches)
    verdict, spot = check(got), SpotCheck(taken=taken)
    opened = shown(got.statement, taken, got.proof, data)
    done = (*verdict.checked, opened_line(taken.pick))
    verdict = replace(verdict, checked=done, not_covered=not_covered(spot))
    return Spotted(got, verdict, spot, opened)


def shown(statement: Statement, taken: Taken, proof: bytes, data: bytes) -> Opened:
    """The gradients of the file, if it is the one that was taken and the proof has the same.

    Raises:
        VerificationFailed: it is another file, or a row is another.
    """
    if hashlib.sha256(data).hexdigest() != taken.opened:
        raise VerificationFailed(
            "opened gradients",
            "The file is not the one that was taken before the order was published.",
            "Gradients that are shown later can be made to fit the proof.",
            "Name the file that the client handed in.",
        )
    opened = read(statement, len(taken.pick.numbers), data)
    check_rows(statement, read_proof(statement, proof), taken.pick, opened)
    return opened


def opened_line(pick: Pick) -> str:
    """What is shown."""
    return (
        f"the opened gradients {', '.join(map(str, pick.numbers))} of {pick.sketches} are those"
        f" that were committed to, if they came before the order, as the provider says"
    )


def not_covered(spot: SpotCheck | None) -> tuple[str, ...]:
    """What a certificate does not cover, with this spot check or without one."""
    if spot is None:
        return NOT_COVERED
    pick, done = spot.taken.pick, spot.recomputed
    count = f"{len(pick.numbers)} of {pick.sketches} gradients"
    hiding = f"Zero-knowledge is not claimed for the {count} that were opened."
    if done is None:
        return (
            *NOT_COVERED[:1],
            f"Nobody computed the opened gradients again from records: that {count} were opened"
            f" shows nothing of data.",
            hiding,
            *NOT_COVERED[1:],
        )
    return (
        f"{count} were computed again, from {done.records} records that were shown with them. That"
        f" these are the client's own, and that the other gradients are of records at all, is not"
        f" shown.",
        hiding,
        *NOT_COVERED[1:],
    )
