"""What a ledger does when its file is full, read-only, damaged, foreign or too new."""

from __future__ import annotations

import gc
import sqlite3
import stat
import threading
from contextlib import closing
from pathlib import Path

import pytest

from rescind.core.errors import BadParameter, Busy, NewerWorkspace, StorageFailed
from rescind.core.protocols import Entry, Write
from rescind.storage.database import Database
from rescind.storage.files import locked
from rescind.storage.sql import SqlLedger
from rescind.storage.tables import SCHEMA


def pragma(database: Database, text: str) -> object:
    with database.read() as connection:
        result = connection.exec_driver_sql(f"PRAGMA {text}")
        return result.scalar() if result.returns_rows else None


def test_every_connection_is_set_up(ledger: SqlLedger) -> None:
    found: list[object] = []
    names = ("journal_mode", "synchronous", "secure_delete", "foreign_keys", "busy_timeout")

    def look() -> None:
        found.append([pragma(ledger.database, name) for name in names])

    look()
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [["wal", 2, 1, 1, 30000]] * 2


def test_the_files_are_private(tmp_path: Path, ledger: SqlLedger) -> None:
    ledger.append(Entry("a"))
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in tmp_path.glob("rescind.db*")}
    assert "rescind.db-wal" in modes
    assert set(modes.values()) == {0o600}


def test_a_thread_keeps_its_connection_and_a_dead_one_gives_it_back(ledger: SqlLedger) -> None:
    with ledger.database.read() as one, ledger.database.read() as two:
        assert one is two
    before = len(ledger.database._open)
    thread = threading.Thread(target=ledger.head)
    thread.start()
    thread.join()
    gc.collect()
    assert len(ledger.database._open) == before


@pytest.mark.parametrize(("where", "shared"), [("rescind.db", False), ("sqlite://", True)])
def test_threads_share_a_connection_in_memory_only(
    tmp_path: Path, where: str, shared: bool
) -> None:
    database = Database(where if "://" in where else tmp_path / where)
    seen: list[object] = []

    def look() -> None:
        with database.read() as connection:
            seen.append(connection.connection.driver_connection)

    look()
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert (seen[0] is seen[1]) == shared
    database.close()


def test_a_new_database_is_made_by_one_process_at_a_time(tmp_path: Path) -> None:
    path, made = tmp_path / "rescind.db", list[Database]()
    with locked(tmp_path / "rescind.db.lock"):
        thread = threading.Thread(target=lambda: made.append(Database(path)))
        thread.start()
        thread.join(0.2)
        assert (made, path.stat().st_size) == ([], 0)
    thread.join()
    made[0].close()


def test_a_full_database_changes_nothing_and_works_again_when_enlarged(ledger: SqlLedger) -> None:
    ledger.append(Entry("a", writes=(Write("t", "k", 1),)))
    head, pages = ledger.head(), pragma(ledger.database, "page_count")
    pragma(ledger.database, f"max_page_count={pages}")
    large = Entry("b", facts={"x": "x" * 200_000}, writes=(Write("t", "k", 2),))
    for _ in range(2):
        with pytest.raises(StorageFailed) as caught:
            ledger.append(large)
        assert "full" in caught.value.why
        assert "Free space, then run the same command again." in caught.value.do
        assert (ledger.head(), ledger.get("t", "k")) == (head, 1)
        ledger.verify()
    pragma(ledger.database, "max_page_count=100000")
    assert ledger.append(large).seq == 2
    assert ledger.get("t", "k") == 2
    ledger.verify()


def test_a_failing_block_is_rolled_back_and_the_connection_stays_usable(ledger: SqlLedger) -> None:
    with pytest.raises(ZeroDivisionError), ledger.database.write() as connection:
        connection.exec_driver_sql("INSERT INTO meta VALUES('x','y')")
        raise ZeroDivisionError
    with ledger.database.read() as connection:
        rows = connection.exec_driver_sql("SELECT * FROM meta WHERE name='x'").all()
    assert rows == []
    ledger.append(Entry("a"))


