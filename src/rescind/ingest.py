"""From a user's data and recipe to a trained, recorded run; interrupted, it goes on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from rescind import (
    committed,
    erasure,
    evaluate,
    methods_of,
    rows,
    seeds,
    state,
    stored_seeds,
    trainer,
)
from rescind.audits.seeding.handed import Handed
from rescind.audits.seeding.term import MEASURED, Seeding
from rescind.backends import Backends
from rescind.core.canonical import digest, plain
from rescind.core.dataset import Manifest, ManifestEntry, Record, Source
from rescind.core.errors import BadParameter, Busy, MissingSource
from rescind.core.protocols import Entry, Progress, Write
from rescind.core.run import Recipe, Run, Snapshot
from rescind.core.version import ModelVersion
from rescind.data.manifest import entries_of
from rescind.data.records import records_from
from rescind.data.source import source_of
from rescind.readings import check_margins
from rescind.seeds import Seeded


@dataclass(frozen=True, slots=True)
class Data:
    """A user's data and how to read it, and what is seeded in it: see ``Workspace.train``."""

    data: object
    key: str | None = None
    subject: str | None = None
    encoding: str = "utf-8"
    arguments: Mapping[str, Any] | None = None
    store: bool = False
    seeds: tuple[Handed, ...] = ()
    seeding: Seeding = MEASURED


def train(b: Backends, recipe: Recipe, given: Data, progress: Progress) -> ModelVersion:
    """Read, place and train; the same call again after an interruption finishes what is missing.

    Raises:
        BadData: rows that cannot be keyed, placed or trained on; all problems are listed.
        BadParameter: a recipe that cannot work, a margin for what is not read of its kind of task,
            or a workspace with another run in it.
        MissingSource: rows in memory without ``store=True``.
        Busy: another process is training in this workspace.
    """
    from rescind.training.adapters import check_fits
    from rescind.training.determinism import environment, settle
    from rescind.training.models import count_blocks
    from rescind.training.pretrained import is_adapted

    settle(b.settings.threads)
    check_margins(recipe)
    source, found = source_of(
        given.data,
        key=given.key,
        subject=given.subject,
        encoding=given.encoding,
        arguments=given.arguments,
    )
    _check_store(source, given.store)
    everything = records_from(found, key=given.key, subject=given.subject)
    records = _not_forgotten(b, everything)
    entries = _placed(b, recipe, records)
    with _alone(b):
        seeded = seeds.seeded_with(given.seeds, given.seeding)
        where = environment(recipe.task, b.settings.threads)
        blocks = count_blocks(recipe.task)
        wanted = Run("", recipe, "", source, where, blocks, seeds=seeded.name)
        _check_one_run(b, wanted, entries, _placed(b, recipe, everything))
        recipe.task.check([r.row for r in records])
        trainer.check_cells(recipe, entries)
        orders = methods_of.orders(recipe, blocks)
        if is_adapted(recipe.task):
            check_fits(recipe)
        seeds.check_width(given.seeds, recipe)
        run = _begin(b, wanted, entries, records, seeded)
        if run.checkpoints:
            committed.commit(b)  # it was killed before, or is of an earlier version of rescind
            return state.version(b)
        training = [e for e in entries if e.cell != "test"]
        snapshots = trainer.train_orders(b, run, orders, training, state.generations(b), progress)
        return _finish(b, run, snapshots, progress)


