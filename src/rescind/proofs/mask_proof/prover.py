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
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rescind.core.errors import VerificationFailed
from rescind.core.protocols import Progress
from rescind.proofs.mask_proof.challenges import Challenges
from rescind.proofs.mask_proof.columns import ColumnTree, commit
from rescind.proofs.mask_proof.field import GENERATOR, Array, add, signed, sub
from rescind.proofs.mask_proof.layout import SLACK, TREES, layout_of
from rescind.proofs.mask_proof.proof_file import Opened, Proof
from rescind.proofs.mask_proof.relation import (
    Challenge,
    LaneRows,
    PlaceRows,
    PublicRows,
    add_place,
    add_rest,
    helper_table,
)
from rescind.proofs.mask_proof.rows import Lanes
from rescind.proofs.mask_proof.statement import ROOTS, Public, Statement
from rescind.proofs.mask_proof.transcript import Stream, even_elements
from rescind.proofs.mask_proof.transform import (
    add_combination,
    code_columns,
    code_words,
    coefficients_of,
    multiply,
    values_of,
)
from rescind.proofs.mask_proof.witness import (
    Bytes,
    Secret,
    StackWitness,
    padded,
    slack_of,
    stack_of,
    stack_witness,
)

AT_ONCE = 256  # rows that are encoded together


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
    return commit(tree, _columns(_messages(tree, values, statement, seed)), statement.columns, seed)


def _messages(
    tree: str, values: NDArray[np.integer], statement: Statement, seed: bytes
) -> Iterator[Array]:
    row = 0
    for stack in range(statement.stacks):
        here = stack_of(values, statement, stack)
        places = here.transpose(2, 0, 1) if here.ndim == 3 else here.T[:, :, None]
        for place in places:
            yield padded(signed(place), statement, seed, tree, row)
            row += place.shape[1]


