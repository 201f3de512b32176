from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Row

from rescind.core.errors import DamagedArtifact, StorageFailed
from rescind.core.protocols import Artifacts
from rescind.storage import artifacts as artifacts_module
from rescind.storage.artifacts import FolderArtifacts
from rescind.storage.database import Database
from rescind.storage.keys import KeyStore
from rescind.storage.sql import SqlLedger
from rescind.testing.artifacts import ArtifactsContract

A = frozenset({"0.0"})
TEXT = b"the words that nobody may find on the disk"


class _Contract(ArtifactsContract):
    where, encrypt = "rescind.db", True

    @pytest.fixture(autouse=True)
    def _end(self, tmp_path: Path) -> Iterator[None]:
        self.folder, self.made = tmp_path, list[Database]()
        yield
        for database in self.made:
            database.close()

    def make(self) -> Artifacts:
        where = self.where if "://" in self.where else self.folder / self.where
        self.made.append(Database(where))
        keys = KeyStore(self.folder / "keys")
        folder = self.folder / "artifacts"
        return FolderArtifacts(folder, self.made[-1], keys, b"k" * 32, self.encrypt)


class TestFolder(_Contract):
    pass


class TestFolderIndexedInMemory(_Contract):
    where = "sqlite://"


class TestFolderInPlain(_Contract):
    encrypt = False


def on_disk(folder: Path) -> set[str]:
    """All files but the locks."""
    return {p.name for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}


def file_of(store: FolderArtifacts, name: str) -> Path:
    found = store.find(name)
    assert found is not None
    return store.folder / found.address[:2] / found.address


def test_the_bytes_on_disk_are_not_the_plaintext(store: FolderArtifacts) -> None:
    store.put("n", "rows", TEXT * 50, A)
    stored = file_of(store, "n").read_bytes()
    assert len(stored) == len(TEXT) * 50 + 12 + 16
    assert TEXT not in stored
    assert store.get("n") == TEXT * 50


def test_each_address_has_its_own_key_and_each_write_its_own_nonce(
    store: FolderArtifacts, keys: KeyStore
) -> None:
    store.put("a", "rows", TEXT, A)
    first = file_of(store, "a").read_bytes()
    store.put("a", "rows", TEXT, A)
    store.put("b", "rows", TEXT + b".", A)
    assert first[:12] != file_of(store, "a").read_bytes()[:12]
    one, two = (keys.get(name) for name in keys.names("artifact/"))
    assert one != two


def test_another_address_key_gives_another_address(
    tmp_path: Path, store: FolderArtifacts, ledger: SqlLedger, keys: KeyStore
) -> None:
    other = FolderArtifacts(tmp_path / "artifacts", ledger.database, keys, b"other" * 8)
    assert store.put("a", "rows", TEXT, A).address != other.put("b", "rows", TEXT, A).address


def test_destroyed_means_no_key_no_bytes_and_no_trace_in_the_database(
    tmp_path: Path, store: FolderArtifacts, keys: KeyStore, ledger: SqlLedger
) -> None:
    store.put("NEEDLE-NAME", "rows", TEXT, frozenset({"NEEDLE-CELL"}))
    store.destroy(["NEEDLE-NAME"])
    assert (on_disk(store.folder), keys.names("artifact/")) == (set(), ())
    ledger.checkpoint()
    for path in tmp_path.glob("rescind.db*"):
        assert b"NEEDLE" not in path.read_bytes()


def test_shared_key_and_bytes_go_with_the_last_name(store: FolderArtifacts, keys: KeyStore) -> None:
    address = store.put("a", "rows", TEXT, A).address
    store.put("b", "rows", TEXT, A)
    store.destroy(["a"])
    assert (on_disk(store.folder), keys.names()) == ({address}, (f"artifact/{address}",))
    store.put("b", "rows", b"other", A)
    assert address not in on_disk(store.folder)
    assert f"artifact/{address}" not in keys.names()


