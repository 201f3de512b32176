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
from functools import partial

import numpy as np
from numpy.typing import NDArray

from rescind.core.errors import VerificationFailed
from rescind.core.protocols import Progress
from rescind.proofs.mask_proof import compiling
from rescind.proofs.mask_proof.challenges import Challenges, Factors
from rescind.proofs.mask_proof.columns import Committed, commit
from rescind.proofs.mask_proof.combining import Combining, no_sums
from rescind.proofs.mask_proof.field import GENERATOR, Array, P, add, element, mul, sub
from rescind.proofs.mask_proof.layout import TREES, layout_of
from rescind.proofs.mask_proof.mapped import let_go
from rescind.proofs.mask_proof.padded import Padding, Row
from rescind.proofs.mask_proof.proof_file import Opened, Proof
from rescind.proofs.mask_proof.relation import Challenge, helper_table
from rescind.proofs.mask_proof.rows import Lanes
from rescind.proofs.mask_proof.statement import ROOTS, Public, Statement
from rescind.proofs.mask_proof.transcript import Stream, even_elements
from rescind.proofs.mask_proof.transform import coefficients_of, opened_columns, values_of
from rescind.proofs.mask_proof.truth import Secret, slack_of
from rescind.proofs.mask_proof.turned import Turned
from rescind.proofs.mask_proof.witness import StackWitness


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeds:
    """Secret bytes, 32 each: whoever knows them can open the commitment."""

    weights: bytes
    gradients: bytes
    post: bytes


def commit_values(
    tree: str, values: NDArray[np.integer], statement: Statement, seed: bytes
) -> Committed:
    """The tree of w or w' (blocks, size), or of G (blocks, sketches, size).

    Of the statement only block, sketches, opened and size are used.
    """
    compiling.tell()
    padding = Padding(tree, seed, statement)
    return commit(tree, padding.batches(_rows(tree, values, statement)), None, seed)


def _rows(tree: str, values: NDArray[np.integer], statement: Statement) -> Iterator[Row]:
    count = layout_of(statement).rows_of_stack(tree)
    for stack in range(statement.stacks):
        own = Turned(values, statement, stack)
        for number in range(count):
            yield Row(stack * count + number, own.row(number))
        let_go(values)


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
        self.counts = {tree: self.layout.rows_of_stack(tree) for tree in TREES}
        self.public, self.secret = public, secret
        self.slack = slack_of(statement, public, secret)
        own = {"weights": seeds.weights, "gradients": seeds.gradients, "post": seeds.post}
        own |= {"aux": os.urandom(32), "helpers": os.urandom(32)}
        self.padding = {tree: Padding(tree, own[tree], statement) for tree in TREES}
        self.masks = _masks(statement)
        self.table = np.zeros((statement.degree, 256), dtype=np.uint64)
        self.trees: dict[str, Committed] = {}
        self._stack = -1
        self._witness: StackWitness | None = None

    def commit(self, tree: str) -> bytes:
        """Its root."""
        self.progress(f"committing to {tree}", TREES.index(tree), len(TREES))
        padding = self.padding[tree]
        rows = padding.batches(self.rows(tree))
        masks = self.mask_words() if tree == "helpers" else None
        self.trees[tree] = commit(tree, rows, masks, padding.seed)
        return self.trees[tree].root

    def mask_words(self) -> Array:
        """The code words (3 d, columns) of the random polynomials, the helpers' last rows."""
        masks = (self.masks.proximity, self.masks.quadratic, self.masks.floor)
        return np.concatenate([values_of(m, self.statement.columns, GENERATOR) for m in masks])

    def rows(self, tree: str) -> Iterator[Row]:
        """In their order, without the masks."""
        if tree in ROOTS:  # they need no witness
            yield from _rows(tree, getattr(self.secret, tree), self.statement)
            return
        for stack in range(self.statement.stacks):
            for number in range(self.counts[tree]):
                yield self.row(stack, tree, number)

    def row(self, stack: int, tree: str, number: int) -> Row:
        """One of a stack, numbered in the whole tree.

        Raises:
            VerificationFailed: the statement is not true of the secret.
        """
        if self._witness is None or self._stack != stack:
            self._witness = None  # of one stack at a time, so that memory does not grow
            for each in ROOTS:
                let_go(getattr(self.secret, each))
            self._witness = StackWitness(self.lanes, self.secret, self.slack, stack)
            self._stack = stack
        values = self._witness.row(tree, number)
        table = self.table[number % len(self.table)] if tree == "helpers" else None
        return Row(stack * self.counts[tree] + number, values, table)

    def combine(self, drawn: Factors, point: Array) -> tuple[Array, Array, Array]:
        """The polynomials p (d, k), q and r (d, 2 k), from values on the rows' places and a coset
        of as many.
        """
        s, masks = self.statement, self.masks
        sums = no_sums(s)
        for stack in range(s.stacks):
            self.progress("combining the equations", stack, s.stacks)
            own = drawn.equations[stack * self.layout.constraints :][: self.layout.constraints]
            rows = partial(self.row, stack)
            run = Combining(rows, self.padding, self.lanes, stack, drawn)
            run.add(sums, Challenge(point, own))
        q = np.zeros((s.degree, s.size), dtype=np.uint64)  # in every lane
        q[:, s.lanes :] = sums.q_ends
        return (
            add(coefficients_of(sums.p), masks.proximity),
            add(_through(q, sums.q_coset), masks.quadratic),
            add(_through(sums.r, sums.r_coset), masks.floor),
        )

    def opened(self, columns: list[int]) -> dict[str, list[Opened]]:
        """The columns of each tree."""
        found = {}
        for done, tree in enumerate(TREES):
            self.progress("opening columns", done, len(TREES))
            batches = self.padding[tree].batches(self.rows(tree))
            parts = [opened_columns(batch, columns) for batch in batches]
            if tree == "helpers":
                parts.append(self.mask_words()[:, columns].T)
            numbers, committed = np.concatenate(parts, 1), self.trees[tree].tree()
            found[tree] = [
                Opened(numbers[at], committed.salt(c), tuple(committed.path(c)))
                for at, c in enumerate(columns)
            ]
        return found


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
    trees: Mapping[str, Committed] | None = None,
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
    compiling.tell()
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
