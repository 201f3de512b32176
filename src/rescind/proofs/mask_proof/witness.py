"""What only the prover knows, as rows: secret numbers and what follows from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rescind.core.errors import VerificationFailed
from rescind.proofs.mask_proof.layout import BYTES, SLACK, layout_of
from rescind.proofs.mask_proof.relation import BYTE_OFFSET
from rescind.proofs.mask_proof.rows import Lanes
from rescind.proofs.mask_proof.statement import ROOTS, Public, Statement
from rescind.proofs.mask_proof.turned import Numbers, Turned, blocks

Whole = NDArray[np.int64]

AT_ONCE = 1024  # lanes whose numbers are worked out together


@dataclass(frozen=True, slots=True, eq=False)
class Secret:
    """w and w' (blocks, size) and G (blocks, sketches, size), whole numbers."""

    weights: Whole
    gradients: NDArray[np.int8]
    post: Whole


def stack_of(values: NDArray[np.integer], statement: Statement, stack: int) -> Numbers:
    """The blocks of a stack (lanes, ...), zeros where there is no block."""
    here = values[stack * statement.lanes : (stack + 1) * statement.lanes]
    found = np.zeros((statement.lanes, *values.shape[1:]), dtype=values.dtype)
    found[: len(here)] = here
    return found


