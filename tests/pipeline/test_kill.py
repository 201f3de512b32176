"""A process may be killed at any step: the next one goes on and ends where an undisturbed one does.

A killed child leaves the disk as it was at that moment; locks are freed by the system.
"""

from __future__ import annotations

import functools
import os
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tiny_workspace import artifacts, ask, copy, kinds, some_key, statement, unrepaired

from rescind import state
from rescind.core.protocols import Entry
from rescind.live import LiveModel
from rescind.storage.artifacts import FolderArtifacts
from rescind.storage.sql import SqlLedger
from rescind.trainer import labels_of
from rescind.workspace import Workspace, open_workspace

KILLED = 9
WITHDRAWING = [
    "request.accepted",
    "plan.made",
    "parts.withdrawn",
    "withdrawal.timed",
    "version.created",
    "evaluation.done",
    "proof.made",
    "version.released",
    "erasure.started",
    "erasure.done",
    "parts.committed",
    "certificate.issued",
    "request.closed",
]
EDITING = [k for k in WITHDRAWING if k != "withdrawal.timed"]
EDITING[2] = "records.suppressed"
STEPS = {"s3t": WITHDRAWING, "sisa": WITHDRAWING, "retrain": EDITING}
RETRAINS = {(False, "records.suppressed"), (True, "version.released"), (False, "proof.made")}
HIT = {"s3t": "0.0", "sisa": "0.1", "retrain": "0.0"}


@dataclass(frozen=True)
class End:
    """All that must be the same, whatever happened on the way."""

    state: str
    status: str
    remaining: dict[str, str]
    artifacts: list[tuple[str, str, tuple[str, ...]]]
    keys: tuple[str, ...]
    certificates: int
    guarantee: object
    erasure: object


def end_of(ws: Workspace, request_id: str) -> End:
    ws.verify()
    said = statement(ws.certificate(request_id))
    return End(
        ws.state_digest(),
        state.request(ws.backends, request_id).status,
        ws.remaining(),
        artifacts(ws),
        _keys(ws),
        kinds(ws).count("certificate.issued"),
        said.guarantee,
        said.erasure,
    )


def _keys(ws: Workspace) -> tuple[str, ...]:
    """But for that of the absences: they follow from a secret, which is another one each time."""
    absences = {
        f"artifact/{a.address}" for a in ws.backends.artifacts.list() if a.kind == "absence"
    }
    assert len(absences) == 1
    return tuple(n for n in ws.backends.keys.names() if n not in absences)


def forget(ws: Workspace, key: str) -> str:
    request = ws.request(ask(key, outage=True))
    ws.process(request.id, accept_outage=True)
    return request.id


@pytest.fixture(scope="module")
def calm(
    trained: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[str, End]]:
    """The key that a method's test forgets, and where that ends when nothing goes wrong."""

    @functools.cache
    def undisturbed(method: str) -> tuple[str, End]:
        ws = copy(trained(method), tmp_path_factory.mktemp("calm") / "ws")
        [key] = some_key(ws, HIT[method])
        request_id = forget(ws, key)
        assert kinds(ws, request_id) == STEPS[method]
        return key, end_of(ws, request_id)

    return undisturbed


