"""Open the workspace that a command works on, and read from it what has no call of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rescind.core.errors import BadParameter, UnknownKey

if TYPE_CHECKING:
    from rescind.core.dataset import Row
    from rescind.core.request import Request
    from rescind.core.run import Run
    from rescind.core.version import ModelVersion
    from rescind.proofs.verifier import Verification
    from rescind.workspace import Workspace

DATABASE = "rescind.db"


def opened(folder: Path) -> Workspace:
    """The workspace in a folder.

    Raises:
        BadParameter: there is none.
    """
    if not (folder.expanduser() / DATABASE).exists():
        raise BadParameter(
            f"{folder.expanduser().absolute()} holds no workspace.",
            do="Make one with `rescind init`, or name its folder with --workspace FOLDER.",
        )
    return opened_or_new(folder)


def opened_or_new(folder: Path) -> Workspace:
    """The workspace in a folder, made where there is none."""
    from rescind.workspace import open_workspace

    return open_workspace(folder)


def run_of(ws: Workspace) -> Run:
    """The run behind the model."""
    from rescind import state

    return state.run(ws.backends)


def versions_of(ws: Workspace) -> tuple[tuple[ModelVersion, ...], str]:
    """All versions, oldest first, and the id of the one that serves."""
    from rescind import state

    state.run(ws.backends)
    names = sorted(ws.backends.ledger.items("version"), key=lambda name: (len(name), name))
    found = tuple(state.version_by_id(ws.backends, name) for name in names)
    return found, state.version(ws.backends).id


def public_key_of(ws: Workspace, key_id: str | None) -> tuple[str, bytes]:
    """Id and raw public key of a signer, by default of the one in force.

    Raises:
        UnknownKey: no signer of this workspace has that key.
    """
    name = key_id or str(ws.backends.ledger.get("signer", "current"))
    public = None if name == "current" else ws.backends.ledger.get("signer", name)
    if public is None:
        raise UnknownKey(
            f"No signer of this workspace has the key {name!r}.",
            do="Give the key id as `rescind certificate verify` prints it, or leave --key-id out.",
        )
    return name, bytes.fromhex(public)


def certificate_file(ws: Workspace, request: str) -> bytes:
    """The certificate of a request as the file that a stranger receives."""
    from rescind.certify import envelope_bytes

    return envelope_bytes(ws.certificate(request))


def read(certificate: bytes) -> Verification:
    """What a certificate of ours says.

    Raises:
        VerificationFailed: its signature does not hold, or it cannot be read.
    """
    from rescind.proofs.verifier import verify

    found = verify(certificate)
    if found.statement is None:
        found.require()
    return found


def restored(archive: Path, folder: Path, suppressed: Path | None) -> Request | None:
    """Put a backup in place; the request, if any, that forgets again what came after it."""
    from rescind import copies

    return copies.restore(archive, folder.expanduser().absolute(), suppressed)[1]


def rows_in(file: Path) -> list[Row]:
    """The rows of a CSV or JSONL file in UTF-8; see ``data.files.read`` for the errors."""
    from rescind.data.files import read as read_rows

    return read_rows(file, "utf-8")


def public_key_in(pem: bytes) -> bytes:
    """The raw public key in a PEM file; see ``proofs.signing.load_public`` for the errors."""
    from rescind.proofs.signing import load_public

    return load_public(pem)
