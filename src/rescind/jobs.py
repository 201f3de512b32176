"""Work for an executor: each job holds names and digests and opens the workspace for itself."""

from __future__ import annotations

import functools
import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rescind import rows, state, stored_seeds
from rescind.backends import Backends, connect
from rescind.core.canonical import digest, keyed, plain
from rescind.core.dataset import ManifestEntry
from rescind.core.errors import DamagedArtifact, StaleVersion
from rescind.core.lineage import ArtifactKind, is_outdated
from rescind.core.partition import Cell
from rescind.core.protocols import Progress
from rescind.core.run import Order, Recipe, Run, Snapshot
from rescind.data.manifest import entries_from

if TYPE_CHECKING:
    from rescind.training.extra_term import ExtraTerms
    from rescind.training.models import TrainedModel
    from rescind.training.stages import CellData


@dataclass(frozen=True, slots=True)
class AllowList:
    """The records a job may use: a manifest artifact, and the label of each cell, of those without
    a record too, when it was written.
    """

    manifest: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a job works and under which run and allow-list."""

    folder: str
    run: str
    allow: AllowList


@dataclass(frozen=True, slots=True)
class Desk:
    """A place, opened: what each job needs of it."""

    b: Backends
    run: Run
    model: TrainedModel
    by_cell: Mapping[str, Sequence[ManifestEntry]]
    labels: Mapping[str, str]
    environment: str  # its digest: part of the name of all whose bytes depend on it


def open_desk(place: Place) -> Desk:
    """Settle this process, load the base once, and read the allow-list."""
    from rescind.training.determinism import check_encoder, environment, settle

    b = connect(Path(place.folder))
    settle(b.settings.threads)
    run = state.run_by_id(b, place.run)
    check_encoder(run)
    here = digest(plain(environment(run.recipe.task, b.settings.threads)))
    entries = entries_from(_allow_list(b, place.allow))
    by_cell: dict[str, list[ManifestEntry]] = defaultdict(list)
    for entry in sorted(entries, key=lambda e: e.key):
        by_cell[entry.cell].append(entry)
    return Desk(b, run, staged_model(run.recipe), by_cell, place.allow.labels, here)


def _allow_list(b: Backends, allow: AllowList) -> bytes:
    try:
        return b.artifacts.get(allow.manifest)
    except DamagedArtifact:
        check_not_overtaken(b, allow.labels.values())  # then an erasure has destroyed the list
        raise


def keep(b: Backends, name: str, kind: ArtifactKind, data: bytes, labels: frozenset[str]) -> None:
    """Store what was made from these cells, unless a withdrawal has changed one of them meanwhile.

    Its request may be closed by now, and would never look for what comes later. A withdrawal that
    comes after this look finds the artifact in the store.

    Raises:
        StaleVersion: it was overtaken; nothing is left of it.
    """
    b.artifacts.put(name, kind, data, labels)
    try:
        check_not_overtaken(b, labels)
    except StaleVersion:
        b.artifacts.destroy([name])
        raise


def check_not_overtaken(b: Backends, labels: Iterable[str]) -> None:
    """Refuse to go on with cells that a withdrawal has changed.

    Raises:
        StaleVersion: one of the labels is no longer that of its cell.
    """
    now = state.generations(b)
    if any(is_outdated(label, now) for label in labels):
        raise StaleVersion(
            "A withdrawal has changed the records that something was being made from.",
            "What is made from a forgotten record is neither kept nor served.",
            "Run the same command again; it uses the records that are left.",
        )


# the base is frozen and its adapters are set before each use, so jobs of one process may share it
@functools.lru_cache(maxsize=1)
def staged_model(recipe: Recipe) -> TrainedModel:
    """The model of a recipe; loading the pretrained base takes longer than a short job."""
    from rescind.training.models import trained_model

    return trained_model(recipe)


def content(b: Backends, entries: Sequence[ManifestEntry], more: Iterable[str] = ()) -> str:
    """A keyed name for just these records, so that nothing made from others is taken for it.

    With the cells' labels in it, a name has one lineage: what a withdrawal overtook while it was
    made is never found under the name of what is made after it, even of equal records. With the
    environment in it, what another version or processor made is not mixed with what this one makes.
    """
    parts = (*(part for e in entries for part in (e.key, e.digest)), *sorted(more))
    return keyed(b.keys.get("workspace"), "content", *parts)[:16]


def cell_reader(desk: Desk) -> Callable[[Cell], CellData]:
    """The data of a cell as it is cached, labels included, so that scoring needs no source; what
    is not cached is computed from the rows and stored.
    """
    from rescind.training.snapshots import from_bytes, to_bytes
    from rescind.training.stages import CellData, cell_data

    def read(cell: Cell) -> CellData:
        entries, now = desk.by_cell.get(str(cell), ()), desk.labels.get(str(cell), "")
        # scores need no equal bytes, so those of the test records outlive an update and the source
        where = [] if str(cell) == "test" else [desk.environment]
        name = f"activations/{now}/{content(desk.b, entries, where)}"
        if not entries:
            return cell_data(desk.model, [])
        if desk.b.artifacts.find(name) is None:
            records = [r.row for r in rows.read(desk.b, entries, desk.run.source)]
            made = cell_data(desk.model, records)
            data = to_bytes({**made.activations, "labels": made.labels})
            keep(desk.b, name, "activations", data, frozenset({now}))
        stored = from_bytes(desk.b.artifacts.get(name))
        labels = stored.pop("labels")
        return CellData(stored, labels)

    return read


def codes_on(desk: Desk, order: Order) -> ExtraTerms | None:
    """What the codes of seeded records among those of an order add to its loss."""
    cells = order.cells(len(order.slices) - 1)
    listed = {cell: [e.key for e in desk.by_cell.get(str(cell), ())] for cell in cells}
    return stored_seeds.terms(desk.b, desk.run, listed)


@dataclass(frozen=True, slots=True)
class CacheCell:
    """Compute and store what enters the first adapted block for all records of one cell."""

    place: Place
    cell: str

    def run(self, progress: Progress) -> None:
        """Leave the activations in the store."""
        cell_reader(open_desk(self.place))(Cell.parse(self.cell))
        progress(f"activations of cell {self.cell}", 1, 1)


@dataclass(frozen=True, slots=True)
class TrainOrder:
    """Train one order; stages whose snapshot is stored already are not trained again."""

    place: Place
    order: Order

    def run(self, progress: Progress) -> list[dict[str, Any]]:
        """The order's snapshots, as plain values, stage by stage; none for stages left out."""
        from rescind.training.stages import train_order

        desk = open_desk(self.place)
        names = [snapshot_name(desk, self.order, i) for i in range(len(self.order.slices))]
        store = desk.b.artifacts
        have = {i: store.get(n) for i, n in enumerate(names) if store.find(n) is not None}
        digests = {i: hashlib.sha256(data).hexdigest() for i, data in have.items()}

        def save(stage: int, data: bytes) -> None:
            made_from = frozenset(desk.labels[str(c)] for c in self.order.cells(stage))
            keep(desk.b, names[stage], "snapshot", data, made_from)
            digests[stage] = hashlib.sha256(data).hexdigest()

        cells = cell_reader(desk)
        codes = codes_on(desk, self.order)
        train_order(desk.model, desk.run.recipe, self.order, cells, have, save, progress, codes)
        return [plain(self._snapshot(desk, i, names[i], digests[i])) for i in sorted(digests)]

    def _snapshot(self, desk: Desk, stage: int, name: str, digest: str) -> Snapshot:
        cells = self.order.cells(stage)
        return Snapshot(
            name=name,
            shard=self.order.shard,
            order=self.order.index,
            slices=self.order.slices[: stage + 1],
            blocks=self.order.blocks[: stage + 1],
            digest=digest,
            records=sum(len(desk.by_cell.get(str(c), ())) for c in cells),
            environment=desk.environment,
        )


