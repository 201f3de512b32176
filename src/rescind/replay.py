"""Train every surviving order again in fresh processes, from raw rows, and compare the bytes.

Rule 8: no cache is read; keys, test membership and partition are worked out anew; everything ever
forgotten is left out. Only this carries an exact claim.
"""

from __future__ import annotations

import functools
import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rescind import rows, state, stored_seeds
from rescind.backends import Backends, connect
from rescind.core.canonical import digest, plain
from rescind.core.dataset import Record
from rescind.core.errors import (
    BadData,
    MissingExtra,
    MissingSource,
    NotDeterministic,
    RescindError,
)
from rescind.core.evidence import Proof
from rescind.core.partition import Cell
from rescind.core.protocols import Executor, Job, Progress
from rescind.core.run import Environment, Order, Run, Snapshot
from rescind.core.version import selection, weights_digest
from rescind.executors.local import LocalExecutor

if TYPE_CHECKING:
    from rescind.training.models import TrainedModel
    from rescind.training.stages import CellData

# what the ledger and the certificate say: the errors themselves name keys and paths (rule 4)
NOT_POSSIBLE: dict[type[RescindError], str] = {
    MissingSource: "the source cannot be read again",
    BadData: "the source does not give the rows that were recorded",
    MissingExtra: "a package that reads the source or the encoder is not installed",
}
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReplayOrder:
    """Train one surviving prefix from raw rows; compare with the stored bytes of each stage."""

    folder: str
    run_id: str
    parts: tuple[Snapshot, ...]  # of one order, stage by stage

    def run(self, progress: Progress) -> list[tuple[str, int]]:
        """The digest of each stage as trained here, and the records in its cells.

        Raises:
            NotDeterministic: a stage came out with other bytes than the stored ones.
        """
        from rescind.training.determinism import settle
        from rescind.training.models import trained_model
        from rescind.training.stages import train_order

        b = connect(Path(self.folder))
        settle(b.settings.threads)
        run = state.run_by_id(b, self.run_id)
        last = self.parts[-1]
        order = Order(last.shard, last.order, last.slices, last.blocks)
        made: dict[int, bytes] = {}
        model = trained_model(run.recipe)
        placed = placed_again(b, run)
        cells = functools.cache(fresh_cells(placed, model))
        listed = {c: [r.key for r in placed.get(c, ())] for c in order.cells(last.stage)}
        codes = stored_seeds.terms(b, run, listed)
        train_order(model, run.recipe, order, cells, {}, made.__setitem__, progress, codes)
        for part in self.parts:
            if made.get(part.stage) != b.artifacts.get(part.name):
                raise different(part)
        sizes = [len(cells(cell).labels) for cell in order.cells(last.stage)]
        return [
            (hashlib.sha256(made[p.stage]).hexdigest(), sum(sizes[: p.stage + 1]))
            for p in self.parts
        ]


def placed_again(b: Backends, run: Run) -> dict[Cell, list[Record]]:
    """Raw rows by cell, placed again by hash; what was ever forgotten is in none of them."""
    partition, secret = run.recipe.partition, b.keys.get("partition")
    by_cell: dict[Cell, list[Record]] = {}
    for record in surviving(b, run):
        by_cell.setdefault(partition.cell(record.placement, secret), []).append(record)
    return by_cell


def fresh_cells(
    by_cell: Mapping[Cell, Sequence[Record]], model: TrainedModel
) -> Callable[[Cell], CellData]:
    """The data of cells from raw rows."""
    from rescind.training.stages import cell_data

    def read(cell: Cell) -> CellData:
        return cell_data(model, [r.row for r in by_cell.get(cell, [])])

    return read


def surviving(b: Backends, run: Run) -> tuple[Record, ...]:
    """The source's records, by key, without those on the suppression list or off the allow-list."""
    suppressed = b.ledger.items("suppressed")
    found = rows.read(b, state.allowed(b), run.source)
    return tuple(r for r in found if state.suppression_leaf(b, r.key) not in suppressed)


