"""The key store: one small file a key. What was encrypted is destroyed by destroying its key."""

from __future__ import annotations

import re
import secrets
from contextlib import AbstractContextManager
from pathlib import Path

from rescind.core.errors import BadParameter, DamagedArtifact
from rescind.storage.files import LOCK, locked, remove_durably, storage_errors, write_durably

_PART = r"[A-Za-z0-9_-][A-Za-z0-9._-]*"
_NAME = re.compile(rf"{_PART}(/{_PART})*")
_PREFIX = re.compile(rf"({_PART}/)*({_PART})?")


class KeyStore:
    """Keys by name, such as ``artifact/<address>``, ``request/<id>`` or ``workspace``.

    Files have mode 0600 in folders of mode 0700. Keep the folder off the disk of the artifacts
    where you can: whoever has both reads everything. A destroyed key is unlinked and the folder
    synced; an SSD or a snapshotting file system may keep old blocks, which is outside its reach.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def get(self, name: str, size: int | None = None) -> bytes:
        """The key; of ``size`` bytes where that is given.

        Raises:
            DamagedArtifact: it was destroyed or never made, or has another size.
            StorageFailed: it cannot be read.
        """
        path = self._path(name)
        with storage_errors(f"Reading the key {name!r}"):
            try:
                key = path.read_bytes()
            except FileNotFoundError:
                raise DamagedArtifact(
                    f"The key {name!r} is not in the key store.",
                    "It was destroyed or never made; what it encrypted cannot be read again.",
                    "If it was lost by accident, restore a backup of the workspace.",
                ) from None
        if size is not None and len(key) != size:
            raise DamagedArtifact(
                f"The key {name!r} has {len(key)} bytes instead of {size}.",
                "What it encrypted cannot be read.",
                "Restore a backup of the workspace.",
            )
        return key

    def ensure(self, name: str, size: int = 32) -> bytes:
        """The key; drawn from the system's randomness, ``size`` bytes, where there is none yet.

        Of two processes that ensure one name at once, both get the same key.

        Raises:
            DamagedArtifact: a key of another size is there.
            StorageFailed: it cannot be written.
        """
        path = self._path(name)
        if not path.exists():
            with self._locked():
                if not path.exists():
                    write_durably(path, secrets.token_bytes(size))
        return self.get(name, size)

    def put(self, name: str, data: bytes) -> None:
        """Store a key that was made elsewhere, in place of what is there."""
        path = self._path(name)
        with self._locked():
            write_durably(path, data)

    def destroy(self, name: str) -> None:
        """Remove the key for good; a key that is not there is no error."""
        path = self._path(name)
        with self._locked():
            remove_durably(path)

    def names(self, prefix: str = "") -> tuple[str, ...]:
        """All key names that begin with ``prefix``, sorted."""
        if not _PREFIX.fullmatch(prefix):
            raise _bad_name(prefix)
        start = self.folder / prefix.rpartition("/")[0]
        files = (p for p in start.rglob("*") if p.is_file() and not p.name.startswith("."))
        found = (p.relative_to(self.folder).as_posix() for p in files)
        return tuple(sorted(name for name in found if name.startswith(prefix)))

    def _locked(self) -> AbstractContextManager[None]:
        return locked(self.folder / LOCK)

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise _bad_name(name)
        return self.folder / name


def _bad_name(name: str) -> BadParameter:
    return BadParameter(
        f"{name!r} is no name for a key.",
        "Its parts, between slashes, may hold letters, digits, dot, dash and underscore.",
        "Use a name such as 'request/7'.",
    )
