"""Public rows: what mask, direction and terms put into each lane, without random numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rescind.proofs.mask_proof.field import Array, signed
from rescind.proofs.mask_proof.statement import Public, Statement


@dataclass(frozen=True, eq=False)
class Lanes:
    """What each block has, (blocks,) or (blocks, size), and how blocks stand in stacks."""

    statement: Statement
    public: Public

    @cached_property
    def active(self) -> NDArray[np.bool_]:
        """Which blocks are touched and no exceptions, (blocks,)."""
        found: NDArray[np.bool_] = np.asarray(self.public.mask.any(1))
        found[list(self.statement.exceptions)] = False
        return found

    def here(self, stack: int) -> slice:
        """The blocks of a stack."""
        s = self.statement
        return slice(stack * s.lanes, min((stack + 1) * s.lanes, s.blocks))

    def free(self, blocks: slice) -> NDArray[np.bool_]:
        """Where f is 1 (blocks, size): masked places, all of blocks that are not active."""
        return self.public.mask[blocks] | ~self.active[blocks, None]

    def place(self, stack: int, i: int) -> Array:
        """m, f and g at place i, (3, row size); f is 1 where there is no block, too."""
        blocks, lanes = self.here(stack), self.statement.lanes
        mask = self.public.mask[blocks, i]
        shown = (mask, mask | ~self.active[blocks], self.public.direction[blocks, i])
        found = self.stacked(np.stack([each.astype(np.int64) for each in shown], 1))
        found[1, len(mask) : lanes] = 1
        return found

    def of_lanes(self, stack: int) -> Array:
        """DN and c, (2, row size)."""
        values = np.stack([self.each("damping"), self.each("pull")], 1)
        return self.stacked(values[self.here(stack)])

    def tensors(self, stack: int) -> Array:
        """1 for the blocks of each tensor, (tensors, row size)."""
        blocks, s = self.here(stack), self.statement
        found = np.zeros((blocks.stop - blocks.start, len(s.tensors)), dtype=np.int64)
        for column, (start, end) in enumerate(self._spans()):
            found[max(0, start - blocks.start) : max(0, end - blocks.start), column] = 1
        return self.stacked(found)

    def stacked(self, values: NDArray[np.int64]) -> Array:
        """Rows (r, row size) of whole numbers (blocks, r) of a stack, and zeros."""
        found = np.zeros((values.shape[1], self.statement.size), dtype=np.uint64)
        found[:, : len(values)] = signed(values.T)
        return found

    def each(self, name: str) -> NDArray[np.int64]:
        """A number of its tensor for each block."""
        s = self.statement
        counts = [t.blocks(s.block) for t in s.tensors]
        values = np.array([getattr(t, name) for t in s.tensors], dtype=np.int64)
        return np.repeat(values, counts)

    def _spans(self) -> Iterator[tuple[int, int]]:
        start = 0
        for tensor in self.statement.tensors:
            count = tensor.blocks(self.statement.block)
            yield start, start + count
            start += count