def different(part: Snapshot) -> NotDeterministic:
    """The error for a stage whose stored bytes a replay does not meet."""
    return NotDeterministic(
        f"The replay of shard {part.shard}, order {part.order}, stage {part.stage + 1} gave other"
        " bytes, records or slices than the stored snapshot says.",
        "The snapshot is not what its lineage says, so nothing can be certified.",
        "Retrain with `rescind process --method retrain`, and look into how it was made.",
    )


def replay(b: Backends, parts: Sequence[Snapshot], progress: Progress) -> Proof:
    """Replay all surviving parts in fresh processes.

    Returns:
        A proof that is ``identical``, or ``not_possible`` with the reason.

    Raises:
        NotDeterministic: some bytes differ.
    """
    from rescind.training.determinism import environment

    run = state.run(b)
    here = environment(run.recipe.task, b.settings.threads)
    problem = _other_environment(run, parts, here)
    if problem:
        return Proof("replay", "not_possible", problem)
    filled = {e.cell for e in state.allowed(b) if e.cell != "test"}
    whole = [s for s in run.checkpoints if s.cells & filled]
    if not parts:
        return _identical(here, whole, (), {})
    by_order: dict[tuple[int, int], list[Snapshot]] = {}
    for part in sorted(parts, key=lambda s: s.stage):
        by_order.setdefault((part.shard, part.order), []).append(part)
    groups = [_prefixes(by_order[key]) for key in sorted(by_order)]
    jobs: list[Job] = [ReplayOrder(str(b.folder), run.id, group) for group in groups]
    try:
        results = dict(fresh_executor(b).run(jobs, progress))
    except tuple(NOT_POSSIBLE) as error:
        log.warning("The replay is not possible: %s", error)
        told = next(text for kind, text in NOT_POSSIBLE.items() if isinstance(error, kind))
        return Proof("replay", "not_possible", told)
    return _identical(here, whole, groups, results)


def fresh_executor(b: Backends) -> Executor:
    """Processes started for this replay and ended with it, whatever executor trains (rule 8)."""
    return LocalExecutor(b.settings.workers, b.settings.threads)


def _prefixes(parts: Sequence[Snapshot]) -> tuple[Snapshot, ...]:
    """The stages of one order, if each is what its slices and blocks say: one training of it."""
    last = parts[-1]
    for part in parts:
        length = part.stage + 1
        if (part.slices, part.blocks) != (last.slices[:length], last.blocks[:length]):
            raise different(part)
    return tuple(parts)


def _identical(
    here: Environment,
    whole: Sequence[Snapshot],
    groups: Sequence[tuple[Snapshot, ...]],
    results: Mapping[int, list[tuple[str, int]]],
) -> Proof:
    """The proof, its weights worked out from the replayed digests and counts alone.

    All stages that the run was laid out with, and no other, are what a retraining gives; ``whole``
    are those that still have a record. The layout is the recorded one: a method is not asked again.
    """
    replayed = []
    for i, group in enumerate(groups):
        for part, (found, records) in zip(group, results[i], strict=True):
            if (part.digest, part.records) != (found, records):
                raise different(part)
            replayed.append(replace(part, digest=found, records=records))
    return Proof(
        kind="replay",
        outcome="identical",
        sense="retrain" if _layout(replayed) == _layout(whole) else "never_saw",
        weights=weights_digest(selection(replayed)),
        compared=len(replayed),
        environment=digest(plain(here)),
    )


def _layout(parts: Sequence[Snapshot]) -> set[tuple[object, ...]]:
    return {(p.shard, p.order, p.slices, p.blocks) for p in parts}


def _other_environment(run: Run, parts: Sequence[Snapshot], here: Environment) -> str:
    """Bit-equality holds on one kind of machine with one thread count; elsewhere say so.

    Each snapshot knows where it was trained: what was retrained after an update can be replayed.
    """
    foreign = sum(s.environment != digest(plain(here)) for s in parts)
    if not foreign:
        return ""
    then, now = plain(run.environment), plain(here)
    changed = [f"{n} was {then[n]}, is {now[n]}" for n in then if then[n] != now[n]]
    told = "; ".join(changed) or "they were retrained elsewhere"
    return f"the environment differs for {foreign} of {len(parts)} snapshots: {told}"