def _columns(messages: Iterator[Array]) -> Iterator[Array]:
    """Code words of rows as columns (size, r), many rows at once."""
    held: list[Array] = []
    for rows in messages:
        held.append(rows)
        if sum(map(len, held)) >= AT_ONCE:
            yield code_columns(np.concatenate(held))
            held = []
    if held:
        yield code_columns(np.concatenate(held))


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
        self._held_stack: tuple[int, StackWitness] | None = None
        self.seeds = {
            "weights": seeds.weights,
            "gradients": seeds.gradients,
            "post": seeds.post,
            "aux": os.urandom(32),
            "helpers": os.urandom(32),
        }
        self.masks = _masks(statement)
        self.table = np.zeros((statement.degree, 256), dtype=np.uint64)
        self.trees: dict[str, ColumnTree] = {}

    def commit(self, tree: str) -> bytes:
        """Its root."""
        self.progress(f"committing to {tree}", TREES.index(tree), len(TREES))
        size, seed = self.statement.columns, self.seeds[tree]
        self.trees[tree] = commit(tree, self.code_words(tree), size, seed)
        return self.trees[tree].root

    def code_words(self, tree: str) -> Iterator[Array]:
        """All of a tree, (size, r) at a time; the masks come last in that of the helpers."""
        yield from _columns(self.messages(tree))
        if tree == "helpers":
            masks = (self.masks.proximity, self.masks.quadratic, self.masks.floor)
            words = [values_of(mask, self.statement.columns, GENERATOR) for mask in masks]
            yield np.ascontiguousarray(np.concatenate(words).T)

    def messages(self, tree: str) -> Iterator[Array]:
        """Rows in their order, some at a time, without the masks."""
        for stack in range(self.statement.stacks):
            for place in range(self.layout.block):
                yield self.place(tree, stack, place)
            if tree in ("aux", "helpers"):
                yield self.rest(tree, stack)

    def stack(self, number: int) -> StackWitness:
        """What follows in a stack; of one at a time, so that memory does not grow with the model.

        Raises:
            VerificationFailed: the statement is not true of the secret.
        """
        if self._held_stack is None or self._held_stack[0] != number:
            self._held_stack = None
            s = self.statement
            found = stack_witness(s, self.public, self.secret, self.slack, number)
            self._held_stack = (number, found)
        return self._held_stack[1]

    def place(self, tree: str, stack: int, place: int) -> Array:
        """Rows (r, row size) of one place."""
        layout = self.layout
        if tree == "aux":
            values, each = self.stack(stack).aux[:, place], layout.aux_place
        elif tree == "helpers":
            looked = self.stack(stack).looked[:, place]
            values, each = self._held(looked), layout.degree * layout.looked_place
        elif tree == "gradients":
            whole = stack_of(self.secret.gradients[:, :, place], self.statement, stack)
            values, each = signed(whole), layout.sketches
        else:
            known = self.secret.weights if tree == "weights" else self.secret.post
            whole = stack_of(known[:, place : place + 1], self.statement, stack)
            values, each = signed(whole), 1
        return self._padded(values, tree, stack, place * each)

    def rest(self, tree: str, stack: int) -> Array:
        """Rows (r, row size) after all places."""
        found, layout = self.stack(stack), self.layout
        if tree == "aux":
            return self._padded(found.rest, tree, stack, layout.block * layout.aux_place)
        first = layout.block * layout.degree * layout.looked_place
        return self._padded(self._held(found.slack), tree, stack, first)

    def _padded(self, values: Array, tree: str, stack: int, row: int) -> Array:
        each = self.layout.rows_of_stack(tree)
        return padded(values, self.statement, self.seeds[tree], tree, stack * each + row)

    def _held(self, looked: Bytes) -> Array:
        """(lanes, j d): the helpers of bytes (lanes, j)."""
        return self.table[:, looked].transpose(1, 2, 0).reshape(len(looked), -1)

    def proximity(self, factors: Array) -> Array:
        """p, (d, k), from the numbers of all rows (rows, d)."""
        total = np.zeros((self.statement.degree, self.statement.size), dtype=np.uint64)
        row = 0
        for tree in TREES:
            for rows in self.messages(tree):
                add_combination(total, rows, factors[row : row + len(rows)])
                row += len(rows)
        return add(coefficients_of(total), self.masks.proximity)

    def quadratic(self, factors: Array, point: Array, ahead: Array) -> tuple[Array, Array]:
        """The polynomials q and r, (d, 2 k) each; ``ahead`` (tensors, d) are of the floors."""
        s = self.statement
        shape = (s.degree, 2 * s.size)
        total, floor = np.zeros(shape, dtype=np.uint64), np.zeros(shape, dtype=np.uint64)
        for stack in range(s.stacks):
            own = factors[stack * self.layout.constraints :][: self.layout.constraints]
            self._add_stack(total, floor, stack, Challenge(point, own), ahead)
            self.progress("combining the equations", stack + 1, s.stacks)
        q, r = (coefficients_of(t, GENERATOR) for t in (total, floor))
        return add(q, self.masks.quadratic), add(r, self.masks.floor)

    def _add_stack(
        self, total: Array, floor: Array, stack: int, challenge: Challenge, ahead: Array
    ) -> None:
        double = 2 * self.statement.size
        known = (self.lanes.mask(stack), self.lanes.free(stack), self.lanes.direction(stack))
        mask, free, direction = (code_words(rows, double) for rows in known)
        lanes = LaneRows(*code_words(self.lanes.of_lanes(stack), double))
        aux, helpers = (code_words(self.rest(tree, stack), double) for tree in ("aux", "helpers"))
        seen = aux[: self.layout.sketches]
        for i in range(self.layout.block):
            parts = {tree: self.place(tree, stack, i) for tree in TREES}
            words = np.split(
                code_words(np.concatenate([parts[tree] for tree in TREES]), double),
                np.cumsum([len(parts[tree]) for tree in TREES])[:-1],
            )
            found = dict(zip(TREES, words, strict=True))
            rows = PlaceRows(
                found["weights"][0],
                found["gradients"],
                found["post"][0],
                found["aux"],
                found["helpers"],
            )
            public = PublicRows(mask[i], free[i], direction[i])
            add_place(total, self.layout, i, rows, public, lanes, seen, challenge)
        add_rest(total, self.layout, aux, helpers, challenge)
        chosen = np.zeros_like(floor)
        add_combination(chosen, code_words(self.lanes.tensors(stack), double), ahead)
        for c in range(len(floor)):
            floor[c] = add(floor[c], multiply(chosen[c], aux[-SLACK - 1]))

    def opened(self, columns: list[int]) -> dict[str, list[Opened]]:
        """The columns of each tree."""
        found = {}
        for done, tree in enumerate(TREES):
            self.progress("opening columns", done, len(TREES))
            numbers = np.concatenate([words[columns] for words in self.code_words(tree)], 1)
            committed = self.trees[tree]
            found[tree] = [
                Opened(numbers[at], committed.salts[c], tuple(committed.path(c)))
                for at, c in enumerate(columns)
            ]
        return found


def prove(
    statement: Statement, public: Public, secret: Secret, seeds: Seeds, progress: Progress
) -> Proof:
    """A proof that the statement is true of the secret.

    Args:
        statement: with the roots of the three commitments that the seeds open.
        public: mask and direction, as the statement names them.
        secret: weights, gradients and new weights in blocks.
        seeds: of the three commitments. The second proof with one of them would let its numbers be
            computed: who calls this sees to it that there is none.
        progress: of the steps.

    Raises:
        VerificationFailed: the statement is not true, or a root is not that of the secret.
        BadData: mask or direction are not those of the statement.
    """
    run = _Prover(statement, public, secret, seeds, progress)
    for tree in ROOTS:
        if run.commit(tree).hex() != getattr(statement, tree):
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
    drawn = challenges.factors(helpers)
    proximity = run.proximity(drawn.rows)
    quadratic, floor = run.quadratic(drawn.equations, point, drawn.tensors)
    columns = challenges.columns(proximity, quadratic, floor)
    return Proof(aux, helpers, proximity, quadratic, floor, run.opened(columns))


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
