"""A proof as bytes: fixed parts in a fixed order, all of whose lengths follow from the statement.

    roots of aux and helpers, 32 bytes each
    p (d, k), q (d, 2 k), r (d, 2 k): coefficients of three polynomials
    for each opened column, for each tree: its numbers, its salt, its path

Numbers are 8 bytes, lowest first, and below p: there is one spelling of each proof.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rescind.core.errors import VerificationFailed
from rescind.proofs.mask_proof.columns import SALT
from rescind.proofs.mask_proof.field import Array, P
from rescind.proofs.mask_proof.layout import TREES, Layout, layout_of
from rescind.proofs.mask_proof.statement import Statement

HASH = 32
MAGIC = b"rescind mask proof file 1\n"


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """One column of one tree."""

    numbers: Array
    salt: bytes
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Proof:
    """What the prover sends; ``columns`` has a list for each tree, in the challenge's order."""

    aux: bytes
    helpers: bytes
    proximity: Array
    quadratic: Array
    floor: Array
    columns: dict[str, list[Opened]]


def written(proof: Proof) -> bytes:
    """The bytes of a proof."""
    parts = [MAGIC, proof.aux, proof.helpers]
    parts += [_numbers(rows) for rows in (proof.proximity, proof.quadratic, proof.floor)]
    for each in zip(*(proof.columns[tree] for tree in TREES), strict=True):
        for one in each:
            parts += [_numbers(one.numbers), one.salt, *one.path]
    return b"".join(parts)


def length_of(statement: Statement) -> int:
    """Bytes of a proof of the statement."""
    layout, d, k = layout_of(statement), statement.degree, statement.size
    depth = statement.depth
    column = sum(8 * layout.rows(tree) + SALT + HASH * depth for tree in TREES)
    return len(MAGIC) + 2 * HASH + 8 * 5 * d * k + statement.opened * column


def read(statement: Statement, data: bytes) -> Proof:
    """The proof of a statement from its bytes.

    Raises:
        VerificationFailed: another length, or a number that is not below p.
    """
    if len(data) != length_of(statement) or not data.startswith(MAGIC):
        raise VerificationFailed(
            "proof file",
            f"It has {len(data)} bytes; a proof of this statement has {length_of(statement)}.",
            "It belongs to another statement, or was cut off.",
            "Ask for the file that belongs to the certificate.",
        )
    source = _Source(memoryview(data)[len(MAGIC) :])
    layout, d, k = layout_of(statement), statement.degree, statement.size
    aux, helpers = source.take(HASH), source.take(HASH)
    proximity, quadratic, floor = (source.numbers(d, width * k) for width in (1, 2, 2))
    columns: dict[str, list[Opened]] = {tree: [] for tree in TREES}
    for _ in range(statement.opened):
        for tree in TREES:
            columns[tree].append(_column(source, layout, tree, statement))
    return Proof(aux, helpers, proximity, quadratic, floor, columns)


def _column(source: _Source, layout: Layout, tree: str, statement: Statement) -> Opened:
    numbers = source.numbers(1, layout.rows(tree))[0]
    salt = source.take(SALT)
    depth = statement.depth
    return Opened(numbers, salt, tuple(source.take(HASH) for _ in range(depth)))


class _Source:
    def __init__(self, data: memoryview) -> None:
        self._data, self._place = data, 0

    def take(self, count: int) -> bytes:
        self._place += count
        return bytes(self._data[self._place - count : self._place])

    def numbers(self, rows: int, count: int) -> Array:
        found = np.frombuffer(self.take(8 * rows * count), dtype="<u8").astype(np.uint64)
        if bool((found >= np.uint64(P)).any()):
            raise VerificationFailed(
                "proof file",
                "A number in it is not below p.",
                "Each number has one spelling, so that no proof can be written in two ways.",
                "Ask for another proof.",
            )
        return found.reshape(rows, count)


def _numbers(rows: Array) -> bytes:
    return np.ascontiguousarray(rows).astype("<u8").tobytes()
