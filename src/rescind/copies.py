"""Whole copies of a workspace: a fork under its own keys, and a backup put back in place."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Collection
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from rescind import acceptance, exports, ingest, pipeline, state, trainer
from rescind.backends import DATABASE, Backends, add_signer, connect
from rescind.core.canonical import plain
from rescind.core.dataset import Key
from rescind.core.errors import BadParameter, StorageFailed
from rescind.core.protocols import Entry, Write
from rescind.core.request import FINAL, RESTORED, Request
from rescind.core.version import selection
from rescind.resolve import Ask, resolve
from rescind.settings import write_settings
from rescind.storage import backup
from rescind.storage.database import Database
from rescind.storage.files import move_durably, storage_errors
from rescind.storage.keys import KeyStore
from rescind.storage.tables import artifact_cells, artifacts

_LEAF = re.compile(r"[0-9a-f]{64}")
SHARED = ("workspace", "partition")  # they name records and cells, and are part of the run


def fork(b: Backends, folder: Path) -> Backends:
    """A full copy in a new folder: same ledger so far, own encryption keys, own signing key.

    The parent notes it as a copy to recall, before it is made, so that a crash leaves none unnoted.

    Raises:
        BadParameter: the folder exists.
    """
    if folder.exists():
        raise BadParameter(f"{folder} exists already.", do="Name a new folder for the fork.")
    unfinished = folder.with_name(f".{folder.name}.forking")
    with storage_errors(f"Copying {b.folder} to {folder}"):
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
    labels = exports.everything(b)
    with exports.noted(b, f"fork {folder.name}", "whoever keeps the folder", labels) as number:
        try:
            child = _copied(b, unfinished, number)
            pipeline.recover(child)  # it may be taken between an acceptance and its withdrawal
            child.ledger.close()
            move_durably(unfinished, folder)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
    return connect(folder)


def _copied(b: Backends, folder: Path, number: str) -> Backends:
    write_settings(folder, b.settings)
    with closing(Database(b.folder / DATABASE)) as database:
        database.copy_to(folder / DATABASE)
    child = connect_with(folder, {name: b.keys.get(name) for name in SHARED})
    for artifact in b.artifacts.list():
        data = b.artifacts.get(artifact.name)
        child.artifacts.put(artifact.name, artifact.kind, data, artifact.cells)
        if artifact.sealed:
            child.artifacts.seal([artifact.name])
    for name in (n for kind in ("request", "cell", "manifest") for n in b.keys.names(kind)):
        child.keys.put(name, b.keys.get(name))
    seq, head = b.ledger.head()
    not_itself = (Write("export", number, None),)
    child.ledger.append(
        Entry("workspace.forked", None, {"parent": head, "seq": seq}, writes=not_itself)
    )
    add_signer(child)
    return child


def connect_with(folder: Path, secrets: dict[str, bytes]) -> Backends:
    """Open a copied database under keys of its own; its artifact index starts empty."""
    for name, data in secrets.items():
        KeyStore(folder / "keys").put(name, data)
    with closing(Database(folder / DATABASE)) as database, database.write() as connection:
        connection.execute(artifact_cells.delete())
        connection.execute(artifacts.delete())
    return connect(folder)


def suppression_list(b: Backends) -> bytes:
    """The keyed hashes of everything forgotten: keep it apart from the backups it must outlive."""
    return json.dumps(sorted(b.ledger.items("suppressed")), indent=1).encode()


def restore(
    archive: Path, folder: Path, suppressed: Path | None
) -> tuple[Backends, Request | None]:
    """Put a backup in place and forget again whatever was forgotten after it was made.

    Args:
        archive: the backup.
        folder: a new folder.
        suppressed: the suppression list as exported later than the backup; None says that
            nothing was forgotten since.

    Returns:
        The workspace and, where records had to be withdrawn again, their accepted request.

    Raises:
        StorageFailed: the list cannot be read; nothing is restored.
        BadParameter: the folder is not empty, or the list is none, is too old, or is that of
            another workspace.
    """
    leaves = None if suppressed is None else _leaves(suppressed)
    if folder.exists() and any(folder.iterdir()):
        raise BadParameter(f"{folder} is not empty.", do="Name a new folder to restore into.")
    # nobody can open the copy under its name before it has forgotten again, even after a crash
    hidden = folder.with_name(f".{folder.name}.forgetting")
    shutil.rmtree(hidden, ignore_errors=True)
    try:
        backup.restore(archive, hidden)
        request = _made_ready(hidden, leaves)
        move_durably(hidden, folder)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    return connect(folder), request


def _made_ready(folder: Path, leaves: frozenset[str] | None) -> Request | None:
    """Finish what was half done when the backup was made, then forget what came after it."""
    b = connect(folder)
    try:
        if leaves is not None:
            _check_list(b, leaves)
        pipeline.recover(b)
        return _forget_again(b, leaves or frozenset())
    finally:
        b.ledger.close()


def _forget_again(b: Backends, leaves: frozenset[str]) -> Request | None:
    """Withdraw what a later suppression list names and this backup still allows.

    Marks of records that the backup does not know, or no longer allows, are kept too. When this
    returns, nothing that was made from a record on the list may serve, whatever the method.
    """
    keys = _allowed_again(b, leaves)
    marks = {state.suppression_leaf(b, key) for key in keys}
    rest = leaves - marks - b.ledger.items("suppressed").keys()
    writes = tuple(Write("suppressed", leaf, RESTORED) for leaf in sorted(rest))
    b.ledger.append(Entry("workspace.restored", None, {"suppressed": len(leaves)}, writes))
    request = _accepted_again(b, keys) if keys else None
    for other in state.requests(b) if leaves else ():
        if other.labels and other.status not in FINAL:
            _out_of_service(b, other)
    return None if request is None else state.request(b, request.id)


def _allowed_again(b: Backends, leaves: Collection[str]) -> tuple[Key, ...]:
    """The keys of records on the list that may still be used; none where nothing is trained yet."""
    if b.ledger.get("manifest", "current") is None:
        return ()
    keys = tuple(e.key for e in state.allowed(b) if state.suppression_leaf(b, e.key) in leaves)
    if keys and not b.ledger.items("model"):
        ingest.discard_unfinished(b)  # begun with them, so it cannot be gone on with
        return ()
    return keys


def _accepted_again(b: Backends, keys: tuple[Key, ...]) -> Request:
    ask = Ask(
        keys=keys, near="keep", basis="forgotten after the backup was made", accept_outage=True
    )
    request = acceptance.accept(b, resolve(b, ask))
    if not request.labels:  # its method withdraws nothing, or it is an older request that waits
        _out_of_service(b, request)
    return request


def _out_of_service(b: Backends, request: Request) -> None:
    """Step 3 for a method that withdraws nothing: its old model would answer until it is replaced,
    though in the lost workspace it was replaced already.
    """
    live = state.parts(b)
    marked = request if request.labels else acceptance.marked(b, request)
    stale = [s for s in live if trainer.labels_of(b, s) & marked.labels]
    if request.labels and not stale:
        return
    now = datetime.now(UTC).isoformat()
    done = _withdrawn(replace(marked, withdrawn_at=marked.withdrawn_at or now))
    row = {"request": request.id}
    writes = (
        *(Write("part", s.name, None) for s in stale),
        *(Write("sealed", s.name, row | {"snapshot": plain(s)}) for s in stale),
        state.write_request(done),
    )
    if not request.labels:
        served = [plain(s) for s in selection(live)]
        original = Write("original", request.id, served)
        writes = (*writes, original, *acceptance.suppression(b, request))
    cut = [[s.shard, s.order, s.stage] for s in stale]
    facts = {"cut": cut, "cells": sorted(request.cells)}
    b.ledger.append(Entry("parts.withdrawn", request.id, facts, writes, at=now))
    b.artifacts.seal([s.name for s in stale])


def _withdrawn(request: Request) -> Request:
    """In the status of a withdrawn request, or on the way back to it; later ones stay."""
    if request.status == "planned":
        return acceptance.moved(request, "withdrawn")
    waiting = request.resume in ("accepted", "planned")
    return replace(request, resume="withdrawn") if waiting else request


def _leaves(path: Path) -> frozenset[str]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise StorageFailed(
            f"The suppression list {path} cannot be read: {error}.",
            "Without it a backup could bring forgotten records back.",
            "Export it again with `rescind db suppressed`, or say --nothing-forgotten-since.",
        ) from error
    if not isinstance(found, list) or not all(_is_leaf(item) for item in found):
        raise BadParameter(
            f"{path} is no suppression list.",
            "It must be a JSON list of marks, 64 hexadecimal digits each.",
            "Export it again with `rescind db suppressed`, or say --nothing-forgotten-since.",
        )
    if not found:
        raise BadParameter(
            f"The suppression list {path} names nothing.",
            "Nothing would be forgotten again.",
            "Give the newest list; if it is this one, say --nothing-forgotten-since instead.",
        )
    return frozenset(found)


def _is_leaf(item: object) -> bool:
    return isinstance(item, str) and _LEAF.fullmatch(item) is not None


def _check_list(b: Backends, leaves: frozenset[str]) -> None:
    """Refuse a list by which this backup cannot be made to forget.

    A model's workspace keeps one run, so whatever it forgets later is on the allow-list now.
    """
    if not b.settings.suppression_list:
        raise BadParameter(
            "The backup is of a workspace without a suppression list.",
            "It has no marks to compare, so it cannot be made to forget again by them.",
            "Say --nothing-forgotten-since, then request again by key what was forgotten.",
        )
    own = b.ledger.items("suppressed").keys()
    newest = "Give the newest list of this workspace: `rescind db suppressed`."
    if not own <= leaves:
        raise BadParameter(
            f"{len(own - leaves)} of the {len(own)} marks in the backup are not on the list.",
            "The list is older than the backup, or it is that of another workspace.",
            newest,
        )
    if own or not b.ledger.items("model"):
        return
    listed = {state.suppression_leaf(b, e.key) for e in state.manifest_entries(b)}
    if listed.isdisjoint(leaves):
        raise BadParameter(
            f"None of the {len(leaves)} marks on the list is that of a record in the backup.",
            "The list is that of another workspace.",
            newest,
        )
