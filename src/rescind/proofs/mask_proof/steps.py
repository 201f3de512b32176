"""What the transforms of a row multiply with, made once for each size: roots, turns, and order.

All factors are times 2^64, as ``fourier`` takes them.

A size is a power of two or three times one: p - 1 is 2^32 times 3 and other primes, so that roots
of unity of these orders are there.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rescind.proofs.mask_proof.field import GENERATOR, Array, P, powers, root_of_unity

TIMES = 2**64 % P
Places = NDArray[np.int64]


class Steps(NamedTuple):
    """Of rows of a b numbers: powers of the roots of order a and b, ahead and back, and what each
    number is turned by between the two transforms, ahead (b, a) and back (a, b).
    """

    up_a: Array
    up_b: Array
    down_a: Array
    down_b: Array
    turns_up: Array
    turns_down: Array


def fits(size: int) -> bool:
    """Whether it is a power of two or three times one."""
    part = size // 3 if size % 3 == 0 else size
    return part > 0 and part & (part - 1) == 0


def sides(size: int) -> tuple[int, int]:
    """A and b: both near the root, and a factor 3 in a."""
    if size % 3 == 0:
        a = 3 * 2 ** ((size // 3).bit_length() // 2 - 1)
    else:
        a = 2 ** ((size.bit_length() - 1) // 2)
    return a, size // a


@cache
def steps_of(size: int) -> Steps:
    """For rows of that size."""
    a, b = sides(size)
    root = root_of_unity(size)
    of_a = reversed_places(a)
    exponents = np.arange(b, dtype=np.int64)[:, None] * of_a
    up, down = (powers(each, size, TIMES) for each in (root, pow(root, -1, P)))
    return Steps(
        up_a=np.ascontiguousarray(up[::b]),
        up_b=np.ascontiguousarray(up[::a]),
        down_a=np.ascontiguousarray(down[::b]),
        down_b=np.ascontiguousarray(down[::a]),
        turns_up=up[exponents],
        turns_down=np.ascontiguousarray(down[exponents].T),
    )


@cache
def reversed_places(count: int) -> Places:
    """Which coefficient each line has: bits reversed; of three parts each has those of one rest."""
    if count % 3 == 0:
        part = reversed_places(count // 3)
        return np.concatenate([3 * part + s for s in range(3)])
    bits, places = count.bit_length() - 1, np.arange(count)
    found = np.zeros(count, dtype=np.int64)
    for bit in range(bits):
        found |= ((places >> bit) & 1) << (bits - 1 - bit)
    return found


@cache
def places(size: int) -> Places:
    """Which coefficient stands where after the way back, (b, a)."""
    a, b = sides(size)
    return np.ascontiguousarray(a * reversed_places(b)[:, None] + reversed_places(a))


@cache
def shifts(size: int, cosets: int) -> Array:
    """Powers of each coset's shift, over the size, in the order of ``places``: (cosets, b, a)."""
    root, over = root_of_unity(cosets * size), pow(size, -1, P)
    order = places(size)
    all_ = (GENERATOR * pow(root, c, P) % P for c in range(cosets))
    return np.stack([powers(shift, size, over * TIMES)[order] for shift in all_])


@lru_cache(maxsize=2)  # of one proof, for each batch of rows again
def turns_of(size: int, columns: tuple[int, ...]) -> Array:
    """What a column of a coset sums a line by: (columns, a), of places below ``size``."""
    a, _ = sides(size)
    up = powers(root_of_unity(size), size, TIMES)
    return up[np.array(columns)[:, None] * reversed_places(a) % size]
