"""Several processes at one workspace: no work is lost, and no answer uses a withdrawn part."""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_kill import in_child
from tiny_workspace import ROWS, ask, keys_in, kinds, reopened, served, some_key, statement

from rescind import evaluate, state
from rescind.core.errors import Busy, ErasureIncomplete, StaleVersion
from rescind.core.guarantee import Exact
from rescind.live import LiveModel
from rescind.serving.ensemble import Ensemble
from rescind.storage.artifacts import FolderArtifacts
from rescind.trainer import labels_of
from rescind.workspace import Workspace, open_workspace

ASKED = [{"text": row["text"]} for row in ROWS[:6]]
Child = Callable[[Callable[[], object]], "Running"]


class Running:
    """A forked process at work."""

    def __init__(self, work: Callable[[], object]) -> None:
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                work()
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)

    def ended_well(self) -> bool:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1]) == 0


def wait_for(path: Path) -> None:
    end = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < end, f"{path} never came"
        time.sleep(0.005)


def together(tmp_path: Path, *work: Callable[[], object]) -> list[bool]:
    """Run each in a process of its own, all let go at one moment."""
    start = tmp_path / "go"

    def waiting(job: Callable[[], object]) -> Callable[[], object]:
        def begin() -> None:
            wait_for(start)
            job()

        return begin

    children = [Running(waiting(job)) for job in work]
    start.touch()
    return [child.ended_well() for child in children]


