"""Digests of many columns at once, whose numbers come some rows at a time."""

from __future__ import annotations

import hashlib
from importlib import import_module
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from rescind.proofs.mask_proof.field import Array
from rescind.proofs.mask_proof.transform import RATE

hashing: ModuleType | None
try:
    hashing = import_module("rescind.proofs.mask_proof.hashing")
except ImportError:  # numba is not installed: a column after the other
    hashing = None

AT_ONCE = 16  # rows that are put in together
LEFT, LAST = 8, 10  # rows that may wait for the rest of their block, and that end a message
BLOCK = 64  # bytes of SHA-256's


class Apart:
    """By ``hashlib``: a hash a column. Both classes have ``room``, (4, rows, k), for ``AT_ONCE``
    rows from ``first`` on; column j of a code word is at j % 4, j // 4.
    """

    def __init__(self, heads: list[bytes]) -> None:
        self._hashes = [hashlib.sha256(head) for head in heads]
        self.room = np.empty((RATE, AT_ONCE, len(heads) // RATE), dtype=np.uint64)
        self.first = 0

    def take(self, count: int) -> None:
        """So many rows, which lie in the room."""
        columns = np.ascontiguousarray(self.room[:, :count].transpose(2, 0, 1)).astype("<u8")
        view = memoryview(columns.reshape(-1, count)).cast("B")
        width = 8 * count
        for j, one in enumerate(self._hashes):
            one.update(view[width * j : width * (j + 1)])

    def digests(self) -> bytes:
        """Of all columns, 32 bytes each."""
        return b"".join(one.digest() for one in self._hashes)


class Together:
    """By ``hashing``: a block of eight rows at a time, as they lie.

    Heads have one length and are what columns begin with. They fill whole numbers from behind, so
    that all blocks begin within a number at the same bit.
    """

    def __init__(self, heads: list[bytes]) -> None:
        assert hashing is not None
        k, length = len(heads) // RATE, len(heads[0])
        self.first = -(-length // 8)
        self._unused = 8 * self.first - length  # bytes
        self._bytes = length
        self.room = np.empty((RATE, max(self.first, LEFT) + AT_ONCE + LAST, k), dtype=np.uint64)
        filled = np.zeros((len(heads), 8 * self.first), dtype=np.uint8)
        filled[:, self._unused :] = np.frombuffer(b"".join(heads), np.uint8).reshape(-1, length)
        numbers = filled.view("<u8").reshape(k, RATE, self.first)
        self.room[:, : self.first] = numbers.transpose(1, 2, 0)
        start = hashing.START[:, None].repeat(hashing.SIDE, 1)
        self._state = np.ascontiguousarray(
            np.broadcast_to(start, (RATE, k // hashing.SIDE, *start.shape))
        )

    def take(self, count: int) -> None:
        """So many rows, which lie in the room."""
        self._bytes += 8 * count
        self.first += count
        self._hash((self.first - 1) // 8)

    def _hash(self, blocks: int) -> None:
        assert hashing is not None
        for state, rows in zip(self._state, self.room, strict=True):
            hashing.absorb(state, rows, blocks, 8 * self._unused)
        left = self.first - 8 * blocks
        self.room[:, :left] = self.room[:, 8 * blocks : self.first].copy()
        self.first = left

    def digests(self) -> bytes:
        """Of all columns, 32 bytes each."""
        end = b"\x80" + bytes(-(self._bytes + 9) % BLOCK) + (8 * self._bytes).to_bytes(8, "big")
        blocks = (8 * self.first - self._unused + len(end)) // BLOCK
        rows = np.frombuffer(end + bytes(-len(end) % 8 + 8), dtype="<u8")
        self.room[:, self.first : self.first + len(rows)] = rows[:, None]
        self.first += len(rows)
        self._hash(blocks)
        state: NDArray[np.uint32] = self._state.transpose(1, 3, 0, 2)  # (k / 16, 16, 4, 8)
        return state.astype(">u4").tobytes()


def leaves_of(heads: list[bytes]) -> Apart | Together:
    """For columns that begin with these bytes, of one length."""
    return Apart(heads) if hashing is None else Together(heads)
