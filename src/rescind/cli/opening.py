"""Open what a command works on: a workspace, a backup, a certificate, a file of rows."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rescind.cli.failures import KNOWN
from rescind.core.errors import BadParameter

if TYPE_CHECKING:
    from rescind.core.dataset import Row
    from rescind.core.request import Request
    from rescind.proofs.verifier import Verification
    from rescind.workspace import Workspace


LARGEST = 2**31  # bytes of what a stranger sends and is read whole


def bytes_of(path: Path, what: str) -> bytes:
    """The bytes of a file that the user named.

    Raises:
        BadParameter: there is none, or it is larger than anything that rescind writes.
    """
    if not path.is_file():
        raise BadParameter(f"There is no {what} file {path}.", do="Check the path.")
    if path.stat().st_size > LARGEST:
        raise BadParameter(
            f"The {what} file {path} has {path.stat().st_size:,} bytes.",
            f"No file of this kind has more than {LARGEST:,}.",
            "Ask for the right file.",
        )
    return path.read_bytes()


def opened(folder: Path) -> Workspace:
    """The workspace in a folder.

    Raises:
        BadParameter: there is none.
    """
    from rescind.workspace import open_workspace

    return open_workspace(folder, create=False)


@contextmanager
def opened_or_new(folder: Path) -> Iterator[Workspace]:
    """The workspace in a folder, made where there is none.

    If the work on a new one fails before its ledger notes anything of it, what was made here is
    taken away again, and nothing else.
    """
    from rescind.workspace import open_workspace

    path = folder.expanduser().absolute()
    above = [p for p in (path, *path.parents) if not p.exists()]
    there = set(path.iterdir()) if path.is_dir() else set()
    known = _known(folder)
    ws = known or open_workspace(folder)
    made, start = [p for p in path.iterdir() if p not in there], ws.head()
    try:
        yield ws
    except KNOWN:
        if known is None and ws.head() == start:
            _take_away(made, above)
        raise


def _known(folder: Path) -> Workspace | None:
    """The workspace in a folder, if there is one that opens."""
    try:
        return opened(folder)
    except BadParameter:
        return None


def _take_away(made: Sequence[Path], above: Sequence[Path]) -> None:
    """Remove what was made, then the folders made for it, as far as nothing else is in them."""
    for path in made:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    with suppress(OSError):
        for folder in above:
            folder.rmdir()


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
