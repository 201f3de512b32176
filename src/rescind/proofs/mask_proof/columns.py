"""Commitments to code words: columns are the leaves of a salted SHA-256 Merkle tree.

A leaf is SHA-256(0, tag, salt, the column's numbers, 8 bytes each, lowest first), an inner node
SHA-256(1, left, right), and 32 zeros stand in for a node that a level lacks. The tag says which of
the trees of a proof it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

from rescind.core.errors import VerificationFailed
from rescind.proofs.mask_proof.field import Array
from rescind.proofs.mask_proof.leaves import DIGEST, leaves_of, parents
from rescind.proofs.mask_proof.transcript import Stream
from rescind.proofs.mask_proof.transform import RATE, code_cosets

SALT = 32  # bytes


@dataclass(frozen=True, slots=True)
class ColumnTree:
    """All levels of a tree over n columns, leaves first, and the salts of leaves; 32 bytes each,
    one after the other.
    """

    levels: tuple[bytes, ...]
    salts: bytes

    @property
    def root(self) -> bytes:
        """The commitment."""
        return self.levels[-1]

    def salt(self, column: int) -> bytes:
        """Of a leaf."""
        return _at(self.salts, column)

    def path(self, column: int) -> list[bytes]:
        """The siblings from the leaf up."""
        return [_at(level, (column >> up) ^ 1) for up, level in enumerate(self.levels[:-1])]


def _at(digests: bytes, place: int) -> bytes:
    return digests[DIGEST * place : DIGEST * (place + 1)]


@dataclass(frozen=True, slots=True)
class Committed:
    """A tree of which only leaves and root are held; the seed gives its salts again."""

    tag: str
    seed: bytes
    leaves: bytes
    root: bytes

    def tree(self) -> ColumnTree:
        """The whole of it, three times as large."""
        return ColumnTree(_levels(self.leaves), _salts(self.tag, self.seed, len(self.leaves)))


def commit(tag: str, rows: Iterable[Array], words: Array | None, seed: bytes) -> Committed:
    """The tree over the code words of rows.

    Args:
        tag: which tree it is.
        rows: (r, k), at most ``AT_ONCE`` at a time.
        words: last code words (r, 4 k), or none.
        seed: of the salts.
    """
    rows = iter(rows)
    first = next(rows)
    size = RATE * first.shape[1]
    salts = _salts(tag, seed, DIGEST * size)
    leaves = leaves_of(b"\x00" + tag.encode() + b"\n", salts)
    for batch in chain([first], rows):
        code_cosets(batch, leaves.room, leaves.first)
        leaves.take(len(batch))
    if words is not None:
        into = leaves.room[:, leaves.first : leaves.first + len(words)]
        into[:] = words.reshape(len(words), -1, RATE).transpose(2, 0, 1)
        leaves.take(len(words))
    found = leaves.digests()
    return Committed(tag, seed, found, _levels(found)[-1])


def _salts(tag: str, seed: bytes, length: int) -> bytes:
    return Stream(seed + f"salts {tag}".encode())(length)


def _levels(leaves: bytes) -> tuple[bytes, ...]:
    """From the leaves to the root; where a level has an odd number of nodes, 32 zeros follow."""
    levels = [leaves]
    while len(levels[-1]) > DIGEST:
        if len(levels[-1]) % (2 * DIGEST):
            levels[-1] += bytes(DIGEST)
        levels.append(parents(levels[-1]))
    return tuple(levels)


def check_column(
    tag: str, column: int, numbers: bytes, salt: bytes, path: Sequence[bytes], root: bytes
) -> None:
    """Return if these numbers stand in that column under the root.

    Raises:
        VerificationFailed: they do not.
    """
    node = hashlib.sha256(b"\x00" + tag.encode() + b"\n" + salt + numbers).digest()
    for up, sibling in enumerate(path):
        pair = sibling + node if column >> up & 1 else node + sibling
        node = hashlib.sha256(b"\x01" + pair).digest()
    if node != root:
        raise VerificationFailed(
            f"column {column} of {tag}",
            f"Column {column} is not under the root of {tag}.",
            "The proof shows numbers that were not committed to.",
            "Ask for the proof again.",
        )
