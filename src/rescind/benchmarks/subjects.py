"""Who stands in the table: every method with its searched parameters, and the controls."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field
from functools import cached_property

from rescind import methods_of
from rescind.benchmarks.cells import Made, Rows
from rescind.benchmarks.models import ANEW, ORIGINAL, RANDOM, Halves, Models, with_seed
from rescind.benchmarks.planted import planted
from rescind.benchmarks.readings import Batch
from rescind.benchmarks.setting import ForgetSet, Setting
from rescind.benchmarks.tuning import Searched, searches
from rescind.core.errors import RescindError
from rescind.core.protocols import Progress
from rescind.core.search import Search
from rescind.methods.eu_k import EUk
from rescind.metrics.scores import Cost
from rescind.search import OUTSIDE

ORIGINAL_LINE, RANDOM_LINE = "original (no-op)", "random weights"
LAST_LINE, PLANTED_LINE = "last layer only", "planted: retrained head"
ANEW_LINE = "retrained, other seeds"
FREE = Cost(0.0, 0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Subject:
    """What stands in one row of the table: its models, one a seed, and their mean cost."""

    models: Sequence[Made]
    cost: Cost
    control: bool = False
    search: Search | None = None
    parameters: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Bench:
    """A benchmark's setting with one of its models; ``deep`` adds the measures that take long."""

    setting: Setting
    name: str
    models: Models
    progress: Progress
    deep: bool = False

    @cached_property
    def searched(self) -> Searched:
        """Parameters by method, found once for all forget sets."""
        return searches(self.setting, self.models, self.progress)

    @cached_property
    def originals(self) -> list[Made]:
        """One a seed, trained on everything."""
        return self.train(Rows(self.setting.train), ORIGINAL, self.setting.seeds, "original models")

    def train(self, rows: Rows, first: int, count: int, what: str) -> list[Made]:
        """``count`` models of seeds from ``first``."""
        found = []
        for i in range(count):
            self.progress(what, i, count)
            found.append(self.models.trained(rows, first + i))
        self.progress(what, count, count)
        return found


def subjects(
    bench: Bench, forget: ForgetSet, halves: Halves
) -> tuple[dict[str, Subject], dict[str, str]]:
    """All rows: the methods with their searched parameters, and the controls."""
    found, searched = _controls(bench, forget, halves), bench.searched.found
    refused = dict(bench.searched.refused)
    for done, (name, search) in enumerate(searched.items()):
        bench.progress(f"{forget.name}: methods", done, len(searched))
        method = methods_of.make(name, search.chosen)
        try:
            made = [
                bench.models.edited(with_seed(method, seed), original, halves)
                for seed, original in enumerate(bench.originals)
            ]
        except OUTSIDE:
            raise  # a full disk says nothing about a method
        except RescindError as error:
            refused[name] = f"{type(error).__name__}: {error.what}"
            continue
        cost = mean_cost([m.cost for m in made])
        found[name] = Subject(made, cost, search=search, parameters=search.chosen)
    bench.progress(f"{forget.name}: methods", len(searched), len(searched))
    return found, refused


def _controls(bench: Bench, forget: ForgetSet, halves: Halves) -> dict[str, Subject]:
    """The original, random weights, the last layer only, a planted head, retrained models anew.

    The head is fitted to models retrained anew, not to the references that it is judged by.
    """
    seeds, models = bench.setting.seeds, bench.models
    anew = bench.train(halves.retain, ANEW, seeds, f"{forget.name}: retrained anew")
    random = [Made(models.untrained(RANDOM + s), "", FREE) for s in range(seeds)]
    last = [
        models.edited(EUk(k=1, seed=seed), original, halves)
        for seed, original in enumerate(bench.originals)
    ]
    heads = [
        models.cells.model(
            models.recipe,
            ["planted", original.weights, other.weights, halves.key],
            lambda original=original, other=other: planted(  # type: ignore[misc]
                original.model, other.model, _batch(models, halves), seed=0
            ),
        )
        for original, other in zip(bench.originals, anew, strict=True)
    ]
    made = {LAST_LINE: last, PLANTED_LINE: heads, ANEW_LINE: anew}
    costs = {name: mean_cost([m.cost for m in each]) for name, each in made.items()}
    return {
        ORIGINAL_LINE: Subject(bench.originals, FREE, control=True),
        RANDOM_LINE: Subject(random, FREE, control=True),
        **{name: Subject(each, costs[name], control=True) for name, each in made.items()},
    }


def _batch(models: Models, halves: Halves) -> Batch:
    return models.recipe.task.batch(
        [r.row for half in (halves.forget, halves.retain) for r in half]
    )


def mean_cost(costs: Sequence[Cost]) -> Cost:
    """The mean of each kind of cost."""
    kinds = zip(*(astuple(cost) for cost in costs), strict=True)
    return Cost(*(statistics.fmean(kind) for kind in kinds))
