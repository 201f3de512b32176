"""SHA-256 by the processor's own instructions, in the compiler's terms (Intel, "SHA
Extensions", 2013).

They take one column; two at a time hide how long each instruction takes. On a processor with
vectors of 256 bits this took .50 ns a byte, and sixteen columns side by side 1.05.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils

WORD, LONG = ir.IntType(32), ir.IntType(64)
FOUR = ir.VectorType(WORD, 4)
AT_ONCE = 2  # columns
HIGH, LOW = (5, 4, 1, 0), (7, 6, 3, 2)  # the words f e b a and h g d c of a state, lowest first


def better(features: str) -> bool:
    """Whether code for a processor with these features, as "+avx,-sha", may use them, and has no
    vectors of 512 bits.
    """
    found = features.split(",")
    return "+sha" in found and "+avx512f" not in found


def absorb(builder: Any, constants: Sequence[int], state: Any, words: Any, columns: int) -> None:
    """Take one block of sixteen words (16, columns) into the state (8, columns), by pointers to
    vectors of all columns.

    It is a function of its own, without vectors of 256 bits: instructions that know of 128 bits
    only take many times as long while the rest of a register is in use.
    """
    few = FOUR.as_pointer()
    kind, name = ir.FunctionType(ir.VoidType(), [few, few]), f"rescind.sha256.{columns}"
    function = cgutils.get_or_insert_function(builder.module, kind, name)
    if function.is_declaration:
        function.linkage = "internal"
        function.attributes.add("noinline")
        own = ir.IRBuilder(function.append_basic_block())
        pointers = function.args[0], function.args[1]
        for first in range(columns // 4):
            _four(own, constants, pointers, first, columns // 4)
        own.ret_void()
    builder.call(function, [builder.bitcast(each, few) for each in (state, words)])


def _four(
    b: Any, constants: Sequence[int], pointers: tuple[Any, Any], first: int, step: int
) -> None:
    """Four columns; pointers to state and words go over vectors of four, ``step`` of them a row."""
    state, words = pointers

    def places(pointer: Any, rows: Sequence[int]) -> list[Any]:
        return [b.gep(pointer, [ir.Constant(LONG, first + step * i)]) for i in rows]

    def crossed(pointer: Any, rows: Sequence[int]) -> list[Any]:
        return _crossed(b, [b.load(place, align=4) for place in places(pointer, rows)])

    messages = [crossed(words, range(i, i + 4)) for i in range(0, 16, 4)]
    before = [crossed(state, which) for which in (HIGH, LOW)]
    done = []
    for c in range(0, 4, AT_ONCE):
        own = range(c, c + AT_ONCE)
        done += _rounds(b, constants, [([m[i] for m in messages], *_each(before, i)) for i in own])
    for which, old, new in zip((HIGH, LOW), before, zip(*done, strict=True), strict=True):
        sums = [b.add(x, y) for x, y in zip(old, new, strict=True)]
        for row, place in zip(_crossed(b, sums), places(state, which), strict=True):
            b.store(row, place, align=4)


def _each(rows: Sequence[list[Any]], place: int) -> list[Any]:
    return [row[place] for row in rows]


def _rounds(builder: Any, constants: Sequence[int], columns: Sequence[Any]) -> list[list[Any]]:
    """The two halves of the state of each column after 64 rounds."""
    name = "llvm.x86.sha256"
    two, one = ir.FunctionType(FOUR, [FOUR] * 3), ir.FunctionType(FOUR, [FOUR] * 2)
    get = cgutils.get_or_insert_function
    rounds = get(builder.module, two, f"{name}rnds2")
    first, second = (get(builder.module, one, f"{name}msg{i}") for i in (1, 2))
    words = [list(message) for message, _, _ in columns]
    states = [[high, low] for _, high, low in columns]
    for i in range(16):
        added = ir.Constant(FOUR, [ir.Constant(WORD, k) for k in constants[4 * i : 4 * i + 4]])
        for own, state in zip(words, states, strict=True):
            if i >= 4:
                middle = _shuffled(builder, own[i - 2], own[i - 1], (1, 2, 3, 4))
                ahead = builder.add(builder.call(first, [own[i - 4], own[i - 3]]), middle)
                own.append(builder.call(second, [ahead, own[i - 1]]))
            turn = builder.add(own[i], added)
            state[1] = builder.call(rounds, [state[1], state[0], turn])
            turn = _shuffled(builder, turn, turn, (2, 3, 0, 0))
            state[0] = builder.call(rounds, [state[0], state[1], turn])
    return states


def _shuffled(builder: Any, a: Any, b: Any, order: Sequence[int]) -> Any:
    kind = ir.VectorType(WORD, len(order))
    return builder.shuffle_vector(a, b, ir.Constant(kind, [ir.Constant(WORD, i) for i in order]))


def _crossed(builder: Any, rows: Sequence[Any]) -> list[Any]:
    """Four vectors of four on their side."""
    a, b, c, d = rows
    low = [_shuffled(builder, x, y, (0, 4, 1, 5)) for x, y in ((a, b), (c, d))]
    high = [_shuffled(builder, x, y, (2, 6, 3, 7)) for x, y in ((a, b), (c, d))]
    return [
        _shuffled(builder, pair[0], pair[1], order)
        for pair in (low, high)
        for order in ((0, 1, 4, 5), (2, 3, 6, 7))
    ]
