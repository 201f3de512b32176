"""Numbers of blocks as rows, a number of each block side by side, some places at a time."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from rescind.proofs.mask_proof.statement import Statement

blocks: ModuleType | None
try:
    blocks = import_module("rescind.proofs.mask_proof.blocks")
except ImportError:  # numba is not installed
    blocks = None

PLACES = 8  # that are laid on their side together: more would take memory, fewer time
Numbers = NDArray[np.integer]


class Turned:
    """Rows of a stack: those of place 0 first, of each place in the order of the middle axis.

    Args:
        values: (blocks, places) or (blocks, r, places) of the whole model; they are not copied.
        statement: its sizes.
        stack: which blocks.
    """

    def __init__(self, values: Numbers, statement: Statement, stack: int) -> None:
        here = np.asarray(values[stack * statement.lanes : (stack + 1) * statement.lanes])
        self._values = here if here.ndim == 3 else here[:, None]
        self._lanes, self._first = statement.lanes, -1
        self._part = np.empty((0, 0, 0), dtype=here.dtype)

    def row(self, number: int) -> Numbers:
        """(lanes,), zeros where there is no block; good until the rows of other places are made."""
        place, r = divmod(number, self._values.shape[1])
        first = place // PLACES * PLACES
        if first != self._first:
            self._turn(first)
        found: Numbers = self._part[place - first, r]
        return found

    def _turn(self, first: int) -> None:
        count, rows, places = self._values.shape
        shape = min(PLACES, places - first), rows, self._lanes
        if self._part.shape != shape:
            self._part = np.zeros(shape, dtype=self._values.dtype)
        into = self._part[..., :count]
        if blocks is not None and self._values.dtype in (np.int8, np.int64):
            blocks.turn(self._values, first, into)
        else:
            into[:] = self._values[..., first : first + len(into)].transpose(2, 1, 0)
        self._first = first