def test_two_names_of_one_address_may_go_together(store: FolderArtifacts, keys: KeyStore) -> None:
    store.put("a", "rows", TEXT, A)
    store.put("b", "rows", TEXT, A)
    store.destroy(["a", "b"])
    assert (on_disk(store.folder), keys.names(), store.list()) == (set(), (), ())


@pytest.mark.parametrize("harm", ["missing", "cut", "empty", "longer", "altered", "exchanged"])
@pytest.mark.parametrize("encrypt", [True, False])
def test_damage_is_named(
    tmp_path: Path, ledger: SqlLedger, keys: KeyStore, harm: str, encrypt: bool
) -> None:
    store = FolderArtifacts(tmp_path / "a", ledger.database, keys, b"k" * 32, encrypt)
    store.put("n", "rows", TEXT, A)
    store.put("other", "rows", TEXT[::-1], A)
    path = file_of(store, "n")
    data = path.read_bytes()
    if harm == "missing":
        path.unlink()
    elif harm == "exchanged":
        path.write_bytes(file_of(store, "other").read_bytes())
    else:
        flipped = data[:-1] + bytes([data[-1] ^ 1])
        path.write_bytes(
            {"cut": data[:-1], "empty": b"", "longer": data + b"x", "altered": flipped}[harm]
        )
    with pytest.raises(DamagedArtifact) as caught:
        store.get("n")
    assert "'n'" in caught.value.what
    assert "rescind rebuild" in caught.value.do
    assert store.get("other") == TEXT[::-1]
    store.put("n", "rows", TEXT, A)
    assert store.get("n") == TEXT


def test_a_file_moved_to_another_address_with_its_key_is_refused(
    store: FolderArtifacts, keys: KeyStore
) -> None:
    a = store.put("a", "rows", TEXT, A).address
    b = store.put("b", "rows", TEXT[::-1], A).address
    file_of(store, "b").write_bytes(file_of(store, "a").read_bytes())
    keys.put(f"artifact/{b}", keys.get(f"artifact/{a}"))
    with pytest.raises(DamagedArtifact, match="altered"):
        store.get("b")


@pytest.mark.parametrize("key", [None, b"x" * 32, b"short"])
def test_a_lost_or_wrong_key_is_damage(
    store: FolderArtifacts, keys: KeyStore, key: bytes | None
) -> None:
    name = f"artifact/{store.put('n', 'rows', TEXT, A).address}"
    keys.destroy(name) if key is None else keys.put(name, key)
    with pytest.raises(DamagedArtifact, match=r"'n'.*key"):
        store.get("n")
    store.destroy(["n"])
    assert (on_disk(store.folder), keys.names()) == (set(), ())


def test_the_setting_may_change_and_old_files_stay_readable(
    tmp_path: Path, store: FolderArtifacts, ledger: SqlLedger, keys: KeyStore
) -> None:
    plain = FolderArtifacts(store.folder, ledger.database, keys, b"a" * 32, encrypt=False)
    store.put("secret", "rows", TEXT, A)
    plain.put("open", "rows", TEXT[::-1], A)
    assert file_of(plain, "open").read_bytes() == TEXT[::-1]
    assert (plain.get("secret"), store.get("open")) == (TEXT, TEXT[::-1])
    plain.put("secret", "rows", TEXT, A)
    assert (file_of(plain, "secret").read_bytes(), keys.names()) == (TEXT, ())
    plain.destroy(["secret", "open"])
    assert on_disk(store.folder) == set()


def test_list_by_cell_uses_the_index(store: FolderArtifacts, ledger: SqlLedger) -> None:
    plans: list[str] = []
    with ledger.database.read() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        seen: list[str] = []
        driver.set_trace_callback(seen.append)
        store.list(A)
        driver.set_trace_callback(None)
        for query in seen:
            plans += [row[3] for row in driver.execute(f"EXPLAIN QUERY PLAN {query}")]
    assert any("SEARCH artifact_cells" in step for step in plans)
    assert not any(step == "SCAN artifacts" for step in plans)


