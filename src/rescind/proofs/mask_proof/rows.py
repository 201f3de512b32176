"""Public rows: what mask, direction and terms put into each lane, without random numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rescind.proofs.mask_proof.field import Array, signed
from rescind.proofs.mask_proof.statement import Public, Statement


@dataclass(frozen=True, slots=True, eq=False)
class Lanes:
    """What each block has, (blocks,) or (blocks, size), and how blocks stand in stacks."""

    statement: Statement
    public: Public

    def stacked(self, values: NDArray[np.integer] | NDArray[np.bool_], stack: int) -> Array:
        """Rows (r, row size) of whole numbers (blocks, r): those of a stack, and zeros."""
        s = self.statement
        here = values[stack * s.lanes : (stack + 1) * s.lanes]
        found = np.zeros((values.shape[1], s.size), dtype=np.uint64)
        for row, column in zip(found, here.T, strict=True):
            row[: len(here)] = signed(column.astype(np.int64))
        return found

    def mask(self, stack: int) -> Array:
        """m, (size of a block, row size)."""
        return self.stacked(self.public.mask, stack)

    def free(self, stack: int) -> Array:
        """f: masked places, and all of blocks that are untouched, excepted, or not there."""
        s = self.statement
        active: NDArray[np.bool_] = np.asarray(self.public.mask.any(1))
        active[list(s.exceptions)] = False
        free = self.public.mask | ~active[:, None]
        found = self.stacked(free, stack)
        count = max(0, min(s.lanes, s.blocks - stack * s.lanes))
        found[:, count : s.lanes] = 1
        return found

    def direction(self, stack: int) -> Array:
        """g, (size of a block, row size)."""
        return self.stacked(self.public.direction, stack)

    def of_lanes(self, stack: int) -> Array:
        """DN and c, (2, row size)."""
        values = np.stack([self._each("damping"), self._each("pull")], 1)
        return self.stacked(values, stack)

    def tensors(self, stack: int) -> Array:
        """1 for the blocks of each tensor, (tensors, row size)."""
        s = self.statement
        found = np.zeros((s.blocks, len(s.tensors)), dtype=np.bool_)
        for column, (start, end) in enumerate(self._spans()):
            found[start:end, column] = True
        return self.stacked(found, stack)

    def _each(self, name: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
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
