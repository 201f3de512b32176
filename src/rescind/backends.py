"""The four backends of a workspace, opened together: ledger, artifacts, executor, signer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rescind.core.errors import BadParameter, UnknownKey
from rescind.core.protocols import Artifacts, Entry, Executor, Ledger, Signer, Write
from rescind.executors.inline import InlineExecutor
from rescind.executors.local import LocalExecutor
from rescind.proofs.signing import KeySigner, new_private_key, pem_of
from rescind.settings import Settings, load_settings, write_settings
from rescind.storage.artifacts import FolderArtifacts
from rescind.storage.keys import KeyStore
from rescind.storage.sql import SqlLedger

DATABASE = "rescind.db"


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
        """The signer in force.

        Raises:
            StorageFailed: its private key is not in the key store.
        """
        current = self.ledger.get("signer", "current")
        return KeySigner(self.keys.get(f"signing/{current}"))


def create(folder: Path, settings: Settings | None = None) -> Backends:
    """A new workspace in an empty or absent folder, with its secrets and first signing key.

    Raises:
        BadParameter: the folder already holds a workspace.
    """
    if (folder / DATABASE).exists():
        raise BadParameter(
            f"{folder} already holds a workspace.",
            do="Use it as it is, or name another folder with --workspace FOLDER.",
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_settings(folder, settings or Settings())
    backends = connect(folder)
    for secret in ("workspace", "partition"):
        backends.keys.ensure(secret)
    backends.ledger.append(Entry("workspace.created"))
    add_signer(backends)
    return backends


def connect(folder: Path) -> Backends:
    """Open the backends of an existing folder; nothing is repaired and nothing is trained."""
    settings = load_settings(folder)
    keys = KeyStore(folder / "keys")
    ledger = SqlLedger(folder / DATABASE, folder / "locks")
    artifacts = FolderArtifacts(
        folder / "artifacts", ledger.database, keys, keys.ensure("workspace"), settings.encrypt
    )
    executor: Executor = InlineExecutor()
    if settings.executor == "local":
        executor = LocalExecutor(settings.workers, settings.threads)
    return Backends(folder, settings, ledger, keys, artifacts, executor)


def open_folder(folder: Path) -> Backends:
    """An existing workspace.

    Raises:
        BadParameter: there is no workspace here.
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