def test_of_two_processes_with_one_request_one_is_told_busy(
    ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = ws.request(ask(*some_key(ws, "0.0")))
    inside, leave = tmp_path / "inside", tmp_path / "leave"
    real = evaluate.before_and_after

    def slow(*arguments: Any) -> Any:
        inside.touch()
        wait_for(leave)
        return real(*arguments)

    def work() -> None:
        monkeypatch.setattr(evaluate, "before_and_after", slow)
        open_workspace(ws.folder).process(request.id)

    child = Running(work)
    wait_for(inside)
    with pytest.raises(Busy, match=request.id):
        ws.process(request.id)
    with pytest.raises(Busy):
        ws.reject(request.id, "too late")
    assert state.request(ws.backends, request.id).status == "unlearned"  # not failed
    leave.touch()
    assert child.ended_well()
    assert ws.process(request.id) == ws.certificate(request.id)
    assert kinds(ws).count("certificate.issued") == 1


def process_until_done(folder: Path, request_id: str) -> None:
    """As a worker would: what another request is in the way of is tried again."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            open_workspace(folder).process(request_id, accept_outage=True)
            return
        except (Busy, ErasureIncomplete, StaleVersion):
            time.sleep(0.02)
    raise TimeoutError


@pytest.mark.parametrize(
    ("method", "cells"),
    [("s3t", ("0.0", "0.0")), ("s3t", ("0.0", "0.1")), ("sisa", ("0.0", "0.1")),
     ("sisa", ("1.1", "1.1"))],
)  # fmt: skip
def test_different_requests_at_the_same_time_are_all_kept(
    method: str, cells: tuple[str, str], make: Any, tmp_path: Path
) -> None:
    ws = make(method)
    keys = keys_in(ws, cells[0])[0], keys_in(ws, cells[1])[1]
    drafts = [ws.resolve(ask(key, outage=True)) for key in keys]

    def accepting(number: int) -> Callable[[], object]:
        return lambda: open_workspace(ws.folder).accept(drafts[number])

    assert together(tmp_path, accepting(0), accepting(1)) == [True, True]

    b = ws.backends
    requests = ws.requests()
    assert [r.status for r in requests] == ["withdrawn"] * 2
    assert {c: state.generation(b, c) for c in cells} == {c: cells.count(c) for c in cells}
    assert set(b.ledger.items("suppressed")) == {state.suppression_leaf(b, k) for k in keys}
    stale = frozenset[str]().union(*(r.labels for r in requests))
    trained = [a.name for a in b.artifacts.list(stale) if a.kind == "snapshot"]
    assert sorted(trained) == sorted(b.ledger.items("sealed"))
    assert not [s for s in state.parts(b) if labels_of(b, s) & stale]

    (tmp_path / "go").unlink()
    both = [lambda r=r: process_until_done(ws.folder, r.id) for r in requests]
    assert together(tmp_path, *both) == [True, True]

    for request in requests:
        said = statement(ws.certificate(request.id))
        assert said.target.records == 1
    assert ws.remaining() == {}
    assert not set(keys) & set(ws.keys())
    assert len(state.manifest_entries(b)) == len(ROWS) - 2
    ws.verify()


def test_what_another_process_is_writing_is_waited_for(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is listed before its bytes are there, so that a reader meets it half written."""
    store, writing, write = ws.backends.artifacts, threading.Event(), threading.Event()
    real = FolderArtifacts._write

    def slow(self: FolderArtifacts, address: str, data: bytes) -> None:
        writing.set()
        assert write.wait(60)
        real(self, address, data)

    monkeypatch.setattr(FolderArtifacts, "_write", slow)
    arguments = ("cache", "activations", b"bytes", frozenset({"0.0#0"}))
    writer = threading.Thread(target=store.put, args=arguments)
    writer.start()
    assert writing.wait(60)
    assert store.find("cache") is not None
    threading.Timer(0.2, write.set).start()
    assert store.get("cache") == b"bytes"
    writer.join()


def test_two_processes_that_accept_the_same_draft_make_one_request(
    ws: Workspace, tmp_path: Path
) -> None:
    draft = ws.resolve(ask(*some_key(ws, "0.0")))

    def accept() -> None:
        for _ in range(200):
            try:
                open_workspace(ws.folder).accept(draft)
                return
            except Busy:
                time.sleep(0.01)

    assert together(tmp_path, accept, accept) == [True, True]
    assert kinds(ws).count("request.accepted") == kinds(ws).count("parts.withdrawn") == 1


# --- the live model of another process


def forget_in_child(folder: Path, key: str, process: bool = False) -> None:
    def work() -> None:
        other = open_workspace(folder)
        request = other.request(ask(key))
        if process:
            other.process(request.id)

    assert in_child(work) == 0


def test_the_very_next_answer_of_an_open_model_uses_the_record_no_more(ws: Workspace) -> None:
    [key] = some_key(ws, "0.0")
    live = LiveModel(ws.backends)
    before = live.predict(ASKED)
    assert any("0.0" in s.cells for s in live.served())
    forget_in_child(ws.folder, key)
    after = live.predict(ASKED)
    assert after != before
    assert after == LiveModel(ws.backends).predict(ASKED)
    assert not any("0.0" in s.cells for s in live.served())


def test_an_answer_in_flight_is_worked_out_again(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    [key] = some_key(ws, "0.0")
    live, calls = LiveModel(ws.backends), []
    before = live.predict(ASKED)
    real = Ensemble.predict

    def predict(self: Ensemble, rows: Any, parts: Any) -> Any:
        answer = real(self, rows, parts)
        calls.append(len(parts))
        if len(calls) == 1:
            forget_in_child(ws.folder, key)
        return answer

    monkeypatch.setattr(Ensemble, "predict", predict)
    answered = live.predict(ASKED)
    assert len(calls) == 2
    assert answered != before
    assert answered == LiveModel(ws.backends).predict(ASKED)


def test_a_part_that_is_destroyed_before_it_is_loaded_is_not_missed(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    [key] = some_key(ws, "0.0")
    live, loads = LiveModel(ws.backends), []
    real = LiveModel._state

    def load(self: LiveModel, snapshot: Any) -> Any:
        loads.append(snapshot.name)
        if len(loads) == 1:
            forget_in_child(ws.folder, key, process=True)
        return real(self, snapshot)

    monkeypatch.setattr(LiveModel, "_state", load)
    answered = live.predict(ASKED)
    assert answered == LiveModel(reopened(ws).backends).predict(ASKED)
    assert not any("0.0" in s.cells for s in live.served())


def test_an_unrelated_entry_makes_no_answer_wait(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    live, calls = LiveModel(ws.backends), []
    live.predict(ASKED)
    real = Ensemble.predict

    def predict(self: Ensemble, rows: Any, parts: Any) -> Any:
        calls.append(1)
        ws.rotate_key()
        return real(self, rows, parts)

    monkeypatch.setattr(Ensemble, "predict", predict)
    live.predict(ASKED)
    assert len(calls) == 1


def test_a_withdrawal_while_the_evidence_is_made_makes_it_anew(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ws.request(ask(*some_key(ws, "0.0")))
    [other] = some_key(ws, "1.0")
    real, calls = evaluate.before_and_after, []

    def measured(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            forget_in_child(ws.folder, other)
        return real(*arguments)

    monkeypatch.setattr(evaluate, "before_and_after", measured)
    with pytest.raises(StaleVersion, match="overtaken"):
        ws.process(first.id)
    said = statement(ws.process(first.id))
    assert len(calls) == 2
    assert said.guarantee == Exact("never_saw")
    assert said.unlearned == state.version(ws.backends).weights
    assert {s.shard for s in served(ws)} == {0, 1}
