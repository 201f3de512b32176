"""The loops that take the time, compiled by numba: transforms, products and sums of rows.

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
WIDE = 32  # rows that are transformed side by side


@inlined
def _add(a: Any, b: Any) -> Any:
    total = a + b
    total = total + (EPSILON if total < a else NONE)
    return total - (P if total >= P else NONE)


@inlined
def _sub(a: Any, b: Any) -> Any:
    return a - b - (EPSILON if a < b else NONE)


@inlined
def _mul(a: Any, b: Any) -> Any:
    a0, a1, b0, b1 = a & LOW, a >> HALF, b & LOW, b >> HALF
    low = a0 * b0
    middle = a0 * b1 + (low >> HALF)
    other = a1 * b0 + (middle & LOW)
    high = a1 * b1 + (middle >> HALF) + (other >> HALF)
    low = (other << HALF) | (low & LOW)
    top, rest = high >> HALF, high & LOW
    first = low - top - (EPSILON if low < top else NONE)
    second = (rest << HALF) - rest
    total = first + second
    total = total + (EPSILON if total < second else NONE)
    return total - (P if total >= P else NONE)


@apart
def _butterfly(flat: Any, upper: int, lower: int, step: Any) -> None:
    a, b = flat[upper : upper + WIDE], flat[lower : lower + WIDE]
    for r in range(WIDE):
        x, y = a[r], _mul(b[r], step)
        a[r], b[r] = _add(x, y), _sub(x, y)


@compiled
def _stages(flat: Any, n: int, first: int, twiddles: Any) -> None:
    half = first
    while half < n:
        stride = n // (2 * half)
        for start in range(0, n, 2 * half):
            for j in range(half):
                place = (start + j) * WIDE
                _butterfly(flat, place, place + half * WIDE, twiddles[j * stride])
        half *= 2


@apart
def _spread(flat: Any, place: int, into: Any, start: int, times: int, factor: Any) -> None:
    for r in range(WIDE):
        value = _mul(flat[place + r], factor)
        for copy in range(times):
            into[start + copy * WIDE + r] = value


@compiled
def transform_rows(rows: Any, twiddles: Any, order: Any, into: Any) -> None:
    """Values of each row (k,) of coefficients at the powers of a root of order n: ``into`` (r, n).

    ``twiddles`` (n / 2,) are the powers of the root, ``order`` (k,) the places with reversed bits.
    Where n is larger than k, what begins as zeros is left out of the first stages.
    """
    k, n = rows.shape[1], into.shape[1]
    times, one = n // k, np.uint64(1)
    few, flat = np.zeros(WIDE, dtype=np.uint64), np.zeros(n * WIDE, dtype=np.uint64)
    for first in range(0, rows.shape[0], WIDE):
        count = min(WIDE, rows.shape[0] - first)
        for i in range(k):
            for r in range(count):
                few[r] = rows[first + r, i]
            _spread(few, 0, flat, order[i] * times * WIDE, times, one)
        _stages(flat, n, times, twiddles)
        for i in range(n):
            for r in range(count):
                into[first + r, i] = flat[i * WIDE + r]


@compiled
def encode_rows(rows: Any, back: Any, order: Any, factors: Any, twiddles: Any, into: Any) -> None:
    """Code words of rows (r, k): ``into`` (r, n), their polynomials' values on a coset.

    ``back`` (k / 2,) are the powers of the inverse root of order k, ``factors`` (k,) those of the
    shift over k, ``twiddles`` (n / 2,) the powers of the root of order n.
    """
    k, n = rows.shape[1], into.shape[1]
    times = n // k
    small = np.zeros(k * WIDE, dtype=np.uint64)
    flat = np.zeros(n * WIDE, dtype=np.uint64)
    for first in range(0, rows.shape[0], WIDE):
        count = min(WIDE, rows.shape[0] - first)
        for r in range(count):
            for i in range(k):
                small[order[i] * WIDE + r] = rows[first + r, i]
        _stages(small, k, 1, back)
        for i in range(k):
            _spread(small, i * WIDE, flat, order[i] * times * WIDE, times, factors[i])
        _stages(flat, n, times, twiddles)
        for i in range(n):
            for r in range(count):
                into[first + r, i] = flat[i * WIDE + r]


@apart
def _multiply(a: Any, b: Any, into: Any) -> None:
    for i in range(into.shape[0]):
        into[i] = _mul(a[i], b[i])


@apart
def _add_scaled(total: Any, row: Any, factor: Any) -> None:
    for i in range(total.shape[0]):
        total[i] = _add(total[i], _mul(row[i], factor))


@apart
def _add_product(total: Any, a: Any, b: Any) -> None:
    for i in range(total.shape[0]):
        total[i] = _add(total[i], _mul(a[i], b[i]))


@compiled
def scale_rows(rows: Any, factors: Any) -> None:
    """In place: row[i] *= factors[i] for each row."""
    for r in range(rows.shape[0]):
        _multiply(rows[r], factors, rows[r])


@compiled
def multiply(a: Any, b: Any, into: Any) -> None:
    """Into (n,) = a b."""
    _multiply(a, b, into)


@compiled
def add_combination(total: Any, rows: Any, factors: Any) -> None:
    """Add to total (d, m) sum over r of factors[r] (d,) times rows[r] (m,), in place."""
    for r in range(rows.shape[0]):
        for c in range(total.shape[0]):
            if factors[r, c] != NONE:
                _add_scaled(total[c], rows[r], factors[r, c])


@compiled
def add_products(total: Any, left: Any, right: Any) -> None:
    """Add to total (m,) sum over r of left[r] right[r], in place."""
    for r in range(left.shape[0]):
        _add_product(total, left[r], right[r])
