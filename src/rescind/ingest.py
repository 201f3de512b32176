"""From a user's data and recipe to a trained, recorded run; interrupted, it goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rescind import erasure, evaluate, methods_of, rows, state, trainer
from rescind.backends import Backends
from rescind.core.canonical import digest, plain
from rescind.core.dataset import Manifest, ManifestEntry, Record, Source
from rescind.core.errors import BadParameter, MissingSource
from rescind.core.protocols import Entry, Progress, Write
from rescind.core.run import Recipe, Run, Snapshot
from rescind.core.version import ModelVersion
from rescind.data.manifest import entries_of
from rescind.data.records import records_from
from rescind.data.source import source_of


@dataclass(frozen=True, slots=True)
class Data:
    """A user's data and how to read it: see ``Workspace.train``."""

    data: object
    key: str | None = None
    subject: str | None = None
    encoding: str = "utf-8"
    arguments: Mapping[str, Any] | None = None
    store: bool = False


def train(b: Backends, recipe: Recipe, given: Data, progress: Progress) -> ModelVersion:
    """Read, place and train; the same call again after an interruption finishes what is missing.

    Raises:
        BadData: rows that cannot be keyed, placed or trained on; all problems are listed.
        BadParameter: a recipe that cannot work, or a workspace with another run in it.
        MissingSource: rows in memory without ``store=True``.
    """
    from rescind.training.determinism import environment, settle
    from rescind.training.encoder import count_blocks

    settle(b.settings.threads)
    source, found = source_of(
        given.data,
        key=given.key,
        subject=given.subject,
        encoding=given.encoding,
        arguments=given.arguments,
    )
    _check_store(source, given.store)
    records = _not_forgotten(b, records_from(found, key=given.key, subject=given.subject))
    recipe.task.check([r.row for r in records])
    entries = entries_of(
        records, recipe.partition, b.keys.get("partition"), b.keys.get("workspace")
    )
    trainer.check_cells(recipe, entries)
    blocks = count_blocks(recipe.task)
    orders = methods_of.orders(recipe, blocks)
    where = environment(recipe.task, b.settings.threads)
    wanted = Run("", recipe, "", source, where, blocks)
    run = _begin(b, wanted, entries, records)
    if run.checkpoints:
        return state.version(b)
    training = [e for e in entries if e.cell != "test"]
    snapshots = trainer.train_orders(b, run, orders, training, state.generations(b), progress)
    return _finish(b, run, snapshots, progress)


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


def _begin(
    b: Backends, wanted: Run, entries: tuple[ManifestEntry, ...], records: Sequence[Record]
) -> Run:
    """Note the run and its manifest before anything is trained, or find the one to go on with.

    Raises:
        BadParameter: the workspace holds another run.
    """
    manifest = digest(sorted([e.key, e.digest, e.cell] for e in entries))
    run_id = digest([plain(wanted.recipe), plain(wanted.source), manifest])[:12]
    known = b.ledger.items("run")
    if run_id in known:
        return state.run_by_id(b, run_id)
    if known:
        raise BadParameter(
            f"This workspace holds run {next(iter(known))}, of other data or another recipe.",
            "One workspace keeps one run, so that nothing of an older one is left behind.",
            "Train in a new folder: rescind.open('other-folder') or --workspace other-folder.",
        )
    rows_written = wanted.source.kind == "stored"
    if rows_written:
        cell_of = {e.key: e.cell for e in entries}
        rows.write_cells(b, records, cell_of, set(cell_of.values()))
    listed: Manifest = erasure.write_manifest(b, entries, 1)
    run = replace(wanted, id=run_id, manifest=listed.digest)
    writes = (Write("run", run_id, plain(run)), Write("manifest", "current", plain(listed)))
    facts = {"records": listed.count, "copies": listed.copies}
    b.ledger.append(Entry("run.started", None, facts, writes))
    return run


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
    return version
