"""Models retrained without the records, that edited ones are compared with.

They are artifacts with lineage: the next request in one of their cells makes them stale, and its
erasure destroys them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rescind import methods_of, state
from rescind.backends import Backends
from rescind.core.canonical import build, digest
from rescind.core.protocols import Entry, Job, Progress, Write
from rescind.core.run import Recipe, Run, Snapshot
from rescind.metrics.equivalence import DECIDES
from rescind.reference_job import TrainReference
from rescind.trainer import cached_place


@dataclass(frozen=True, slots=True)
class References:
    """The retrained models, and processor seconds of each where they are known."""

    models: tuple[Snapshot, ...]
    cpu_seconds: Mapping[str, float]

    def costs(self) -> dict[str, float]:
        """Processor seconds of all of them, and of one retraining, as far as they were measured."""
        known = list(self.cpu_seconds.values())
        if not known:
            return {}
        one = sum(known) / len(known)
        return {"retrained models": one * len(self.models), "one retraining": one}


def seeds_of(recipe: Recipe, drawn_for: int | None = None) -> tuple[int, ...]:
    """Eight seeds that follow from the recipe's and are none that anybody would type.

    ``drawn_for`` is a number that was drawn for one use: with it the seeds are that use's alone.
    """
    use = [] if drawn_for is None else [drawn_for]
    drawn = (digest(["rescind reference", recipe.seed, i, *use])[:13] for i in range(DECIDES))
    return tuple(2**52 + int(text, 16) for text in drawn)


def retrained(
    b: Backends, run: Run, request: str, progress: Progress, drawn_for: int | None = None
) -> References:
    """Eight models trained on the present retain set; those that are stored are not trained again.

    ``drawn_for`` is as in ``seeds_of``.

    Raises:
        StaleVersion: a withdrawal took records away meanwhile.
        MissingSource: the rows cannot be read again.
    """
    generations = state.generations(b)
    training = [e for e in state.allowed(b) if e.cell != "test"]
    order = methods_of.orders(run.recipe, run.blocks)[0]
    place = cached_place(b, run, [order], training, generations, progress)
    jobs: list[Job] = [
        TrainReference(place, order, s, i) for i, s in enumerate(seeds_of(run.recipe, drawn_for))
    ]
    found = [made for _, made in sorted(b.executor.run(jobs, progress), key=lambda pair: pair[0])]
    models = tuple(build(Snapshot, made["snapshot"]) for made in found)
    return References(models, _noted(b, run, request, found))


def _noted(
    b: Backends, run: Run, request: str, found: Sequence[Mapping[str, Any]]
) -> dict[str, float]:
    """Processor seconds by model, an earlier evaluation's too; a new training is an entry."""
    names = [made["snapshot"]["name"] for made in found]
    known = b.ledger.get("references", run.id) or {}
    seconds = {name: known[name] for name in names if name in known}
    new = {
        n: made["cpu_seconds"] for n, made in zip(names, found, strict=True) if made["cpu_seconds"]
    }
    if new:
        seconds |= new
        facts = {"models": len(found), "trained": len(new), "cpu_seconds": sum(new.values())}
        write = Write("references", run.id, {**known, **seconds})
        b.ledger.append(Entry("references.trained", request, facts, (write,)))
    return seconds
