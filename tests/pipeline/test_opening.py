"""What is checked when a workspace is made or opened, before anything is swept or served."""

from __future__ import annotations

import dataclasses
import secrets
from pathlib import Path

import pytest
from tiny_workspace import INLINE, ROWS, ask, new_workspace, reopened, some_key, statement

from rescind import backends
from rescind.core.errors import BadParameter, DamagedArtifact, StorageFailed
from rescind.core.protocols import Entry
from rescind.settings import Settings, load_settings, write_settings
from rescind.storage.keys import KeyStore
from rescind.storage.sql import SqlLedger
from rescind.workspace import Workspace, open_workspace
from rescind.workspace import new_workspace as init

ASKED = [{"text": ROWS[0]["text"]}]


def stored(folder: Path) -> list[str]:
    """All artifacts and keys, as files."""
    found = [*(folder / "artifacts").rglob("*"), *(folder / "keys").rglob("*")]
    return sorted(str(p) for p in found if p.is_file())


def closed(ws: Workspace) -> Path:
    ws.backends.ledger.close()
    for name in ("rescind.db-wal", "rescind.db-shm"):
        (ws.folder / name).unlink(missing_ok=True)
    return ws.folder


# --- a ledger that is no ledger


def no_byte(database: Path) -> None:
    database.write_bytes(b"")


def no_entry(database: Path) -> None:
    database.unlink()
    SqlLedger(database, database.parent / "locks").close()


def another_first_entry(database: Path) -> None:
    no_entry(database)
    ledger = SqlLedger(database, database.parent / "locks")
    ledger.append(Entry("run.finished"))
    ledger.close()


def no_table(database: Path) -> None:
    import sqlite3

    database.unlink()
    with sqlite3.connect(database) as file:
        file.execute("PRAGMA user_version = 7")


@pytest.mark.parametrize("broken", [no_byte, no_entry, another_first_entry, no_table])
def test_a_workspace_whose_ledger_is_empty_is_left_as_it_is(ws: Workspace, broken: object) -> None:
    folder = closed(ws)
    before = stored(folder)
    assert len(before) > 20
    broken(folder / "rescind.db")  # type: ignore[operator]
    size = (folder / "rescind.db").stat().st_size
    for create in (True, False):
        with pytest.raises(DamagedArtifact, match=r"rescind restore"):
            open_workspace(folder, create=create)
    with pytest.raises(DamagedArtifact, match="holds no ledger"):
        backends.connect(folder)  # as a worker does
    assert stored(folder) == before
    assert (folder / "rescind.db").stat().st_size == size


def test_a_workspace_that_lost_its_ledger_is_not_made_anew_over_the_rest(ws: Workspace) -> None:
    folder = closed(ws)
    (folder / "rescind.db").unlink()
    before = stored(folder)
    with pytest.raises(DamagedArtifact, match="artifacts and keys/artifact and keys/signing"):
        open_workspace(folder)
    with pytest.raises(DamagedArtifact):
        init(folder)
    assert stored(folder) == before
    assert not (folder / "rescind.db").exists()


def test_what_is_no_database_is_told_as_before(ws: Workspace) -> None:
    folder = closed(ws)
    (folder / "rescind.db").write_bytes(b"not a database at all" * 500)
    before = stored(folder)
    with pytest.raises(StorageFailed, match="no SQLite database"):
        open_workspace(folder)
    assert stored(folder) == before


def test_a_workspace_of_an_earlier_version_has_no_settings_to_compare(tmp_path: Path) -> None:
    b = backends.create(tmp_path / "ws", INLINE)
    b.ledger.close()
    (b.folder / "rescind.db").unlink()
    ledger = SqlLedger(b.folder / "rescind.db", b.folder / "locks")
    ledger.append(Entry("workspace.created"))
    ledger.close()
    write_settings(b.folder, dataclasses.replace(INLINE, encrypt=False))
    assert not open_workspace(b.folder).backends.settings.encrypt


# --- secrets


