"""What a reader is told, for requests in every condition: true, complete, and without content."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from tiny_workspace import ask, keys_in, some_key, text_of

from rescind import state
from rescind.core.canonical import digest
from rescind.core.errors import RescindError, UnknownKey
from rescind.core.guarantee import Exact
from rescind.core.report import Report
from rescind.core.request import Request
from rescind.core.version import selection
from rescind.render import to_html, to_markdown
from rescind.resolve import Ask
from rescind.workspace import Workspace

Condition = Callable[[Workspace, str, pytest.MonkeyPatch], Request]


def closed(ws: Workspace, key: str, monkeypatch: pytest.MonkeyPatch) -> Request:
    request = ws.request(ask(key))
    ws.process(request.id)
    return request


def failed(ws: Workspace, key: str, monkeypatch: pytest.MonkeyPatch) -> Request:
    def broken(*arguments: object) -> None:
        raise RescindError("The disk burned.")

    request = ws.request(ask(key))
    with monkeypatch.context() as patch:
        patch.setattr("rescind.evaluate.before_and_after", broken)
        with pytest.raises(RescindError, match="burned"):
            ws.process(request.id)
    return request


def held(ws: Workspace, key: str, monkeypatch: pytest.MonkeyPatch) -> Request:
    request = ws.request(ask(key))
    return ws.reject(request.id, "litigation 7/2026")


def planned(ws: Workspace, key: str, monkeypatch: pytest.MonkeyPatch) -> Request:
    everything = (key, *some_key(ws, "0.1", "1.0", "1.1"))
    return ws.request(ask(*everything))


def check_private(page: str, ws_key: str, text: str, secrets: list[str]) -> None:
    for private in (ws_key, text, *text.split()[-4:-1], *secrets):
        assert private not in page


@pytest.mark.parametrize(
    ("condition", "status"),
    [(closed, "closed"), (failed, "failed"), (held, "held"), (planned, "planned")],
)
def test_it_renders_and_tells_no_content(
    condition: Condition, status: str, ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    [key] = some_key(ws, "0.0")
    text = text_of(ws, key)
    request = condition(ws, key, monkeypatch)
    report = ws.report(request.id)
    assert report.request.status == status
    hidden = [request.sealed_keys, state.suppression_leaf(ws.backends, key)]
    for page in (to_html(report), to_markdown(report)):
        assert request.id in page
        assert status in page
        check_private(page, key, text, hidden)


def test_a_closed_request_has_everything(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    request = closed(ws, some_key(ws, "0.0")[0], monkeypatch)
    report = ws.report(request.id)
    assert [m.kind for m in report.timeline][-1] == "request.closed"
    assert "3 snapshots cut" in " ".join(m.what for m in report.timeline)
    assert report.proof is not None and report.proof.outcome == "identical"
    assert report.guarantee == Exact("never_saw")
    assert report.erasure is not None and report.erasure.destroyed["snapshot"] == 3
    assert [m.name for m in report.before] == ["test_accuracy"]
    assert {m.name for m in report.after} > {"test_accuracy"}
    assert report.certificate == digest(ws.backends.ledger.get("certificate", request.id))
    assert report.parent is None


def test_a_failed_one_says_which_step_and_claims_nothing(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = failed(ws, some_key(ws, "0.0")[0], monkeypatch)
    report = ws.report(request.id)
    assert "RescindError in the step evaluate" in report.timeline[-1].what
    assert (report.guarantee, report.certificate, report.proof) == (None, None, None)
    assert report.not_claimed == ("Nothing is certified yet.",)
    assert "evaluate" in to_markdown(report)


def test_a_held_one_names_its_reason(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    request = held(ws, some_key(ws, "0.0")[0], monkeypatch)
    assert "litigation 7/2026" in to_html(ws.report(request.id))


def test_a_planned_one_shows_its_deadline_and_has_no_exposure_yet(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = planned(ws, some_key(ws, "0.0")[0], monkeypatch)
    report = ws.report(request.id)
    assert report.plan.outage
    assert report.exposure_seconds is None
    assert request.due_at[:10] in to_markdown(report)
    assert not [m for m in report.marks if m.state in ("cut", "hit")]


def test_exposure_runs_from_receipt_to_withdrawal(ws: Workspace) -> None:
    received = (datetime.now(UTC) - timedelta(days=2)).isoformat()
    request = ws.request(Ask(keys=some_key(ws, "0.0"), near="keep", received_at=received))
    exposure = ws.report(request.id).exposure_seconds
    assert exposure is not None
    assert 2 * 86400 <= exposure < 2 * 86400 + 60


def marked(report: Report, *states: str) -> set[tuple[int, int, int]]:
    return {(m.shard, m.order, m.position) for m in report.marks if m.state in states}


def test_marks_are_the_live_parts(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    live = {(s.shard, s.order, s.stage) for s in state.parts(ws.backends)}
    request = closed(ws, some_key(ws, "0.0")[0], monkeypatch)
    parts = state.parts(ws.backends)
    report = ws.report(request.id)
    assert len(report.marks) == 8
    assert marked(report, "served", "kept") == {(s.shard, s.order, s.stage) for s in parts}
    assert marked(report, "cut", "hit") == live - marked(report, "served", "kept")
    longest = {(s.shard, s.order, s.stage) for s in selection(parts)}
    assert longest <= marked(report, "served")
    assert marked(report, "hit") == {(0, 0, 0), (0, 1, 1)}


def test_a_later_request_does_not_claim_the_cuts_of_an_earlier_one(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed(ws, some_key(ws, "0.0")[0], monkeypatch)
    second = closed(ws, keys_in(ws, "1.1")[0], monkeypatch)
    report = ws.report(second.id)
    assert {m.shard for m in report.marks if m.state in ("cut", "hit")} == {1}
    assert {m.shard for m in report.marks if m.state == "gone"} == {0}


def test_there_is_no_report_of_an_unknown_request(ws: Workspace) -> None:
    with pytest.raises(UnknownKey, match="nobody"):
        ws.report("nobody")
