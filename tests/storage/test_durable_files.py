from __future__ import annotations

import errno
import os
import resource
import threading
import time
from pathlib import Path

import pytest

from rescind.core.errors import Busy, StorageFailed
from rescind.storage.files import locked, remove_durably, storage_errors, write_durably


def test_parts_are_written_one_after_the_other(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deep" / "file"
    write_durably(path, b"one", b"", b"two")
    assert path.read_bytes() == b"onetwo"
    assert os.listdir(path.parent) == ["file"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "file"
    write_durably(path, b"old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(*((os, "fsync", full) if step == "fsync" else (Path, "replace", full)))
    with pytest.raises(StorageFailed) as caught:
        write_durably(path, b"new")
    assert "full" in caught.value.why
    assert "Free space, then run the same command again." in caught.value.do
    assert str(path) in caught.value.what
    assert (path.read_bytes(), os.listdir(tmp_path)) == (b"old", ["file"])


def test_a_write_the_system_cuts_short_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_durably(path, b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(StorageFailed, match="larger than this system allows"):
            write_durably(path, b"x" * 1_000_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (path.read_bytes(), os.listdir(tmp_path)) == (b"old", ["file"])


@pytest.mark.parametrize(
    ("number", "word"),
    [
        (errno.ENOSPC, "full"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "may not"),
        (errno.EPERM, "may not"),
        (errno.EIO, os.strerror(errno.EIO)),
    ],
)
def test_each_reason_is_told(number: int, word: str) -> None:
    with pytest.raises(StorageFailed) as caught, storage_errors("Writing x"):
        raise OSError(number, os.strerror(number))
    assert caught.value.what == "Writing x failed."
    assert word in caught.value.why
    assert caught.value.do


def test_a_file_in_the_way_of_a_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(StorageFailed):
        write_durably(tmp_path / "a" / "b" / "c", b"x")


def test_remove_may_be_repeated_and_takes_the_torn_write_with_it(tmp_path: Path) -> None:
    write_durably(tmp_path / "file", b"x")
    (tmp_path / ".file.tmp").write_bytes(b"torn")
    for _ in range(2):
        remove_durably(tmp_path / "file")
        assert os.listdir(tmp_path) == []


def test_a_lock_is_waited_for_or_refused(tmp_path: Path) -> None:
    path, order = tmp_path / "locks" / "x.lock", list[str]()

    def second() -> None:
        with locked(path):
            order.append("second")

    with locked(path):
        with pytest.raises(Busy, match="held"), locked(path, Busy("held")):
            pytest.fail("took a lock that is held")
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.05)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_an_error_of_the_block_is_not_taken_for_the_lock_s(tmp_path: Path) -> None:
    with pytest.raises(BlockingIOError), locked(tmp_path / "x.lock", Busy("held")):
        raise BlockingIOError
