"""What another process does between two looks of this one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_workspace import ask, reopened, some_key, statement, usable

from rescind import state
from rescind.core.protocols import Entry
from rescind.storage.artifacts import FolderArtifacts
from rescind.storage.sql import SqlLedger
from rescind.workspace import Workspace


def once(do: Callable[[], object], real: Callable[..., Any]) -> Callable[..., Any]:
    """The real call, and before its first return something else happens."""
    left = [do]

    def call(*given: Any, **named: Any) -> Any:
        found = real(*given, **named)
        if left:
            left.pop()()
        return found

    return call


def test_a_request_that_closes_while_the_retain_set_is_read(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, [key] = reopened(ws), some_key(ws, "0.0")
    request = ws.request(ask(key))
    close = once(lambda: other.process(request.id, replay=False), state.suppressing)
    monkeypatch.setattr(state, "suppressing", close)
    assert key not in usable(ws)


def test_two_copies_made_at_once_are_both_to_be_recalled(
    ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, real = reopened(ws), SqlLedger.append

    def append(self: SqlLedger, entry: Entry) -> Entry:
        monkeypatch.setattr(SqlLedger, "append", real)
        other.export(tmp_path / "two", "a partner")
        return real(self, entry)

    monkeypatch.setattr(SqlLedger, "append", append)
    ws.export(tmp_path / "one", "the press")
    said = statement(ws.process(ws.request(ask(*some_key(ws, "0.0"))).id, replay=False))
    assert [r.split(" to ")[1][:9] for r in said.erasure.recipients] == ["a partner", "the press"]


def test_a_backup_made_between_a_crash_and_its_resume_is_to_be_recalled(
    ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = ws.request(ask(*some_key(ws, "0.0")))

    def killed(self: FolderArtifacts, names: object) -> None:
        raise OSError("killed")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="killed"):
        patch.setattr(FolderArtifacts, "destroy", killed)
        ws.process(request.id, replay=False)
    ws.backup(tmp_path / "copy.tar")
    [recalled] = statement(ws.process(request.id, replay=False)).erasure.recipients
    assert recalled.startswith("backup copy.tar")
