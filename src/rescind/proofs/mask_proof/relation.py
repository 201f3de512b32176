"""The equations of a stack as one polynomial: all of them, times random numbers, summed.

The functions work on values of rows at any places: the prover's at twice as many as a row has
numbers, the verifier's at the opened columns. In each lane, for each place i of its block:

    m_i w'_i = 0,  (f_i - m_i) D_i = 0,  D = w' - w,
    dN D_i + sum_k G_ki s_k - c g_i - e_i - f_i lambda_i = 0,  s_k = sum_i G_ki D_i,

with m the mask, f what the equation need not hold for (masked, untouched or excepted), and e the
residual from its bytes. Every byte v has a helper h with h (X - v) = 1 (LogUp, U. Haböck, eprint
2022/1530, in each lane by itself): the sum of h is that over the 256 bytes t of n_t / (X - t). Last
y = sum_i g_i D_i - slack, whose sum over a tensor is its floor.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from rescind.proofs.mask_proof.field import (
    Array,
    P,
    add,
    element,
    ext_inverses,
    ext_mul,
    mul,
    sub,
)
from rescind.proofs.mask_proof.layout import BYTES, SLACK, Layout
from rescind.proofs.mask_proof.transform import (
    add_combination,
    add_lookups,
    add_products,
    multiply,
)

BYTE_OFFSET = 128  # what makes G a byte without a sign


@dataclass(frozen=True, slots=True, eq=False)
class PlaceRows:
    """Values (r, m) of the rows of one place; single rows are (m,)."""

    weights: Array
    gradients: Array
    post: Array
    aux: Array
    helpers: Array


@dataclass(frozen=True, slots=True, eq=False)
class PublicRows:
    """Values (m,) at one place of mask, freedom and g."""

    mask: Array
    free: Array
    direction: Array


@dataclass(frozen=True, slots=True, eq=False)
class LaneRows:
    """Values (m,) of dN and of c, the same at all places of a block."""

    damping: Array
    pull: Array


@dataclass(frozen=True, slots=True, eq=False)
class Challenge:
    """X (d,), and the numbers (constraints, d) of a stack in the order of use."""

    point: Array
    factors: Array


def looked_up(layout: Layout, rows: PlaceRows) -> Array:
    """The bytes (j, m) that are looked up for one place, as the rows give them."""
    low = layout.value_bytes - 1
    of_w, of_change, bytes_ = rows.aux[:low], rows.aux[low : 2 * low], rows.aux[2 * low : -1]
    change = sub(rows.post, rows.weights)
    found = [*of_w, _highest(layout, rows.weights, of_w)]
    found += [*of_change, _highest(layout, change, of_change), *bytes_]
    if layout.partial:
        found.append(mul(bytes_[-1], np.uint64(2 ** (8 - layout.partial))))
    return np.stack([*found, *add(rows.gradients, np.uint64(BYTE_OFFSET))])


def _highest(layout: Layout, value: Array, lower: Array) -> Array:
    """What is left of value + offset without its lower bytes, over 256 to the number of these."""
    left = sub(add(value, np.uint64(layout.offset)), _from_bytes(lower))
    return mul(left, element(pow(BYTES, -len(lower), P)))


def add_place(
    total: Array,
    layout: Layout,
    i: int,
    rows: PlaceRows,
    public: PublicRows,
    lanes: LaneRows,
    seen: Array,
    challenge: Challenge,
) -> None:
    """Add to total (d, m) the equations of place i; ``seen`` (n, m) are the s_k."""
    factors, change = challenge.factors, sub(rows.post, rows.weights)
    own = factors[i * (3 + layout.looked_place) :][: 3 + layout.looked_place]
    rest = factors[layout.block * (3 + layout.looked_place) :]
    zero = multiply(public.mask, rows.post)
    same = multiply(sub(public.free, public.mask), change)
    kkt = multiply(lanes.damping, change)
    add_products(kkt, rows.gradients, seen)
    kkt = add(kkt, element(2 ** (layout.residual_bits - 1)))
    kkt = sub(kkt, multiply(lanes.pull, public.direction))
    kkt = sub(kkt, _from_bytes(rows.aux[2 * (layout.value_bytes - 1) : -1]))
    kkt = sub(kkt, multiply(public.free, rows.aux[-1]))
    pulled = multiply(public.direction, change)
    add_combination(
        total, np.stack([zero, same, kkt, pulled]), np.stack([*own[:3], rest[layout.sketches + 1]])
    )
    drawn = np.zeros_like(total)
    add_combination(drawn, rows.gradients, rest[: layout.sketches])
    for c in range(layout.degree):
        total[c] = sub(total[c], multiply(drawn[c], change))
    _add_lookups(
        total, looked_up(layout, rows), rows.helpers, own[3:], challenge, rest[layout.sketches]
    )


def add_rest(
    total: Array, layout: Layout, aux: Array, helpers: Array, challenge: Challenge
) -> None:
    """Add to total (d, m) what a stack has after its places: ``aux`` (r, m), ``helpers`` (r, m)."""
    n = layout.sketches
    counts, last = aux[n : n + BYTES], aux[n + BYTES :]
    add_combination(total, aux[:n], seen_factors(layout, challenge))
    add_combination(total, counts, count_factors(layout, challenge))
    add_slack(total, layout, last, helpers, challenge)


def seen_factors(layout: Layout, challenge: Challenge) -> Array:
    """What the rows of <G_k, D> are multiplied with, (sketches, d)."""
    return _rest(layout, challenge)[: layout.sketches]


def count_factors(layout: Layout, challenge: Challenge) -> Array:
    """What the rows of counts are multiplied with, (256, d): the table's side of the lookups."""
    sum_ = _rest(layout, challenge)[layout.sketches]
    table = ext_mul(helper_table(challenge.point), sum_[:, None])
    return sub(np.zeros_like(table), table).T


