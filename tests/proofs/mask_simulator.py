"""The simulator of ``docs/concepts/mask-proof.md``: what a verifier sees, made without the secret.

It knows the statement and the challenges. It draws even numbers for the opened columns of all
trees, and then p, q and r even among those that agree with them. That is all there is to see but
for hashes, which are a random oracle's. Statements are of one stack.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from mask_worlds import World, quiet

from rescind.proofs.mask_proof import independent
from rescind.proofs.mask_proof.challenges import Factors
from rescind.proofs.mask_proof.columns import ColumnTree
from rescind.proofs.mask_proof.field import GENERATOR, Array, P, add, root_of_unity, sub
from rescind.proofs.mask_proof.layout import TREES, layout_of
from rescind.proofs.mask_proof.proof_file import Opened, Proof, length_of, written
from rescind.proofs.mask_proof.prover import prove
from rescind.proofs.mask_proof.statement import ROOTS, Statement
from rescind.proofs.mask_proof.transform import coefficients_of

Draw = np.random.Generator


@dataclass(frozen=True, slots=True, eq=False)
class Challenged:
    """A verifier's random numbers, drawn before anything is said: a programmed oracle."""

    point: Array
    factors: Factors
    columns: list[int]

    def scripted(self, statement: Statement) -> Any:
        """In place of ``Challenges``."""
        given = self

        class Scripted:
            def point(self, aux: bytes) -> Array:
                return given.point

            def factors(self, helpers: bytes) -> Factors:
                return given.factors

            def columns(self, *polynomials: Array) -> list[int]:
                return given.columns

        return Scripted()


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """What is seen: ``numbers`` (columns, rows of all trees in order), p, q and r (d, ...)."""

    numbers: Array
    p: Array
    q: Array
    r: Array


def even(draw: Draw, *shape: int) -> Array:
    """Field elements, each with the same chance."""
    return draw.integers(0, P, shape, dtype=np.uint64)


def challenged(statement: Statement, draw: Draw) -> Challenged:
    """Challenges of an honest verifier."""
    layout, d = layout_of(statement), statement.degree
    counts = (sum(map(layout.rows_of_stack, TREES)), layout.constraints, len(statement.tensors))
    columns = draw.permutation(statement.columns)[: statement.opened].tolist()
    return Challenged(even(draw, d), Factors(*(even(draw, n, d) for n in counts)), columns)


def places(statement: Statement, columns: list[int]) -> list[int]:
    """Where the polynomials of rows take the values of these columns."""
    root = root_of_unity(statement.columns)
    return [GENERATOR * pow(root, c, P) % P for c in columns]


def split(statement: Statement, numbers: Array) -> dict[str, Array]:
    """The rows of each tree, on the last axis."""
    counts = [layout_of(statement).rows(tree) for tree in TREES]
    parts = np.split(numbers, np.cumsum(counts)[:-1], -1)
    return dict(zip(TREES, parts, strict=True))


class Unmasked:
    """P, q and r without their masks at some columns, by the second verifier's equations."""

    def __init__(self, made: World, given: Challenged, columns: list[int]) -> None:
        self._statement, self._given = made.statement, given
        s = self._s = independent._Statement(made.statement.canonical())
        public = (made.public.mask.astype(int).tolist(), made.public.direction.tolist())
        nothing = bytes(length_of(made.statement) - len(independent.MAGIC))
        check = independent._Check(s, *public, independent.MAGIC + nothing)
        self._public = check.public_rows(columns)[0]
        self._point = tuple(int(x) for x in given.point)
        first, *rest = self._point
        self._table = [independent._inverse(((first - t) % P, *rest)) for t in range(256)]
        self._equations, self._floors = (
            [tuple(int(x) for x in f) for f in factors]
            for factors in (given.factors.equations, given.factors.tensors)
        )

    def at(self, place: int, numbers: Array) -> Array:
        """(3, d) at column number ``place``, from its numbers (rows,)."""
        s, parts = self._s, split(self._statement, numbers)
        rows = {tree: [int(x) for x in parts[tree][: s.each[tree]]] for tree in TREES}
        here = {name: [row[place] for row in each] for name, each in self._public.items()}
        stack = independent._Stack(s, rows, here, self._point, self._equations)
        q = stack.combined(self._table)
        shares = list(zip(self._floors, here["tensors"], strict=True))
        r = [stack.summed * sum(f[c] * x for f, x in shares) for c in range(s.d)]
        values = [x for tree in TREES for x in rows[tree]]
        each = zip(self._given.factors.rows.tolist(), values, strict=True)
        p = np.array([[f * x for f in factors] for factors, x in each], dtype=object).sum(0)
        return np.array([[int(x) % P for x in found] for found in (p, q, r)], dtype=np.uint64)


