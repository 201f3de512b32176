"""Rows as polynomials: values on a group, coefficients, and a code word on a coset four times as
long. The loops are numba's where it is installed, else numpy's; both give the same numbers.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from rescind.proofs.mask_proof.field import (
    GENERATOR,
    Array,
    P,
    add,
    mul,
    powers,
    root_of_unity,
    sub,
)

kernels: ModuleType | None
try:
    kernels = import_module("rescind.proofs.mask_proof.kernels")
except ImportError:  # numba is not installed: numpy takes longer
    kernels = None

RATE = 4  # a code word has four times as many numbers as a row


def values_of(coefficients: Array, size: int, shift: int = 1) -> Array:
    """Values (r, size) of polynomials at shift w^j, w a root of unity of order ``size``.

    Args:
        coefficients: (r, m), m at most ``size``, lowest first.
        size: a power of two.
        shift: 1, or the generator for the coset that code words lie on.
    """
    rows = np.zeros((len(coefficients), size), dtype=np.uint64)
    rows[:, : coefficients.shape[1]] = coefficients
    if shift != 1:
        _scale(rows, powers(shift, size))
    return _transformed(rows, root_of_unity(size))


def coefficients_of(values: Array, shift: int = 1) -> Array:
    """The inverse of ``values_of`` for as many coefficients as values."""
    size = values.shape[1]
    rows = _transformed(values, pow(root_of_unity(size), -1, P))
    _scale(rows, powers(pow(shift, -1, P), size, pow(size, -1, P)))
    return rows


def code_words(rows: Array, size: int | None = None) -> Array:
    """Code words (r, 4 k) of rows (r, k); with ``size`` at every so many-th place of them only."""
    into = np.empty((len(rows), RATE * rows.shape[1] if size is None else size), dtype=np.uint64)
    _encode(rows, into)
    return into


def code_columns(rows: Array) -> Array:
    """Code words of rows (r, k) as columns (4 k, r), side by side in memory."""
    into = np.empty((RATE * rows.shape[1], len(rows)), dtype=np.uint64)
    _encode(rows, into.T)
    return into


def _encode(rows: Array, into: Array) -> None:
    k, n = rows.shape[1], into.shape[1]
    if kernels is None:
        into[:] = values_of(coefficients_of(rows), n, GENERATOR)
        return
    back = _twiddles(pow(root_of_unity(k), -1, P), k)
    ahead = _twiddles(root_of_unity(n), n)
    kernels.encode_rows(rows, back, _reversed(k), _shifts(k), ahead, into)


def add_combination(total: Array, rows: Array, factors: Array) -> None:
    """Add to total (d, m) sum over r of factors[r] (d,) times rows[r] (m,), in place."""
    if kernels is not None:
        kernels.add_combination(total, rows, np.ascontiguousarray(factors))
        return
    for row, factor in zip(rows, factors, strict=True):
        for c, f in enumerate(factor):
            total[c] = add(total[c], mul(row, f))


def add_products(total: Array, left: Array, right: Array) -> None:
    """Add to total (m,) sum over r of left[r] right[r], in place."""
    if kernels is not None:
        kernels.add_products(total, left, right)
        return
    for a, b in zip(left, right, strict=True):
        total[:] = add(total, mul(a, b))


def multiply(a: Array, b: Array) -> Array:
    """A b for arrays of one shape."""
    if kernels is None:
        return mul(a, b)
    into = np.empty(a.shape, dtype=np.uint64)
    kernels.multiply(a.ravel(), b.ravel(), into.ravel())
    return into


def _transformed(rows: Array, root: int) -> Array:
    size = rows.shape[1]
    if kernels is not None:
        into = np.empty(rows.shape, dtype=np.uint64)
        kernels.transform_rows(rows, _twiddles(root, size), _reversed(size), into)
        return into
    rows = rows[:, _reversed(size)]
    half = 1
    while half < size:
        blocks = rows.reshape(len(rows), -1, 2, half)
        moved = mul(blocks[:, :, 1], _twiddles(root, size)[:: size // (2 * half)])
        first = blocks[:, :, 0].copy()
        blocks[:, :, 0], blocks[:, :, 1] = add(first, moved), sub(first, moved)
        half *= 2
    return rows


def _scale(rows: Array, factors: Array) -> None:
    if kernels is not None:
        kernels.scale_rows(rows, factors)
    else:
        rows[:] = mul(rows, factors)


@cache
def _twiddles(root: int, size: int) -> Array:
    return powers(root, max(1, size // 2))


@cache
def _shifts(size: int) -> Array:
    """Powers of the coset's shift, over the size: what is left of an inverse transform."""
    return powers(GENERATOR, size, pow(size, -1, P))


@cache
def _reversed(size: int) -> NDArray[np.int64]:
    bits = size.bit_length() - 1
    places = np.arange(size)
    found = np.zeros(size, dtype=np.int64)
    for bit in range(bits):
        found |= ((places >> bit) & 1) << (bits - 1 - bit)
    return found
