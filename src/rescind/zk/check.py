"""Anybody's side: does this proof show that the order was carried out on what was committed to?"""

from __future__ import annotations

from dataclasses import dataclass

from rescind.core.canonical import digest, plain
from rescind.core.errors import VerificationFailed
from rescind.proofs.mask_proof import independent, soundness
from rescind.proofs.mask_proof.statement import Public, Statement
from rescind.proofs.mask_proof.verifier import verify
from rescind.zk.client import post_root
from rescind.zk.entries import Receipt, included
from rescind.zk.provider import check_slack
from rescind.zk.room import Room, rooms
from rescind.zk.tensors import Tensors
from rescind.zk.terms import Commitment, Epoch, MaskOrder, Roots

NOT_COVERED = (
    "Gradients are of the client's own choosing: nothing shows that they are of its data. What is"
    " shown is the compensation for these gradients, and the floor along the provider's.",
    "It is not shown that the client runs the new weights.",
    "It is not shown that the class is forgotten: it can come back with a few of its records.",
    "The protocol is not audited.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was checked; ``bits`` of soundness per attempt, ``cheat`` the chance of 2^64 of them.

    ``share`` is how much of the pull an accepted residual may be, ``exceptions`` how many of the
    ``blocks`` were masked only; ``rooms`` say for each tensor what the residual leaves open.
    """

    checked: tuple[str, ...]
    bits: float
    cheat: float
    share: float
    exceptions: int
    blocks: int
    rooms: tuple[Room, ...]
    not_covered: tuple[str, ...] = NOT_COVERED


@dataclass(frozen=True, slots=True, eq=False)
class Received:
    """All that a verifier has; epoch, order and receipt were opened with a key that it trusts."""

    epoch: Epoch
    order: MaskOrder
    commitment: Commitment
    receipt: Receipt
    statement: Statement
    public: Public
    proof: bytes


def check(
    got: Received,
    *,
    again: bool = False,
    model: Tensors | None = None,
    post_seed: bytes | None = None,
) -> Verdict:
    """Check everything.

    Args:
        got: the files.
        again: by the second verifier too, which takes long.
        model: the new weights, if the reader may see them.
        post_seed: what ties them to the statement.

    Raises:
        VerificationFailed: it names the first check that failed.
        BadData, BadParameter: files that do not belong together.
    """
    statement = got.statement
    done = list(belong_together(got.epoch, got.order, got.commitment, got.receipt, statement))
    got.public.check(statement)
    share = check_slack(statement, got.public)
    verify(statement, got.public, got.proof)
    done.append("the proof holds")
    if again:
        _second(got)
        done.append("the proof holds by the second verifier")
    if model is not None:
        done.append(tied(statement, model, post_seed))
    return Verdict(
        checked=tuple(done),
        bits=round(soundness.bits(statement), 1),
        cheat=soundness.after_hashes(statement),
        share=round(share, 4),
        exceptions=len(statement.exceptions),
        blocks=statement.blocks,
        rooms=rooms(statement, got.public),
    )


def belong_together(
    epoch: Epoch,
    order: MaskOrder,
    commitment: Commitment,
    receipt: Receipt,
    statement: Statement,
) -> tuple[str, ...]:
    """What is shown when all of them are about one proof.

    Raises:
        VerificationFailed: one is about another.
        BadParameter: the numbers cannot be those of a statement.
    """
    roots = Roots(
        weights=commitment.roots.weights,
        gradients=commitment.roots.gradients,
        post=statement.post,
    )
    if commitment.epoch != digest(plain(epoch)):
        raise _refused("commitment", "The commitment was made for another epoch.")
    if (receipt.epoch, receipt.commitment) != (commitment.epoch, digest(plain(commitment))):
        raise _refused("receipt", "The provider's ledger holds another commitment.")
    entered = included(receipt)
    if len(statement.exceptions) != order.exceptions:
        raise _refused("exceptions", "They are not as many as the order says.")
    if epoch.statement(order, statement.exceptions, roots) != statement:
        raise _refused("statement", "It is not what epoch, order and commitment give.")
    return (
        entered,
        "the order is the one that was sealed before the epoch, and the statement is its",
    )


def tied(statement: Statement, model: Tensors, post_seed: bytes | None) -> str:
    """What is shown of the file of new weights.

    Raises:
        VerificationFailed: they are not those under the third root.
        BadData: tensors of other shapes.
    """
    if post_seed is None or post_root(statement, model, post_seed) != statement.post:
        raise _refused("model", "The weights are not those under the third root.")
    return "the weights of the file are those under the third root"


def _second(got: Received) -> None:
    mask, direction = got.public.mask.astype(int).tolist(), got.public.direction.tolist()
    try:
        independent.verify(got.statement.canonical(), mask, direction, got.proof)
    except independent.Rejected as error:
        raise _refused("second verifier", f"It refuses: {error}.") from error


def _refused(name: str, what: str) -> VerificationFailed:
    return VerificationFailed(
        name, what, "So it is not shown that the order was carried out.", "Ask for another proof."
    )