def test_a_reader_gets_old_or_new_while_the_name_is_replaced(store: FolderArtifacts) -> None:
    versions = [bytes([n]) * 1000 for n in range(40)]
    store.put("n", "manifest", versions[0], A)
    done = threading.Event()
    seen: list[int] = []

    def read() -> None:
        while not done.is_set():
            try:
                data = store.get("n")
            except DamagedArtifact:
                data = b""
            seen.append(data[0] if data in versions else -1)

    reader = threading.Thread(target=read)
    reader.start()
    for data in versions[1:]:
        store.put("n", "manifest", data, A)
    done.set()
    reader.join()
    assert len(set(seen)) > 1
    assert -1 not in seen
    assert seen == sorted(seen)


def test_a_reader_overtaken_by_a_replacement_reads_again(
    store: FolderArtifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("n", "manifest", b"old", A)
    read, calls = store._read, list[str]()

    def overtaken(row: Row[Any]) -> bytes:
        calls.append(row.address)
        if len(calls) == 1:
            store.put("n", "manifest", b"new", A)
        return read(row)

    monkeypatch.setattr(store, "_read", overtaken)
    assert store.get("n") == b"new"
    assert len(calls) == 2


def test_threads_that_put_and_destroy_shared_bytes_leave_no_half(
    store: FolderArtifacts, keys: KeyStore
) -> None:
    bad: list[BaseException] = []

    def work(name: str) -> None:
        try:
            for _ in range(10):
                store.put(name, "rows", TEXT, A)
                if store.get(name) != TEXT:
                    raise AssertionError("read something else")
                store.destroy([name])
        except BaseException as error:
            bad.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bad == []
    assert (on_disk(store.folder), keys.names(), store.list()) == (set(), (), ())


def test_a_put_that_fails_keeps_what_the_name_held(
    store: FolderArtifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("n", "rows", TEXT, A)

    def full(*_: object) -> None:
        raise StorageFailed("Writing failed.", "The disk is full.", "Free space.")

    with monkeypatch.context() as patch:
        patch.setattr(artifacts_module, "write_durably", full)
        with pytest.raises(StorageFailed):
            store.put("n", "rows", b"new", frozenset({"0.1"}))
        with pytest.raises(StorageFailed):
            store.put("m", "rows", b"new", frozenset())
    assert store.get("n") == TEXT
    assert [a.size for a in store.list(A)] == [len(TEXT)]
    assert [a.size for a in store.list(frozenset({"0.1"}))] == [3]
    with pytest.raises(DamagedArtifact, match="half written"):
        store.get("m")
    assert set(store.sweep()) == {"n", "m"}
    assert store.get("n") == TEXT
    assert [a.name for a in store.list()] == ["n"]


def test_sweep_removes_what_no_row_names_and_nothing_else(
    store: FolderArtifacts, keys: KeyStore
) -> None:
    address = store.put("n", "rows", TEXT, A).address
    keys.ensure("request/r1")
    keys.ensure("artifact/" + "0" * 64)
    (store.folder / "00").mkdir()
    for stray in ("00/" + "0" * 64, f"{address[:2]}/.{address}.tmp", "stray"):
        (store.folder / stray).write_bytes(b"left over")
    assert len(store.sweep()) == 4
    assert on_disk(store.folder) == {address}
    assert keys.names() == (f"artifact/{address}", "request/r1")
    assert store.get("n") == TEXT
    assert store.sweep() == ()


def test_destroy_that_fails_stays_listed_until_it_is_repeated(
    store: FolderArtifacts, keys: KeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("n", "rows", TEXT, A)

    def refuse(*_: object) -> None:
        raise StorageFailed("Removing failed.", "Read-only.", "Mount it.")

    with monkeypatch.context() as patch:
        patch.setattr(artifacts_module, "remove_durably", refuse)
        with pytest.raises(StorageFailed):
            store.destroy(["n"])
    assert [a.name for a in store.list(A)] == ["n"]
    store.destroy(["n"])
    assert (on_disk(store.folder), keys.names(), store.list()) == (set(), (), ())
    assert os.listdir(store.folder / store.put("n", "rows", TEXT, A).address[:2])