def test_a_write_refused_as_read_only_is_explained(ledger: SqlLedger) -> None:
    ledger.append(Entry("a"))
    pragma(ledger.database, "query_only=ON")
    with pytest.raises(StorageFailed) as caught:
        ledger.append(Entry("b"))
    assert "written" in caught.value.why
    pragma(ledger.database, "query_only=OFF")
    assert ledger.append(Entry("b")).seq == 2


def test_a_damaged_file_is_explained(tmp_path: Path, ledger: SqlLedger) -> None:
    for n in range(200):
        ledger.append(Entry("a", facts={"n": n, "x": "x" * 200}))
    ledger.checkpoint()
    ledger.close()
    path = tmp_path / "rescind.db"
    data = bytearray(path.read_bytes())
    data[4096:-4096] = b"\xff" * (len(data) - 8192)
    path.write_bytes(data)
    with pytest.raises(StorageFailed) as caught:
        SqlLedger(path, tmp_path / "locks").verify()
    assert "damaged" in caught.value.why


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "rescind.db"
    path.write_bytes(b"this is no database, but a text of some length" * 100)
    before = path.read_bytes()
    with pytest.raises(StorageFailed) as caught:
        SqlLedger(path, tmp_path / "locks")
    assert "backup" in caught.value.do
    assert path.read_bytes() == before


def test_the_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("CREATE TABLE theirs(x)")
    before = path.read_bytes()
    with pytest.raises(StorageFailed, match="not a rescind database"):
        SqlLedger(path, tmp_path / "locks")
    assert path.read_bytes() == before


def test_a_newer_workspace_is_refused_and_unchanged(tmp_path: Path, ledger: SqlLedger) -> None:
    ledger.append(Entry("a"))
    ledger.close()
    path = tmp_path / "rescind.db"
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("UPDATE meta SET value=? WHERE name='schema'", (str(SCHEMA + 1),))
    # a journal mode that opening would change
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("PRAGMA journal_mode=DELETE")
    before = path.read_bytes()
    with pytest.raises(NewerWorkspace, match=f"schema {SCHEMA + 1}"):
        SqlLedger(path, tmp_path / "locks")
    assert path.read_bytes() == before


def test_a_folder_where_the_file_should_be_is_explained(tmp_path: Path) -> None:
    with pytest.raises(StorageFailed):
        SqlLedger(tmp_path, tmp_path / "locks")


def test_other_databases_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadParameter, match="Only SQLite") as caught:
        SqlLedger("postgresql://me:secret@host/db", tmp_path)
    assert "secret" not in str(caught.value)


def test_checkpoint_empties_the_log_of_what_was_deleted(tmp_path: Path, ledger: SqlLedger) -> None:
    with ledger.database.write() as connection:
        connection.exec_driver_sql("INSERT INTO meta VALUES('x','NEEDLE-IN-A-ROW')")
    with ledger.database.write() as connection:
        connection.exec_driver_sql("DELETE FROM meta WHERE name='x'")
    files = [tmp_path / "rescind.db", tmp_path / "rescind.db-wal"]
    assert any(b"NEEDLE-IN-A-ROW" in path.read_bytes() for path in files)
    ledger.checkpoint()
    assert not any(b"NEEDLE-IN-A-ROW" in path.read_bytes() for path in files)
    assert files[1].stat().st_size == 0


def test_checkpoint_says_when_a_reader_keeps_the_log(tmp_path: Path, ledger: SqlLedger) -> None:
    ledger.append(Entry("a"))
    pragma(ledger.database, "busy_timeout=50")
    with closing(sqlite3.connect(tmp_path / "rescind.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM entries").fetchall()
        ledger.append(Entry("b"))
        with pytest.raises(Busy, match="log"):
            ledger.checkpoint()
    ledger.checkpoint()
