"""Rows as polynomials: values on a group, coefficients, and a code word on a coset four times as
long. The loops are numba's where it is installed, else numpy's; both give the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    ext_mul,
    mul,
    powers,
    root_of_unity,
    signed,
    sub,
)

kernels: ModuleType | None
fourier: ModuleType | None
try:
    kernels = import_module("rescind.proofs.mask_proof.kernels")
    fourier = import_module("rescind.proofs.mask_proof.fourier")
except ImportError:  # numba is not installed: numpy takes longer
    kernels = fourier = None

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
    if fourier is None:
        return _transformed(rows, root_of_unity(size))
    fourier.ahead_rows(rows, _ahead(size), _reversed(size), rows)
    return rows


def coefficients_of(values: Array, shift: int = 1) -> Array:
    """The inverse of ``values_of`` for as many coefficients as values."""
    size = values.shape[1]
    if fourier is None:
        rows = _transformed(values, pow(root_of_unity(size), -1, P))
    else:
        rows = np.empty(values.shape, dtype=np.uint64)
        fourier.back_rows(values, _back(size), _reversed(size), rows)
    _scale(rows, powers(pow(shift, -1, P), size, pow(size, -1, P)))
    return rows


def code_words(rows: Array, size: int | None = None) -> Array:
    """Code words (r, 4 k) of rows (r, k); with ``size`` at every so many-th place of them only."""
    n, k = RATE * rows.shape[1] if size is None else size, rows.shape[1]
    into = np.empty((len(rows), n // k, k), dtype=np.uint64)
    code_cosets(rows, into)
    return np.ascontiguousarray(into.transpose(0, 2, 1)).reshape(len(rows), n)


def code_cosets(rows: Array, into: Array) -> None:
    """Into (r, cosets, k): the code words of rows (r, k), number j of them at j % cosets, j //
    cosets; at every so many-th place where there are fewer cosets than ``RATE``.
    """
    k, cosets = rows.shape[1], into.shape[1]
    if fourier is None:
        words = values_of(coefficients_of(rows), cosets * k, GENERATOR)
        into[:] = words.reshape(len(rows), k, cosets).transpose(0, 2, 1)
    else:
        fourier.encode_rows(rows, _back(k), _ahead(k), _shifts(k, cosets), into)


def code_columns(rows: Array, into: Array) -> None:
    """Into (4 k, r), contiguous: code words of rows (r, k) as columns, side by side in memory."""
    code_cosets(rows, into.reshape(rows.shape[1], RATE, len(rows)).transpose(2, 1, 0))


def opened_columns(rows: Array, columns: Sequence[int]) -> Array:
    """Some columns (t, r) of the code words of rows (r, k), without the others."""
    k, places = rows.shape[1], np.array(columns, dtype=np.int64)
    into = np.empty((len(places), len(rows)), dtype=np.uint64)
    if fourier is None:
        into[:] = code_words(rows)[:, places].T
    else:
        known = (_back(k), _ahead(k), _shifts(k, RATE))
        fourier.open_columns(rows, *known, places, into)
    return into


def signed_row(values: NDArray[np.integer], into: Array) -> None:
    """Into (m,) = whole numbers (m,) as elements."""
    if kernels is not None:
        kernels.signed_row(values, into)
    else:
        into[:] = signed(values.astype(np.int64))


def look_up(table: Array, looked: NDArray[np.uint8], into: Array) -> None:
    """Into (m,) = table (256,) at bytes (m,)."""
    if kernels is not None:
        kernels.look_up(table, looked, into)
    else:
        into[:] = table[looked]


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


def add_lookups(total: Array, helpers: Array, looked: Array, held: Array, own: Array) -> None:
    """Add to total (d, m) sum over j of h_j (held_j - own_j v_j), products of the extension.

    ``helpers`` (j d, m) are the h, ``looked`` (j, m) the v, ``held`` and ``own`` (j, d).
    """
    if kernels is not None:
        kernels.add_lookups(total, helpers, looked, held, own)
        return
    d = len(total)
    for j, v in enumerate(looked):
        left = sub(held[j][:, None], mul(own[j][:, None], v))
        total[:] = add(total, ext_mul(helpers[j * d : (j + 1) * d], left))


def multiply(a: Array, b: Array) -> Array:
    """A b for arrays of one shape."""
    if kernels is None:
        return mul(a, b)
    into = np.empty(a.shape, dtype=np.uint64)
    kernels.multiply(a.ravel(), b.ravel(), into.ravel())
    return into


def _transformed(rows: Array, root: int) -> Array:
    size = rows.shape[1]
    rows, twiddles = rows[:, _reversed(size)], powers(root, max(1, size // 2))
    half = 1
    while half < size:
        blocks = rows.reshape(len(rows), -1, 2, half)
        moved = mul(blocks[:, :, 1], twiddles[:: size // (2 * half)])
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
def _ahead(size: int) -> Array:
    return powers(root_of_unity(size), size)


@cache
def _back(size: int) -> Array:
    return powers(pow(root_of_unity(size), -1, P), size)


@cache
def _shifts(size: int, cosets: int) -> Array:
    """Powers of each coset's shift, over the size: what is left of an inverse transform."""
    root, order, over = root_of_unity(cosets * size), _reversed(size), pow(size, -1, P)
    shifts = [GENERATOR * pow(root, c, P) % P for c in range(cosets)]
    return np.stack([powers(shift, size, over)[order] for shift in shifts])


@cache
def _reversed(size: int) -> NDArray[np.int64]:
    bits = size.bit_length() - 1
    places = np.arange(size)
    found = np.zeros(size, dtype=np.int64)
    for bit in range(bits):
        found |= ((places >> bit) & 1) << (bits - 1 - bit)
    return found
