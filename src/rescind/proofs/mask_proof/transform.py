"""Rows as polynomials: values on a group, coefficients, and a code word on a coset four times as
long. The loops are numba's where it is installed, else numpy's; both give the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from rescind.proofs.mask_proof.steps import (
    TIMES,
    places,
    reversed_places,
    shifts,
    steps_of,
    turns_of,
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
        size: a power of two, or three times one.
        shift: 1, or the generator for the coset that code words lie on.
    """
    rows = np.zeros((len(coefficients), size), dtype=np.uint64)
    rows[:, : coefficients.shape[1]] = coefficients
    if fourier is None:
        rows = mul(rows, powers(shift, size))
        return _transformed(rows, root_of_unity(size))
    order, into = places(size), np.empty(rows.shape, dtype=np.uint64)
    fourier.ahead_rows(rows[:, order], powers(shift, size, TIMES)[order], steps_of(size), into)
    return into


def coefficients_of(values: Array, shift: int = 1) -> Array:
    """The inverse of ``values_of`` for as many coefficients as values."""
    size = values.shape[1]
    if fourier is None:
        rows = _transformed(values, pow(root_of_unity(size), -1, P))
    else:
        order = places(size)
        low = np.empty((len(values), *order.shape), dtype=np.uint64)
        fourier.back_rows(values, steps_of(size), low)
        rows = np.empty(values.shape, dtype=np.uint64)
        rows[:, order.ravel()] = low.reshape(rows.shape)
    _scale(rows, powers(pow(shift, -1, P), size, pow(size, -1, P)))
    return rows


def code_words(rows: Array, size: int | None = None) -> Array:
    """Code words (r, 4 k) of rows (r, k); with ``size`` at every so many-th place of them only."""
    n, k = RATE * rows.shape[1] if size is None else size, rows.shape[1]
    into = np.empty((n // k, len(rows), k), dtype=np.uint64)
    code_cosets(rows, into)
    return np.ascontiguousarray(into.transpose(1, 2, 0)).reshape(len(rows), n)


def code_cosets(rows: Array, into: Array, first: int = 0) -> None:
    """Into (cosets, r, k), from row ``first`` on: the code words of rows (r, k), number j of them
    at j % cosets, j // cosets; at every so many-th place where there are fewer than ``RATE``.
    """
    k, cosets = rows.shape[1], len(into)
    if fourier is None:
        words = values_of(coefficients_of(rows), cosets * k, GENERATOR)
        into[:, first : first + len(rows)] = words.reshape(-1, k, cosets).transpose(2, 0, 1)
    else:
        fourier.coset_rows(rows, shifts(k, cosets), steps_of(k), into, first)


def opened_columns(rows: Array, columns: Sequence[int]) -> Array:
    """Some columns (t, r) of the code words of rows (r, k), without the others."""
    k, chosen = rows.shape[1], np.array(columns, dtype=np.int64)
    if fourier is None:
        return np.ascontiguousarray(code_words(rows)[:, chosen].T)
    into = np.empty((len(chosen), len(rows)), dtype=np.uint64)
    turns = turns_of(k, tuple(chosen // RATE))
    fourier.open_rows(rows, shifts(k, RATE), steps_of(k), chosen, turns, into)
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
    if size % 3 == 0:
        return _of_thirds([_transformed(rows[:, s::3], pow(root, 3, P)) for s in range(3)], root)
    rows, twiddles = rows[:, reversed_places(size)], powers(root, max(1, size // 2))
    half = 1
    while half < size:
        blocks = rows.reshape(len(rows), -1, 2, half)
        moved = mul(blocks[:, :, 1], twiddles[:: size // (2 * half)])
        first = blocks[:, :, 0].copy()
        blocks[:, :, 0], blocks[:, :, 1] = add(first, moved), sub(first, moved)
        half *= 2
    return rows


def _of_thirds(parts: list[Array], root: int) -> Array:
    """Values of a + x b + x^2 c from those of a, b and c at the third powers."""
    size = 3 * parts[0].shape[1]
    first, *others = (np.concatenate([part] * 3, 1) for part in parts)
    for power, each in enumerate(others, 1):
        first = add(first, mul(each, powers(pow(root, power, P), size)))
    return first


def _scale(rows: Array, factors: Array) -> None:
    if kernels is not None:
        kernels.scale_rows(rows, factors)
    else:
        rows[:] = mul(rows, factors)
