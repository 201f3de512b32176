"""Digests of many columns at once, whose numbers come some rows at a time."""

from __future__ import annotations

import hashlib
import sys
from importlib import import_module
from types import ModuleType

import numpy as np

from rescind.proofs.mask_proof.transform import RATE

hashing: ModuleType | None
try:
    if sys.byteorder != "little":  # it takes numbers as they lie
        raise ImportError
    hashing = import_module("rescind.proofs.mask_proof.hashing")
except ImportError:  # numba is not installed: a column after the other
    hashing = None

AT_ONCE = 16  # rows that are put in together
LEFT, LAST = 8, 10  # rows that may wait for the rest of their block, and that end a message
BLOCK = 64  # bytes of SHA-256's
DIGEST = 32
MANY = 4096  # nodes whose parents are made together


class Apart:
    """By ``hashlib``: a hash a column. Both classes have ``room``, (4, rows, k), for ``AT_ONCE``
    rows from ``first`` on; column j of a code word is at j % 4, j // 4.
    """

    def __init__(self, tag: bytes, salts: bytes) -> None:
        starts = range(0, len(salts), DIGEST)
        self._hashes = [hashlib.sha256(tag + salts[i : i + DIGEST]) for i in starts]
        self.room = np.empty((RATE, AT_ONCE, len(starts) // RATE), dtype=np.uint64)
        self.first = 0

    def take(self, count: int) -> None:
        """So many rows, which lie in the room."""
        columns = np.ascontiguousarray(self.room[:, :count].transpose(2, 0, 1)).astype("<u8")
        view = columns.data.cast("B")
        width = 8 * count
        for j, one in enumerate(self._hashes):
            one.update(view[width * j : width * (j + 1)])

    def digests(self) -> bytes:
        """Of all columns, 32 bytes each."""
        return b"".join(one.digest() for one in self._hashes)


class Together:
    """By ``hashing``: a block of eight rows at a time, as they lie.

    Tag and salt fill whole numbers from behind, so that all blocks begin within a number at the
    same bit.
    """

    def __init__(self, loops: ModuleType, tag: bytes, salts: bytes) -> None:
        self._loops = loops
        columns, length = len(salts) // DIGEST, len(tag) + DIGEST
        k = columns // RATE
        self.first = -(-length // 8)
        self._unused = 8 * self.first - length  # bytes
        self._bytes = length
        self.room = np.empty((RATE, max(self.first, LEFT) + AT_ONCE + LAST, k), dtype=np.uint64)
        filled = np.zeros((columns, 8 * self.first), dtype=np.uint8)
        filled[:, -length:-DIGEST] = np.frombuffer(tag, np.uint8)
        filled[:, -DIGEST:] = np.frombuffer(salts, np.uint8).reshape(columns, DIGEST)
        numbers = filled.view("<u8").reshape(k, RATE, self.first)
        self.room[:, : self.first] = numbers.transpose(1, 2, 0)
        self._state = np.stack([loops.start(k)] * RATE)

    def take(self, count: int) -> None:
        """So many rows, which lie in the room."""
        self._bytes += 8 * count
        self.first += count
        self._hash((self.first - 1) // 8)

    def _hash(self, blocks: int) -> None:
        for state, rows in zip(self._state, self.room, strict=True):
            self._loops.absorb(state, rows, blocks, 8 * self._unused)
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
        each = [np.frombuffer(self._loops.digests(state), "V32") for state in self._state]
        return np.stack(each, 1).tobytes()


def leaves_of(tag: bytes, salts: bytes) -> Apart | Together:
    """For columns that begin with a tag and each with its salt of 32 bytes."""
    return Apart(tag, salts) if hashing is None else Together(hashing, tag, salts)


def parents(nodes: bytes) -> bytes:
    """SHA-256(1, left, right) of each pair of nodes."""
    pairs, pair, found = len(nodes) // (2 * DIGEST), 2 * DIGEST, list[bytes]()
    together = 0 if hashing is None else pairs // hashing.SIDE * hashing.SIDE
    if hashing is not None:
        for i in range(0, together, MANY):
            found.append(_parents(hashing, nodes[pair * i : pair * min(i + MANY, together)]))
    for start in range(pair * together, len(nodes), pair):
        found.append(hashlib.sha256(b"\x01" + nodes[start : start + pair]).digest())
    return b"".join(found)


def _parents(loops: ModuleType, nodes: bytes) -> bytes:
    """Of a number of pairs that ``SIDE`` divides: two blocks each."""
    count = len(nodes) // (2 * DIGEST)
    whole = np.zeros((count, 2 * BLOCK), dtype=np.uint8)
    whole[:, 0], whole[:, 1 : BLOCK + 1] = 1, np.frombuffer(nodes, np.uint8).reshape(count, BLOCK)
    whole[:, BLOCK + 1] = 0x80
    whole[:, -2:] = np.frombuffer((8 * (BLOCK + 1)).to_bytes(2, "big"), np.uint8)
    rows = np.zeros((2 * BLOCK // 8 + 1, count), dtype=np.uint64)
    rows[:-1] = whole.view("<u8").T
    state = loops.start(count)
    loops.absorb(state, rows, 2, 0)
    found: bytes = loops.digests(state)
    return found