def add_slack(
    total: Array, layout: Layout, last: Array, helpers: Array, challenge: Challenge
) -> None:
    """Add to total (d, m) the floor's sum and the bytes of its slack, ``last`` (1 + 7, m)."""
    rest, n = _rest(layout, challenge), layout.sketches
    floor = np.stack([add(last[0], _from_bytes(last[1:]))])
    add_combination(total, floor, sub(np.zeros_like(rest[n + 1]), rest[n + 1])[None])
    _add_lookups(total, last[1:], helpers, rest[n + 2 :][:SLACK], challenge, rest[n])


def _rest(layout: Layout, challenge: Challenge) -> Array:
    """The factors of a stack's equations after those of its places."""
    return challenge.factors[layout.block * (3 + layout.looked_place) :]


def _add_lookups(
    total: Array, looked: Array, helpers: Array, own: Array, challenge: Challenge, sum_: Array
) -> None:
    """Add to total sum over j of own[j] (h_j (X - v_j) - 1) + sum_ h_j, in the extension."""
    held = add(ext_mul(own.T, challenge.point[:, None]), sum_[:, None]).T
    add_lookups(total, helpers, looked, np.ascontiguousarray(held), np.ascontiguousarray(own))
    for c in range(len(total)):
        one = sum(int(x) for x in own[:, c]) % P
        total[c] = sub(total[c], np.uint64(one))


def helper_table(point: Array) -> Array:
    """1 / (X - t) for each byte t, (d, 256).

    Raises:
        ZeroDivisionError: X is a byte, which no honest challenge ever is.
    """
    return _inverses(tuple(int(x) for x in point))


@lru_cache(maxsize=2)  # of one proof, for each stack again
def _inverses(point: tuple[int, ...]) -> Array:
    first, *others = point
    found = ext_inverses([((first - t) % P, *others) for t in range(BYTES)])
    return np.ascontiguousarray(np.array(found, dtype=np.uint64).T)


def _from_bytes(rows: Array) -> Array:
    """The sum of 256^l rows[l]."""
    total: Array = rows[0]
    for place, row in enumerate(rows[1:], 1):
        total = add(total, mul(row, np.uint64(BYTES**place)))
    return total
