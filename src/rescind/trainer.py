"""Train orders through the executor: what ingestion, methods and rebuilding all ask for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rescind import committed, editing, methods_of, state
from rescind.acceptance import one_at_a_time
from rescind.backends import Backends
from rescind.core.canonical import build, plain
from rescind.core.dataset import ManifestEntry, Record
from rescind.core.errors import BadData, NoOp, StaleVersion
from rescind.core.guarantee import Empirical
from rescind.core.lineage import label
from rescind.core.protocols import Editable, Entry, Job, Progress, Write
from rescind.core.run import Order, Recipe, Run, Snapshot
from rescind.core.version import ModelVersion, selection, weights_digest
from rescind.data.manifest import entries_of, manifest_bytes
from rescind.jobs import AllowList, CacheCell, Place, TrainOrder, content, keep


def train_orders(
    b: Backends,
    run: Run,
    orders: Sequence[Order],
    entries: Sequence[ManifestEntry],
    generations: Mapping[str, int],
    progress: Progress,
) -> tuple[Snapshot, ...]:
    """Train whole orders on just these records; finished stages are taken as they are.

    Cells may be empty, and stages without any record give no snapshot.

    ``generations`` were read before the entries, so that what a withdrawal overtakes in between is
    labelled as stale, and nothing made from its records as current.

    Raises:
        StaleVersion: a withdrawal took records away meanwhile.
    """
    place = cached_place(b, run, orders, entries, generations, progress)
    training: list[Job] = [TrainOrder(place, order) for order in orders]
    found = sorted(b.executor.run(training, progress), key=lambda pair: pair[0])
    return tuple(build(Snapshot, s) for _, snapshots in found for s in snapshots)


def cached_place(
    b: Backends,
    run: Run,
    orders: Sequence[Order],
    entries: Sequence[ManifestEntry],
    generations: Mapping[str, int],
    progress: Progress,
) -> Place:
    """A place for training these orders, the activations of their cells in the store."""
    place = place_for(b, run, entries, generations)
    cells = sorted({str(c) for o in orders for c in o.cells(len(o.slices) - 1)})
    jobs: list[Job] = [CacheCell(place, cell) for cell in cells]
    for _ in b.executor.run(jobs, progress):
        pass  # each leaves its activations in the store
    return place


def place_for(
    b: Backends, run: Run, entries: Sequence[ManifestEntry], generations: Mapping[str, int]
) -> Place:
    """An allow-list as an artifact of its own, so that a job needs no more than its name.

    It stays until the next erasure in one of its cells: another process may be using it.
    """
    cells = sorted({*map(str, run.recipe.partition.cells()), *(e.cell for e in entries)})
    labels = {c: label(c, generations.get(c, 0)) for c in cells}
    made_from = frozenset(labels[e.cell] for e in entries)
    name = f"manifest/job-{content(b, entries, made_from)}"
    keep(b, name, "manifest", manifest_bytes(entries), made_from)
    return Place(str(b.folder), run.id, AllowList(name, labels))


@dataclass(frozen=True, slots=True)
class Handle:
    """``core.protocols.ModelHandle`` over a workspace: the model as it is served now."""

    b: Backends
    run: Run
    parts: tuple[Snapshot, ...]
    generations: Mapping[str, int]
    progress: Progress

    @property
    def digest(self) -> str:
        """Digest of the served selection."""
        return weights_digest(selection(self.parts))

    def train(
        self, orders: Sequence[Order], records: Sequence[Record] | None = None
    ) -> tuple[Snapshot, ...]:
        """Train orders on the retain set, or on ``records``, which are some of it.

        Raises:
            BadData: some of the records are not in the retain set.
        """
        entries = allowed = state.allowed(self.b)
        if records is not None:
            entries = _entries(self.b, self.run, records)
            _check_retained(entries, allowed)
        training = [e for e in entries if e.cell != "test"]
        return train_orders(self.b, self.run, orders, training, self.generations, self.progress)

    def load(self, part: Snapshot) -> Editable:
        """A copy of a part, in evaluation mode; what its training changed may be changed again.

        Raises:
            DamagedArtifact: the part is lost, or the encoder another.
        """
        return editing.load(self.b, self.run, part)

    def save(self, part: Snapshot, edited: Editable) -> Snapshot:
        """Store an edited copy as a part of its own, made from what the part's cells hold now.

        Raises:
            BadParameter: it was not loaded from this handle.
            StaleVersion: a withdrawal has changed the cells meanwhile.
        """
        return editing.save(self.b, self.run, part, edited, self.generations)


def _entries(b: Backends, run: Run, records: Sequence[Record]) -> tuple[ManifestEntry, ...]:
    partition = run.recipe.partition
    return entries_of(records, partition, b.keys.get("partition"), b.keys.get("workspace"))


def _check_retained(wanted: Sequence[ManifestEntry], allowed: Sequence[ManifestEntry]) -> None:
    listed = {e.key for e in allowed}
    foreign = sum(e.key not in listed for e in wanted)
    if foreign:
        raise BadData(
            f"A method asked to train on {foreign} records that are not in the retain set.",
            "What is made from a forgotten record can never be released.",
            "Train on split.retain, or on some of it.",
        )


def labels_of(b: Backends, snapshot: Snapshot) -> frozenset[str]:
    """The cell contents a stored snapshot was made from; none when it is not stored."""
    artifact = b.artifacts.find(snapshot.name)
    return artifact.cells if artifact else frozenset()


def check_current(b: Backends, parts: Sequence[Snapshot]) -> None:
    """Refuse parts that a withdrawal has overtaken, or that are not stored at all.

    Raises:
        StaleVersion: made from a cell content that is no longer in use.
    """
    for part in parts:
        made_from = labels_of(b, part)
        if made_from != state.labels(b, part.cells):
            raise StaleVersion(
                f"Snapshot {part.name} is not made from what its cells hold now.",
                "A withdrawal came in meanwhile, or the method made it elsewhere.",
                _first(b, made_from) + "Run the same command again.",
            )


def _first(b: Backends, made_from: frozenset[str]) -> str:
    """A request whose method edits weights and still has to replace what was made from its records
    stands in the way of every other.
    """
    unreleased = (r for r in state.suppressing(b) if r.withdrawn_at is None)
    found = [r.id for r in unreleased if r.labels & made_from]
    return f"`rescind process {found[0]}` first. " if found else ""


def rebuild(
    b: Backends, shards: Sequence[int] | None, limit: int | None, progress: Progress
) -> int:
    """Bring shards back: train their missing orders on the retain set and let them serve.

    Snapshots that are lost or damaged are trained again too.

    Args:
        b: the workspace.
        shards: which; by default those with no survivor, or with a damaged snapshot.
        limit: at most so many orders a shard.
        progress: told of each step.

    Returns:
        The number of orders trained.

    Raises:
        NoOp: no order of these shards is missing.
    """
    run, live = state.run(b), state.parts(b)
    damaged = [s for s in live if not state.intact(b, s)]
    lost = {s.name for s in damaged}
    intact = [s for s in live if s.name not in lost]
    wanted = _dead(run, intact) | {s.shard for s in damaged} if shards is None else set(shards)
    generations = state.generations(b)
    training = [e for e in state.allowed(b) if e.cell != "test"]
    missing = _missing(run, intact, wanted, limit, {e.cell for e in training})
    if not missing:
        raise NoOp("No shard has an order to train again.", do="Name shards with --shard.")
    b.artifacts.destroy([s.name for s in damaged if s.shard in wanted])
    made = train_orders(b, run, missing, training, generations, progress)
    with one_at_a_time(b):
        check_current(b, made)
        _serve(b, run, made)
    return len(missing)


def _dead(run: Run, live: Sequence[Snapshot]) -> set[int]:
    return set(range(run.recipe.partition.shards)) - {s.shard for s in live}


def _missing(
    run: Run, live: Sequence[Snapshot], shards: set[int], limit: int | None, filled: set[str]
) -> tuple[Order, ...]:
    """Orders of these shards whose last stage is not there, and that have a record to train on."""
    have = {(s.shard, s.slices) for s in live}
    taken: Counter[int] = Counter()
    found = []
    for order in methods_of.orders(run.recipe, run.blocks):
        there = (order.shard, order.slices) in have
        trainable = any(str(c) in filled for c in order.cells(len(order.slices) - 1))
        wanted = order.shard in shards and trainable and not there
        if wanted and (limit is None or taken[order.shard] < limit):
            taken[order.shard] += 1
            found.append(order)
    return tuple(found)


def _serve(b: Backends, run: Run, made: Sequence[Snapshot]) -> None:
    """The rebuilt parts join the live ones, as a new version without a request."""
    parent = state.version(b)
    replaced = {(s.shard, s.order, s.stage) for s in made}
    old = [s for s in state.parts(b) if (s.shard, s.order, s.stage) in replaced]
    now = (*(s for s in state.parts(b) if s not in old), *made)
    version = new_version(b, run, now, parent.id, "rebuilt; the next certificate replays it")
    writes = (
        *(Write("part", s.name, None) for s in old),
        *(state.write_part(s) for s in made),
        Write("version", version.id, plain(version)),
        Write("model", state.MODEL, {"run": run.id, "version": version.id}),
    )
    b.ledger.append(Entry("parts.rebuilt", None, {"version": version.id}, writes))
    committed.commit(b)


def new_version(
    b: Backends, run: Run, parts: Sequence[Snapshot], parent: str | None, because: str
) -> ModelVersion:
    """A version that is not certified; ``because`` says why."""
    return ModelVersion(
        id=f"v{len(b.ledger.items('version')) + 1}",
        run=run.id,
        parent=parent,
        weights=weights_digest(selection(parts)),
        forgotten=state.forgotten_root(b),
        guarantee=Empirical(because),
    )


def check_cells(recipe: Recipe, entries: Sequence[ManifestEntry]) -> None:
    """Refuse a placement that leaves a cell, or the test set, without a record.

    Raises:
        BadData: the empty cells are named, and what to change.
    """
    filled = {e.cell for e in entries}
    empty = [str(c) for c in recipe.partition.cells() if str(c) not in filled]
    if "test" not in filled:
        empty.append("test")
    if empty:
        raise BadData(
            f"{len(empty)} cells have no record: {', '.join(empty[:5])} (shard.slice).",
            f"{len(entries)} records do not fill {recipe.partition.shards} shards of"
            f" {recipe.partition.slices} slices and a test set.",
            "Use fewer shards or slices, a larger test_share, or more records.",
        )
