"""Sums and products of rows, the loops of equations and of the witness, compiled by numba.

``transform`` takes them where numba is installed, else plain numpy, which gives the same numbers
and takes many times as long. The formulas are those of ``field``, for one number. Inner loops run
over neighbours in memory in functions of their own: only so does the compiler make one instruction
of several.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Compiled at its first call, and kept in the cache of the interpreter."""
    made: F = numba.njit(cache=True, nogil=True)(function)
    return made


def apart(function: F) -> F:
    """The same, never copied into its caller."""
    made: F = numba.njit(cache=True, nogil=True, inline="never")(function)
    return made


def inlined(function: F) -> F:
    """Copied into its caller."""
    made: F = numba.njit(cache=True, inline="always")(function)
    return made


P = np.uint64(2**64 - 2**32 + 1)
EPSILON = np.uint64(2**32 - 1)
LOW = np.uint64(2**32 - 1)
HALF = np.uint64(32)
NONE = np.uint64(0)
PIECE = 2048  # numbers of a row at a time, so that a sum over rows stays in the cache


@inlined
def add_any(a: Any, b: Any) -> Any:
    """A + b, not reduced below p; only b must be."""
    total = a + b
    return total + (EPSILON if total < b else NONE)


@inlined
def sub_any(a: Any, b: Any) -> Any:
    """A - b, reduced below p only where a was; b must be."""
    return a - b - (EPSILON if a < b else NONE)


@inlined
def below(a: Any) -> Any:
    """The same element, below p."""
    return a - (P if a >= P else NONE)


@inlined
def reduced(low: Any, high: Any) -> Any:
    """Low + 2^64 high."""
    top, rest = high >> HALF, high & LOW
    first = low - top - (EPSILON if low < top else NONE)
    second = (rest << HALF) - rest
    total = first + second
    return below(total + (EPSILON if total < second else NONE))


@inlined
def mul(a: Any, b: Any) -> Any:
    """A b, of any two words."""
    a0, a1, b0, b1 = a & LOW, a >> HALF, b & LOW, b >> HALF
    low = a0 * b0
    middle = a0 * b1 + (low >> HALF)
    other = a1 * b0 + (middle & LOW)
    high = a1 * b1 + (middle >> HALF) + (other >> HALF)
    return reduced((other << HALF) | (low & LOW), high)


@apart
def _multiply(a: Any, b: Any, into: Any) -> None:
    for i in range(into.shape[0]):
        into[i] = mul(a[i], b[i])


@apart
def multiply_by(a: Any, b: Any) -> None:
    """In place: the compiler makes no vectors of it where one array is given for two."""
    for i in range(a.shape[0]):
        a[i] = mul(a[i], b[i])


@apart
def _scale(a: Any, factor: Any, into: Any) -> None:
    for i in range(into.shape[0]):
        into[i] = mul(a[i], factor)


@apart
def _add_scaled(total: Any, row: Any, factor: Any) -> None:
    for i in range(total.shape[0]):
        total[i] = below(add_any(total[i], mul(row[i], factor)))


@apart
def _add_product(total: Any, a: Any, b: Any) -> None:
    for i in range(total.shape[0]):
        total[i] = below(add_any(total[i], mul(a[i], b[i])))


@compiled
def scale_rows(rows: Any, factors: Any) -> None:
    """In place: row[i] *= factors[i] for each row."""
    for r in range(rows.shape[0]):
        multiply_by(rows[r], factors)


@compiled
def multiply(a: Any, b: Any, into: Any) -> None:
    """Into (n,) = a b."""
    _multiply(a, b, into)


@compiled
def add_combination(total: Any, rows: Any, factors: Any) -> None:
    """Add to total (d, m) sum over r of factors[r] (d,) times rows[r] (m,), in place."""
    for start in range(0, total.shape[1], PIECE):
        end = min(start + PIECE, total.shape[1])
        for r in range(rows.shape[0]):
            for c in range(total.shape[0]):
                if factors[r, c] != NONE:
                    _add_scaled(total[c, start:end], rows[r, start:end], factors[r, c])


@compiled
def add_products(total: Any, left: Any, right: Any) -> None:
    """Add to total (m,) sum over r of left[r] right[r], in place."""
    for start in range(0, total.shape[0], PIECE):
        end = min(start + PIECE, total.shape[0])
        for r in range(left.shape[0]):
            _add_product(total[start:end], left[r, start:end], right[r, start:end])


@apart
def _left(held: Any, own: Any, values: Any, into: Any) -> None:
    for i in range(values.shape[0]):
        into[i] = below(sub_any(held, mul(own, values[i])))


@compiled
def add_lookups(total: Any, helpers: Any, looked: Any, held: Any, own: Any) -> None:
    """Add to total (d, m) sum over j of h_j (held_j - own_j v_j), products of the extension.

    ``helpers`` (j d, m) are the h, ``looked`` (j, m) the v, ``held`` and ``own`` (j, d).
    """
    d, m = total.shape
    left = np.empty((2 * d, PIECE), dtype=np.uint64)  # and times what X^d is
    for start in range(0, m, PIECE):
        count = min(PIECE, m - start)
        end = start + count
        for j in range(looked.shape[0]):
            for c in range(d):
                _left(held[j, c], own[j, c], looked[j, start:end], left[c, :count])
                if c > 0:
                    _scale(left[c, :count], np.uint64(7), left[d + c, :count])
            for c in range(d):
                for e in range(d):
                    by = c - e if c >= e else 2 * d + c - e
                    helper = helpers[j * d + e, start:end]
                    _add_product(total[c, start:end], helper, left[by, :count])


@compiled
def signed_row(values: Any, into: Any) -> None:
    """Into (m,) = whole numbers (m,) as elements."""
    for i in range(values.shape[0]):
        value = np.int64(values[i])
        into[i] = np.uint64(value) + (P if value < 0 else NONE)


@compiled
def look_up(table: Any, looked: Any, into: Any) -> None:
    """Into (m,) = table (256,) at bytes (m,)."""
    for i in range(looked.shape[0]):
        into[i] = table[looked[i]]
