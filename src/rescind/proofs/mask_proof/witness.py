"""What only the prover knows, as rows: secret numbers, what follows from them, and random pads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rescind.core.errors import VerificationFailed
from rescind.proofs.mask_proof.field import Array, P, signed
from rescind.proofs.mask_proof.layout import BYTES, SLACK, Layout, layout_of
from rescind.proofs.mask_proof.relation import BYTE_OFFSET
from rescind.proofs.mask_proof.rows import Lanes
from rescind.proofs.mask_proof.statement import Public, Statement
from rescind.proofs.mask_proof.transcript import Stream, even_elements

Whole = NDArray[np.int64]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Secret:
    """w and w' (blocks, size) and G (blocks, sketches, size), whole numbers."""

    weights: Whole
    gradients: NDArray[np.int8]
    post: Whole


@dataclass(frozen=True, slots=True, eq=False)
class StackWitness:
    """What follows from the secret in one stack, lanes first: aux rows of each place (lanes,
    places, r) and after them, and bytes that are looked up.
    """

    aux: Array
    rest: Array
    looked: Bytes
    slack: Bytes


def pads(seed: bytes, tree: str, row: int, count: int) -> Array:
    """The random numbers at the end of a row, from a secret seed."""
    return even_elements(Stream(seed + f"pads {tree} {row}".encode()), count)


def padded(lanes_first: Array, statement: Statement, seed: bytes, tree: str, row: int) -> Array:
    """Rows (r, row size) of values (lanes, r), the first of which is row number ``row``."""
    count = lanes_first.shape[1]
    found = np.empty((count, statement.size), dtype=np.uint64)
    found[:, : statement.lanes] = lanes_first.T
    for r in range(count):
        found[r, statement.lanes :] = pads(seed, tree, row + r, statement.opened)
    return found


def stack_of(values: NDArray[np.integer], statement: Statement, stack: int) -> Whole:
    """The blocks of a stack (lanes, ...), zeros where there is no block."""
    found = np.zeros((statement.lanes, *values.shape[1:]), dtype=np.int64)
    here = values[stack * statement.lanes : (stack + 1) * statement.lanes]
    found[: len(here)] = here
    return found


def stack_witness(
    statement: Statement, public: Public, secret: Secret, slack: Whole, stack: int
) -> StackWitness:
    """All rows of a stack; ``slack`` (blocks,) is that of the floors.

    Raises:
        VerificationFailed: the statement is not true of the secret.
    """
    layout = layout_of(statement)
    w, post = (stack_of(v, statement, stack) for v in (secret.weights, secret.post))
    g, spare = stack_of(secret.gradients, statement, stack), stack_of(slack, statement, stack)
    lanes = Lanes(statement, public)
    count = statement.lanes
    free = lanes.free(stack)[:, :count].T == 1
    mask = lanes.mask(stack)[:, :count].T == 1
    change = post - w
    seen = np.einsum("lki,li->lk", g, change)
    direction = stack_of(public.direction, statement, stack)
    damping, pull = _signed_back(lanes.of_lanes(stack)[:, :count])[:, :, None]
    left = damping * change + np.einsum("lki,lk->li", g, seen) - pull * direction
    residual = np.where(free, 0, left)
    check_true(statement, w, change, g, residual, post[mask], change[free & ~mask])
    aux, looked = _places(layout, w, change, g, residual, np.where(free, left, 0))
    summed = (direction * change).sum(1) - spare
    slack_bytes = _bytes(spare, SLACK)
    counts = _counts(looked.reshape(count, -1), slack_bytes)
    rest = np.concatenate(
        [signed(seen), counts, signed(summed)[:, None], slack_bytes.astype(np.uint64)], 1
    )
    return StackWitness(aux, rest, looked, slack_bytes)


def check_true(
    statement: Statement,
    weights: Whole,
    change: Whole,
    gradients: Whole,
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


def _beyond(values: Whole, limit: int) -> bool:
    return bool(((values < -limit) | (values >= limit)).any())


def _places(
    layout: Layout, w: Whole, change: Whole, g: Whole, residual: Whole, free: Whole
) -> tuple[Array, Bytes]:
    """Aux rows (lanes, places, r), and bytes looked up (lanes, places, j)."""
    count, most = layout.value_bytes, layout.offset
    of_w, of_change = _bytes(w + most, count), _bytes(change + most, count)
    limit = 2 ** (layout.residual_bits - 1)
    of_residual = _bytes(residual + limit, layout.residual_bytes)
    aux = np.concatenate(
        [
            of_w[..., :-1].astype(np.uint64),
            of_change[..., :-1].astype(np.uint64),
            of_residual.astype(np.uint64),
            signed(free)[..., None],
        ],
        -1,
    )
    looked = [of_w, of_change, of_residual]
    if layout.partial:
        looked.append(of_residual[..., -1:] * np.uint8(2 ** (8 - layout.partial)))
    looked.append((g.transpose(0, 2, 1) + BYTE_OFFSET).astype(np.uint8))
    return aux, np.concatenate(looked, -1)


def _bytes(values: Whole, count: int) -> Bytes:
    """(..., count): the bytes of whole numbers from 0, lowest first."""
    places = 8 * np.arange(count)
    return ((values[..., None] >> places) & 255).astype(np.uint8)


def _counts(looked: Bytes, slack: Bytes) -> Array:
    """(lanes, 256): how often each byte is looked up in a lane."""
    found = np.empty((len(looked), BYTES), dtype=np.uint64)
    for lane, (one, other) in enumerate(zip(looked, slack, strict=True)):
        found[lane] = np.bincount(one, minlength=BYTES) + np.bincount(other, minlength=BYTES)
    return found


def _signed_back(values: Array) -> Whole:
    """Elements as whole numbers about 0."""
    middle = np.uint64(2**63)
    negative = values > middle
    found = np.where(negative, np.uint64(P) - values, values).astype(np.int64)
    return np.where(negative, -found, found)


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
        change = secret.post[start:end] - secret.weights[start:end]
        total = int((change * public.direction[start:end].astype(np.int64)).sum())
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