def test_a_lost_secret_is_not_drawn_anew(ws: Workspace) -> None:
    before = ws.backends.keys.get("workspace")
    (ws.folder / "keys" / "workspace").unlink()
    for _ in range(2):
        with pytest.raises(DamagedArtifact, match="'workspace' is not in the key store"):
            reopened(ws)
    assert not (ws.folder / "keys" / "workspace").exists()
    ws.backends.keys.put("workspace", before[:16])
    with pytest.raises(DamagedArtifact, match="16 bytes instead of 32"):
        reopened(ws)
    ws.backends.keys.put("workspace", before)
    assert reopened(ws).predict(ASKED) == ws.predict(ASKED)


def signing_key(ws: Workspace) -> Path:
    [path] = (ws.folder / "keys" / "signing").iterdir()
    return path


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (None, "is not in the key store"),
        (b"short", "this one has 5"),
        (secrets.token_bytes(32), "The file holds the key"),
    ],
    ids=["missing", "short", "another"],
)
def test_a_signing_key_that_is_not_the_one_in_force_signs_nothing(
    ws: Workspace, data: bytes | None, says: str
) -> None:
    path = signing_key(ws)
    path.unlink()
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(DamagedArtifact, match="rescind key rotate") as caught:
        ws.backends.signer()
    assert says in str(caught.value)
    request = ws.request(ask(*some_key(ws, "0.0")))
    with pytest.raises(DamagedArtifact, match="rescind key rotate"):
        ws.process(request.id)
    assert [r.status for r in ws.requests()] == ["withdrawn"]  # told before anything is erased
    key_id = ws.rotate_key()
    assert statement(ws.process(request.id)).key_id == key_id


# --- settings that are decided once


@pytest.mark.parametrize("name", ["encrypt", "suppression_list"])
def test_what_is_decided_when_a_workspace_is_made_cannot_be_changed(
    ws: Workspace, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = next(ws.backends.ledger.entries())
    assert first.facts == {"encrypt": True, "suppression_list": True}
    with monkeypatch.context() as patch:
        patch.setenv(f"RESCIND_{name.upper()}", "false")
        for opens in (reopened, lambda ws: backends.connect(ws.folder)):
            with pytest.raises(BadParameter, match=f"was made with {name} = true") as caught:
                opens(ws)
    assert f"RESCIND_{name.upper()}" in caught.value.do
    write_settings(ws.folder, dataclasses.replace(INLINE, **{name: False}))  # type: ignore[arg-type]
    with pytest.raises(BadParameter, match=f"Set {name} = true in"):
        reopened(ws)
    write_settings(ws.folder, dataclasses.replace(INLINE, workers=2, validity_days=3))
    assert reopened(ws).backends.settings.validity_days == 3


def test_both_are_named_at_once_and_copies_keep_theirs(tmp_path: Path) -> None:
    chosen = dataclasses.replace(INLINE, encrypt=False, suppression_list=False)
    ws = new_workspace(tmp_path / "ws", chosen)
    child = ws.fork(tmp_path / "fork")
    for folder in (ws.folder, child.folder):
        write_settings(folder, INLINE)
        with pytest.raises(BadParameter, match="encrypt = false, suppression_list = false"):
            open_workspace(folder)


def test_a_variable_goes_before_the_settings_passed_once_and_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("RESCIND_ENCRYPT", "false")
        assert not new_workspace(tmp_path / "ws").backends.settings.encrypt
    assert not open_workspace(tmp_path / "ws").backends.settings.encrypt


def test_a_prepared_file_and_the_environment_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rescind.toml").write_text("encrypt = false\ndue_days = 7\nworkers = 3\n")
    monkeypatch.setenv("RESCIND_WORKERS", "2")
    made = init(tmp_path).backends.settings
    assert made == Settings(encrypt=False, due_days=7, workers=2)
    monkeypatch.delenv("RESCIND_WORKERS")
    assert load_settings(tmp_path) == made


def test_a_prepared_file_that_cannot_be_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "rescind.toml"
    path.write_text("due_day = 7\n")
    with pytest.raises(BadParameter, match="Did you mean due_days"):
        init(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["rescind.toml"]
    assert path.read_text() == "due_day = 7\n"
    assert not KeyStore(tmp_path / "keys").names()
