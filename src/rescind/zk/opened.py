"""Gradients that a client shows: whole rows of its commitment, and whether a proof has the same.

the line below
values, 1 byte each with its sign: by sketch, block, place in the block
the random numbers at the ends of rows, 8 bytes each, lowest first, below p: by sketch, stack,
place in the block
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rescind.core.errors import VerificationFailed
from rescind.proofs.mask_proof.challenges import Challenges
from rescind.proofs.mask_proof.field import Array, P, signed
from rescind.proofs.mask_proof.proof_file import Proof
from rescind.proofs.mask_proof.statement import Statement
from rescind.proofs.mask_proof.transform import code_words
from rescind.proofs.mask_proof.witness import stack_of
from rescind.zk.picks import Pick

MAGIC = b"rescind opened gradients 1\n"


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """Values (s, blocks, size) and random numbers (s, stacks, size, t) of s sketches."""

    values: NDArray[np.int8]
    ends: Array


def written(opened: Opened) -> bytes:
    """As a file."""
    return MAGIC + opened.values.tobytes() + opened.ends.astype("<u8").tobytes()


def read(statement: Statement, count: int, data: bytes) -> Opened:
    """The rows of ``count`` sketches; of the statement only the sizes are used.

    Raises:
        VerificationFailed: another length, or a number that is not below p.
    """
    shape = (count, statement.blocks, statement.block)
    rest = (count, statement.stacks, statement.block, statement.opened)
    first = len(MAGIC) + int(np.prod(shape))
    length = first + 8 * int(np.prod(rest))
    if len(data) != length or not data.startswith(MAGIC):
        raise _failed(f"The file has {len(data)} bytes, and {count} gradients have {length}.")
    values = np.frombuffer(data[len(MAGIC) : first], dtype=np.int8).reshape(shape)
    ends = np.frombuffer(data[first:], dtype="<u8").astype(np.uint64).reshape(rest)
    if bool((ends >= np.uint64(P)).any()):
        raise _failed("A number in it is not below p.")
    return Opened(values, ends)


def check_rows(statement: Statement, proof: Proof, found: Pick, opened: Opened) -> None:
    """Return if the rows are those of a proof that holds (``mask_proof.verifier.verify``).

    Raises:
        VerificationFailed: one is another.
    """
    challenges = Challenges(statement)
    challenges.point(proof.aux)
    challenges.factors(proof.helpers)
    columns = challenges.columns(proof.proximity, proof.quadratic, proof.floor)
    shown = np.stack([one.numbers for one in proof.columns["gradients"]], 1)
    for number, stack, rows in _rows(statement, found, opened):
        where = [row_of(statement, stack, place, number) for place in range(statement.block)]
        if bool((code_words(rows)[:, columns] != shown[where]).any()):
            raise _failed(f"Gradient {number} is not the one that was committed to.")


def _rows(statement: Statement, found: Pick, opened: Opened) -> Iterator[tuple[int, int, Array]]:
    """Number of the sketch, stack, and rows (size of a block, row size)."""
    for at, number in enumerate(found.numbers):
        own = opened.values[at].astype(np.int64)
        for stack in range(statement.stacks):
            lanes = signed(stack_of(own, statement, stack).T)
            yield number, stack, np.concatenate([lanes, opened.ends[at, stack]], 1)


def row_of(statement: Statement, stack: int, place: int, number: int) -> int:
    """Where the row stands in the tree of gradients."""
    return (stack * statement.block + place) * statement.sketches + number


def _failed(what: str) -> VerificationFailed:
    return VerificationFailed(
        "opened gradients",
        what,
        "A client that shows others than it committed to has something to hide.",
        "Ask the client, and take it as caught where it cannot explain.",
    )
