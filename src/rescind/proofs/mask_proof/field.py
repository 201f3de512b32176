"""The field of p = 2^64 - 2^32 + 1 elements on arrays of uint64, and its extensions by X^d - 7.

Elements are whole numbers below p, and every function gives such. 7 generates the multiplicative
group, so that it has no square root and no cube root, and X^2 - 7 and X^3 - 7 are irreducible.
2^64 = 2^32 - 1 and 2^96 = -1 modulo p: a product of 128 bits is reduced by shifts and sums.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.uint64]
Numbers = Array | np.uint64

P = 2**64 - 2**32 + 1
GENERATOR = 7
TWO_ADICITY = 32  # 2^32 divides p - 1
_P = np.uint64(P)
_EPSILON = np.uint64(2**32 - 1)
_LOW = np.uint64(2**32 - 1)
_HALF = np.uint64(32)


def add(a: Array, b: Numbers) -> Array:
    """A + b."""
    total = a + b
    total = np.where(total < a, total + _EPSILON, total)
    return np.where(total >= _P, total - _P, total)


def sub(a: Array, b: Numbers) -> Array:
    """A - b."""
    found = a - b
    return np.where(a < b, found - _EPSILON, found)


def mul(a: Array, b: Numbers) -> Array:
    """The product a b, by halves of 32 bits."""
    a0, a1, b0, b1 = a & _LOW, a >> _HALF, b & _LOW, b >> _HALF
    low = a0 * b0
    middle = a0 * b1 + (low >> _HALF)
    other = a1 * b0 + (middle & _LOW)
    high = a1 * b1 + (middle >> _HALF) + (other >> _HALF)
    return reduced((other << _HALF) | (low & _LOW), high)


def reduced(low: Array, high: Array) -> Array:
    """Low + 2^64 high modulo p."""
    top, rest = high >> _HALF, high & _LOW
    first = low - top
    first = np.where(low < top, first - _EPSILON, first)
    second = rest * _EPSILON
    total: Array = first + second
    total = np.where(total < second, total + _EPSILON, total)
    found: Array = np.where(total >= _P, total - _P, total)
    return found


def signed(values: NDArray[np.int64]) -> Array:
    """Whole numbers between -2^62 and 2^62 as elements."""
    negative = values < 0
    found: Array = np.where(
        negative, _P - np.abs(values).astype(np.uint64), values.astype(np.uint64)
    )
    return found


def element(value: int) -> np.uint64:
    """A whole number modulo p."""
    return np.uint64(value % P)


def root_of_unity(order: int) -> int:
    """A primitive root of this order, a power of two up to 2^32; roots of all orders fit together:
    the square of that of 2n is that of n.
    """
    return pow(GENERATOR, (P - 1) // order, P)


def powers(base: int, count: int, first: int = 1) -> Array:
    """first, first base, first base^2, ..."""
    found = np.array([first % P], dtype=np.uint64)
    step = base % P
    while len(found) < count:
        found = np.concatenate([found, mul(found, np.uint64(step))])
        step = step * step % P
    return found[:count]


def ext_mul(a: Array, b: Array) -> Array:
    """Product of two elements of the extension, coordinates first: (d, ...) times (d, ...)."""
    d = len(a)
    low = [np.zeros(np.broadcast_shapes(a[0].shape, b[0].shape), dtype=np.uint64) for _ in range(d)]
    for i in range(d):
        for j in range(d):
            product = mul(a[i], b[j])
            if i + j >= d:
                product = mul(product, np.uint64(GENERATOR))
            low[(i + j) % d] = add(low[(i + j) % d], product)
    return np.stack(low)


def ext_inverse(a: tuple[int, ...]) -> tuple[int, ...]:
    """1 / a for one element of the extension: a^(p^d - 2).

    Raises:
        ZeroDivisionError: a is 0.
    """
    if not any(a):
        raise ZeroDivisionError("0 has no inverse")
    d, exponent = len(a), P ** len(a) - 2
    found, square = (1,) + (0,) * (d - 1), a
    while exponent:
        if exponent & 1:
            found = ext_product(found, square)
        square, exponent = ext_product(square, square), exponent >> 1
    return found


def ext_inverses(values: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """1 / a for each, by one inverse (P. Montgomery, Mathematics of Computation 48, 1987).

    Raises:
        ZeroDivisionError: one is 0.
    """
    before, found = [(1,) + (0,) * (len(values[0]) - 1)], list[tuple[int, ...]]()
    for value in values:
        before.append(ext_product(before[-1], value))
    left = ext_inverse(before.pop())
    for value in reversed(values):
        found.append(ext_product(left, before.pop()))
        left = ext_product(left, value)
    return found[::-1]


def ext_product(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """As ``ext_mul``, for single elements as whole numbers."""
    d = len(a)
    found = [0] * d
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            found[(i + j) % d] += x * y * (GENERATOR if i + j >= d else 1)
    return tuple(x % P for x in found)
