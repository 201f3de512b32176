"""Fiat and Shamir's challenges: all that was said is hashed, and what is next follows from it."""

from __future__ import annotations

import hashlib

import numpy as np

from rescind.proofs.mask_proof.field import Array, P

DOMAIN = b"rescind mask proof 1\n"


class Transcript:
    """Everything is absorbed with a label and its length, so that no two histories are one text."""

    def __init__(self, statement: bytes) -> None:
        self._state = hashlib.sha256(DOMAIN).digest()
        self.absorb("statement", statement)

    def absorb(self, label: str, data: bytes) -> None:
        """Something that the prover said."""
        head = f"{label}:{len(data)}\n".encode()
        self._state = hashlib.sha256(self._state + head + data).digest()

    def elements(self, label: str, count: int) -> Array:
        """So many field elements, even over the field: words of SHAKE-256 that are below p."""
        return even_elements(self._stream(label), count)

    def columns(self, count: int, size: int) -> list[int]:
        """So many different numbers below ``size``, in the order drawn; words that would make some
        likelier than others are passed over.
        """
        found: dict[int, None] = {}
        words = 4 * count
        while len(found) < count:
            data = self._stream("columns")(4 * words)
            drawn = (int(w) for w in np.frombuffer(data, dtype="<u4"))
            found = dict.fromkeys(w % size for w in drawn if w < 2**32 // size * size)
            words *= 2
        return list(found)[:count]

    def _stream(self, label: str) -> Stream:
        return Stream(self._state + label.encode())


class Stream:
    """Bytes of SHAKE-256 of a seed; more of them begin with the same."""

    def __init__(self, seed: bytes) -> None:
        self._hash = hashlib.shake_256(seed)

    def __call__(self, count: int) -> bytes:
        return self._hash.digest(count)


def even_elements(stream: Stream, count: int) -> Array:
    """Words below p, in order; one in 2^32 is passed over."""
    spare = 8
    while True:
        words = np.frombuffer(stream(8 * (count + spare)), dtype="<u8").astype(np.uint64)
        fine = words[words < np.uint64(P)]
        if len(fine) >= count:
            return fine[:count]
        spare *= 2
