"""What another process does between two looks of this one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_workspace import ask, reopened, some_key, statement, usable

from rescind import state, trainer
from rescind.core.errors import StaleVersion
from rescind.core.lineage import ArtifactKind
from rescind.core.protocols import Entry
from rescind.jobs import CacheCell
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


@pytest.mark.parametrize("kind", ["manifest", "snapshot"])
def test_a_training_that_a_closed_request_overtakes_leaves_nothing(
    kind: str, ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, [key] = reopened(ws), some_key(ws, "0.0")
    ws.process(ws.request(ask(*some_key(ws, "0.1"))).id, replay=False)  # something to rebuild
    real = FolderArtifacts.put

    def put(self: FolderArtifacts, name: str, what: ArtifactKind, *rest: Any) -> object:
        if what == kind:
            monkeypatch.setattr(FolderArtifacts, "put", real)
            other.process(other.request(ask(key, outage=True)).id, replay=False)
        return real(self, name, what, *rest)

    monkeypatch.setattr(FolderArtifacts, "put", put)
    with pytest.raises(StaleVersion, match="same command again"):
        ws.rebuild(shards=[0])
    assert ws.backends.artifacts.list(frozenset({"0.0#0"})) == ()
    assert ws.rebuild(shards=[0]) == 2
    assert ws.remaining() == {}


def test_a_training_that_began_before_a_request_closed_ends_stale(ws: Workspace) -> None:
    """Its allow-list is destroyed with the request."""
    b = ws.backends
    place = trainer.place_for(b, state.run(b), state.allowed(b), state.generations(b))
    ws.process(ws.request(ask(*some_key(ws, "0.0"))).id, replay=False)
    with pytest.raises(StaleVersion):
        CacheCell(place, "1.0").run(lambda *told: None)


def test_what_killed_work_left_behind_is_shown_and_destroyed(ws: Workspace) -> None:
    """As a kill between storing and looking leaves it, after the request was closed."""
    ws.process(ws.request(ask(*some_key(ws, "0.0"))).id, replay=False)
    assert ws.remaining() == {}
    ws.backends.artifacts.put("snapshot/late", "snapshot", b"late", frozenset({"0.0#0", "0.1#0"}))
    assert list(ws.remaining()) == ["snapshot/late"]
    assert "left it behind" in ws.remaining()["snapshot/late"]
    assert reopened(ws).remaining() == {}
    ws.backends.artifacts.put("snapshot/late", "snapshot", b"late", frozenset({"0.0#0", "0.1#0"}))
    ws.process(ws.request(ask(*some_key(ws, "1.1"))).id, replay=False)
    assert ws.remaining() == {}


def test_what_an_open_request_needs_is_not_left_behind(ws: Workspace) -> None:
    request = ws.request(ask(*some_key(ws, "0.0")))
    kept = [s.name for s in state.sealed(ws.backends, request.id)]
    again = reopened(ws)
    assert {n: again.remaining()[n] for n in kept} == dict.fromkeys(
        kept, f"request {request.id}: it is withdrawn"
    )


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
