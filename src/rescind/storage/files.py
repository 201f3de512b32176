"""Durable writes and unlinks, and locks that the operating system frees when their holder dies."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rescind.core.errors import Busy, StorageFailed

LOCK = ".lock"

_REASONS = {
    errno.ENOSPC: ("The disk is full.", "Free space, then run the same command again."),
    errno.EDQUOT: (
        "The disk quota is used up.",
        "Free space or raise the quota, then run the same command again.",
    ),
    errno.EFBIG: (
        "The file would be larger than this system allows.",
        "Raise the file size limit (`ulimit -f`), then run the same command again.",
    ),
    errno.EROFS: (
        "The file system is mounted read-only.",
        "Mount it for writing, then run the same command again.",
    ),
    errno.EACCES: (
        "This user may not do that there.",
        "Give yourself read and write permission, then run the same command again.",
    ),
}


@contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Turn an ``OSError`` of the block into ``StorageFailed``; ``what`` begins its message."""
    try:
        yield
    except StorageFailed:
        raise
    except OSError as error:
        number = errno.EACCES if error.errno == errno.EPERM else error.errno
        known = (f"The system says: {error.strerror or error}.", "Check the disk and the path.")
        why, do = _REASONS.get(number or 0, known)
        raise StorageFailed(f"{what} failed.", why, do) from error


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, private to this user, so that they survive a power cut."""
    if folder.is_dir():
        return
    with storage_errors(f"Making the folder {folder}"):
        missing = [p for p in (folder, *folder.parents) if not p.exists()]
        for path in reversed(missing):
            path.mkdir(mode=0o700, exist_ok=True)
            _sync(path.parent)


def write_durably(path: Path, *parts: bytes) -> None:
    """Put these parts, one after the other, in place of the file, wholly or not at all.

    Two writers of one path must hold a lock: both would use the temporary file beside it. Its
    name is fixed so that ``remove_durably`` finds what a crash left there.

    Raises:
        StorageFailed: the disk is full, read-only or not ours; the old file is unchanged.
    """
    make_folder(path.parent)
    with storage_errors(f"Writing {path}"):
        temporary = _temporary(path)
        try:
            _write_new(temporary, parts)
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        _sync(path.parent)


def move_durably(source: Path, target: Path) -> None:
    """Put a finished file or folder, of the same file system, in its place.

    Raises:
        StorageFailed: ``target`` is as it was before.
    """
    with storage_errors(f"Writing {target}"):
        _sync(source)
        source.replace(target)
        _sync(target.parent)


def remove_durably(path: Path) -> None:
    """Unlink the file and what a crashed write left beside it; nothing there is no error.

    Raises:
        StorageFailed: the file is still there.
    """
    with storage_errors(f"Removing {path}"):
        there = [p for p in (path, _temporary(path)) if os.path.lexists(p)]
        for item in there:
            item.unlink()
        if there:
            _sync(path.parent)


@contextmanager
def locked(path: Path, refusal: Busy | None = None) -> Iterator[None]:
    """Hold the lock file for the block, against other processes and other threads alike.

    Waits for the holder, or raises ``refusal`` at once where it is given. The lock is the open
    file, not its presence: when its holder is killed the system frees it.
    """
    make_folder(path.parent)
    with storage_errors(f"Opening the lock {path}"):
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _take(path, number, refusal)
        yield
    finally:
        os.close(number)


def _take(path: Path, number: int, refusal: Busy | None) -> None:
    with storage_errors(f"Locking {path}"):
        try:
            fcntl.flock(number, fcntl.LOCK_EX | (fcntl.LOCK_NB if refusal else 0))
        except BlockingIOError:
            if refusal is None:
                raise
            raise refusal from None


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.tmp")


def _write_new(path: Path, parts: tuple[bytes, ...]) -> None:
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(number, "wb", buffering=0) as file:
        for part in parts:
            view = memoryview(part)
            while view:
                view = view[file.write(view) :]
        os.fsync(number)


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(number)
    finally:
        os.close(number)