def simulated(made: World, given: Challenged, unmasked: Unmasked, draw: Draw) -> View:
    """A view, from statement and challenges alone; ``unmasked`` is of the opened columns."""
    s = made.statement
    d, k = s.degree, s.size
    numbers = even(draw, s.opened, sum(map(layout_of(s).rows, TREES)))
    masks = numbers[:, -3 * d :].reshape(s.opened, 3, d)
    found = np.stack([unmasked.at(i, row) for i, row in enumerate(numbers)])
    wanted = add(found, masks).transpose(1, 2, 0)  # (3, d, columns)
    xs = places(s, given.columns)
    p, high = even(draw, d, k), even(draw, d, k)
    on_places = np.concatenate([np.zeros((d, s.lanes), np.uint64), even(draw, d, s.opened)], 1)
    q = np.concatenate([sub(coefficients_of(on_places), high), high], 1)
    r = even(draw, d, 2 * k)
    for c in range(d):
        floors = zip(given.factors.tensors[:, c].tolist(), s.tensors, strict=True)
        total = sum(f * t.floor for f, t in floors) * pow(k, -1, P)
        r[c, k] = (total - int(r[c, 0])) % P
        p[c] = through(p[c], xs, wanted[0, c], 0)
        q[c], r[c] = (through(row, xs, wanted[i, c], k) for i, row in ((1, q[c]), (2, r[c])))
    return View(numbers, p, q, r)


def through(row: Array, xs: list[int], wanted: Array, over: int) -> Array:
    """The polynomial with these values at xs: to the row another of few coefficients is added. If
    ``over`` is not 0 it is times x^over - 1, so that it is 0 in every lane and sums to 0 there.
    """
    factors = [pow(x, over, P) - 1 if over else 1 for x in xs]
    far = [
        (int(w) - independent._horner(row.tolist(), x)) * pow(f, -1, P)
        for x, w, f in zip(xs, wanted, factors, strict=True)
    ]
    more = np.zeros_like(row)
    low = np.array(interpolated(xs, far), dtype=np.uint64)
    more[over : over + len(xs)] = low
    if over:
        more[: len(xs)] = sub(np.zeros_like(low), low)
    return add(row, more)


def interpolated(xs: list[int], ys: list[int]) -> list[int]:
    """Coefficients of the polynomial of least degree with the values ys at xs (Lagrange)."""
    total = [0] * len(xs)
    for x, y in zip(xs, ys, strict=True):
        basis = [1]
        for other in xs:
            if other != x:
                scale = pow(x - other, -1, P)
                up, down = [0, *basis], [*basis, 0]
                basis = [(a - other * b) * scale % P for a, b in zip(up, down, strict=True)]
        total = [(t + y * b) % P for t, b in zip(total, basis, strict=True)]
    return total


def seen(made: World, given: Challenged) -> View:
    """What the prover shows; its module's ``Challenges`` are scripted."""
    proof = prove(made.statement, made.public, made.secret, made.seeds, quiet)
    numbers = [
        np.concatenate([proof.columns[tree][i].numbers for tree in TREES])
        for i in range(len(given.columns))
    ]
    return View(np.stack(numbers), proof.proximity, proof.quadratic, proof.floor)


def as_proof(
    statement: Statement, given: Challenged, view: View, draw: Draw
) -> tuple[Statement, bytes]:
    """Statement and proof file of a simulated view: leaves that are not opened are even bytes."""
    parts, trees = split(statement, view.numbers), dict[str, ColumnTree]()
    for tree in TREES:
        salts = [draw.bytes(32) for _ in range(statement.columns)]
        leaves = [draw.bytes(32) for _ in range(statement.columns)]
        for c, numbers in zip(given.columns, parts[tree], strict=True):
            data = b"\x00" + tree.encode() + b"\n" + salts[c] + numbers.astype("<u8").tobytes()
            leaves[c] = hashlib.sha256(data).digest()
        levels = [tuple(leaves)]
        while len(levels[-1]) > 1:
            pairs = zip(levels[-1][::2], levels[-1][1::2], strict=True)
            levels.append(tuple(hashlib.sha256(b"\x01" + a + b).digest() for a, b in pairs))
        trees[tree] = ColumnTree(tuple(b"".join(level) for level in levels), b"".join(salts))
    columns = {
        tree: [
            Opened(parts[tree][i], trees[tree].salt(c), tuple(trees[tree].path(c)))
            for i, c in enumerate(given.columns)
        ]
        for tree in TREES
    }
    found: dict[str, Any] = {tree: trees[tree].root.hex() for tree in ROOTS}
    said = replace(statement, **found)
    proof = Proof(trees["aux"].root, trees["helpers"].root, view.p, view.q, view.r, columns)
    return said, written(proof)
