"""Secret rows as the field's numbers, with random ones at their ends, some rows at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rescind.proofs.mask_proof.field import Array
from rescind.proofs.mask_proof.statement import Statement
from rescind.proofs.mask_proof.transcript import Stream, even_elements
from rescind.proofs.mask_proof.transform import RATE, code_columns, look_up, signed_row

NUMBERS = 2**24  # of code words that are in memory at a time, 8 bytes each
MOST = 256  # rows of them: more would not make hashing cheaper


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One of a tree: whole numbers (lanes,), or bytes (lanes,) that stand for those of a table."""

    number: int
    values: NDArray[np.integer]
    table: Array | None = None


@dataclass(frozen=True, slots=True)
class Padding:
    """What makes rows of a tree: its name, a secret seed, and the statement's sizes."""

    tree: str
    seed: bytes
    statement: Statement

    def write(self, rows: Sequence[Row], into: Array) -> None:
        """Into (r, row size) = the rows."""
        lanes, count = self.statement.lanes, self.statement.opened
        for row, numbers in zip(rows, into, strict=True):
            if row.table is None:
                signed_row(row.values, numbers[:lanes])
            else:
                look_up(row.table, row.values.astype(np.uint8, copy=False), numbers[:lanes])
            numbers[lanes:] = pads(self.seed, self.tree, row.number, count)

    def batches(self, rows: Iterable[Row]) -> Iterator[Array]:
        """All rows (r, row size), some at a time; each batch is overwritten by the next."""
        size, held = self.statement.size, list[Row]()
        buffer = np.empty((max(1, min(MOST, NUMBERS // (RATE * size))), size), dtype=np.uint64)
        for row in rows:
            held.append(row)
            if len(held) == len(buffer):
                self.write(held, buffer)
                yield buffer
                held = []
        if held:
            self.write(held, buffer[: len(held)])
            yield buffer[: len(held)]

    def columns(self, rows: Iterable[Row]) -> Iterator[Array]:
        """Their code words as columns (4 row size, r), in the same batches."""
        into = np.empty((0, 0), dtype=np.uint64)
        for batch in self.batches(rows):
            if into.shape[1] != len(batch):
                into = np.empty((self.statement.columns, len(batch)), dtype=np.uint64)
            code_columns(batch, into)
            yield into


def pads(seed: bytes, tree: str, row: int, count: int) -> Array:
    """The random numbers at the end of a row, from a secret seed."""
    return even_elements(Stream(seed + f"pads {tree} {row}".encode()), count)
