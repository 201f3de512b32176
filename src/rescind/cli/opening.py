"""Open what a command works on: a workspace, a backup, a certificate, a file of rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rescind.core.dataset import Row
    from rescind.core.request import Request
    from rescind.proofs.verifier import Verification
    from rescind.workspace import Workspace


def opened(folder: Path) -> Workspace:
    """The workspace in a folder.

    Raises:
        BadParameter: there is none.
    """
    from rescind.workspace import open_workspace

    return open_workspace(folder, create=False)


def opened_or_new(folder: Path) -> Workspace:
    """The workspace in a folder, made where there is none."""
    from rescind.workspace import open_workspace

    return open_workspace(folder)


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
    from rescind.workspace import restore_workspace

    return restore_workspace(archive, folder, suppressed)[1]


def rows_in(file: Path) -> list[Row]:
    """The rows of a CSV or JSONL file in UTF-8; see ``data.files.read`` for the errors."""
    from rescind.data.files import read as read_rows

    return read_rows(file, "utf-8")


def public_key_in(pem: bytes) -> bytes:
    """The raw public key in a PEM file; see ``proofs.signing.load_public`` for the errors."""
    from rescind.proofs.signing import load_public

    return load_public(pem)
