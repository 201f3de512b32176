"""Prove a mask and a compensation (Ligero, S. Ames et al., eprint 2022/1608; lanes are blocks).

Rows are committed to in five trees. ``commit_weights`` and ``commit_gradients`` come first, before
the mask is known; the third tree is that of the new weights. Then the challenges: X for the bytes,
random numbers for rows and equations, and the columns to open. Three polynomials are sent:

    p = sum of all rows, each times a random number: it shows that they are near code words;
    q = sum of all equations, each times a random number: it is 0 in every lane;
    r = sum over tensors of a random number times the floor's rows: its sum over the lanes is known.

A polynomial that is itself random is added to each, so that they show nothing else, and the random
numbers at the end of each row make the opened columns even. Both hold for one proof a commitment.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from rescind.core.errors import VerificationFailed
from rescind.core.protocols import Progress
from rescind.proofs.mask_proof.challenges import Challenges, Factors
from rescind.proofs.mask_proof.columns import ColumnTree, commit
from rescind.proofs.mask_proof.field import GENERATOR, Array, P, add, element, mul, sub
from rescind.proofs.mask_proof.layout import BYTES, SLACK, TREES, layout_of
from rescind.proofs.mask_proof.padded import Padding, Row
from rescind.proofs.mask_proof.proof_file import Opened, Proof
from rescind.proofs.mask_proof.relation import (
    Challenge,
    LaneRows,
    PlaceRows,
    PublicRows,
    add_place,
    add_slack,
    count_factors,
    helper_table,
    seen_factors,
)
from rescind.proofs.mask_proof.rows import Lanes
from rescind.proofs.mask_proof.statement import ROOTS, Public, Statement
from rescind.proofs.mask_proof.transcript import Stream, even_elements
from rescind.proofs.mask_proof.transform import (
    add_combination,
    code_cosets,
    coefficients_of,
    multiply,
    opened_columns,
    values_of,
)
from rescind.proofs.mask_proof.witness import Rows, Secret, rows_of, slack_of, stack_witness

AT_ONCE = 64  # of the rows that say how often each byte is looked up
WIDE = 16  # places whose public rows are transformed together, which takes no longer than one


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeds:
    """Secret bytes, 32 each: whoever knows them can open the commitment."""

    weights: bytes
    gradients: bytes
    post: bytes


def commit_values(
    tree: str, values: NDArray[np.integer], statement: Statement, seed: bytes
) -> ColumnTree:
    """The tree of w or w' (blocks, size), or of G (blocks, sketches, size).

    Of the statement only block, sketches, opened and size are used.
    """
    padding = Padding(tree, seed, statement)
    stacks = (rows_of(values, statement, stack) for stack in range(statement.stacks))
    rows = (Row(number, row) for number, row in enumerate(chain.from_iterable(stacks)))
    return commit(tree, padding.columns(rows), statement.columns, seed)


@dataclass(frozen=True, slots=True, eq=False)
class _Masks:
    """Coefficients (d, ...) of the three random polynomials."""

    proximity: Array
    quadratic: Array
    floor: Array


class _Prover:
    """One run of the protocol; each method is a step of it."""

    def __init__(
        self, statement: Statement, public: Public, secret: Secret, seeds: Seeds, progress: Progress
    ) -> None:
        public.check(statement)
        self.statement, self.progress = statement, progress
        self.layout, self.lanes = layout_of(statement), Lanes(statement, public)
        self.public, self.secret = public, secret
        self.slack = slack_of(statement, public, secret)
        self._held: dict[str, tuple[int, Rows]] = {}
        own = {"weights": seeds.weights, "gradients": seeds.gradients, "post": seeds.post}
        own |= {"aux": os.urandom(32), "helpers": os.urandom(32)}
        self._room = np.empty((2, 0, 0), dtype=np.uint64)
        self.padding = {tree: Padding(tree, own[tree], statement) for tree in TREES}
        self.masks = _masks(statement)
        self.table = np.zeros((statement.degree, 256), dtype=np.uint64)
        self.trees: dict[str, ColumnTree] = {}

    def commit(self, tree: str) -> bytes:
        """Its root."""
        self.progress(f"committing to {tree}", TREES.index(tree), len(TREES))
        columns = self.padding[tree].columns(self.rows(tree))
        if tree == "helpers":
            columns = chain(columns, [self.mask_columns()])
        seed = self.padding[tree].seed
        self.trees[tree] = commit(tree, columns, self.statement.columns, seed)
        return self.trees[tree].root

    def mask_columns(self) -> Array:
        """The code words of the random polynomials, the last columns of the helpers."""
        masks = (self.masks.proximity, self.masks.quadratic, self.masks.floor)
        words = [values_of(mask, self.statement.columns, GENERATOR) for mask in masks]
        return np.ascontiguousarray(np.concatenate(words).T)

    def rows(self, tree: str) -> Iterator[Row]:
        """In their order, without the masks."""
        for stack in range(self.statement.stacks):
            yield from self.rows_of(tree, stack, 0, self.layout.rows_of_stack(tree))

    def rows_of(self, tree: str, stack: int, first: int, count: int) -> list[Row]:
        """So many of a stack, numbered in the whole tree."""
        values, before = self.values(tree, stack), stack * self.layout.rows_of_stack(tree)
        numbers, d = range(first, first + count), self.statement.degree
        if tree == "helpers":
            return [Row(before + n, values[n // d], self.table[n % d]) for n in numbers]
        return [Row(before + n, values[n]) for n in numbers]

    def values(self, tree: str, stack: int) -> Rows:
        """The rows of a stack as whole numbers; of one at a time, so that memory does not grow
        with the model.

        Raises:
            VerificationFailed: the statement is not true of the secret.
        """
        if self._held.get(tree, (-1,))[0] != stack:
            s, secret = self.statement, self.secret
            if tree in ("aux", "helpers"):
                self._held.pop("aux", None)
                self._held.pop("helpers", None)
                found = stack_witness(s, self.public, secret, self.slack, stack)
                self._held |= {"aux": (stack, found.aux), "helpers": (stack, found.looked)}
            else:
                self._held.pop(tree, None)
                self._held[tree] = stack, rows_of(getattr(secret, tree), s, stack)
        return self._held[tree][1]

    def combine(self, drawn: Factors, point: Array) -> tuple[Array, Array, Array]:
        """The polynomials p (d, k), q and r (d, 2 k), from values on the rows' places and a coset
        of as many.
        """
        s, masks = self.statement, self.masks
        p, q, r = (np.zeros((n, s.degree, s.size), dtype=np.uint64) for n in (1, 2, 2))
        for stack in range(s.stacks):
            self.progress("combining the equations", stack, s.stacks)
            own = drawn.equations[stack * self.layout.constraints :][: self.layout.constraints]
            self._add_stack(stack, (p[0], q, r), drawn, Challenge(point, own))
        return (
            add(coefficients_of(p[0]), masks.proximity),
            add(_through(*q), masks.quadratic),
            add(_through(*r), masks.floor),
        )

    def _add_stack(
        self, stack: int, totals: tuple[Array, Array, Array], drawn: Factors, challenge: Challenge
    ) -> None:
        p, q, r = totals
        layout, lanes = self.layout, self.lanes
        of_lanes, tensors = _both(lanes.of_lanes(stack)), _both(lanes.tensors(stack))
        each = {tree: layout.rows_of_place(tree) for tree in TREES}
        end = {tree: layout.block * count for tree, count in each.items()}
        seen = []
        for half, found in enumerate(self._after(stack, 0, layout.sketches, p, drawn.rows)):
            seen.append(found["aux"].copy())
            add_combination(q[half], found["aux"], seen_factors(layout, challenge))
        table = count_factors(layout, challenge)
        for start in range(0, BYTES, AT_ONCE):  # so many, or they would be most of the memory
            counts = self._after(stack, layout.sketches + start, AT_ONCE, p, drawn.rows)
            for half, found in enumerate(counts):
                add_combination(q[half], found["aux"], table[start : start + AT_ONCE])
        last = {"aux": end["aux"] + layout.sketches + BYTES, "helpers": end["helpers"]}
        count = {"aux": 1 + SLACK, "helpers": SLACK * len(p)}
        for half, found in enumerate(self._encoded(stack, last, count, p, drawn.rows)):
            add_slack(q[half], layout, found["aux"], found["helpers"], challenge)
            chosen = np.zeros_like(p)
            add_combination(chosen, tensors[half], drawn.tensors)
            for c, one in enumerate(chosen):
                r[half, c] = add(r[half, c], multiply(one, found["aux"][0]))
        for i in range(layout.block):
            if i % WIDE == 0:
                every = (lanes.mask(stack), lanes.free(stack), lanes.direction(stack))
                shown = [_both(rows[i : i + WIDE].copy()) for rows in every]
                del every
            first = {tree: i * count for tree, count in each.items()}
            for half, found in enumerate(self._encoded(stack, first, each, p, drawn.rows)):
                rows = PlaceRows(
                    found["weights"][0],
                    found["gradients"],
                    found["post"][0],
                    found["aux"],
                    found["helpers"],
                )
                public = PublicRows(*(both[half][i % WIDE] for both in shown))
                own = LaneRows(*of_lanes[half])
                add_place(q[half], layout, i, rows, public, own, seen[half], challenge)

    def _after(
        self, stack: int, first: int, count: int, total: Array, factors: Array
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """So many rows of aux after those of places, as ``_encoded`` gives them."""
        start = self.layout.block * self.layout.aux_place + first
        return self._encoded(stack, {"aux": start}, {"aux": count}, total, factors)

    def _encoded(
        self,
        stack: int,
        first: Mapping[str, int],
        counts: Mapping[str, int],
        total: Array,
        factors: Array,
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Rows (r, k) of each tree, and their values on the coset; they are added to p on the way.

        Both are overwritten by the next.
        """
        rows = {t: self.rows_of(t, stack, first[t], count) for t, count in counts.items()}
        numbers, words = self._buffers(sum(counts.values()))
        start, before, spans = 0, 0, {}
        for tree in TREES:
            if tree in rows:
                spans[tree] = slice(start, start + counts[tree])
                own = numbers[spans[tree]]
                self.padding[tree].write(rows[tree], own)
                add_combination(total, own, factors[before + rows[tree][0].number :][: len(own)])
                start += counts[tree]
            before += self.statement.stacks * self.layout.rows_of_stack(tree)
        code_cosets(numbers, words[:, None])
        return (
            {tree: numbers[span] for tree, span in spans.items()},
            {tree: words[span] for tree, span in spans.items()},
        )

    def _buffers(self, count: int) -> Array:
        """(2, rows, k) for so many rows; the same again where they are as many as before."""
        if self._room.shape[1] != count:
            self._room = np.empty((2, 0, 0), dtype=np.uint64)  # first let go of the other
            self._room = np.empty((2, count, self.statement.size), dtype=np.uint64)
        return self._room

    def opened(self, columns: list[int]) -> dict[str, list[Opened]]:
        """The columns of each tree."""
        found = {}
        for done, tree in enumerate(TREES):
            self.progress("opening columns", done, len(TREES))
            batches = self.padding[tree].batches(self.rows(tree))
            parts = [opened_columns(batch, columns) for batch in batches]
            if tree == "helpers":
                parts.append(self.mask_columns()[columns])
            if tree in ROOTS:
                del self._held[tree]  # this is its last use
            numbers, committed = np.concatenate(parts, 1), self.trees[tree]
            found[tree] = [
                Opened(numbers[at], committed.salt(c), tuple(committed.path(c)))
                for at, c in enumerate(columns)
            ]
        return found


