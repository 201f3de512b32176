"""A method that edits weights, interrupted: its records stay suppressed, and nothing is stuck."""

from __future__ import annotations

import dataclasses

import pytest
from tiny_workspace import ask, some_key, statement, usable

from rescind import state
from rescind.core.errors import ErasureIncomplete, Refused, RescindError, StaleVersion
from rescind.core.guarantee import Exact
from rescind.core.request import Request
from rescind.workspace import Workspace


@pytest.fixture(params=["interrupted", "failed"])
def suppressed(
    request: pytest.FixtureRequest, ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> Request:
    """A request for retraining whose records no training may use, but which is not withdrawn."""
    asked = ws.request(dataclasses.replace(ask(*some_key(ws, "0.0")), method="retrain"))
    error = KeyboardInterrupt if request.param == "interrupted" else RescindError

    def broken(*given: object) -> None:
        raise error("in the middle")

    with monkeypatch.context() as patch, pytest.raises(error):
        patch.setattr("rescind.trainer.train_orders", broken)
        ws.process(asked.id)
    found = state.request(ws.backends, asked.id)
    assert (found.withdrawn_at, bool(found.labels)) == (None, True)
    return found


def test_it_cannot_be_cancelled_and_is_finished(suppressed: Request, ws: Workspace) -> None:
    head = ws.head()
    with pytest.raises(Refused, match="suppression list"):
        ws.cancel(suppressed.id)
    assert ws.head() == head
    assert statement(ws.process(suppressed.id)).guarantee == Exact("retrain")
    assert ws.remaining() == {}


def test_it_can_be_held_and_lifted(suppressed: Request, ws: Workspace) -> None:
    assert ws.reject(suppressed.id, "a court asks for it").status == "held"
    with pytest.raises(Refused, match="on hold"):
        ws.process(suppressed.id)
    ws.lift(suppressed.id)
    assert statement(ws.process(suppressed.id)).guarantee == Exact("retrain")


def test_others_go_on_meanwhile(suppressed: Request, ws: Workspace) -> None:
    other = ws.request(ask(*some_key(ws, "1.0")))
    with pytest.raises(StaleVersion, match=f"rescind process {suppressed.id}` first"):
        ws.process(other.id)
    with pytest.raises(ErasureIncomplete, match=f"Process {other.id} first"):
        ws.process(suppressed.id)
    for request in (other, suppressed):
        assert statement(ws.process(request.id)).guarantee.kind == "exact"
    assert ws.remaining() == {}


def test_one_that_failed_before_it_used_anything_can_be_cancelled(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    [key] = some_key(ws, "0.0")
    asked = ws.request(dataclasses.replace(ask(key), method="retrain"))

    def broken(*given: object) -> None:
        raise RescindError("before the first entry")

    with monkeypatch.context() as patch, pytest.raises(RescindError):
        patch.setattr("rescind.steps._suppress", broken)
        ws.process(asked.id)
    assert state.request(ws.backends, asked.id).status == "failed"
    assert ws.cancel(asked.id).status == "cancelled"
    assert key in usable(ws)
    assert ws.request(ask(key)).status == "withdrawn"
