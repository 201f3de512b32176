"""Who knows the secret, and asks of many views whether a prover or the simulator made them.

To know the secret is to know the pads: the opened columns of a row are one to one with the random
numbers at its end. With all rows known, p, q and r without their masks can be worked out at any
column, and what is left are the masks. All of these must be even and share nothing.

Each number is put into one of 17 cells, by its size and by its residue, and the two samples are
compared by chi squared with 16 degrees of freedom.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from math import exp

import numpy as np
from mask_simulator import Challenged, Unmasked, View, places
from mask_worlds import World
from numpy.typing import NDArray

from rescind.proofs.mask_proof.field import GENERATOR, Array, P, add, mul, sub
from rescind.proofs.mask_proof.transform import code_words, coefficients_of, values_of

CELLS = 17
MORE = 2  # columns that are not opened, at which masks are worked out
Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Insider:
    """What all views are read with.

    ``lanes`` are the secret rows (rows, lanes); ``known`` (rows, columns) what they alone give at
    the opened columns and then at ``MORE`` others; ``of_pads`` (pads, columns) what each pad adds;
    ``back`` (columns, pads) its inverse.
    """

    made: World
    given: Challenged
    more: list[int]
    known: Array
    of_pads: Array
    back: Array
    unmasked: Unmasked


def insider(made: World, given: Challenged, every: View) -> Insider:
    """From a view in which columns 0, 4, 8, ... were opened, which show everything."""
    s = made.statement
    rows = every.numbers[:, : -3 * s.degree].T
    known = values_of(coefficients_of(np.ascontiguousarray(rows), GENERATOR), s.size)
    known[:, s.lanes :] = 0
    ends = np.eye(s.size, dtype=np.uint64)[s.lanes :]
    more = [c for c in range(s.columns) if c not in given.columns][:MORE]
    columns = [*given.columns, *more]
    of_pads = code_words(ends)[:, columns]
    back = inverse(of_pads[:, : s.opened].tolist())
    unmasked = Unmasked(made, given, more)
    return Insider(made, given, more, code_words(known)[:, columns], of_pads, back, unmasked)


def inverse(matrix: list[list[int]]) -> Array:
    """Modulo p, by elimination."""
    n = len(matrix)
    rows = [[*row, *(int(i == j) for j in range(n))] for i, row in enumerate(matrix)]
    for i in range(n):
        pivot = next(r for r in range(i, n) if rows[r][i])
        rows[i], rows[pivot] = rows[pivot], rows[i]
        scale = pow(rows[i][i], -1, P)
        rows[i] = [x * scale % P for x in rows[i]]
        for r in range(n):
            if r != i:
                factor = rows[r][i]
                rows[r] = [(a - factor * b) % P for a, b in zip(rows[r], rows[i], strict=True)]
    return np.array([row[n:] for row in rows], dtype=np.uint64)


def product(left: Array, right: Array) -> Array:
    """(..., n) times (n, m), modulo p."""
    total = np.zeros((*left.shape[:-1], right.shape[1]), dtype=np.uint64)
    for i, row in enumerate(right):
        total = add(total, mul(left[..., i : i + 1], row))
    return total


def families(own: Insider, views: list[View]) -> Iterator[tuple[str, Counts]]:
    """Named samples: how many of the views fall into each cell (cells, numbers)."""
    s = own.made.statement
    numbers = np.stack([v.numbers for v in views])
    yield from _each("opened numbers", numbers)
    sent = {name: np.stack([getattr(v, name) for v in views]) for name in "pqr"}
    for name, rows in sent.items():
        yield from _each(f"coefficients of {name}", rows)
    shown = sub(numbers[..., : -3 * s.degree].transpose(0, 2, 1), own.known[:, : s.opened])
    pads = product(shown, own.back)  # (views, rows, pads)
    yield from _each("pads", pads)
    for row in range(pads.shape[1] - 1):
        yield from _pair("two rows", pads[:, row + 1 :], pads[:, row : row + 1])
    for i, j in combinations(range(s.opened), 2):
        yield from _pair("two pads of a row", pads[:, :, i], pads[:, :, j])
    yield from _masks(own, numbers, pads, sent)


def _masks(
    own: Insider, numbers: Array, pads: Array, sent: dict[str, Array]
) -> Iterator[tuple[str, Counts]]:
    """Of the masks (views, d, columns) at opened columns and at others."""
    s = own.made.statement
    rows = add(product(pads, own.of_pads[:, s.opened :]), own.known[:, s.opened :])
    nothing = np.zeros((3 * s.degree, MORE), dtype=np.uint64)
    bare = [
        [own.unmasked.at(i, np.concatenate([one, nothing])[:, i]) for i in range(MORE)]
        for one in rows
    ]
    for which, name in enumerate("pqr"):
        end = (which - 3) * s.degree
        opened = numbers[..., end : end + s.degree or None].transpose(0, 2, 1)
        whole = values_of(sent[name].reshape(-1, sent[name].shape[-1]), s.columns, GENERATOR)
        there = whole[:, own.more].reshape(len(rows), s.degree, MORE)
        left = sub(there, np.array(bare)[:, :, which].transpose(0, 2, 1))
        yield from _each(f"mask of {name}", left)
        over = 0 if name == "p" else s.size
        yield from _each(f"mask of {name} foretold", sub(left, foretold(own, opened, over)))
        both = np.concatenate([opened, left], 2).reshape(len(rows), -1)
        for i in range(both.shape[1] - 1):
            yield from _pair(f"mask of {name}", both[:, i + 1 :], both[:, i : i + 1])


def foretold(own: Insider, opened: Array, over: int) -> Array:
    """What a mask (..., columns) would be elsewhere if it had no more random numbers than columns
    are opened: the polynomial of least degree through them, times x^over - 1 if ``over`` is not 0.
    """
    s = own.made.statement
    xs, others = places(s, own.given.columns), places(s, own.more)
    factors = {x: pow(x, over, P) - 1 if over else 1 for x in (*xs, *others)}
    matrix = [[factors[c] for c in others] for _ in xs]
    for row, x in enumerate(xs):
        for column, c in enumerate(others):
            for other in set(xs) - {x}:
                matrix[row][column] *= (c - other) * pow(x - other, -1, P)
            matrix[row][column] *= pow(factors[x], -1, P)
    return product(opened, np.array([[m % P for m in row] for row in matrix], dtype=np.uint64))


def _each(name: str, numbers: Array) -> Iterator[tuple[str, Counts]]:
    flat = numbers.reshape(len(numbers), -1)
    yield name, _counted(_sizes(flat))
    yield name, _counted((flat % np.uint64(CELLS)).astype(np.int64))


def _pair(name: str, ones: Array, others: Array) -> Iterator[tuple[str, Counts]]:
    for found in (sub(ones, others + np.zeros_like(ones)), add(ones, others + np.zeros_like(ones))):
        yield name, _counted(_sizes(found.reshape(len(found), -1)))


def _sizes(numbers: Array) -> NDArray[np.int64]:
    """Which of 17 parts of the field."""
    return ((numbers >> np.uint64(32)) * np.uint64(CELLS) >> np.uint64(32)).astype(np.int64)


def _counted(cells: NDArray[np.int64]) -> Counts:
    width = cells.shape[1]
    places = (cells * width + np.arange(width)).ravel()
    return np.bincount(places, minlength=CELLS * width).reshape(CELLS, width)


def told_apart(one: list[tuple[str, Counts]], other: list[tuple[str, Counts]]) -> dict[str, float]:
    """For each family the chance that numbers of one kind differ so much anywhere in all families:
    the smallest p-value of its numbers, times how many are compared (Bonferroni).
    """
    largest, compared = dict[str, float](), 0
    for (name, a), (_, b) in zip(one, other, strict=True):
        both = np.maximum(a + b, 1)
        # with as many views on both sides each cell is expected to hold half of both
        found = ((a - b) ** 2 / both).sum(0)
        largest[name] = max(largest.get(name, 0.0), float(found.max()))
        compared += a.shape[1]
    return {name: min(1.0, compared * tail(found)) for name, found in largest.items()}


def tail(chi: float) -> float:
    """The chance of more than ``chi`` with 16 degrees of freedom, which has a closed form."""
    half, term, total = chi / 2, 1.0, 0.0
    for i in range((CELLS - 1) // 2):
        total, term = total + term, term * half / (i + 1)
    return exp(-half) * total
