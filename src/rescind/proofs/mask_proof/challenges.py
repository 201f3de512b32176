"""The verifier's random numbers, in their order; each follows from all that was said before it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rescind.proofs.mask_proof.field import Array
from rescind.proofs.mask_proof.layout import TREES, layout_of
from rescind.proofs.mask_proof.statement import Statement
from rescind.proofs.mask_proof.transcript import Transcript


@dataclass(frozen=True, slots=True, eq=False)
class Factors:
    """(rows, d) of all rows of all trees but the masks, (constraints, d) of all stacks, and
    (tensors, d).
    """

    rows: Array
    equations: Array
    tensors: Array


class Challenges:
    """Of one statement; the three calls come once each, in this order."""

    def __init__(self, statement: Statement) -> None:
        self._statement = statement
        self._transcript = Transcript(statement.canonical())

    def point(self, aux: bytes) -> Array:
        """X (d,)."""
        self._transcript.absorb("aux", aux)
        return self._transcript.elements("point", self._statement.degree)

    def factors(self, helpers: bytes) -> Factors:
        """What rows, equations and floors are combined with."""
        self._transcript.absorb("helpers", helpers)
        s, layout = self._statement, layout_of(self._statement)
        rows = s.stacks * sum(layout.rows_of_stack(tree) for tree in TREES)
        counts = (rows, s.stacks * layout.constraints, len(s.tensors))
        found = self._transcript.elements("factors", s.degree * sum(counts)).reshape(-1, s.degree)
        return Factors(*np.split(found, np.cumsum(counts)[:-1]))

    def columns(self, *polynomials: Array) -> list[int]:
        """Which columns are opened."""
        for name, each in zip(("p", "q", "r"), polynomials, strict=True):
            self._transcript.absorb(name, np.ascontiguousarray(each).astype("<u8").tobytes())
        return self._transcript.columns(self._statement.opened, self._statement.columns)