@contextmanager
def _alone(b: Backends) -> Iterator[None]:
    """Hold the lock of a training: a run may be discarded only while nobody works on it.

    Raises:
        Busy: another process holds it.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(b.ledger.claim("training"))
        except Busy as error:
            raise Busy(
                f"Another process is training in {b.folder}.",
                "Two processes may not write one run.",
                "Wait for it to end, then run the same command again.",
            ) from error
        yield


def _placed(b: Backends, recipe: Recipe, records: Sequence[Record]) -> tuple[ManifestEntry, ...]:
    secrets = b.keys.get("partition"), b.keys.get("workspace")
    return entries_of(records, recipe.partition, *secrets)


def _check_store(source: Source, store: bool) -> None:
    if source.kind == "stored" and not store:
        raise MissingSource(
            "Rows in memory cannot be read again for a replay.",
            "By default the workspace keeps no training content.",
            "Pass store=True to keep them encrypted, or give a path or module:function instead.",
        )


def _not_forgotten(b: Backends, records: Sequence[Record]) -> tuple[Record, ...]:
    """A record on the suppression list never comes back by a re-import (rule 2)."""
    suppressed = b.ledger.items("suppressed")
    return tuple(r for r in records if state.suppression_leaf(b, r.key) not in suppressed)


def _run_id(wanted: Run, entries: Sequence[ManifestEntry]) -> str:
    """The name of a run follows from what is trained on what, and what is seeded."""
    manifest = digest(sorted([e.key, e.digest, e.cell] for e in entries))
    fixed = plain(wanted.recipe)
    if not wanted.recipe.margins:
        del fixed["margins"]  # a run that was begun before there were any keeps its name
    seeded = [wanted.seeds] if wanted.seeds else []
    return digest([fixed, plain(wanted.source), manifest, *seeded])[:12]


def _check_one_run(
    b: Backends,
    wanted: Run,
    entries: Sequence[ManifestEntry],
    everything: Sequence[ManifestEntry],
) -> None:
    """Refuse a second run; one that has neither a model nor a snapshot yet counts for none.

    Raises:
        BadParameter: the workspace holds another run; the reason says so where it is the same one
            and records were forgotten since.
    """
    known = next(iter(b.ledger.items("run")), None)
    if known in (None, _run_id(wanted, entries)) or not _has_weights(b):
        return
    one = "One workspace keeps one run, so that nothing of an older one is left behind."
    if known == _run_id(wanted, everything):
        raise BadParameter(
            f"{len(everything) - len(entries)} records were forgotten since run {known} was"
            " trained on this data.",
            f"Its model serves without them and is not trained again on the rest. {one}",
            "Use the model as it is; `rescind rebuild` brings dead shards back. To train on the"
            " rest, give another folder: --workspace other-folder.",
        )
    raise BadParameter(
        f"This workspace holds run {known}, of other data, another recipe or other seeds.",
        one,
        "Train in a new folder: rescind.open('other-folder') or --workspace other-folder.",
    )


def _has_weights(b: Backends) -> bool:
    return bool(b.ledger.items("model")) or any(a.kind == "snapshot" for a in b.artifacts.list())


def _begin(
    b: Backends,
    wanted: Run,
    entries: tuple[ManifestEntry, ...],
    records: Sequence[Record],
    seeded: Seeded,
) -> Run:
    """Note the run and its manifest before anything is trained, or find the one to go on with."""
    run_id = _run_id(wanted, entries)
    if run_id in b.ledger.items("run"):
        return state.run_by_id(b, run_id)
    codes = seeds.placed(b, seeded.handed, entries)
    discard_unfinished(b)
    stored_seeds.write_cells(b, codes, codes)
    rows_written = wanted.source.kind == "stored"
    if rows_written:
        cell_of = {e.key: e.cell for e in entries}
        rows.write_cells(b, records, cell_of, set(cell_of.values()))
    listed: Manifest = erasure.write_manifest(b, entries, 1)
    run = replace(wanted, id=run_id, manifest=listed.digest)
    writes = (
        Write("run", run_id, plain(run)),
        Write("manifest", "current", plain(listed)),
        *seeded.writes(),
    )
    facts = {"records": listed.count, "copies": listed.copies, **seeded.facts()}
    b.ledger.append(Entry("run.started", None, facts, writes))
    return run


def discard_unfinished(b: Backends) -> None:
    """Forget a run that made no model, and destroy whatever was written for it.

    The caller has seen to it that the workspace holds no model. Called again after a crash, it
    destroys what is left.
    """
    runs = b.ledger.items("run")
    if runs:
        seeded = (
            Write(stored_seeds.TABLE, user, None) for user in b.ledger.items(stored_seeds.TABLE)
        )
        listed = (Write("run", run, None) for run in runs)
        gone = (*listed, *seeded, Write("manifest", "current", None))
        b.ledger.append(Entry("run.discarded", None, {"runs": sorted(runs)}, gone))
    b.artifacts.destroy([a.name for a in b.artifacts.list()])
    for name in b.keys.names("manifest/"):
        b.keys.destroy(name)


def _finish(
    b: Backends, run: Run, snapshots: tuple[Snapshot, ...], progress: Progress
) -> ModelVersion:
    expected = evaluate.by_length(b, run, snapshots, progress)
    run = replace(run, checkpoints=snapshots, expected=expected)
    version = trainer.new_version(b, run, snapshots, None, "nothing has been forgotten yet")
    writes = (
        Write("run", run.id, plain(run)),
        Write("version", version.id, plain(version)),
        Write("model", state.MODEL, {"run": run.id, "version": version.id}),
        *(state.write_part(s) for s in snapshots),
    )
    b.ledger.append(Entry("run.finished", None, {"snapshots": len(snapshots)}, writes))
    committed.commit(b)
    return version
