"""What only the prover knows, as rows: secret numbers and what follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from rescind.proofs.mask_proof.counted import add_bytes, add_signed, met
from rescind.proofs.mask_proof.layout import BYTES, SLACK, layout_of
from rescind.proofs.mask_proof.relation import BYTE_OFFSET
from rescind.proofs.mask_proof.rows import Lanes
from rescind.proofs.mask_proof.statement import ROOTS, Public, Statement
from rescind.proofs.mask_proof.truth import Secret, check_true
from rescind.proofs.mask_proof.turned import Numbers, Turned

Whole = NDArray[np.int64]
N = TypeVar("N", bound=np.generic)

AT_ONCE = 1024  # lanes whose numbers are worked out together


def stack_of(values: NDArray[N], statement: Statement, stack: int) -> NDArray[N]:
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
        terms = [lanes.each(name) for name in ("damping", "pull")]
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
        return self._left_where(place, 1)

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
                moved: Numbers = highest << np.uint8(8 - layout.partial)
                return moved
            j -= 1
        gradient = self._turned["gradients"].row(place * layout.sketches + j)
        return (gradient.astype(np.int16) + BYTE_OFFSET).astype(np.uint8)

    def _number(self, place: int, which: int) -> Whole:
        """W, D or the residual of a place, from 0."""
        if which == 2:
            return self._left_where(place, 0) + (1 << (self._layout.residual_bits - 1))
        number: Whole = self._turned["weights"].row(place).astype(np.int64)
        if which == 1:
            number = self._turned["post"].row(place) - number
        return number + self._layout.offset

    def _left_where(self, place: int, free: int) -> Whole:
        """Lambda where the equation need not hold, or the residual where it must; else 0."""
        here = self._turned["free"].row(place) == free
        found: Whole = self._turned["left"].row(place) * here
        return found

    def _after(self, j: int) -> Numbers:
        """Rows of aux after those of places."""
        sketches = self._layout.sketches
        if sketches <= j < sketches + BYTES:
            of_byte: Numbers = self._counts[j - sketches]
            return of_byte
        if j > sketches + BYTES:
            return _byte(self._slack, j - sketches - BYTES - 1)
        found: Numbers = self._rest[min(j, sketches)]
        return found

    def _work_out(
        self, lanes: Lanes, secret: Secret, terms: Sequence[Whole], block: int, start: int
    ) -> None:
        """Residuals, sums and counts of ``AT_ONCE`` lanes from ``start``; what lacks is 0."""
        s = self._statement
        count = min(AT_ONCE, s.lanes - start)
        here, own = slice(start, start + count), slice(block, min(block + count, s.blocks))

        def of(values: NDArray[N]) -> NDArray[N]:
            found = np.zeros((count, *values.shape[1:]), dtype=values.dtype)
            found[: max(0, own.stop - own.start)] = values[own]
            return found

        w, post, g = of(secret.weights), of(secret.post), of(secret.gradients)
        direction, mask = of(lanes.public.direction).astype(np.int64), of(lanes.public.mask)
        (damping, pull), free = (of(each) for each in terms), self._free[here] == 1
        change = post - w
        left: Whole = damping[:, None] * change - pull[:, None] * direction
        seen = met(g, change, left)
        residual = np.where(free, 0, left)
        check_true(s, w, change, g, residual, post[mask], change[free & ~mask])
        self._left[here] = left
        self._rest[:-1, here] = seen.T
        self._rest[-1, here] = (direction * change).sum(1) - self._slack[here]
        layout, found = self._layout, np.zeros((count, BYTES), dtype=np.int64)
        for values in (w, change):
            add_bytes(found, values + layout.offset, layout.value_bytes)
        moved = 8 - layout.partial if layout.partial else 0
        residual += 2 ** (layout.residual_bits - 1)
        add_bytes(found, residual, layout.residual_bytes, moved)
        add_bytes(found, self._slack[here, None], SLACK)
        add_signed(found, g)
        self._counts[:, here] = found.T


def stack_witness(
    statement: Statement, public: Public, secret: Secret, slack: Whole, stack: int
) -> StackWitness:
    """The rows of a stack; ``slack`` (blocks,) is that of the floors.

    Raises:
        VerificationFailed: the statement is not true of the secret.
    """
    return StackWitness(Lanes(statement, public), secret, slack, stack)


def _byte(values: Numbers, place: int) -> NDArray[np.uint8]:
    """A byte of whole numbers from 0, the lowest first."""
    return (values >> 8 * place).astype(np.uint8)
