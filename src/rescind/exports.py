"""Copies that leave the workspace: each is noted with its recipient, to be recalled on deletion."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from rescind import state, trainer
from rescind.backends import Backends
from rescind.core.canonical import dumps, plain
from rescind.core.errors import BadParameter, Exhausted
from rescind.core.protocols import Entry, Write
from rescind.core.run import Run, Snapshot
from rescind.core.version import ModelVersion, selection, weights_digest
from rescind.storage import backup
from rescind.storage.files import storage_errors

SELECTION = "selection.json"
RECIPE = "recipe.json"


def export(b: Backends, folder: Path, recipient: str) -> str:
    """Write the served selection into a folder and note who has it.

    Returns:
        The digest of the exported weights: the one a certificate names.

    Raises:
        BadParameter: the folder is not empty, or no recipient is named.
        Exhausted: nothing is served.
    """
    _check(folder, recipient)
    served, version = selection(state.parts(b)), state.version(b)
    if not served:
        raise Exhausted("No shard has a model to export.", do="Run `rescind rebuild` first.")
    labels = frozenset[str]().union(*(trainer.labels_of(b, s) for s in served))
    with noted(b, f"version {version.id}", recipient, labels):
        _write(b, folder, served, version)
    return weights_digest(served)


def _write(b: Backends, folder: Path, served: tuple[Snapshot, ...], version: ModelVersion) -> None:
    """All or nothing: what a failure leaves would be an unnoted copy."""
    made = not folder.exists()
    try:
        with storage_errors(f"Writing the export {folder}"):
            folder.mkdir(parents=True, exist_ok=True)
            for part in served:
                (folder / _file(part)).write_bytes(state.weights(b, part))
            (folder / RECIPE).write_bytes(_recipe(state.run(b)))
            (folder / SELECTION).write_bytes(_selection(served, version))
    except BaseException:
        for name in (*(_file(part) for part in served), RECIPE, SELECTION):
            with suppress(OSError):
                (folder / name).unlink()
        if made:
            with suppress(OSError):
                folder.rmdir()
        raise


def back_up(b: Backends, archive: Path) -> Path:
    """One file with everything in it; it holds the records until it is recalled, so it is noted."""
    backup.check_ends(b.folder, archive)
    with noted(b, f"backup {archive.name}", "whoever keeps the file", everything(b)):
        return backup.backup(b.folder, archive)


def everything(b: Backends) -> frozenset[str]:
    """The cell contents that a copy of the whole workspace is made from."""
    return frozenset(label for a in b.artifacts.list() for label in a.cells)


@contextmanager
def noted(b: Backends, what: str, recipient: str, labels: frozenset[str]) -> Iterator[str]:
    """Note a copy, then make it in the block: a crash leaves no unnoted one.

    A block that fails has left no copy, so that there is none to recall.
    """
    number = note(b, what, recipient, labels)
    try:
        yield number
    except BaseException:
        b.ledger.append(
            Entry("export.failed", None, {"what": what}, (Write("export", number, None),))
        )
        raise


def note(b: Backends, what: str, recipient: str, labels: frozenset[str]) -> str:
    """Record a copy outside the workspace and the cell contents it was made from.

    Returns:
        The number under which the copy is noted.
    """
    now = datetime.now(UTC).isoformat()
    number = f"x{secrets.token_hex(6)}"  # two copies made at once must not share one
    body = {"what": what, "recipient": recipient, "at": now, "labels": sorted(labels)}
    b.ledger.append(
        Entry("version.exported", None, {"what": what}, (Write("export", number, body),), at=now)
    )
    return number


def _check(folder: Path, recipient: str) -> None:
    if not recipient.strip():
        raise BadParameter("An export needs a recipient.", do="Say who gets it: --to NAME.")
    if folder.exists() and any(folder.iterdir()):
        raise BadParameter(f"{folder} is not empty.", do="Name a new folder for the export.")


def _file(part: Snapshot) -> str:
    return f"shard-{part.shard}.safetensors"


def _recipe(run: Run) -> bytes:
    """What it takes to load the files: the task, the adapters, and which base they fit."""
    return dumps({"recipe": plain(run.recipe), "encoder": run.environment.encoder})


def _selection(served: tuple[Snapshot, ...], version: ModelVersion) -> bytes:
    parts = [
        {"shard": s.shard, "slices": list(s.slices), "file": _file(s), "records": s.records}
        for s in served
    ]
    return dumps({"model": state.MODEL, "version": version.id, "run": version.run, "parts": parts})
