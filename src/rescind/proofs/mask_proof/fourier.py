"""Transforms of rows, compiled by numba: ``transform`` says what they give, ``steps`` what with.

A row of a b numbers is a table of a lines: transforms of length a go over all its columns at once,
each number is turned, and transforms of length b go over the columns of the table on its side (the
four steps of D. Bailey, Journal of Supercomputing 4, 1990). So each loop runs over neighbours in
memory with one factor, and a row stays in the cache. The way back leaves lines in the order of
reversed bits, and the way ahead takes them so: nothing is put in order between them. In between
numbers may be p or more; what goes out is below.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rescind.proofs.mask_proof.kernels import (
    EPSILON,
    HALF,
    LOW,
    NONE,
    add_any,
    apart,
    below,
    compiled,
    inlined,
    mul,
    sub_any,
)
from rescind.proofs.mask_proof.tiles import lay

ONE = np.uint64(1)
OVER = np.uint64(pow(2, -64, 2**64 - 2**32 + 1))


@inlined
def _over(low: Any, high: Any) -> Any:
    """(low + 2^64 high) / 2^64, below p where high is: P. Montgomery's reduction (Mathematics of
    Computation 44, 1985), which takes fewer instructions than one without the division.
    """
    twice = low + (low << HALF)
    away = twice - (twice >> HALF) - (ONE if twice < low else NONE)
    return high - away - (EPSILON if high < away else NONE)


@inlined
def _by(a: Any, b: Any) -> Any:
    """A b / 2^64 for any word a and an element b; all factors here are times 2^64."""
    a0, a1, b0, b1 = a & LOW, a >> HALF, b & LOW, b >> HALF
    least = a0 * b0
    middle = a0 * b1 + (least >> HALF)
    other = a1 * b0 + (middle & LOW)
    high = a1 * b1 + (middle >> HALF) + (other >> HALF)
    return _over((other << HALF) | (least & LOW), high)


@inlined
def _turned(a: Any) -> Any:
    """-2^48 a = 2^16 a / 2^64: 2^48 is the root of order 4 that ``root_of_unity`` gives."""
    return _over(a << np.uint64(16), a >> np.uint64(48))


@apart
def _two(a: Any, b: Any) -> None:
    """The stage of neighbours, which is the same both ways."""
    for i in range(a.shape[0]):
        x, y = a[i], below(b[i])
        a[i], b[i] = add_any(x, y), sub_any(x, y)


@apart
def _three_ahead(a: Any, b: Any, c: Any, one: Any, two: Any, third: Any) -> None:
    for i in range(a.shape[0]):
        x, y, z = a[i], _by(b[i], one), _by(c[i], two)
        turned = _by(sub_any(y, z), third)
        a[i] = add_any(add_any(x, y), z)
        b[i], c[i] = add_any(sub_any(x, z), turned), sub_any(sub_any(x, y), turned)


@apart
def _three_back(a: Any, b: Any, c: Any, one: Any, two: Any, third: Any) -> None:
    for i in range(a.shape[0]):
        x, y, z = a[i], below(b[i]), below(c[i])
        turned = _by(sub_any(y, z), third)
        a[i] = add_any(add_any(x, y), z)
        b[i] = _by(add_any(sub_any(x, z), turned), one)
        c[i] = _by(sub_any(sub_any(x, y), turned), two)


@apart
def _four(a: Any, b: Any, c: Any, d: Any) -> None:
    """Two stages ahead without factors: what stands first in each part."""
    for i in range(a.shape[0]):
        x, y, z, w = a[i], below(b[i]), below(c[i]), below(d[i])
        even, odd = add_any(x, y), sub_any(x, y)
        both, turned = below(add_any(z, w)), _turned(sub_any(z, w))
        a[i], c[i] = add_any(even, both), sub_any(even, both)
        b[i], d[i] = sub_any(odd, turned), add_any(odd, turned)


@apart
def _four_ahead(a: Any, b: Any, c: Any, d: Any, one: Any, two: Any, three: Any) -> None:
    for i in range(a.shape[0]):
        x, y, z, w = a[i], _by(b[i], two), _by(c[i], one), _by(d[i], three)
        even, odd = add_any(x, y), sub_any(x, y)
        both, turned = below(add_any(z, w)), _turned(sub_any(z, w))
        a[i], c[i] = add_any(even, both), sub_any(even, both)
        b[i], d[i] = sub_any(odd, turned), add_any(odd, turned)


@apart
def _four_from(a: Any, b: Any, c: Any, d: Any) -> None:
    """Two stages back without factors."""
    for i in range(a.shape[0]):
        x, y, z, w = a[i], below(b[i]), below(c[i]), d[i]
        even, odd = add_any(x, z), sub_any(x, z)
        both, turned = below(add_any(w, y)), _turned(sub_any(w, y))
        a[i], b[i] = add_any(even, both), sub_any(even, both)
        c[i], d[i] = sub_any(odd, turned), add_any(odd, turned)


@apart
def _four_back(a: Any, b: Any, c: Any, d: Any, one: Any, two: Any, three: Any) -> None:
    for i in range(a.shape[0]):
        x, y, z, w = a[i], below(b[i]), below(c[i]), d[i]
        even, odd = add_any(x, z), sub_any(x, z)
        both, turned = below(add_any(w, y)), _turned(sub_any(w, y))
        a[i], b[i] = add_any(even, both), _by(sub_any(even, both), two)
        c[i], d[i] = _by(sub_any(odd, turned), one), _by(add_any(odd, turned), three)


@compiled
def _odd(size: int) -> bool:
    """Whether a power of two is an odd one."""
    while size > 2:
        size //= 4
    return size == 2


@compiled
def _part_ahead(m: Any, first: int, count: int, powers: Any, step: int) -> None:
    """Values from coefficients, of ``count`` lines, a power of two; powers[step] is their root."""
    quarter = 1
    if _odd(count):
        for p in range(first, first + count, 2):
            _two(m[p], m[p + 1])
        quarter = 2
    while quarter < count:
        q, by = quarter, step * (count // (4 * quarter))
        for start in range(first, first + count, 4 * q):
            _four(m[start], m[start + q], m[start + 2 * q], m[start + 3 * q])
            for j in range(1, q):
                p, one, two, three = (
                    start + j,
                    powers[j * by],
                    powers[2 * j * by],
                    powers[3 * j * by],
                )
                _four_ahead(m[p], m[p + q], m[p + 2 * q], m[p + 3 * q], one, two, three)
        quarter *= 4


@compiled
def _part_back(m: Any, first: int, count: int, powers: Any, step: int) -> None:
    """Coefficients times count from values; powers[step] is the inverse root."""
    quarter = count // 4
    while quarter > 0:
        q, by = quarter, step * (count // (4 * quarter))
        for start in range(first, first + count, 4 * q):
            _four_from(m[start], m[start + q], m[start + 2 * q], m[start + 3 * q])
            for j in range(1, q):
                p, one, two, three = (
                    start + j,
                    powers[j * by],
                    powers[2 * j * by],
                    powers[3 * j * by],
                )
                _four_back(m[p], m[p + q], m[p + 2 * q], m[p + 3 * q], one, two, three)
        quarter //= 4
    if _odd(count):
        for p in range(first, first + count, 2):
            _two(m[p], m[p + 1])


@compiled
def _lines_ahead(m: Any, powers: Any) -> None:
    """Of all columns: values, in order, of coefficients in the order of ``reversed_places``."""
    count = m.shape[0]
    if count % 3:
        _part_ahead(m, 0, count, powers, 1)
        return
    part = count // 3
    for s in range(3):
        _part_ahead(m, s * part, part, powers, 3)
    for j in range(part):
        one, two = powers[j], powers[2 * j]
        _three_ahead(m[j], m[j + part], m[j + 2 * part], one, two, powers[part])


@compiled
def _lines_back(m: Any, powers: Any) -> None:
    """The inverse, times the number of lines; ``powers`` are those of the inverse root."""
    count = m.shape[0]
    if count % 3:
        _part_back(m, 0, count, powers, 1)
        return
    part = count // 3
    for j in range(part):
        one, two = powers[j], powers[2 * j]
        _three_back(m[j], m[j + part], m[j + 2 * part], one, two, powers[part])
    for s in range(3):
        _part_back(m, s * part, part, powers, 3)


@apart
def _multiply(a: Any, b: Any, into: Any) -> None:
    for i in range(into.shape[0]):
        into[i] = _by(a[i], b[i])


@apart
def _multiply_by(a: Any, b: Any) -> None:
    """In place: the compiler makes no vectors of it where one array is given for two."""
    for i in range(a.shape[0]):
        a[i] = _by(a[i], b[i])


@apart
def _reduce(a: Any) -> None:
    for i in range(a.shape[0]):
        a[i] = below(a[i])


@compiled
def _on_its_side(m: Any, factors: Any, into: Any) -> None:
    """Into (b, a) = m (a, b) times the factors (a, b), which m is afterwards."""
    for i in range(m.shape[0]):
        _multiply_by(m[i], factors[i])
    lay(m, into)


@compiled
def back(row: Any, steps: Any, table: Any, into: Any) -> None:
    """Coefficients times k in the order of ``places``: ``into`` (b, a), from a row (k,).

    ``table`` (a, b) is room for what is in between.
    """
    for i in range(table.shape[0]):
        table[i] = row[i * table.shape[1] : (i + 1) * table.shape[1]]
    _lines_back(table, steps.down_a)
    _on_its_side(table, steps.turns_down, into)
    _lines_back(into, steps.down_b)


@compiled
def ahead(low: Any, factors: Any, steps: Any, table: Any, into: Any) -> None:
    """Values (a, b), in order, of coefficients (b, a) times factors (b, a); a table (b, a)."""
    for i in range(table.shape[0]):
        _multiply(low[i], factors[i], table[i])
    _lines_ahead(table, steps.up_b)
    _on_its_side(table, steps.turns_up, into)
    _lines_ahead(into, steps.up_a)
    for i in range(into.shape[0]):
        _reduce(into[i])


@compiled
def back_rows(rows: Any, steps: Any, into: Any) -> None:
    """Coefficients times k of rows (r, k): ``into`` (r, b, a), in the order of ``places``."""
    a, b = steps.turns_down.shape
    table = np.empty((a, b), dtype=np.uint64)
    for r in range(rows.shape[0]):
        back(rows[r], steps, table, into[r])
        for i in range(b):
            _reduce(into[r, i])


@compiled
def ahead_rows(low: Any, factors: Any, steps: Any, into: Any) -> None:
    """Values at one coset: ``into`` (r, k), from coefficients (r, b, a) times factors (b, a)."""
    a, b = steps.turns_down.shape
    table = np.empty((b, a), dtype=np.uint64)
    for r in range(low.shape[0]):
        ahead(low[r], factors, steps, table, into[r].reshape(a, b))


@compiled
def coset_rows(rows: Any, factors: Any, steps: Any, into: Any, first: int) -> None:
    """Values of the polynomials of rows (r, k) on cosets, by their factors (cosets, b, a): ``into``
    (cosets, first + r or more, k), from row ``first`` on.
    """
    a, b = steps.turns_down.shape
    table, other = np.empty((a, b), dtype=np.uint64), np.empty((b, a), dtype=np.uint64)
    low = np.empty((b, a), dtype=np.uint64)
    for r in range(rows.shape[0]):
        back(rows[r], steps, table, low)
        for c in range(factors.shape[0]):
            ahead(low, factors[c], steps, other, into[c, first + r].reshape(a, b))


@apart
def _halves(a: Any, b: Any) -> Any:
    """Four sums, of 2^32 each to the next, that together are the sum of products."""
    first, second = np.uint64(0), np.uint64(0)
    third, fourth = np.uint64(0), np.uint64(0)
    for i in range(a.shape[0]):
        x, y = a[i], b[i]
        a0, a1, b0, b1 = x & LOW, x >> HALF, y & LOW, y >> HALF
        low, middle, other, high = a0 * b0, a0 * b1, a1 * b0, a1 * b1
        first = first + (low & LOW)
        second = second + ((low >> HALF) + (middle & LOW) + (other & LOW))
        third = third + ((middle >> HALF) + (other >> HALF) + (high & LOW))
        fourth = fourth + (high >> HALF)
    return first, second, third, fourth


@compiled
def _dot(a: Any, b: Any) -> Any:
    """The sum of products over 2^64, as ``_by`` gives each."""
    first, second, third, fourth = _halves(a, b)
    low = add_any(below(first), mul(second, ONE << HALF))
    high = add_any(below(third), mul(fourth, ONE << HALF))
    return below(add_any(high, mul(low, OVER)))


@compiled
def open_rows(rows: Any, factors: Any, steps: Any, columns: Any, turns: Any, into: Any) -> None:
    """Some columns (t,) of code words only: ``into`` (t, r).

    Only the first of the two transforms is whole; of the second each column is a sum of a numbers
    times its own ``turns`` (t, a).
    """
    a, b = steps.turns_down.shape
    cosets = factors.shape[0]
    table, other = np.empty((a, b), dtype=np.uint64), np.empty((b, a), dtype=np.uint64)
    low = np.empty((b, a), dtype=np.uint64)
    for r in range(rows.shape[0]):
        back(rows[r], steps, table, low)
        for c in range(cosets):
            for i in range(b):
                _multiply(low[i], factors[c, i], other[i])
            _lines_ahead(other, steps.up_b)
            for t in range(columns.shape[0]):
                if columns[t] % cosets == c:
                    into[t, r] = _dot(other[columns[t] // cosets % b], turns[t])
