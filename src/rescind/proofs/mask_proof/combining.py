"""The sums of a stack's rows and equations, at the places where the prover needs them.

p is wanted at the places of rows; r there and on a coset of as many; and q, of degree below 2 k, is
0 in every lane, so that its values on the coset and at the ends of rows, where random numbers
stand, say all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from rescind.proofs.mask_proof.challenges import Factors
from rescind.proofs.mask_proof.field import Array, add
from rescind.proofs.mask_proof.layout import BYTES, SLACK, TREES, layout_of
from rescind.proofs.mask_proof.leaves import AT_ONCE
from rescind.proofs.mask_proof.padded import Padding, Row
from rescind.proofs.mask_proof.relation import (
    Challenge,
    LaneRows,
    PlaceRows,
    PublicRows,
    add_place,
    add_slack,
    count_factors,
    seen_factors,
)
from rescind.proofs.mask_proof.rows import Lanes
from rescind.proofs.mask_proof.statement import Statement
from rescind.proofs.mask_proof.transform import add_combination, code_cosets, multiply

COUNTS = 64  # of the rows that say how often each byte is looked up
Rows = dict[str, Array]


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """p (d, k); q at ends (d, opened) and on the coset (d, k); r (d, k) at both."""

    p: Array
    q_ends: Array
    q_coset: Array
    r: Array
    r_coset: Array


def no_sums(statement: Statement) -> Sums:
    """All 0."""
    sizes = (statement.size, statement.opened, *[statement.size] * 3)
    return Sums(*(np.zeros((statement.degree, size), dtype=np.uint64) for size in sizes))


class Combining:
    """One stack; ``row`` gives a row of a tree by its number in the stack."""

    def __init__(
        self,
        row: Callable[[str, int], Row],
        padding: Mapping[str, Padding],
        lanes: Lanes,
        stack: int,
        drawn: Factors,
    ) -> None:
        self._row, self._padding, self._lanes, self._stack = row, padding, lanes, stack
        self._statement, self._layout = lanes.statement, layout_of(lanes.statement)
        self._drawn, self._before, before = drawn, dict[str, int](), 0
        for tree in TREES:
            self._before[tree] = before
            before += self._statement.stacks * self._layout.rows_of_stack(tree)
        self._numbers = np.empty((AT_ONCE, self._statement.size), dtype=np.uint64)
        self._words = np.empty((1, 0, 0), dtype=np.uint64)

    def add(self, sums: Sums, challenge: Challenge) -> None:
        """All of its rows and equations."""
        layout, places = self._layout, self._layout.block * self._layout.aux_place
        q = sums.q_ends, sums.q_coset
        encoded = self._encoded({"aux": (places, layout.sketches)}, sums.p)
        seen = [each["aux"].copy() for each in encoded]
        for total, of_seen in zip(q, seen, strict=True):
            add_combination(total, of_seen, seen_factors(layout, challenge))
        table = count_factors(layout, challenge)
        for start in range(0, BYTES, COUNTS):
            own = {"aux": (places + layout.sketches + start, COUNTS)}
            for total, found in zip(q, self._encoded(own, sums.p), strict=True):
                add_combination(total, found["aux"], table[start : start + COUNTS])
        self._add_last(sums, challenge)
        terms = self._lanes.of_lanes(self._stack)
        of_lanes = [LaneRows(*each) for each in (self._ends(terms), _coset(terms))]
        for i in range(layout.block):
            counts = {tree: layout.rows_of_place(tree) for tree in TREES}
            own = {tree: (i * count, count) for tree, count in counts.items()}
            rows = self._lanes.place(self._stack, i)
            shown = [PublicRows(*each) for each in (self._ends(rows), _coset(rows))]
            halves = zip(q, self._encoded(own, sums.p), shown, of_lanes, seen, strict=True)
            for total, found, public, own_lanes, of_seen in halves:
                given = (_place_rows(found), public, own_lanes, of_seen, challenge)
                add_place(total, layout, i, *given)

    def _add_last(self, sums: Sums, challenge: Challenge) -> None:
        """What a stack has after its places and counts, and the floors' share of r."""
        layout, d = self._layout, self._statement.degree
        floor = layout.rows_of_stack("aux") - 1 - SLACK
        own = {
            "aux": (floor, 1 + SLACK),
            "helpers": (layout.block * layout.rows_of_place("helpers"), SLACK * d),
        }
        halves = self._encoded(own, sums.p)
        for total, found in zip((sums.q_ends, sums.q_coset), halves, strict=True):
            add_slack(total, layout, found["aux"], found["helpers"], challenge)
        tensors, row = self._lanes.tensors(self._stack), self._numbers[0]
        self._padding["aux"].write_one(self._row("aux", floor), row)
        parts = ((sums.r, tensors, row), (sums.r_coset, _coset(tensors), halves[1]["aux"][0]))
        for total, shown, of_floor in parts:
            chosen = np.zeros_like(total)
            add_combination(chosen, shown, self._drawn.tensors)
            for c, one in enumerate(chosen):
                total[c] = add(total[c], multiply(one, of_floor))

    def _encoded(self, wanted: Mapping[str, tuple[int, int]], p: Array) -> tuple[Rows, Rows]:
        """Rows of each tree, first and how many: at their ends, and on the coset. They are added to
        p on the way; the latter are overwritten by the next.
        """
        count, t = sum(n for _, n in wanted.values()), self._statement.opened
        if self._words.shape[1] != count:
            self._words = np.empty((1, 0, 0), dtype=np.uint64)  # first let go of the other
            self._words = np.empty((1, count, self._statement.size), dtype=np.uint64)
        ends, done, spans = np.empty((count, t), dtype=np.uint64), 0, dict[str, slice]()
        for tree, (first, n) in wanted.items():
            spans[tree] = slice(done, done + n)
            for start in range(first, first + n, AT_ONCE):
                rows = [self._row(tree, j) for j in range(start, min(start + AT_ONCE, first + n))]
                numbers = self._numbers[: len(rows)]
                self._padding[tree].write(rows, numbers)
                factors = self._drawn.rows[self._before[tree] + rows[0].number :]
                add_combination(p, numbers, factors[: len(rows)])
                ends[done : done + len(rows)] = numbers[:, -t:]
                code_cosets(numbers, self._words, done)
                done += len(rows)
        halves = (ends, self._words[0])
        at_ends, coset = ({tree: each[span] for tree, span in spans.items()} for each in halves)
        return at_ends, coset

    def _ends(self, rows: Array) -> Array:
        """Of public rows (r, k), contiguous."""
        return np.ascontiguousarray(rows[:, -self._statement.opened :])


def _place_rows(found: Rows) -> PlaceRows:
    return PlaceRows(
        found["weights"][0],
        found["gradients"],
        found["post"][0],
        found["aux"],
        found["helpers"],
    )


def _coset(rows: Array) -> Array:
    """The values of rows (r, k) on the coset (r, k)."""
    into = np.empty((1, *rows.shape), dtype=np.uint64)
    code_cosets(rows, into)
    found: Array = into[0]
    return found
