"""Train and edit the models of a benchmark, each in a cell of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from rescind.benchmarks.cells import Cells, Made, Rows
from rescind.core.canonical import plain
from rescind.core.dataset import Record, Split
from rescind.core.errors import NoOp
from rescind.core.protocols import Unlearner
from rescind.core.run import Recipe
from rescind.testing.memory import MemoryModel, run_of

if TYPE_CHECKING:
    from rescind.training.models import TrainedModel

# seeds of their own for each use, so that what was searched on is never reported
ORIGINAL, RETRAINED, ANEW, RANDOM = 0, 100, 200, 300
SEARCH, SEARCH_RETRAINED = 500, 600
SPREAD = 700  # by which margins are measured


@dataclass(frozen=True)
class Halves:
    """A forget set and what stays without it."""

    forget: Rows
    retain: Rows

    @classmethod
    def of(cls, train: Sequence[Record], forget: Sequence[Record]) -> Halves:
        """Both in the order of ``train``."""
        gone = {r.key for r in forget}
        return cls(
            Rows([r for r in train if r.key in gone]), Rows([r for r in train if r.key not in gone])
        )

    @cached_property
    def key(self) -> list[str]:
        """What names them in a cell."""
        return [self.forget.digest, self.retain.digest]


@dataclass(frozen=True)
class Models:
    """The models of one recipe."""

    recipe: Recipe
    cells: Cells

    def trained(self, rows: Rows, seed: int) -> Made:
        """Trained plainly on these rows."""
        from rescind.training.plain import train_whole

        recipe = self.seeded(seed)
        return self.cells.model(
            recipe,
            ["trained", rows.digest],
            lambda: train_whole(recipe, [r.row for r in rows], self.cells.device),
        )

    def untrained(self, seed: int) -> TrainedModel:
        """As the recipe begins: random weights."""
        from rescind.training.models import trained_model

        found = trained_model(self.seeded(seed))
        found.module.to(self.cells.device)
        return found

    def edited(self, method: Unlearner, original: Made, halves: Halves) -> Made:
        """The method on an original that was trained on both halves.

        Raises:
            RescindError: the method refuses the model, or diverged.
        """
        key = ["edited", _named(method), original.weights, halves.key]
        return self.cells.model(
            self.recipe, key, lambda: _edit(method, original.model, halves, self.recipe)
        )

    def seeded(self, seed: int) -> Recipe:
        """The recipe with another seed."""
        return dataclasses.replace(self.recipe, seed=seed)


def with_seed(method: Unlearner, seed: int) -> Unlearner:
    """The method with this seed; one that draws nothing has none."""
    fields = {f.name for f in dataclasses.fields(method)}  # type: ignore[arg-type]
    return dataclasses.replace(method, seed=seed) if "seed" in fields else method  # type: ignore[type-var]


def _edit(
    method: Unlearner, original: TrainedModel, halves: Halves, recipe: Recipe
) -> TrainedModel:
    handle = MemoryModel(original)
    split = Split(halves.forget.records, halves.retain.records)
    method.unlearn(handle, split, run_of(recipe))
    if handle.edited is None:
        raise NoOp("The method saved nothing.", "It handed back the model that it was given.")
    return handle.edited


def _named(method: Unlearner) -> object:
    return [f"{type(method).__module__}:{type(method).__qualname__}", plain(method)]
