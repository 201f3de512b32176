"""The job that trains one model for edited ones to be compared with."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, replace
from typing import Any

from rescind.core.canonical import plain
from rescind.core.protocols import Progress
from rescind.core.run import Order, Snapshot
from rescind.jobs import Place, cell_reader, codes_on, keep, open_desk, snapshot_name
from rescind.metrics.equivalence import DECIDES


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
            cells, codes = cell_reader(desk), codes_on(desk, self.order)
            train_order(desk.model, recipe, self.order, cells, {}, save, told, codes)
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
