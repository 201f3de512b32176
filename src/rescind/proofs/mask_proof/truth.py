"""Whether a statement is true of a secret: an honest prover looks before it goes on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rescind.core.errors import VerificationFailed
from rescind.proofs.mask_proof.layout import SLACK, layout_of
from rescind.proofs.mask_proof.relation import BYTE_OFFSET
from rescind.proofs.mask_proof.statement import Public, Statement

Whole = NDArray[np.int64]
AT_ONCE = 4096  # blocks


@dataclass(frozen=True, slots=True, eq=False)
class Secret:
    """w and w' (blocks, size) and G (blocks, sketches, size), whole numbers; they may be mapped."""

    weights: Whole
    gradients: NDArray[np.int8]
    post: Whole


def check_true(
    statement: Statement,
    weights: Whole,
    change: Whole,
    gradients: NDArray[np.signedinteger],
    residual: Whole,
    masked: Whole,
    still: Whole,
) -> None:
    """Return if an honest prover may go on.

    Raises:
        VerificationFailed: it names what is not true.
    """
    limit, most = 2 ** (statement.residual_bits - 1), layout_of(statement).offset
    wrong = [
        told
        for bad, told in (
            (_beyond(weights, most), f"a weight does not fit {statement.value_bytes} bytes"),
            (_beyond(change, most), f"a change does not fit {statement.value_bytes} bytes"),
            (_beyond(gradients, BYTE_OFFSET), "a gradient does not fit 8 bits"),
            (_beyond(residual, limit), "a residual is beyond the limit"),
            (bool(masked.any()), "a masked weight is not 0"),
            (bool(still.any()), "a weight moved in a block that must stay"),
        )
        if bad
    ]
    if wrong:
        raise VerificationFailed(
            "witness",
            f"The statement is not true: {'; '.join(wrong)}.",
            "A proof of it would not be accepted.",
            "Compensate again; a block that cannot be met is an exception.",
        )


def _beyond(values: NDArray[np.signedinteger], limit: int) -> bool:
    return bool(values.size) and (int(values.min()) < -limit or int(values.max()) >= limit)


def slack_of(statement: Statement, public: Public, secret: Secret) -> Whole:
    """How much of <g, D> is above its tensor's floor, put where it is first.

    Raises:
        VerificationFailed: a tensor does not reach its floor.
    """
    most = 256**SLACK - 1
    found = np.zeros(statement.blocks, dtype=np.int64)
    start = 0
    for tensor in statement.tensors:
        end = start + tensor.blocks(statement.block)
        total = sum(_met(public, secret, first, end) for first in range(start, end, AT_ONCE))
        spare = total - tensor.floor
        if spare < 0 or spare > most * (end - start):
            raise VerificationFailed(
                "floor",
                f"The change of {tensor.name} along the forget gradient is {total}, and the floor"
                f" is {tensor.floor}.",
                "The provider asks for a change that forgets at least so much.",
                "Compensate with more pull, or ask the provider for a lower floor.",
            )
        for block in range(start, end):
            found[block] = min(spare, most)
            spare -= int(found[block])
        start = end
    return found


def _met(public: Public, secret: Secret, first: int, end: int) -> int:
    """<g, D> of some blocks from the first."""
    here = slice(first, min(first + AT_ONCE, end))
    change = secret.post[here] - secret.weights[here]
    return int((change * public.direction[here].astype(np.int64)).sum())
