"""Commitments to code words: columns are the leaves of a salted SHA-256 Merkle tree.

A leaf is SHA-256(0, tag, salt, the column's numbers, 8 bytes each, lowest first), an inner node
SHA-256(1, left, right). The tag says which of the trees of a proof it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rescind.core.errors import VerificationFailed
from rescind.proofs.mask_proof.field import Array
from rescind.proofs.mask_proof.transcript import Stream

SALT = 32  # bytes


@dataclass(frozen=True, slots=True)
class ColumnTree:
    """All levels of a tree over n columns, leaves first, and the salt of each leaf."""

    levels: tuple[tuple[bytes, ...], ...]
    salts: tuple[bytes, ...]

    @property
    def root(self) -> bytes:
        """The commitment."""
        return self.levels[-1][0]

    def path(self, column: int) -> list[bytes]:
        """The siblings from the leaf up."""
        return [level[(column >> up) ^ 1] for up, level in enumerate(self.levels[:-1])]


def commit(tag: str, batches: Iterable[Array], size: int, seed: bytes) -> ColumnTree:
    """The tree over code words that come in batches of columns (size, r), salts from a seed."""
    stream = Stream(seed + f"salts {tag}".encode())(SALT * size)
    salts = tuple(stream[SALT * j : SALT * (j + 1)] for j in range(size))
    hashes = [hashlib.sha256(b"\x00" + tag.encode() + b"\n" + salt) for salt in salts]
    for batch in batches:
        view, width = batch.astype("<u8", copy=False).data.cast("B"), 8 * batch.shape[1]
        for j, one in enumerate(hashes):
            one.update(view[width * j : width * (j + 1)])
    levels = [tuple(one.digest() for one in hashes)]
    while len(levels[-1]) > 1:
        below = levels[-1]
        pairs = zip(below[::2], below[1::2], strict=True)
        levels.append(tuple(hashlib.sha256(b"\x01" + a + b).digest() for a, b in pairs))
    return ColumnTree(tuple(levels), salts)


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
