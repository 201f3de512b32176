"""A table of numbers laid on its side, eight by eight, in the compiler's own terms.

As plain loops this takes three times as long: no compiler makes exchanges of whole vectors of them.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from rescind.proofs.mask_proof.kernels import compiled

TILE = 8  # numbers of a line of the cache
LONG, LINE = ir.IntType(64), ir.VectorType(ir.IntType(64), TILE)


@intrinsic  # type: ignore[untyped-decorator]
def _tile(typing: Any, m: Any, line: Any, column: Any, into: Any) -> tuple[Any, Any]:
    """One tile from m[line, column] to into[column, line]; both are C contiguous."""
    signature = types.void(m, types.intp, types.intp, into)

    def written(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        def place(which: int, first: Any, second: Any, more: int) -> Any:
            array = context.make_array(signature.args[which])(context, builder, given[which])
            width = builder.extract_value(array.shape, 1)
            start = builder.mul(builder.add(first, ir.Constant(LONG, more)), width)
            pointer = builder.gep(array.data, [builder.add(start, second)])
            return builder.bitcast(pointer, LINE.as_pointer())

        lines = [builder.load(place(0, given[1], given[2], i), align=TILE) for i in range(TILE)]
        half = TILE // 2
        while half:  # parts of so many numbers change places, across and down
            lines = _exchanged(builder, lines, half)
            half //= 2
        for i, line in enumerate(lines):
            builder.store(line, place(3, given[2], given[1], i), align=TILE)
        return context.get_dummy_value()

    return signature, written


def _exchanged(builder: Any, lines: list[Any], half: int) -> list[Any]:
    upper = [i if i & half == 0 else i - half + TILE for i in range(TILE)]
    lower = [i + half if i & half == 0 else i + TILE for i in range(TILE)]
    found = list(lines)
    for i in range(TILE):
        if i & half == 0:
            pair = lines[i], lines[i + half]
            for at, order in ((i, upper), (i + half, lower)):
                chosen = ir.Constant(ir.VectorType(ir.IntType(32), TILE), order)
                found[at] = builder.shuffle_vector(*pair, chosen)
    return found


@compiled
def lay(m: Any, into: Any) -> None:
    """Into (columns, lines) = m (lines, columns), both C contiguous and of uint64."""
    lines, columns = m.shape
    wide, high = columns // TILE * TILE, lines // TILE * TILE
    for i in range(0, high, TILE):
        for j in range(0, wide, TILE):
            _tile(m, i, j, into)
    for i in range(lines):
        for j in range(wide if i < high else 0, columns):
            into[j, i] = m[i, j]
