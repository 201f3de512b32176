"""Secret rows as the field's numbers, with random ones at their ends, some rows at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rescind.proofs.mask_proof.field import Array
from rescind.proofs.mask_proof.leaves import AT_ONCE
from rescind.proofs.mask_proof.statement import Statement
from rescind.proofs.mask_proof.transcript import Stream, even_elements
from rescind.proofs.mask_proof.transform import look_up, signed_row


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
        for row, numbers in zip(rows, into, strict=True):
            self.write_one(row, numbers)

    def write_one(self, row: Row, into: Array) -> None:
        """Into (row size,) = the row."""
        lanes, count = self.statement.lanes, self.statement.opened
        if row.table is None:
            signed_row(row.values.astype(np.int64, copy=False), into[:lanes])
        else:
            look_up(row.table, row.values.astype(np.uint8, copy=False), into[:lanes])
        into[lanes:] = pads(self.seed, self.tree, row.number, count)

    def batches(self, rows: Iterable[Row]) -> Iterator[Array]:
        """All rows (r, row size), some at a time; each batch is overwritten by the next."""
        buffer, held = np.empty((AT_ONCE, self.statement.size), dtype=np.uint64), 0
        for row in rows:
            self.write_one(row, buffer[held])
            held += 1
            if held == len(buffer):
                yield buffer
                held = 0
        if held:
            yield buffer[:held]


def pads(seed: bytes, tree: str, row: int, count: int) -> Array:
    """The random numbers at the end of a row, from a secret seed."""
    return even_elements(Stream(seed + f"pads {tree} {row}".encode()), count)
