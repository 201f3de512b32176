"""SHA-256 (FIPS 180-4) of sixteen columns side by side, compiled by numba.

Words of sixteen columns are one vector, whatever the processor makes of it: with AVX-512 this is
twice as fast as a column after the other by the processor's own instructions, which are taken
where AVX-512 is not (``own_rounds``), and rows are hashed as they lie. The rounds are written in
the compiler's own terms, since numba's 32-bit sums are of 64 bits. Hashes are those of ``hashlib``:
a test compares them.
"""

from __future__ import annotations

from itertools import pairwise
from math import isqrt
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from rescind.proofs.mask_proof import own_rounds
from rescind.proofs.mask_proof.kernels import compiled

SIDE = 16  # columns side by side
BLOCK = 8  # numbers of 8 bytes in a block of the hash
WORD, VECTOR, LONG = ir.IntType(32), ir.VectorType(ir.IntType(32), SIDE), ir.IntType(64)
PRIMES = [n for n in range(2, 312) if all(n % d for d in range(2, isqrt(n) + 1))]  # 64 of them


def _root(power: int, prime: int) -> int:
    """The first 32 bits of what a square or cube root has behind its point."""
    low, high = 0, prime << 32
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (middle, high) if middle**power <= prime << 32 * power else (low, middle)
    return low % 2**32


ROUNDS = [_root(3, prime) for prime in PRIMES]
START = np.array([_root(2, prime) for prime in PRIMES[:8]], dtype=np.uint32)


class _Rounds:
    """Writes the instructions of a block."""

    def __init__(self, builder: Any) -> None:
        self.b = builder

    def splat(self, value: int) -> Any:
        return ir.Constant(VECTOR, [ir.Constant(WORD, value)] * SIDE)

    def sum(self, *values: Any) -> Any:
        first, *rest = values
        for each in rest:
            first = self.b.add(first, each)
        return first

    def mixed(self, x: Any, *turns: int, shift: int = 0) -> Any:
        """X turned right by each, and shifted, together."""
        found = [self.turned(x, n) for n in turns]
        if shift:
            found.append(self.b.lshr(x, self.splat(shift)))
        first, *rest = found
        for each in rest:
            first = self.b.xor(first, each)
        return first

    def turned(self, x: Any, by: int) -> Any:
        b = self.b
        return b.or_(b.lshr(x, self.splat(by)), b.shl(x, self.splat(32 - by)))

    def block(self, state: list[Any], words: list[Any]) -> list[Any]:
        """The state after one block of sixteen words."""
        a, b, c, d, e, f, g, h = state
        words, bits = list(words), self.b
        for t in range(64):
            if t >= 16:
                late, early = words[t - 2], words[t - 15]
                ahead = self.mixed(late, 17, 19, shift=10)
                words.append(
                    self.sum(words[t - 16], self.mixed(early, 7, 18, shift=3), words[t - 7], ahead)
                )
            choice = bits.xor(g, bits.and_(e, bits.xor(f, g)))
            most = bits.or_(bits.and_(a, b), bits.and_(c, bits.or_(a, b)))
            round_ = self.sum(self.splat(ROUNDS[t]), words[t])
            one = self.sum(h, self.mixed(e, 6, 11, 25), choice, round_)
            two = self.sum(self.mixed(a, 2, 13, 22), most)
            a, b, c, d, e, f, g, h = self.sum(one, two), a, b, c, self.sum(d, one), e, f, g
        return [self.sum(x, y) for x, y in zip(state, (a, b, c, d, e, f, g, h), strict=True)]


@intrinsic  # type: ignore[untyped-decorator]
def _absorb(
    typing: Any, state: Any, group: Any, rows: Any, row: Any, column: Any, shift: Any
) -> tuple[Any, Any]:
    """One block more for sixteen columns of ``rows`` from ``column``, of the nine numbers from
    ``row`` but for the first ``shift`` bits; ``state`` is (groups, 8, 16).
    """
    signature = types.void(state, types.intp, rows, types.intp, types.intp, types.uint64)

    def written(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        make = _Rounds(builder)
        arrays = [context.make_array(signature.args[i])(context, builder, given[i]) for i in (0, 2)]
        wide = ir.VectorType(LONG, SIDE)
        width = builder.extract_value(arrays[1].shape, 1)
        data, held = arrays[1].data, arrays[0].data

        def vector(pointer: Any, place: Any, kind: Any) -> Any:
            return builder.bitcast(builder.gep(pointer, [place]), kind.as_pointer())

        longs = []
        for i in range(BLOCK + 1):
            at = builder.mul(builder.add(given[3], ir.Constant(LONG, i)), width)
            place = vector(data, builder.add(at, given[4]), wide)
            longs.append(builder.load(place, align=8))
        joined = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(wide, [wide] * 3), "llvm.fshr.v16i64"
        )
        swapped = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(VECTOR, [VECTOR]), "llvm.bswap.v16i32"
        )
        by: Any = ir.Constant(wide, ir.Undefined)
        for lane in range(SIDE):
            by = builder.insert_element(by, given[5], ir.Constant(WORD, lane))
        words, half = [], ir.Constant(wide, [ir.Constant(LONG, 32)] * SIDE)
        for low, high in pairwise(longs):
            number = builder.call(joined, [high, low, by])
            for part in (number, builder.lshr(number, half)):
                words.append(builder.call(swapped, [builder.trunc(part, VECTOR)]))
        start = builder.mul(given[1], ir.Constant(LONG, 8 * SIDE))
        places = [
            vector(held, builder.add(start, ir.Constant(LONG, SIDE * i)), VECTOR) for i in range(8)
        ]
        if own_rounds.better(context.codegen().magic_tuple()[2]):
            room = cgutils.alloca_once(builder, VECTOR, size=16)
            for i, word in enumerate(words):
                builder.store(word, builder.gep(room, [ir.Constant(LONG, i)]))
            own_rounds.absorb(builder, ROUNDS, places[0], room, SIDE)
            return context.get_dummy_value()
        found = make.block([builder.load(place, align=4) for place in places], words)
        for value, place in zip(found, places, strict=True):
            builder.store(value, place, align=4)
        return context.get_dummy_value()

    return signature, written


def start(columns: int) -> NDArray[np.uint32]:
    """Before the first block: (columns / 16, 8, 16)."""
    return np.tile(START[:, None], (columns // SIDE, 1, SIDE))


def digests(state: NDArray[np.uint32]) -> bytes:
    """After the last: 32 bytes a column."""
    return state.transpose(0, 2, 1).astype(">u4").tobytes()


@compiled
def absorb(state: Any, rows: Any, count: int, shift: int) -> None:
    """All columns take in so many blocks.

    Args:
        state: (columns / 16, 8, 16) words, C contiguous.
        rows: (at least 8 count + 1, columns) numbers, C contiguous; the first is partly taken.
        count: blocks of eight numbers.
        shift: bits of the first number that were taken before, under 64.
    """
    for group in range(state.shape[0]):
        for block in range(count):
            _absorb(state, group, rows, BLOCK * block, SIDE * group, np.uint64(shift))
