"""How sure a verified proof is, in bits: minus the log of what one attempt to cheat succeeds by.

The sum of, for an extension of p^d numbers, rows of k, t opened columns and code words of 4 k:

    columns     (3/4)^t that no wrong column is opened where rows are k or more columns from code
                words, plus (3/4)^t that a wrong polynomial agrees: 2 k + k of 4 k places
    rows        4 k / p^d: the combination is near code words and the rows are not
    equations   3 / p^d: one random combination hides an equation that does not hold
    bytes       (looked up + 256) / p^d in a lane: a number that is no byte is taken for one
    hashes      2^-128 per hash: two columns, or two histories, with one digest

No conjecture: errors are up to k columns, half of what decoding allows. It is per attempt: Fiat and
Shamir's challenges let a cheat try again with other commitments, at one attempt a hash at least.
"""

from __future__ import annotations

from math import log2

from rescind.proofs.mask_proof.field import P
from rescind.proofs.mask_proof.layout import SLACK, layout_of
from rescind.proofs.mask_proof.statement import Statement

HASH_BITS = 128


def error(statement: Statement) -> float:
    """The sum above."""
    layout, space = layout_of(statement), float(P) ** statement.degree
    columns = 2 * 0.75**statement.opened
    looked = layout.block * layout.looked_place + SLACK
    algebra = (4 * statement.size + 3 + looked + 256) / space
    return float(columns + algebra + 2.0**-HASH_BITS)


def bits(statement: Statement) -> float:
    """Minus its logarithm."""
    return -log2(error(statement))


def after_hashes(statement: Statement, hashes: float = 2.0**64) -> float:
    """The chance of a cheat who can make so many attempts, at most 1."""
    return min(1.0, hashes * error(statement))


def columns_for(wanted: float) -> int:
    """The fewest opened columns whose share of the error leaves room for the rest of it."""
    return -int(-(wanted + 1.1) // log2(4 / 3))
