"""Whole copies of a workspace: a fork under its own keys, and a backup put back in place."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from pathlib import Path

from rescind import acceptance, exports, state
from rescind.backends import DATABASE, Backends, add_signer, connect
from rescind.core.errors import BadParameter, StorageFailed
from rescind.core.protocols import Entry, Write
from rescind.core.request import Request
from rescind.resolve import Ask, resolve
from rescind.settings import write_settings
from rescind.storage import backup
from rescind.storage.database import Database
from rescind.storage.files import move_durably, storage_errors
from rescind.storage.tables import artifact_cells, artifacts

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
    number = exports.note(
        b, f"fork {folder.name}", "whoever keeps the folder", exports.everything(b)
    )
    child = _copied(b, unfinished, number)
    child.ledger.close()
    move_durably(unfinished, folder)
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
    for name in b.keys.names("request"):
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
    from rescind.storage.keys import KeyStore

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
        BadParameter: the folder is not empty.
    """
    leaves = _leaves(suppressed) if suppressed else set[str]()
    if folder.exists() and any(folder.iterdir()):
        raise BadParameter(f"{folder} is not empty.", do="Name a new folder to restore into.")
    # nobody can open the copy under its name before it has forgotten again, even after a crash
    hidden = folder.with_name(f".{folder.name}.forgetting")
    shutil.rmtree(hidden, ignore_errors=True)
    try:
        backup.restore(archive, hidden)
        request = _forget_again(hidden, leaves)
        move_durably(hidden, folder)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    return connect(folder), request


def _forget_again(folder: Path, leaves: set[str]) -> Request | None:
    """Withdraw what a later suppression list names and this backup still allows."""
    b = connect(folder)
    b.artifacts.sweep()
    known = set(b.ledger.items("suppressed"))
    b.ledger.append(Entry("workspace.restored", None, {"suppressed": len(leaves)}))
    again = [e.key for e in state.allowed(b) if state.suppression_leaf(b, e.key) in leaves - known]
    ask = Ask(
        keys=tuple(again),
        near="keep",
        basis="forgotten after the backup was made",
        accept_outage=True,
    )
    request = acceptance.accept(b, resolve(b, ask)) if again else None
    b.ledger.close()
    return request


def _leaves(path: Path) -> set[str]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise StorageFailed(
            f"The suppression list {path} cannot be read: {error}.",
            "Without it a backup could bring forgotten records back.",
            "Export it again with `rescind db suppressed`, or say --nothing-forgotten-since.",
        ) from error
    return {str(leaf) for leaf in found}