def in_child(work: Callable[[], object]) -> int:
    """Do the work in a forked process; its exit status."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def dying(real: Callable[..., Any], count: int, before: bool) -> Callable[..., Any]:
    """The real function, whose process dies just before or just after its ``count``-th call."""
    calls = iter(range(1, 10_000))

    def wrapped(*args: Any) -> Any:
        last = next(calls) == count
        if last and before:
            os._exit(KILLED)
        result = real(*args)
        if last:
            os._exit(KILLED)
        return result

    return wrapped


def killed(folder: Path, key: str, owner: type, name: str, count: int, before: bool) -> int:
    def work() -> None:
        ws = open_workspace(folder)
        setattr(owner, name, dying(getattr(owner, name), count, before))
        forget(ws, key)

    return in_child(work)


def check_nothing_cut_is_served(folder: Path) -> None:
    """Without any repair: from the entry of the withdrawal on, no cut part answers."""
    ws = unrepaired(folder)
    if "parts.withdrawn" in kinds(ws):
        assert not stale_parts(ws)
        stale = state.requests(ws.backends)[0].labels
        for part in LiveModel(ws.backends).served():
            assert not labels_of(ws.backends, part) & stale


def stale_parts(ws: Workspace) -> list[str]:
    """Parts that may serve and were made from what the one request is about."""
    [request] = ws.requests()
    assert request.labels
    parts = state.parts(ws.backends)
    return [s.name for s in parts if labels_of(ws.backends, s) & request.labels]


def opened_and_withdrawn(folder: Path, method: str) -> Workspace:
    """An accepted request is withdrawn by the next process that opens the workspace."""
    ws = open_workspace(folder)
    if method != "retrain" and ws.requests():
        assert "parts.withdrawn" in kinds(ws)
        assert not stale_parts(ws)
    return ws


def moments() -> Iterator[Any]:
    """Before and after each append; for the time it takes the quick run leaves some to the slow."""
    for method, steps in STEPS.items():
        for count, kind in enumerate(steps, 1):
            for before in (True, False):
                quick = method == "s3t" or (method == "sisa" and not before)
                name = f"{method}-{'before' if before else 'after'}-{kind}"
                marks = () if quick or (before, kind) in RETRAINS else (pytest.mark.slow,)
                yield pytest.param(method, count, before, id=name, marks=marks)


@pytest.mark.parametrize(("method", "count", "before"), list(moments()))
def test_killed_at_an_append(
    method: str,
    count: int,
    before: bool,
    calm: Callable[[str], tuple[str, End]],
    trained: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    key, expected = calm(method)
    folder = tmp_path / "ws"
    copy(trained(method), folder).backends.ledger.close()
    appended = len(kinds(unrepaired(folder)))

    assert killed(folder, key, SqlLedger, "append", count, before) == KILLED

    assert len(kinds(unrepaired(folder))) == appended + count - before
    check_nothing_cut_is_served(folder)
    ws = opened_and_withdrawn(folder, method)
    request_id = forget(ws, key)
    assert end_of(ws, request_id) == expected
    steps = [k for k in kinds(ws, request_id) if k in STEPS[method]]
    assert [k for k in steps if k != "withdrawal.timed"] == [
        k for k in STEPS[method] if k != "withdrawal.timed"
    ]


@pytest.mark.parametrize(
    "before",
    [True, pytest.param(False, marks=pytest.mark.slow)],
    ids=["before", "after"],
)
@pytest.mark.parametrize(
    ("name", "count"),
    [("put", 1), ("put", 2), ("_write", 1), ("_publish", 1), ("destroy", 1), ("_finish", 1)],
)
def test_killed_inside_the_artifact_store(
    name: str,
    count: int,
    before: bool,
    calm: Callable[[str], tuple[str, End]],
    trained: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    key, expected = calm("sisa")
    copy(trained("sisa"), tmp_path / "ws").backends.ledger.close()

    assert killed(tmp_path / "ws", key, FolderArtifacts, name, count, before) == KILLED

    check_nothing_cut_is_served(tmp_path / "ws")
    ws = open_workspace(tmp_path / "ws")
    assert end_of(ws, forget(ws, key)) == expected


def test_a_workspace_killed_while_it_opens_opens_again(ws: Workspace) -> None:
    [key] = some_key(ws, "0.0")
    folder = ws.folder
    assert killed(folder, key, SqlLedger, "append", 2, True) == KILLED

    def opening() -> None:
        SqlLedger.append = dying(SqlLedger.append, 2, False)  # type: ignore[method-assign]
        open_workspace(folder)

    assert in_child(opening) == KILLED
    check_nothing_cut_is_served(folder)
    assert statement(again(folder, key)).target.records == 1


def again(folder: Path, key: str) -> Any:
    ws = open_workspace(folder)
    return ws.certificate(forget(ws, key))


def test_the_harness_reports_a_child_that_failed_by_itself(tmp_path: Path) -> None:
    def work() -> None:
        raise ZeroDivisionError

    assert in_child(work) == 1
    assert in_child(lambda: Entry("a")) == 0
