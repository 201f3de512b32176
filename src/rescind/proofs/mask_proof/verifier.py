"""Check a proof of a mask and a compensation. No secret, no torch, no network.

``independent`` checks the same with code of its own, as a second opinion.
"""

from __future__ import annotations

import numpy as np

from rescind.core.errors import VerificationFailed
from rescind.proofs.mask_proof import compiling
from rescind.proofs.mask_proof.challenges import Challenges, Factors
from rescind.proofs.mask_proof.columns import check_column
from rescind.proofs.mask_proof.field import GENERATOR, Array, P, add, mul
from rescind.proofs.mask_proof.layout import SLACK, TREES, layout_of
from rescind.proofs.mask_proof.proof_file import Proof, read
from rescind.proofs.mask_proof.relation import (
    Challenge,
    LaneRows,
    PlaceRows,
    PublicRows,
    add_place,
    add_rest,
)
from rescind.proofs.mask_proof.rows import Lanes
from rescind.proofs.mask_proof.statement import Public, Statement
from rescind.proofs.mask_proof.transform import add_combination, opened_columns, values_of


def verify(statement: Statement, public: Public, data: bytes) -> None:
    """Return if the proof shows the statement.

    Raises:
        VerificationFailed: it names the first check that failed.
        BadData: mask or direction are not those of the statement.
    """
    compiling.tell()
    public.check(statement)
    proof = read(statement, data)
    challenges = Challenges(statement)
    point = challenges.point(proof.aux)
    factors = challenges.factors(proof.helpers)
    columns = challenges.columns(proof.proximity, proof.quadratic, proof.floor)
    _check_paths(statement, proof, columns)
    _check_lanes(statement, proof)
    _check_floor(statement, proof, factors)
    _check_proximity(statement, proof, factors, columns)
    _check_equations(statement, public, proof, point, factors, columns)


def _check_paths(statement: Statement, proof: Proof, columns: list[int]) -> None:
    roots = {
        "weights": bytes.fromhex(statement.weights),
        "gradients": bytes.fromhex(statement.gradients),
        "post": bytes.fromhex(statement.post),
        "aux": proof.aux,
        "helpers": proof.helpers,
    }
    for tree in TREES:
        for column, one in zip(columns, proof.columns[tree], strict=True):
            numbers = one.numbers.astype("<u8").tobytes()
            check_column(tree, column, numbers, one.salt, one.path, roots[tree])


def _check_lanes(statement: Statement, proof: Proof) -> None:
    """In every lane the polynomial q is 0: modulo x^k - 1, its halves are added."""
    k = statement.size
    folded = add(proof.quadratic[:, :k], proof.quadratic[:, k:])
    if bool(values_of(folded, k)[:, : statement.lanes].any()):
        raise _failed("equations", "The combined equations do not hold in every lane.")


def _check_floor(statement: Statement, proof: Proof, factors: Factors) -> None:
    """The sum of r over all places is k times two of its coefficients."""
    k = statement.size
    found = mul(add(proof.floor[:, 0], proof.floor[:, k]), np.uint64(k))
    wanted = [
        sum(int(f[c]) * t.floor for f, t in zip(factors.tensors, statement.tensors, strict=True))
        for c in range(statement.degree)
    ]
    if [int(x) for x in found] != [x % P for x in wanted]:
        raise _failed("floor", "A tensor does not reach its floor.")


def _check_proximity(
    statement: Statement, proof: Proof, factors: Factors, columns: list[int]
) -> None:
    """In each opened column p is the combination of its numbers."""
    layout, d = layout_of(statement), statement.degree
    total = np.zeros((d, len(columns)), dtype=np.uint64)
    row = 0
    for tree in TREES:
        count = statement.stacks * layout.rows_of_stack(tree)
        numbers = _opened(proof, tree)[:count]
        add_combination(total, numbers, factors.rows[row : row + count])
        row += count
    total = add(total, _opened(proof, "helpers")[-3 * d : -2 * d])
    if bool((total != _at(proof.proximity, statement, columns)).any()):
        raise _failed("proximity", "The rows are no code words.")


def _check_equations(
    statement: Statement,
    public: Public,
    proof: Proof,
    point: Array,
    factors: Factors,
    columns: list[int],
) -> None:
    """In each opened column q and r are what its numbers give."""
    layout, d = layout_of(statement), statement.degree
    opened = {tree: _opened(proof, tree) for tree in TREES}
    total, floor = opened["helpers"][-2 * d : -d].copy(), opened["helpers"][-d:].copy()
    lanes = Lanes(statement, public)
    for stack in range(statement.stacks):
        parts = {
            tree: rows[stack * layout.rows_of_stack(tree) :][: layout.rows_of_stack(tree)]
            for tree, rows in opened.items()
        }
        of_lanes, tensors = (
            opened_columns(rows, columns).T.copy()
            for rows in (lanes.of_lanes(stack), lanes.tensors(stack))
        )
        own = factors.equations[stack * layout.constraints :][: layout.constraints]
        here, own_lanes = Challenge(point, own), LaneRows(*of_lanes)
        aux = parts["aux"][layout.block * layout.aux_place :]
        for i in range(layout.block):
            rows = _place(parts, layout.sketches, layout.aux_place, layout.looked_place * d, i)
            shown = PublicRows(*opened_columns(lanes.place(stack, i), columns).T.copy())
            add_place(total, layout, i, rows, shown, own_lanes, aux[: layout.sketches], here)
        add_rest(total, layout, aux, parts["helpers"][-SLACK * d :], here)
        chosen = np.zeros_like(floor)
        add_combination(chosen, tensors, factors.tensors)
        floor = add(floor, mul(chosen, aux[-SLACK - 1][None]))
    for what, found, sent in (("equations", total, proof.quadratic), ("floor", floor, proof.floor)):
        if bool((found != _at(sent, statement, columns)).any()):
            raise _failed(what, "A polynomial is not what the opened columns give.")


def _place(parts: dict[str, Array], sketches: int, aux: int, helpers: int, i: int) -> PlaceRows:
    return PlaceRows(
        parts["weights"][i],
        parts["gradients"][i * sketches : (i + 1) * sketches],
        parts["post"][i],
        parts["aux"][i * aux : (i + 1) * aux],
        parts["helpers"][i * helpers : (i + 1) * helpers],
    )


def _opened(proof: Proof, tree: str) -> Array:
    """(rows, columns)."""
    return np.stack([one.numbers for one in proof.columns[tree]], 1)


def _at(coefficients: Array, statement: Statement, columns: list[int]) -> Array:
    return values_of(coefficients, statement.columns, GENERATOR)[:, columns]


def _failed(check: str, what: str) -> VerificationFailed:
    return VerificationFailed(
        check,
        what,
        "So the proof does not show the statement.",
        "Do not rely on it; ask for another proof.",
    )