class StackWitness:
    """All secret rows of one stack, made when they are asked for: what is held is a part of them.

    Raises:
        VerificationFailed: the statement is not true of the secret.
    """

    def __init__(self, lanes: Lanes, secret: Secret, slack: Whole, stack: int) -> None:
        s = self._statement = lanes.statement
        self._layout, here = layout_of(s), lanes.here(stack)
        self._left = np.zeros((s.lanes, s.block), dtype=np.int64)
        self._free = np.zeros((s.lanes, s.block), dtype=np.int8)
        self._free[: here.stop - here.start] = lanes.free(here)
        self._rest = np.zeros((s.sketches + 1, s.lanes), dtype=np.int64)
        self._slack = stack_of(slack, s, stack)
        most = s.block * self._layout.looked_place + SLACK
        self._counts = np.zeros((BYTES, s.lanes), dtype=np.uint16 if most < 2**16 else np.int32)
        terms = np.stack([lanes.each("damping"), lanes.each("pull")])
        for start in range(0, s.lanes, AT_ONCE):
            self._work_out(lanes, secret, terms, here.start + start, start)
        self._turned = {tree: Turned(getattr(secret, tree), s, stack) for tree in ROOTS}
        self._turned |= {"left": Turned(self._left, s, 0), "free": Turned(self._free, s, 0)}

    def row(self, tree: str, number: int) -> Numbers:
        """One of a tree (lanes,), whole numbers; for ``helpers`` the byte that is looked up."""
        layout = self._layout
        if tree in ROOTS:
            return self._turned[tree].row(number)
        if tree == "helpers":
            place, j = divmod(number // layout.degree, layout.looked_place)
            return self._looked(place, j) if place < layout.block else _byte(self._slack, j)
        place, j = divmod(number, layout.aux_place)
        if place < layout.block:
            return self._aux(place, j)
        return self._after(number - layout.block * layout.aux_place)

    def _aux(self, place: int, j: int) -> Numbers:
        low = self._layout.value_bytes - 1
        if j < 2 * low:
            return _byte(self._number(place, j // low), j % low)
        if j < self._layout.aux_place - 1:
            return _byte(self._number(place, 2), j - 2 * low)
        free = self._turned["free"].row(place) == 1
        return np.where(free, self._turned["left"].row(place), 0)

    def _looked(self, place: int, j: int) -> Numbers:
        layout, v = self._layout, self._layout.value_bytes
        if j < 2 * v:
            return _byte(self._number(place, j // v), j % v)
        if (j := j - 2 * v) < layout.residual_bytes:
            return _byte(self._number(place, 2), j)
        j -= layout.residual_bytes
        if layout.partial:
            if j == 0:
                highest = _byte(self._number(place, 2), layout.residual_bytes - 1)
                return highest << np.uint8(8 - layout.partial)
            j -= 1
        gradient = self._turned["gradients"].row(place * layout.sketches + j)
        return (gradient.astype(np.int16) + BYTE_OFFSET).astype(np.uint8)

    def _number(self, place: int, which: int) -> Whole:
        """W, D or the residual of a place, from 0."""
        if which == 2:
            free, left = (self._turned[name].row(place) for name in ("free", "left"))
            return np.where(free == 1, 0, left) + 2 ** (self._layout.residual_bits - 1)
        weights, found = self._turned["weights"].row(place), self._layout.offset
        if which == 1:
            return self._turned["post"].row(place) - weights + found
        return weights.astype(np.int64) + found

    def _after(self, j: int) -> Numbers:
        """Rows of aux after those of places."""
        sketches = self._layout.sketches
        if j < sketches:
            return self._rest[j]
        if (j := j - sketches) < BYTES:
            return self._counts[j]
        return self._rest[-1] if j == BYTES else _byte(self._slack, j - BYTES - 1)

    def _work_out(
        self, lanes: Lanes, secret: Secret, terms: Whole, block: int, start: int
    ) -> None:
        """Residuals, sums and counts of ``AT_ONCE`` lanes from ``start``; what is not there is 0."""
        s = self._statement
        count = min(AT_ONCE, s.lanes - start)
        here, own = slice(start, start + count), slice(block, min(block + count, s.blocks))

        def of(values: Numbers, kind: type[np.integer] | None = None) -> Numbers:
            found = np.zeros((count, *values.shape[1:]), dtype=kind or values.dtype)
            found[: max(0, own.stop - own.start)] = values[own]
            return found

        w, post, g = of(secret.weights), of(secret.post), of(secret.gradients)
        direction, mask = of(lanes.public.direction, np.int64), of(lanes.public.mask) == 1
        (damping, pull), free = (of(each) for each in terms), self._free[here] == 1
        change = post - w
        left = damping[:, None] * change - pull[:, None] * direction
        seen = _met(g, change, left)
        residual = np.where(free, 0, left)
        check_true(s, w, change, g, residual, post[mask], change[free & ~mask])
        self._left[here] = left
        self._rest[:-1, here] = seen.T
        self._rest[-1, here] = (direction * change).sum(1) - self._slack[here]
        numbers = (w + self._layout.offset, change + self._layout.offset)
        limit = 2 ** (s.residual_bits - 1)
        self._counts[:, here] = self._count(numbers, residual + limit, g, self._slack[here]).T

    def _count(
        self, numbers: tuple[Whole, Whole], residual: Whole, g: Numbers, slack: Whole
    ) -> NDArray[np.int64]:
        """(lanes, 256): how often each byte is looked up."""
        layout, found = self._layout, np.zeros((len(g), BYTES), dtype=np.int64)
        for values in numbers:
            _add_bytes(found, values, layout.value_bytes)
        moved = 8 - layout.partial if layout.partial else 0
        _add_bytes(found, residual, layout.residual_bytes, moved)
        _add_bytes(found, slack[:, None], SLACK)
        if blocks is not None and g.dtype == np.int8:
            blocks.count_signed(g, found)
        else:
            _add(found, (g.astype(np.int64) + BYTE_OFFSET).reshape(len(g), -1) & 255)
        return found


def stack_witness(
    statement: Statement, public: Public, secret: Secret, slack: Whole, stack: int
) -> StackWitness:
    """The rows of a stack; ``slack`` (blocks,) is that of the floors.

    Raises:
        VerificationFailed: the statement is not true of the secret.
    """
    return StackWitness(Lanes(statement, public), secret, slack, stack)


def _met(gradients: Numbers, change: Whole, left: Whole) -> Whole:
    """<G_k, D> (lanes, k); G_k times it is added to left (lanes, block), in place."""
    seen = np.empty(gradients.shape[:2], dtype=np.int64)
    if blocks is not None and gradients.dtype == np.int8:
        blocks.meet(gradients, change, seen, left)
        return seen
    wide = gradients.astype(np.int64)
    seen[:] = np.einsum("lki,li->lk", wide, change)
    left += np.einsum("lki,lk->li", wide, seen)
    return seen


def _byte(values: Whole, place: int) -> NDArray[np.uint8]:
    """A byte of whole numbers from 0, the lowest first."""
    return (values >> 8 * place).astype(np.uint8)


def _add_bytes(found: Whole, values: Whole, count: int, moved: int = 0) -> None:
    """Count the lowest bytes of values (lanes, r); the highest of them once more if it is moved."""
    if blocks is not None:
        blocks.count(values, count, moved, found)
        return
    bytes_ = [values >> 8 * place & 255 for place in range(count)]
    _add(found, np.concatenate([*bytes_, bytes_[-1] << moved & 255] if moved else bytes_, 1))


def _add(found: Whole, bytes_: Whole) -> None:
    for counts, own in zip(found, bytes_, strict=True):
        counts += np.bincount(own, minlength=BYTES)


def check_true(
    statement: Statement,
    weights: Whole,
    change: Whole,
    gradients: Numbers,
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
