from __future__ import annotations

import io
import json
import os
import stat
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from rescind.core.errors import BadParameter, DamagedArtifact, NewerWorkspace, StorageFailed
from rescind.core.protocols import Entry, Write
from rescind.storage import backup as backup_module
from rescind.storage.artifacts import FolderArtifacts
from rescind.storage.backup import backup, restore
from rescind.storage.keys import KeyStore
from rescind.storage.sql import SqlLedger

A = frozenset({"0.0"})


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    (folder / "rescind.toml").parent.mkdir()
    (folder / "rescind.toml").write_text("log = 'info'\n")
    ledger, store, keys = parts(folder)
    ledger.append(Entry("a", writes=(Write("suppressed", "ab12", True), Write("t", "k", 1))))
    for name in ("kept", "shared", "gone", "lost"):
        data = b"shared bytes" if name in ("kept", "shared") else name.encode()
        store.put(name, "snapshot", data, A)
    store.destroy(["gone", "shared"])
    # what a destroy killed half-way leaves
    with ledger.database.write() as connection:
        connection.exec_driver_sql("UPDATE artifacts SET state='destroying' WHERE name='lost'")
    for name in ("workspace", "cell/0.0", "request/r1"):
        keys.ensure(name)
    keys.destroy("request/r1")
    (folder / "keys" / "cell" / ".0.1.tmp").write_bytes(b"torn key")
    ledger.close()
    return folder


def parts(folder: Path) -> tuple[SqlLedger, FolderArtifacts, KeyStore]:
    ledger = SqlLedger(folder / "rescind.db", folder / "locks")
    keys = KeyStore(folder / "keys")
    return ledger, FolderArtifacts(folder / "artifacts", ledger.database, keys, b"k" * 32), keys


