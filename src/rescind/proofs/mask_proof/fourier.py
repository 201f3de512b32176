"""Transforms of many rows side by side, compiled by numba: ``transform`` says what they give.

Numbers of as many rows as ``WIDE`` lie beside each other, so that one instruction does several. Two
stages are done at once, and a part is finished before the next is begun: what is at work stays in
the cache. The way back takes numbers in their order and leaves them in that of reversed bits, and
the way ahead takes them so: nothing is put in order between them. In between numbers may be p or
more; what goes out is below.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rescind.proofs.mask_proof.kernels import (
    add_any,
    apart,
    below,
    compiled,
    inlined,
    mul,
    reduced,
    sub_any,
)

WIDE = 16  # rows side by side
PART = 256  # numbers of each of them that are finished before the next


@inlined
def _turned(a: Any) -> Any:
    """2^48 a: 2^48 is the root of order 4 that ``root_of_unity`` gives."""
    return reduced(a << np.uint64(48), a >> np.uint64(16))


@apart
def _two(flat: Any, place: int) -> None:
    """The stage of neighbours, which is the same both ways."""
    a, b = flat[place : place + WIDE], flat[place + WIDE : place + 2 * WIDE]
    for r in range(WIDE):
        x, y = a[r], below(b[r])
        a[r], b[r] = add_any(x, y), sub_any(x, y)


@apart
def _four_ahead(flat: Any, place: int, gap: int, one: Any, two: Any, three: Any) -> None:
    a, b = flat[place : place + WIDE], flat[place + gap : place + gap + WIDE]
    third, fourth = place + 2 * gap, place + 3 * gap
    c, d = flat[third : third + WIDE], flat[fourth : fourth + WIDE]
    for r in range(WIDE):
        x, y, z, w = a[r], mul(b[r], two), mul(c[r], one), mul(d[r], three)
        even, odd = add_any(x, y), sub_any(x, y)
        both, turned = below(add_any(z, w)), _turned(sub_any(z, w))
        a[r], c[r] = add_any(even, both), sub_any(even, both)
        b[r], d[r] = add_any(odd, turned), sub_any(odd, turned)


@apart
def _four_back(flat: Any, place: int, gap: int, one: Any, two: Any, three: Any) -> None:
    a, b = flat[place : place + WIDE], flat[place + gap : place + gap + WIDE]
    third, fourth = place + 2 * gap, place + 3 * gap
    c, d = flat[third : third + WIDE], flat[fourth : fourth + WIDE]
    for r in range(WIDE):
        x, y, z, w = a[r], below(b[r]), below(c[r]), d[r]
        even, odd = add_any(x, z), sub_any(x, z)
        both, turned = below(add_any(w, y)), _turned(sub_any(w, y))
        a[r], b[r] = add_any(even, both), mul(sub_any(even, both), two)
        c[r], d[r] = mul(add_any(odd, turned), one), mul(sub_any(odd, turned), three)


@compiled
def _join(flat: Any, first: int, quarter: int, powers: Any) -> None:
    """Two stages ahead of the 4 quarter numbers from ``first``."""
    step = powers.shape[0] // (4 * quarter)
    for j in range(quarter):
        one, two, three = powers[j * step], powers[2 * j * step], powers[3 * j * step]
        _four_ahead(flat, (first + j) * WIDE, quarter * WIDE, one, two, three)


@compiled
def _split(flat: Any, first: int, quarter: int, powers: Any) -> None:
    """Two stages back of the 4 quarter numbers from ``first``."""
    step = powers.shape[0] // (4 * quarter)
    for j in range(quarter):
        one, two, three = powers[j * step], powers[2 * j * step], powers[3 * j * step]
        _four_back(flat, (first + j) * WIDE, quarter * WIDE, one, two, three)


@compiled
def _part(size: int) -> int:
    while size > PART:
        size //= 4
    return size


@compiled
def _ahead_part(flat: Any, first: int, size: int, powers: Any) -> None:
    quarter = 1
    if _odd(size):
        for place in range(first, first + size, 2):
            _two(flat, place * WIDE)
        quarter = 2
    while quarter < size:
        for start in range(first, first + size, 4 * quarter):
            _join(flat, start, quarter, powers)
        quarter *= 4


@compiled
def _back_part(flat: Any, first: int, size: int, powers: Any) -> None:
    quarter = size // 4
    while quarter > 0:
        for start in range(first, first + size, 4 * quarter):
            _split(flat, start, quarter, powers)
        quarter //= 4
    if _odd(size):
        for place in range(first, first + size, 2):
            _two(flat, place * WIDE)


@compiled
def _odd(size: int) -> bool:
    """Whether a power of two is an odd one."""
    while size > 2:
        size //= 4
    return size == 2


@compiled
def _ahead(flat: Any, size: int, powers: Any) -> None:
    """Values from coefficients, in place; ``powers`` (size,) of a root of that order."""
    part = _part(size)
    for block in range(size // part):
        _ahead_part(flat, block * part, part, powers)
        done, quarter = block + 1, part
        while done % 4 == 0:
            _join(flat, (block + 1) * part - 4 * quarter, quarter, powers)
            done, quarter = done // 4, 4 * quarter


@compiled
def _back(flat: Any, size: int, powers: Any) -> None:
    """Coefficients times size from values, in place; ``powers`` of the inverse root."""
    part = _part(size)
    for block in range(size // part):
        whole = size
        while whole > part:
            if block * part % whole == 0:
                _split(flat, block * part, whole // 4, powers)
            whole //= 4
        _back_part(flat, block * part, part, powers)


@compiled
def _take(rows: Any, first: int, flat: Any) -> int:
    """Rows from ``first`` side by side; how many there were."""
    count: int = min(WIDE, rows.shape[0] - first)
    for i in range(rows.shape[1]):
        for r in range(count):
            flat[i * WIDE + r] = rows[first + r, i]
    return count


@apart
def _scaled(numbers: Any, factors: Any, into: Any) -> None:
    for i in range(factors.shape[0]):
        factor = factors[i]
        for place in range(i * WIDE, (i + 1) * WIDE):
            into[place] = mul(numbers[place], factor)


@apart
def _add_scaled(a: Any, factor: Any, total: Any) -> None:
    for r in range(WIDE):
        total[r] = below(add_any(total[r], mul(a[r], factor)))


@compiled
def ahead_rows(rows: Any, powers: Any, order: Any, into: Any) -> None:
    """Values of each row (k,) of coefficients at the powers of a root of order k: ``into`` (r, k).

    ``order`` (k,) are the places with reversed bits.
    """
    k, flat = rows.shape[1], np.zeros(rows.shape[1] * WIDE, dtype=np.uint64)
    for first in range(0, rows.shape[0], WIDE):
        count = min(WIDE, rows.shape[0] - first)
        for i in range(k):
            for r in range(count):
                flat[order[i] * WIDE + r] = rows[first + r, i]
        _ahead(flat, k, powers)
        for i in range(k):
            for r in range(count):
                into[first + r, i] = below(flat[i * WIDE + r])


@compiled
def back_rows(rows: Any, powers: Any, order: Any, into: Any) -> None:
    """The inverse, times k; ``powers`` are those of the inverse root."""
    k, flat = rows.shape[1], np.zeros(rows.shape[1] * WIDE, dtype=np.uint64)
    for first in range(0, rows.shape[0], WIDE):
        count = _take(rows, first, flat)
        _back(flat, k, powers)
        for i in range(k):
            for r in range(count):
                into[first + r, i] = below(flat[order[i] * WIDE + r])


@compiled
def encode_rows(rows: Any, back: Any, ahead: Any, factors: Any, into: Any) -> None:
    """Values of the polynomials of rows (r, k) on several cosets: ``into`` (r, cosets, k).

    ``back`` and ``ahead`` (k,) are powers of the roots, ``factors`` (cosets, k) those of each
    coset's shift over k, in the order of reversed bits.
    """
    k = rows.shape[1]
    low, flat = np.zeros(k * WIDE, dtype=np.uint64), np.zeros(k * WIDE, dtype=np.uint64)
    for first in range(0, rows.shape[0], WIDE):
        count = _take(rows, first, low)
        _back(low, k, back)
        for c in range(factors.shape[0]):
            _scaled(low, factors[c], flat)
            _ahead(flat, k, ahead)
            for i in range(k):
                for r in range(count):
                    into[first + r, c, i] = below(flat[i * WIDE + r])


@compiled
def _reversed(count: int) -> Any:
    found = np.zeros(count, dtype=np.int64)
    half = 1
    while half < count:
        found[half : 2 * half] = found[:half] + count // (2 * half)
        half *= 2
    return found


@compiled
def open_columns(rows: Any, back: Any, ahead: Any, factors: Any, columns: Any, into: Any) -> None:
    """Some columns (t,) of code words only: ``into`` (t, r).

    All parts are transformed as far as they are apart, and the stages that join them are sums for
    the columns that are asked for: with ``parts`` parts, part b has the coefficients whose number
    modulo ``parts`` is b with its bits reversed.
    """
    k, cosets = rows.shape[1], factors.shape[0]
    part = _part(k)
    parts = k // part
    own, order = ahead[::parts].copy(), _reversed(parts)
    low, flat = np.zeros(k * WIDE, dtype=np.uint64), np.zeros(part * WIDE, dtype=np.uint64)
    total = np.zeros((columns.shape[0], WIDE), dtype=np.uint64)
    for first in range(0, rows.shape[0], WIDE):
        count = _take(rows, first, low)
        _back(low, k, back)
        total[:] = np.uint64(0)
        for c in range(cosets):
            for b in range(parts):
                start = b * part
                _scaled(low[start * WIDE :], factors[c, start : start + part], flat)
                _ahead_part(flat, 0, part, own)
                for t in range(columns.shape[0]):
                    if columns[t] % cosets == c:
                        i = columns[t] // cosets
                        place = i % part * WIDE
                        turn = ahead[i * order[b] % k]
                        _add_scaled(flat[place : place + WIDE], turn, total[t])
        for t in range(columns.shape[0]):
            into[t, first : first + count] = total[t, :count]
