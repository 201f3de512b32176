"""Several users' codes in one training: at a due step it is one user's turn.

Each user holds a read-out, so their terms cannot share a pass. In turn they cost what one costs; a
user has as many turns as batches of seeded records, so that each record is learned alike. The more
there are, the fewer steps each has.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rescind.audits.seeding.training import SeededCells, SeedingTerm
from rescind.core.errors import BadParameter
from rescind.core.partition import Cell

if TYPE_CHECKING:
    from torch import Tensor, nn

    from rescind.training.extra_term import Moment


@dataclass(frozen=True, slots=True)
class UsersInTurn:
    """What ``train_order`` takes: the seeded cells of one user or more, all seeded alike.

    Raises:
        BadParameter: their settings or layers differ.
    """

    users: tuple[SeededCells, ...]

    def __post_init__(self) -> None:
        if len({(user.settings, user.layer) for user in self.users}) > 1:
            raise BadParameter(
                "Users are seeded with other settings, or in another layer.",
                "One training takes turns between them.",
                "Give all of them the same Seeding(...).",
            )

    def of_stage(self, rows: Mapping[Cell, int], seed: int) -> SeedingTerm | Turns | None:
        """The terms of the users that have a record in these cells."""
        found = [user.of_stage(rows, seed) for user in self.users]
        terms = tuple(term for term in found if term is not None)
        if len(terms) < 2:
            return terms[0] if terms else None
        return Turns(terms)


@dataclass(frozen=True, slots=True)
class Turns:
    """An ``ExtraTerm`` of several users' terms."""

    terms: tuple[SeedingTerm, ...]

    def due(self, step: int) -> bool:
        """As the common settings have it."""
        return self.terms[0].due(step)

    def listen(
        self, module: nn.Module, batch: Mapping[str, Tensor]
    ) -> AbstractContextManager[Mapping[str, Tensor]]:
        """The pooled features of the main pass, which all terms read alike."""
        return self.terms[0].listen(module, batch)

    def loss(self, moment: Moment, heard: Mapping[str, Tensor]) -> Tensor:
        """The term of the user whose turn it is, at the step that it would be with no other."""
        every = self.terms[0].settings.every
        user, number = self.turn(moment.step // every)
        return self.terms[user].loss(replace(moment, step=number * every), heard)

    def turn(self, number: int) -> tuple[int, int]:
        """Whose turn it is, and which of that user's, both from 0."""
        counts = [-(-len(term.index) // term.settings.batch) for term in self.terms]
        again, place = divmod(number, sum(counts))
        for user, count in enumerate(counts):
            if place < count:
                return user, again * count + place
            place -= count
        raise AssertionError("a place is below the sum of the counts")
