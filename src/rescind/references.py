"""Models retrained without the records, that edited ones are compared with.

They are artifacts with lineage: the next request in one of their cells makes them stale, and its
erasure destroys them.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rescind import methods_of, state
from rescind.backends import Backends
from rescind.core.canonical import build, digest, plain
from rescind.core.protocols import Entry, Job, Progress, Write
from rescind.core.run import Order, Recipe, Run, Snapshot
from rescind.jobs import Place, cell_reader, keep, open_desk, snapshot_name
from rescind.metrics.equivalence import DECIDES
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


def seeds_of(recipe: Recipe) -> tuple[int, ...]:
    """Eight seeds that follow from the recipe's and are none that anybody would type."""
    drawn = (digest(["rescind reference", recipe.seed, i])[:13] for i in range(DECIDES))
    return tuple(2**52 + int(text, 16) for text in drawn)


def retrained(b: Backends, run: Run, request: str, progress: Progress) -> References:
    """Eight models trained on the present retain set; those that are stored are not trained again.

    Raises:
        StaleVersion: a withdrawal took records away meanwhile.
        MissingSource: the rows cannot be read again.
    """
    generations = state.generations(b)
    training = [e for e in state.allowed(b) if e.cell != "test"]
    order = methods_of.orders(run.recipe, run.blocks)[0]
    place = cached_place(b, run, [order], training, generations, progress)
    jobs: list[Job] = [
        TrainReference(place, order, s, i) for i, s in enumerate(seeds_of(run.recipe))
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
        write = Write("references", run.id, seconds)
        b.ledger.append(Entry("references.trained", request, facts, (write,)))
    return seconds


@dataclass(frozen=True, slots=True)
class TrainReference:
    """Train one order with a seed of its own, and keep its last stage."""

    place: Place
    order: Order
    seed: int
    index: int

    def run(self, progress: Progress) -> dict[str, Any]:
        """The model as plain values, and processor seconds; None where it was stored already."""
        from rescind.training.stages import train_order

        desk, last = open_desk(self.place), len(self.order.slices) - 1
        name = f"reference/{self.seed:x}/{snapshot_name(desk, self.order, last)}"
        made_from = frozenset(desk.labels[str(c)] for c in self.order.cells(last))
        started, known = time.process_time(), desk.b.artifacts.find(name) is not None

        def save(stage: int, data: bytes) -> None:
            if stage == last:
                keep(desk.b, name, "reference", data, made_from)

        def told(what: str, done: int, total: int) -> None:
            progress(f"retrained model {self.index + 1} of {DECIDES}", done, total)

        if not known:
            recipe = replace(desk.run.recipe, seed=self.seed)
            train_order(desk.model, recipe, self.order, cell_reader(desk), {}, save, told)
        data = desk.b.artifacts.get(name)
        snapshot = Snapshot(
            name=name,
            shard=self.order.shard,
            order=self.order.index,
            slices=self.order.slices,
            blocks=self.order.blocks,
            digest=hashlib.sha256(data).hexdigest(),
            records=sum(len(desk.by_cell.get(str(c), ())) for c in self.order.cells(last)),
            environment=desk.environment,
        )
        seconds = None if known else time.process_time() - started
        return {"snapshot": plain(snapshot), "cpu_seconds": seconds}
