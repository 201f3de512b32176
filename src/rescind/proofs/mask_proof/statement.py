"""What is proved, in public numbers: canonical, hashed whole into every challenge."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from rescind.core.canonical import dumps, plain
from rescind.core.errors import BadData, BadParameter
from rescind.core.mask_terms import TensorTerms
from rescind.proofs.mask_proof.steps import fits
from rescind.proofs.mask_proof.transform import RATE

VERSION = "mask-and-compensate 1"
SMALLEST, LARGEST = 64, 2**20  # numbers of a row
ROOTS = ("weights", "gradients", "post")


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What is shown of w and G under the first two roots, and of w' under the third.

    w is of ``value_bytes`` bytes with a sign, G of one, and w' - w fits as many bytes as w; w' is 0
    where the mask says so and w in blocks that it does not touch or that are ``exceptions``; and
    elsewhere

        |dN D_i + sum_k G_ki <G_k, D> - c g_i| <= 2^(residual_bits - 1),  D = w' - w,

    block by block. ``mask`` and ``direction`` are digests of what is public beside it.
    """

    version: str
    tensors: tuple[TensorTerms, ...]
    block: int
    sketches: int
    value_bytes: int
    residual_bits: int
    degree: int
    opened: int
    size: int
    mask: str
    direction: str
    exceptions: tuple[int, ...]
    weights: str
    gradients: str
    post: str

    def __post_init__(self) -> None:
        problems = [
            told
            for wrong, told in (
                (self.version != VERSION, f"its version is {self.version!r}"),
                (not self.tensors, "it has no tensors"),
                (not 1 <= self.block <= 4096, f"blocks have {self.block} weights"),
                (not 1 <= self.sketches <= 4096, f"there are {self.sketches} sketches"),
                (self.value_bytes not in (2, 3), f"weights have {self.value_bytes} bytes"),
                (not 8 <= self.residual_bits <= 32, f"residuals have {self.residual_bits} bits"),
                (self.degree not in (2, 3), f"the extension has degree {self.degree}"),
                (not _fits(self.size), f"rows have {self.size} numbers"),
                (not 1 <= self.opened < self.size, f"{self.opened} columns are opened"),
                (not _terms_fit(self.tensors), "a tensor's numbers are out of range"),
                (not all(map(_digest_or_none, self._digests)), "a root or a digest is no hash"),
                (not self._exceptions_fit(), "exceptions are no sorted numbers of blocks"),
            )
            if wrong
        ]
        if problems:
            raise BadParameter(f"The statement cannot be proved: {'; '.join(problems)}.")

    def _exceptions_fit(self) -> bool:
        listed = self.exceptions
        rising = all(one < after for one, after in pairwise(listed))
        ends = not listed or (self.block > 0 and listed[0] >= 0 and listed[-1] < self.blocks)
        return rising and ends

    @property
    def _digests(self) -> tuple[str, ...]:
        return self.mask, self.direction, self.weights, self.gradients, self.post

    @property
    def blocks(self) -> int:
        """Of all tensors together."""
        return sum(t.blocks(self.block) for t in self.tensors)

    @property
    def lanes(self) -> int:
        """Blocks that stand side by side; the rest of a row is random numbers that hide them."""
        return self.size - self.opened

    @property
    def stacks(self) -> int:
        """How many times so many blocks."""
        return -(-self.blocks // self.lanes)

    @property
    def columns(self) -> int:
        """Of a code word."""
        return RATE * self.size

    @property
    def depth(self) -> int:
        """Steps from a column to its tree's root."""
        return (self.columns - 1).bit_length()

    def canonical(self) -> bytes:
        """The bytes that challenges follow from."""
        return dumps(plain(self))


def _fits(size: int) -> bool:
    return SMALLEST <= size <= LARGEST and fits(size)


def _digest_or_none(text: str) -> bool:
    """A statement of sizes alone has none yet."""
    return not text or re.fullmatch("[0-9a-f]{64}", text) is not None


def _terms_fit(tensors: Sequence[TensorTerms]) -> bool:
    return all(
        t.shape
        and min(t.shape) >= 1
        and 1 <= t.damping < 2**32
        and 0 <= t.pull < 2**32
        and abs(t.floor) < 2**62
        and -32 <= t.weight_bits <= 32
        for t in tensors
    ) and len({t.name for t in tensors}) == len(tensors)


@dataclass(frozen=True, slots=True, eq=False)
class Public:
    """What lies beside the statement: the mask (blocks, size), bool, and g (blocks, size), int8."""

    mask: NDArray[np.bool_]
    direction: NDArray[np.int8]

    def digests(self) -> tuple[str, str]:
        """Of mask and direction, as a statement names them."""
        bits = np.packbits(self.mask, axis=None).tobytes()
        return (
            _digest(b"mask", self.mask.shape, bits),
            _digest(b"direction", self.direction.shape, self.direction.tobytes()),
        )

    def check(self, statement: Statement) -> None:
        """Return if it is what the statement names.

        Raises:
            BadData: another mask or direction, or another shape.
        """
        shape = (statement.blocks, statement.block)
        if self.mask.shape != shape or self.direction.shape != shape:
            raise BadData(
                f"The mask has the shape {self.mask.shape}, g {self.direction.shape}; the statement"
                f" is about {shape}.",
                do="Use the files that belong to the certificate.",
            )
        for what, found, said in zip(
            ("mask", "direction"),
            self.digests(),
            (statement.mask, statement.direction),
            strict=True,
        ):
            if found != said:
                raise BadData(
                    f"The {what} has the digest {found[:16]}, the statement names {said[:16]}.",
                    "The proof is about another one.",
                    "Use the files that belong to the certificate.",
                )


def _digest(what: bytes, shape: tuple[int, ...], data: bytes) -> str:
    head = what + b"\n" + ",".join(map(str, shape)).encode() + b"\n"
    return hashlib.sha256(head + data).hexdigest()