def snapshot_name(desk: Desk, order: Order, stage: int) -> str:
    """A name that follows from run, order, layout, environment, and the records and labels of the
    prefix.
    """
    entries = [e for c in order.cells(stage) for e in desk.by_cell.get(str(c), ())]
    labels = [desk.labels.get(str(c), "") for c in order.cells(stage)]
    where = f"{order.shard}-{order.index}-{stage}"
    layout = digest([order.slices[: stage + 1], order.blocks[: stage + 1]])[:8]
    made_from = content(desk.b, entries, [*labels, desk.environment])
    return f"snapshot/{desk.run.id}/{where}-{layout}/{made_from}"


@dataclass(frozen=True, slots=True)
class ScoreSnapshots:
    """Outputs of single snapshots on the test records; an ensemble's outputs follow from them."""

    place: Place
    snapshots: tuple[Snapshot, ...]

    def run(self, progress: Progress) -> list[str]:
        """Names of the predictions, one a snapshot."""
        import torch

        from rescind.training.batches import pieces
        from rescind.training.snapshots import from_bytes, to_bytes

        desk = open_desk(self.place)
        store, test = desk.b.artifacts, None
        names = [prediction_name(desk.b, s, desk.by_cell.get("test", ())) for s in self.snapshots]
        for i, (name, snapshot) in enumerate(zip(names, self.snapshots, strict=True)):
            if store.find(name) is None:
                test = test or cell_reader(desk)(Cell.parse("test"))
                desk.model.load(from_bytes(store.get(snapshot.name)))
                with torch.no_grad():
                    parts = [desk.model.forward_from(p) for p in pieces(test.activations, 64)]
                data = to_bytes({"outputs": torch.cat(parts), "labels": test.labels})
                artifact = store.find(snapshot.name)
                made_from = artifact.cells if artifact else frozenset[str]()
                store.put(name, "predictions", data, made_from | {desk.labels["test"]})
            progress("test outputs", i + 1, len(names))
        return names


def prediction_name(b: Backends, snapshot: Snapshot, test: Sequence[ManifestEntry]) -> str:
    """Where a snapshot's outputs on just these test records are kept."""
    return f"predictions/{snapshot.digest[:16]}/{content(b, test)}"
