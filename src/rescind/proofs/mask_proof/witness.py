"""What only the prover knows, as rows: secret numbers and what follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from rescind.core.errors import VerificationFailed
from rescind.proofs.mask_proof.field import Array, P
from rescind.proofs.mask_proof.layout import BYTES, SLACK, Layout, layout_of
from rescind.proofs.mask_proof.relation import BYTE_OFFSET
from rescind.proofs.mask_proof.rows import Lanes
from rescind.proofs.mask_proof.statement import Public, Statement

Whole = NDArray[np.int64]
Bytes = NDArray[np.uint8]
Numbers = NDArray[np.integer]
Rows = Sequence[Numbers]
N = TypeVar("N", bound=np.integer)

AT_ONCE = 1024  # lanes whose numbers are worked out together


@dataclass(frozen=True, slots=True, eq=False)
class Secret:
    """w and w' (blocks, size) and G (blocks, sketches, size), whole numbers."""

    weights: Whole
    gradients: NDArray[np.int8]
    post: Whole


@dataclass(frozen=True, slots=True, eq=False)
class StackWitness:
    """What follows from the secret in one stack, a row (lanes,) for each of the tree of that name;
    ``looked`` are the bytes, one row for the d rows of helpers of each.
    """

    aux: Rows
    looked: Rows


def stack_of(values: NDArray[N], statement: Statement, stack: int) -> NDArray[N]:
    """The blocks of a stack (lanes, ...), zeros where there is no block."""
    return lanes_of(values, stack * statement.lanes, statement.lanes)


def lanes_of(values: NDArray[N], first: int, count: int) -> NDArray[N]:
    """So many blocks from ``first``, zeros where there is none."""
    here = values[first : first + count]
    if len(here) == count:
        return here
    found = np.zeros((count, *values.shape[1:]), dtype=values.dtype)
    found[: len(here)] = here
    return found


def rows_of(values: NDArray[np.integer], statement: Statement, stack: int) -> Rows:
    """Rows (places r, lanes) of a stack of values (blocks, places) or (blocks, r, places)."""
    here = stack_of(values, statement, stack)
    found = np.empty(here.shape[:0:-1] + here.shape[:1], dtype=here.dtype)
    for start in range(0, len(here), AT_ONCE):  # a part of the lanes fits in the cache
        found[..., start : start + AT_ONCE] = here[start : start + AT_ONCE].T
    return list(found.reshape(-1, statement.lanes))


def stack_witness(
    statement: Statement, public: Public, secret: Secret, slack: Whole, stack: int
) -> StackWitness:
    """All rows of a stack; ``slack`` (blocks,) is that of the floors.

    Raises:
        VerificationFailed: the statement is not true of the secret.
    """
    layout, lanes = layout_of(statement), Lanes(statement, public)
    count, places = statement.lanes, (statement.block, statement.lanes)
    shown = [each(stack)[:, :count].T == 1 for each in (lanes.free, lanes.mask)]
    terms = _signed_back(lanes.of_lanes(stack)[:, :count])[:, :, None]
    bytes_ = np.empty((layout.block, layout.aux_place - 1, count), dtype=np.uint8)
    free = np.empty(places, dtype=np.int64)
    looked = np.empty((layout.block, layout.looked_place, count), dtype=np.uint8)
    rest = np.empty((layout.sketches + 1, count), dtype=np.int64)
    hidden: tuple[Numbers, ...] = (
        secret.weights,
        secret.post,
        secret.gradients,
        public.direction,
        slack,
    )
    for start in range(0, count, AT_ONCE):
        here, most = slice(start, start + AT_ONCE), min(AT_ONCE, count - start)
        own = [lanes_of(values, stack * count + start, most) for values in hidden]
        found = _lanes(statement, own, [each[here] for each in shown], terms[:, here])
        bytes_[:, :, here], free[:, here] = found.bytes.transpose(1, 2, 0), found.free.T
        looked[:, :, here], rest[:, here] = found.looked.transpose(1, 2, 0), found.rest.T
    spare = stack_of(slack, statement, stack)
    slack_bytes = _bytes(spare, SLACK).T
    counts = _counts(looked, slack_bytes)
    aux: list[Numbers] = []
    for of_place, one in zip(bytes_, free, strict=True):
        aux += [*of_place, one]
    aux += [*rest[:-1], *counts, rest[-1], *slack_bytes]
    return StackWitness(aux, [*looked.reshape(-1, count), *slack_bytes])


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """Of some lanes: bytes (lanes, places, r) of aux and those looked up, (lanes, places, j),
    lambda (lanes, places), and <G_k, D> with the floor's sum last, (lanes, sketches + 1).
    """

    bytes: Bytes
    free: Whole
    looked: Bytes
    rest: Whole


def _lanes(
    statement: Statement, own: Rows, shown: Sequence[NDArray[np.bool_]], terms: Whole
) -> _Found:
    w, post, g, direction, spare = (values.astype(np.int64) for values in own)
    (free, mask), (damping, pull) = shown, terms
    change = post - w
    seen = np.einsum("lki,li->lk", g, change)
    left = damping * change + np.einsum("lki,lk->li", g, seen) - pull * direction
    residual = np.where(free, 0, left)
    check_true(statement, w, change, g, residual, post[mask], change[free & ~mask])
    layout = layout_of(statement)
    bytes_, looked = _places(layout, w, change, g, residual)
    summed = (direction * change).sum(1) - spare
    rest = np.concatenate([seen, summed[:, None]], 1)
    return _Found(bytes_, np.where(free, left, 0), looked, rest)


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
    layout: Layout, w: Whole, change: Whole, g: Whole, residual: Whole
) -> tuple[Bytes, Bytes]:
    """Bytes of aux (lanes, places, r), and those looked up (lanes, places, j)."""
    count, most = layout.value_bytes, layout.offset
    of_w, of_change = _bytes(w + most, count), _bytes(change + most, count)
    limit = 2 ** (layout.residual_bits - 1)
    of_residual = _bytes(residual + limit, layout.residual_bytes)
    aux = np.concatenate([of_w[..., :-1], of_change[..., :-1], of_residual], -1)
    looked = [of_w, of_change, of_residual]
    if layout.partial:
        looked.append(of_residual[..., -1:] * np.uint8(2 ** (8 - layout.partial)))
    looked.append((g.transpose(0, 2, 1) + BYTE_OFFSET).astype(np.uint8))
    return aux, np.concatenate(looked, -1)


def _bytes(values: Whole, count: int) -> Bytes:
    """(..., count): the bytes of whole numbers from 0, lowest first."""
    places = 8 * np.arange(count)
    return ((values[..., None] >> places) & 255).astype(np.uint8)


def _counts(looked: Bytes, slack: Bytes) -> NDArray[np.int32]:
    """(256, lanes): how often each byte is looked up in a lane."""
    rows = looked.reshape(-1, looked.shape[-1])
    found = np.empty((BYTES, rows.shape[1]), dtype=np.int32)
    for start in range(0, rows.shape[1], AT_ONCE):
        here = slice(start, start + AT_ONCE)
        for lane, one in enumerate(np.concatenate([rows[:, here], slack[:, here]]).T, start):
            found[:, lane] = np.bincount(one, minlength=BYTES)
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