def members(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as tar:
        read = {m.name: tar.extractfile(m) for m in tar.getmembers()}
        return {name: file.read() for name, file in read.items() if file is not None}


def test_a_workspace_comes_back_as_it_was(tmp_path: Path, workspace: Path) -> None:
    archive = backup(workspace, tmp_path / "out" / "one.tar")
    folder = restore(archive, tmp_path / "again")
    ledger, store, keys = parts(folder)
    before, _, old_keys = parts(workspace)
    ledger.verify()
    assert ledger.head() == before.head()
    assert store.get("kept") == b"shared bytes"
    assert keys.get("workspace") == old_keys.get("workspace")
    assert (folder / "rescind.toml").read_text() == "log = 'info'\n"
    assert set(ledger.items("suppressed")) == {"ab12"}
    assert set(store.sweep()) == {"lost"}
    assert [a.name for a in store.list()] == ["kept"]
    ledger.close()
    before.close()


def test_the_archive_is_private_and_holds_no_key_of_destroyed_things(
    tmp_path: Path, workspace: Path
) -> None:
    ledger, store, keys = parts(workspace)
    kept, lost = store.find("kept"), store.find("lost")
    assert kept is not None and lost is not None
    assert f"artifact/{lost.address}" in keys.names()
    archive = backup(workspace, tmp_path / "one.tar")
    ledger.close()
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    assert set(members(archive)) == {
        "backup.json",
        "rescind.db",
        "rescind.toml",
        "keys/workspace",
        "keys/cell/0.0",
        f"keys/artifact/{kept.address}",
        f"artifacts/{kept.address[:2]}/{kept.address}",
    }
    # nothing is left beside the archive
    assert sorted(os.listdir(tmp_path)) == ["one.tar", "workspace"]


def test_a_backup_made_while_others_write_is_of_one_moment(tmp_path: Path, workspace: Path) -> None:
    ledger, store, _ = parts(workspace)
    store.sweep()
    done = threading.Event()

    def write() -> None:
        n = 0
        while not done.is_set():
            store.put("n", "rows", b"%d" % n, A)
            ledger.append(Entry("a", writes=(Write("t", "n", n),)))
            store.destroy(["n"])
            n += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        archives = [backup(workspace, tmp_path / f"{n}.tar") for n in range(5)]
    finally:
        done.set()
        writer.join()
    for n, archive in enumerate(archives):
        copy, copied, _ = parts(restore(archive, tmp_path / f"copy{n}"))
        copy.verify()
        for artifact in copied.list():
            assert copied.get(artifact.name)
        assert copied.sweep() == ()
        copy.close()
    ledger.close()


def test_what_is_not_there_cannot_be_backed_up(tmp_path: Path, workspace: Path) -> None:
    with pytest.raises(BadParameter, match="no workspace"):
        backup(tmp_path / "nowhere", tmp_path / "one.tar")
    assert not (tmp_path / "nowhere").exists()
    (tmp_path / "taken").write_bytes(b"mine")
    with pytest.raises(BadParameter, match="exists"):
        backup(workspace, tmp_path / "taken")
    assert (tmp_path / "taken").read_bytes() == b"mine"


@pytest.mark.parametrize("part", ["artifacts", "keys/artifact"])
def test_a_workspace_that_lost_bytes_or_keys_gives_no_backup(
    tmp_path: Path, workspace: Path, part: str
) -> None:
    ledger, store, _ = parts(workspace)
    found = store.find("kept")
    assert found is not None
    next((workspace / part).rglob(found.address)).unlink()
    with pytest.raises(DamagedArtifact, match="'kept'"):
        backup(workspace, tmp_path / "one.tar")
    assert os.listdir(tmp_path) == ["workspace"]
    ledger.close()


def test_a_full_disk_leaves_no_archive(
    tmp_path: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backup_module, "_pack", full)
    with pytest.raises(StorageFailed, match="full"):
        backup(workspace, tmp_path / "one.tar")
    assert os.listdir(tmp_path) == ["workspace"]


def test_restore_refuses_a_folder_that_is_not_empty(tmp_path: Path, workspace: Path) -> None:
    archive = backup(workspace, tmp_path / "one.tar")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_bytes(b"")
    for destination in (tmp_path / "full", workspace, archive):
        with pytest.raises(BadParameter, match="not empty"):
            restore(archive, destination)
    assert os.listdir(tmp_path / "full") == ["mine"]
    (tmp_path / "empty").mkdir()
    assert restore(archive, tmp_path / "empty") == (tmp_path / "empty").resolve()


def repack(archive: Path, change: Callable[[list[tuple[tarfile.TarInfo, bytes]]], None]) -> None:
    with tarfile.open(archive) as tar:
        found = [(m, tar.extractfile(m)) for m in tar.getmembers()]
        content = [(m, file.read()) for m, file in found if file is not None]
    change(content)
    with tarfile.open(archive, "w") as tar:
        for info, data in content:
            tar.addfile(info, io.BytesIO(data))


def add(name: str, type_: bytes = tarfile.REGTYPE, link: str = "") -> Callable[..., None]:
    def change(content: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = type_, link
        content.append((info, b""))
        recount(content, 1)

    return change


def recount(content: list[tuple[tarfile.TarInfo, bytes]], more: int) -> None:
    info, data = content[0]
    told = json.loads(data)
    told["files"] += more
    text = json.dumps(told).encode()
    info.size = len(text)
    content[0] = info, text


def drop(position: int) -> Callable[..., None]:
    def change(content: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        del content[position]

    return change


def drop_artifact(content: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    content[:] = [item for item in content if not item[0].name.startswith("artifacts/")]
    recount(content, -1)


LIES: dict[str, Callable[..., None]] = {
    "parent": add("../evil"),
    "parent inside": add("keys/../../evil"),
    "absolute": add("/tmp/rescind-evil"),
    "symlink": add("keys/evil", tarfile.SYMTYPE, "/etc"),
    "hard link": add("keys/evil", tarfile.LNKTYPE, "rescind.db"),
    "device": add("keys/evil", tarfile.CHRTYPE),
    "folder": add("keys/evil", tarfile.DIRTYPE),
    "foreign name": add("evil"),
    "hidden name": add("keys/.evil"),
    "twice": add("rescind.db"),
    "no contents": drop(0),
    "no database": drop(1),
    "last file missing": drop(-1),
    "artifact missing": drop_artifact,
}


@pytest.mark.parametrize("lie", LIES)
def test_a_bad_archive_writes_nothing(tmp_path: Path, workspace: Path, lie: str) -> None:
    archive = backup(workspace, tmp_path / "one.tar")
    repack(archive, LIES[lie])
    with pytest.raises(DamagedArtifact):
        restore(archive, tmp_path / "again")
    assert sorted(os.listdir(tmp_path)) == ["one.tar", "workspace"]
    assert not Path("/tmp/rescind-evil").exists()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.9])
def test_an_archive_cut_short_is_refused(tmp_path: Path, workspace: Path, share: float) -> None:
    archive = backup(workspace, tmp_path / "one.tar")
    with tarfile.open(archive) as tar:
        last = tar.getmembers()[-1]
    data = archive.read_bytes()[: int(share * last.offset_data)]
    archive.write_bytes(data)
    with pytest.raises(DamagedArtifact, match="no whole backup"):
        restore(archive, tmp_path / "again")
    assert sorted(os.listdir(tmp_path)) == ["one.tar", "workspace"]


def test_every_cut_at_a_file_s_end_is_refused(tmp_path: Path, workspace: Path) -> None:
    archive = backup(workspace, tmp_path / "one.tar")
    data = archive.read_bytes()
    with tarfile.open(archive) as tar:
        starts = [member.offset for member in tar.getmembers()]
    for start in starts:
        archive.write_bytes(data[:start])
        with pytest.raises(DamagedArtifact, match="no whole backup"):
            restore(archive, tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_a_later_format_is_refused(tmp_path: Path, workspace: Path) -> None:
    archive = backup(workspace, tmp_path / "one.tar")

    def change(content: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        info, data = content[0]
        data = data.replace(b'"format":1', b'"format":2')
        content[0] = info, data

    repack(archive, change)
    with pytest.raises(NewerWorkspace, match="format 2"):
        restore(archive, tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_an_archive_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageFailed):
        restore(tmp_path / "none.tar", tmp_path / "again")
    assert os.listdir(tmp_path) == []
