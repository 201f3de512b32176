"""How long rows are: longer ones make a smaller proof and take more memory.

The proof's length is exact. What a prover holds at its peak is a law that was measured
(``benchmarks/mask_proof.py``; a test compares them): so much for the interpreter with numpy and
numba, and with torch, which a client's command has carried the order out with; the public numbers
of all blocks and the secret ones of a stack, since these are mapped; for each number of a row its
share of five trees, of the code words of one place, and of what is known of a stack, or at last the
file and its parts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from math import ceil, log2

from rescind.core.errors import BadParameter
from rescind.proofs.mask_proof.layout import BYTES, TREES, layout_of
from rescind.proofs.mask_proof.leaves import AT_ONCE
from rescind.proofs.mask_proof.proof_file import length_of
from rescind.proofs.mask_proof.statement import LARGEST, SMALLEST, Statement
from rescind.proofs.mask_proof.steps import fits
from rescind.proofs.mask_proof.transform import RATE
from rescind.proofs.mask_proof.turned import PLACES

LONGEST = 49_152  # numbers of a row where nothing is asked for
INTERPRETER, TORCH = 270_000_000, 200_000_000  # bytes
UNITS = {"kB": 10**3, "MB": 10**6, "GB": 10**9}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The most bytes of a prover's memory and of a proof's file; None where any will do."""

    memory: int | None = None
    proof: int | None = None


ANY = Limits()


@dataclass(frozen=True, slots=True)
class Cost:
    """Of a proof with rows of ``size`` numbers; ``work`` is in stages of a transform."""

    blocks: int
    size: int
    memory: int
    proof: int
    work: float


def sized(statement: Statement, limits: Limits) -> int:
    """The row size for a statement, whose own is not looked at.

    Within both limits that of the least work; within one the least of the other; without any the
    shortest that holds all blocks, ``LONGEST`` at most.

    Raises:
        BadParameter: none is within the limits; it says what is possible.
    """
    if limits == ANY:
        return held(statement, LONGEST)
    every = [cost_of(replace(statement, size=size)) for size in _sizes(statement)]
    fine = [
        cost
        for cost in every
        if (limits.memory is None or cost.memory <= limits.memory)
        and (limits.proof is None or cost.proof <= limits.proof)
    ]
    if not fine:
        raise _refused(every, limits)
    if limits.memory is None:
        return min(fine, key=_by_memory).size
    return min(fine, key=_by_proof if limits.proof is None else _by_work).size


def held(statement: Statement, longest: int) -> int:
    """The shortest row that holds all blocks, ``longest`` at most; it has twice as many numbers as
    columns are opened whatever is asked for.
    """
    sizes = _sizes(statement)
    enough = [size for size in sizes if size - statement.opened >= statement.blocks]
    most = [size for size in sizes if size <= longest] or sizes[:1]
    return min([most[-1], *enough[:1]])


def cost_of(statement: Statement) -> Cost:
    """What its proof takes."""
    layout, size = layout_of(statement), statement.size
    place = sum(layout.rows_of_place(tree) for tree in TREES)
    here = min(statement.blocks, statement.lanes) * statement.block  # the secret is mapped
    values = here * (2 * 8 + statement.sketches) + statement.blocks * statement.block * 2
    trees = (len(TREES) + 2) * RATE * 32  # their leaves, and one that is whole
    stack = statement.block * 9 + (statement.sketches + 2) * 8 + BYTES * 2
    turned = PLACES * (3 * 8 + 1 + statement.sketches)
    equations = layout.looked_place + 3 * statement.sketches + 30
    rows = 8 * (place + AT_ONCE + equations)
    proof = length_of(statement)
    combining, writing = size * (stack + turned + rows), 2 * proof
    memory = INTERPRETER + TORCH + values + size * trees + max(combining, writing)
    numbers = statement.stacks * size * sum(layout.rows_of_stack(tree) for tree in TREES)
    return Cost(statement.blocks, size, memory, proof, numbers * log2(size))


def parsed(text: str) -> int:
    """Bytes of a text such as 40MB or 1.5GB.

    Raises:
        BadParameter: it is something else.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(kB|MB|GB)", text)
    if not found:
        raise BadParameter(f"{text!r} is no number of bytes.", do="Write it as 40MB or 1.5GB.")
    return round(float(found[1]) * UNITS[found[2]])


def _sizes(statement: Statement) -> list[int]:
    least = max(SMALLEST, 2 * statement.opened + 1)
    powers = [2**m for m in range(LARGEST.bit_length())]
    every = sorted({*powers, *(3 * power for power in powers)})
    return [size for size in every if least <= size <= LARGEST and fits(size)]


def _by_memory(cost: Cost) -> tuple[int, float]:
    return cost.memory, cost.work


def _by_proof(cost: Cost) -> tuple[int, float]:
    return cost.proof, cost.work


def _by_work(cost: Cost) -> tuple[float, int]:
    return cost.work, cost.memory


def _refused(every: list[Cost], limits: Limits) -> BadParameter:
    """With what is possible where one of the limits is kept, or neither can be."""
    asked = {"memory": limits.memory, "file": limits.proof}
    small = [c for c in every if limits.memory is None or c.memory <= limits.memory]
    short = [c for c in every if limits.proof is None or c.proof <= limits.proof]
    offers = {
        min(small, key=_by_proof) if small else min(every, key=_by_memory),
        min(short, key=_by_memory) if short else min(every, key=_by_proof),
    }
    possible = (
        f"memory={_above(c.memory)},file={_above(c.proof)}" for c in sorted(offers, key=_by_memory)
    )
    wanted = ",".join(f"{name}={_above(most)}" for name, most in asked.items() if most is not None)
    return BadParameter(
        f"No proof of {every[0].blocks:,} blocks is within {wanted}.",
        "Longer rows make a smaller proof and take more memory.",
        f"Ask for what is possible: {' or '.join(possible)}.",
    )


def _above(count: int) -> str:
    """So many bytes or a little more, as ``parsed`` reads it."""
    name, unit = ("GB", 10**9) if count >= 10**9 else ("MB", 10**6)
    return f"{ceil(100 * count / unit) / 100:g}{name}"
