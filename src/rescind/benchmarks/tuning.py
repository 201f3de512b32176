"""Each method's parameters, from a recorded search on a forget set that no table reports."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rescind.benchmarks.cells import Made, Rows
from rescind.benchmarks.models import SEARCH, SEARCH_RETRAINED, Halves, Models, with_seed
from rescind.benchmarks.readings import Looks, columns
from rescind.benchmarks.sets import Sets, sets_of
from rescind.benchmarks.setting import SHOWN, Setting
from rescind.core.canonical import plain
from rescind.core.errors import RescindError
from rescind.core.protocols import Progress, Unlearner
from rescind.core.search import Search
from rescind.metrics.distance import distance
from rescind.search import OUTSIDE, search

SEEDS = (SEARCH, *(SEARCH_RETRAINED + i for i in range(SHOWN)))


@dataclass(frozen=True, slots=True)
class Searched:
    """The search of each method, why some methods refuse the model, and what all of it took.

    ``cpu_seconds`` is what the models and readings took when they were made, failed trials aside.
    """

    found: Mapping[str, Search]
    refused: Mapping[str, str]
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Ground:
    """What a search is made on: one original, three retrained models, validation examples.

    ``spent`` grows by the processor seconds of each trial, also of one that was there already.
    """

    setting: Setting
    models: Models
    original: Made
    halves: Halves
    sets: Sets
    retrained: Sequence[Looks]
    reference: Mapping[str, Sequence[float]]
    spent: list[float] = field(default_factory=list)

    def distance(self, method: Unlearner) -> float:
        """How many margins the edited model is away from retrained ones; cached."""
        key = [
            "distance and cost",
            self.setting.margins,
            self.original.weights,
            self.halves.key,
            method,
        ]
        named = [type(method).__module__, type(method).__qualname__]
        found = self.models.cells.value([plain(key), named], lambda: self._distance(method))
        self.spent.append(float(found["cpu_seconds"]))
        return float(found["distance"])

    def _distance(self, method: Unlearner) -> dict[str, float]:
        made = self.models.edited(with_seed(method, SEARCH), self.original, self.halves)
        started = time.process_time()
        candidate = columns(self.sets.measures, [self.sets.looks(made.model)], self.retrained)
        away = distance(candidate, self.reference, self.setting.margins)
        return {
            "distance": away,
            "cpu_seconds": made.cost.cpu_seconds + time.process_time() - started,
        }


def ground(setting: Setting, models: Models, progress: Progress) -> Ground:
    """Train what a search needs, with seeds that nothing reported has."""
    halves = Halves.of(setting.train, setting.searched.records)
    retrained: list[Made] = []
    for i in range(SHOWN):
        progress("search: models", i, SHOWN + 1)
        retrained.append(models.trained(halves.retain, SEARCH_RETRAINED + i))
    original = models.trained(Rows(setting.train), SEARCH)
    progress("search: models", SHOWN + 1, SHOWN + 1)
    sets = sets_of(
        models.recipe.task, setting, setting.searched, halves.retain.records, setting.validation
    )
    looks = [sets.looks(made.model) for made in retrained]
    reference = columns(sets.measures, looks, looks)
    spent = [made.cost.cpu_seconds for made in (original, *retrained)]
    return Ground(setting, models, original, halves, sets, looks, reference, spent)


def searches(setting: Setting, models: Models, progress: Progress) -> Searched:
    """Search each method's parameters; trials that are there are not made again."""
    found: dict[str, Search] = {}
    refused: dict[str, str] = {}
    place = ground(setting, models, progress)
    for done, name in enumerate(setting.methods):
        progress("search: methods", done, len(setting.methods))
        try:
            found[name] = search(
                name, place.distance, budget=setting.trials, seeds=SEEDS, progress=progress
            )
        except OUTSIDE:
            raise
        except RescindError as error:
            refused[name] = f"{type(error).__name__}: {error.what}"
    progress("search: methods", len(setting.methods), len(setting.methods))
    return Searched(found, refused, sum(place.spent))