def _both(rows: Array) -> tuple[Array, Array]:
    """Rows (r, k), and their values on the coset (r, k)."""
    into = np.empty((len(rows), 1, rows.shape[1]), dtype=np.uint64)
    code_cosets(rows, into)
    return rows, into[:, 0]


def _through(on_rows: Array, on_coset: Array) -> Array:
    """Coefficients (d, 2 k) of a polynomial from its values (d, k) on the rows' places and on the
    coset. It is a + (x^k - 1) b: a on the former, and x^k is the same number all over the latter.
    """
    k = on_rows.shape[1]
    a = coefficients_of(on_rows)
    away = sub(coefficients_of(on_coset, GENERATOR), a)
    b = mul(away, element(pow(pow(GENERATOR, k, P) - 1, -1, P)))
    return np.concatenate([sub(a, b), b], 1)


def prove(
    statement: Statement,
    public: Public,
    secret: Secret,
    seeds: Seeds,
    progress: Progress,
    trees: Mapping[str, ColumnTree] | None = None,
) -> Proof:
    """A proof that the statement is true of the secret.

    Args:
        statement: with the roots of the three commitments that the seeds open.
        public: mask and direction, as the statement names them.
        secret: weights, gradients and new weights in blocks.
        seeds: of the three commitments. The second proof with one of them would let its numbers be
            computed: who calls this sees to it that there is none.
        progress: of the steps.
        trees: what ``commit_values`` gave; those that are not here are made again.

    Raises:
        VerificationFailed: the statement is not true, or a root is not that of the secret.
        BadData: mask or direction are not those of the statement.
    """
    run = _Prover(statement, public, secret, seeds, progress)
    run.trees |= trees or {}
    for tree in ROOTS:
        root = run.trees[tree].root if tree in run.trees else run.commit(tree)
        if root.hex() != getattr(statement, tree):
            raise VerificationFailed(
                f"root of {tree}",
                f"The statement names another root of {tree}.",
                "It was made from other numbers, or with another seed.",
                "Use the numbers and the seed of the commitment.",
            )
    challenges = Challenges(statement)
    aux = run.commit("aux")
    point = challenges.point(aux)
    run.table = helper_table(point)
    helpers = run.commit("helpers")
    sent = run.combine(challenges.factors(helpers), point)
    columns = challenges.columns(*sent)
    return Proof(aux, helpers, *sent, run.opened(columns))


def _masks(statement: Statement) -> _Masks:
    """P's is any of degree below k, q's is 0 in every lane, r's sums to 0 over all places.

    A polynomial a + (x^k - 1) b has on the rows' places the values of a.
    """
    d, k, lanes = statement.degree, statement.size, statement.lanes
    drawn = even_elements(Stream(os.urandom(32)), 5 * d * k).reshape(d, 5 * k)
    on_places = drawn[:, k : 2 * k].copy()
    on_places[:, :lanes] = 0
    low, high = coefficients_of(on_places), drawn[:, 2 * k : 3 * k]
    quadratic = np.concatenate([sub(low, high), high], 1)
    floor = drawn[:, 3 * k :].copy()
    floor[:, k] = sub(np.zeros(d, dtype=np.uint64), floor[:, 0])
    return _Masks(drawn[:, :k], quadratic, floor)
