"""The four backends of a workspace, opened together: ledger, artifacts, executor, signer."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from rescind.core.errors import BadParameter, DamagedArtifact, UnknownKey
from rescind.core.protocols import Artifacts, Entry, Executor, Ledger, Signer, Write
from rescind.executors.inline import InlineExecutor
from rescind.executors.local import LocalExecutor
from rescind.proofs.signing import KeySigner, new_private_key, pem_of
from rescind.settings import Settings, check_fixed, fixed, load_settings, write_settings
from rescind.storage.artifacts import FolderArtifacts
from rescind.storage.keys import KeyStore
from rescind.storage.sql import SqlLedger

DATABASE = "rescind.db"
LEFT = ("artifacts", "keys/artifact", "keys/signing")  # what only a workspace with a ledger has
SECRET = 32  # bytes
_TABLES = "SELECT count(*) FROM sqlite_master WHERE type = 'table'"


@dataclass(frozen=True, slots=True)
class Backends:
    """What every step works with; nothing else holds state."""

    folder: Path
    settings: Settings
    ledger: Ledger
    keys: KeyStore
    artifacts: Artifacts
    executor: Executor

    def signer(self) -> Signer:
        """The signer in force; cheap, so ask for it before work that its signature ends.

        Raises:
            DamagedArtifact: its private key is missing, cut short or another one.
        """
        current = str(self.ledger.get("signer", "current"))
        try:
            found = KeySigner(self.keys.get(f"signing/{current}"))
        except (DamagedArtifact, BadParameter) as error:
            raise _no_signer(current, error.what) from error
        if found.key_id != current:
            raise _no_signer(current, f"The file holds the key {found.key_id}.")
        return found


def _no_signer(current: str, how: str) -> DamagedArtifact:
    return DamagedArtifact(
        f"The signing key {current} cannot be used. {how}",
        "What another key signs is refused by everyone who pinned this one.",
        f"Put keys/signing/{current} back from a backup, or make a new key with"
        " `rescind key rotate` and publish it.",
    )


def create(folder: Path, settings: Settings | None = None) -> Backends:
    """A new workspace in a folder that holds none, with its secrets and first signing key.

    Without ``settings`` those of the folder's rescind.toml and of the environment hold. What is in
    force now is written there, and what cannot be changed later is kept in the first entry.

    Raises:
        BadParameter: the folder already holds a workspace, or its settings cannot be.
        DamagedArtifact: it holds what is left of one.
    """
    if (folder / DATABASE).exists():
        raise BadParameter(
            f"{folder} already holds a workspace.",
            do="Use it as it is, or name another folder with --workspace FOLDER.",
        )
    _check_free(folder)
    settings = settings or load_settings(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_settings(folder, settings)
    write_settings(folder, load_settings(folder))  # a variable goes before what was passed
    keys = KeyStore(folder / "keys")
    for secret in ("workspace", "partition"):
        keys.ensure(secret, SECRET)
    backends = _connected(folder, load_settings(folder))
    pinned = fixed(backends.settings)
    writes = (Write("workspace", "settings", pinned),)
    backends.ledger.append(Entry("workspace.created", facts=pinned, writes=writes))
    add_signer(backends)
    return backends


def _check_free(folder: Path) -> None:
    """A ledger made anew would not list them, and opening it would sweep them away."""
    left = [name for name in LEFT if any(p.is_file() for p in (folder / name).rglob("*"))]
    if left:
        raise DamagedArtifact(
            f"{folder} has no {DATABASE}, but it holds {' and '.join(left)} of a workspace.",
            "A new ledger would not know them, and they would be destroyed.",
            "Restore a backup with `rescind restore`, or name another folder.",
        )


def connect(folder: Path) -> Backends:
    """Open the backends of an existing workspace; nothing is repaired and nothing is trained.

    Raises:
        BadParameter: a setting is not what the workspace was made with.
        DamagedArtifact: the ledger is empty, or the workspace's secret is missing.
    """
    settings = load_settings(folder)
    if not _has_tables(folder / DATABASE):
        raise _no_ledger(folder)
    found = _connected(folder, settings)
    try:
        _check_made(found)
    except BaseException:
        found.ledger.close()
        raise
    return found


def _has_tables(database: Path) -> bool:
    """Looked up without writing, for opening an empty file as a ledger would make tables in it."""
    try:
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as file:
            return bool(file.execute(_TABLES).fetchone()[0])
    except sqlite3.Error:
        # the ledger says what is wrong with it
        return database.exists() and database.stat().st_size > 0


def _connected(folder: Path, settings: Settings) -> Backends:
    keys = KeyStore(folder / "keys")
    secret = keys.get("workspace", SECRET)
    ledger = SqlLedger(folder / DATABASE, folder / "locks")
    artifacts = FolderArtifacts(
        folder / "artifacts", ledger.database, keys, secret, settings.encrypt
    )
    executor: Executor = InlineExecutor()
    if settings.executor == "local":
        executor = LocalExecutor(settings.workers, settings.threads)
    return Backends(folder, settings, ledger, keys, artifacts, executor)


def _check_made(b: Backends) -> None:
    """Refuse a ledger without its first entry, and settings other than those in it."""
    made_with = b.ledger.get("workspace", "settings")
    if made_with is not None:
        check_fixed(b.folder, b.settings, made_with)
        return
    first = next(b.ledger.entries(), None)  # one made by an earlier version has nothing to compare
    if first is None or first.kind != "workspace.created":
        raise _no_ledger(b.folder)


def _no_ledger(folder: Path) -> DamagedArtifact:
    return DamagedArtifact(
        f"{folder / DATABASE} holds no ledger of a workspace: not even its first entry.",
        "Artifacts and keys that no ledger lists would be destroyed, so nothing was touched.",
        "Restore a backup with `rescind restore`; if the workspace was never used, remove"
        f" {folder / DATABASE} and run `rescind init`.",
    )


def open_folder(folder: Path) -> Backends:
    """An existing workspace.

    Raises:
        BadParameter: there is no workspace here, or a setting is not what it was made with.
        DamagedArtifact: its ledger is empty, or its secret is missing.
    """
    if not (folder / DATABASE).exists():
        raise BadParameter(
            f"{folder} holds no workspace.",
            do="Make one with `rescind init`, or name its folder with --workspace FOLDER.",
        )
    return connect(folder)


def public_key(backends: Backends, key_id: str | None = None) -> tuple[str, bytes]:
    """Id and PEM of a signer's public key, by default of the one in force.

    Raises:
        UnknownKey: no signer of this workspace has that key.
    """
    name = key_id or str(backends.ledger.get("signer", "current"))
    public = None if name == "current" else backends.ledger.get("signer", name)
    if public is None:
        raise UnknownKey(
            f"No signer of this workspace has the key {name!r}.",
            do="Give the key id as `rescind certificate verify` prints it, or leave --key-id out.",
        )
    return name, pem_of(bytes.fromhex(public))


def add_signer(backends: Backends) -> str:
    """Make a new signing key the current one; earlier public keys stay listed for verifying."""
    private = new_private_key()
    signer = KeySigner(private)
    backends.keys.put(f"signing/{signer.key_id}", private)
    public = signer.sign(b"").public
    backends.ledger.append(
        Entry(
            "signer.added",
            facts={"key_id": signer.key_id},
            writes=(
                Write("signer", signer.key_id, public),
                Write("signer", "current", signer.key_id),
            ),
        )
    )
    return signer.key_id
