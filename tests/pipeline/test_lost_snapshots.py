"""Snapshots lost on the disk: no request waits for them, and they are trained again."""

from __future__ import annotations

import pytest
from tiny_workspace import ROWS, ask, keys_in, served, some_key, statement

from rescind import state
from rescind.core.errors import DamagedArtifact, NoOp
from rescind.core.guarantee import Exact
from rescind.core.run import Snapshot
from rescind.data.manifest import manifest_bytes
from rescind.live import LiveModel
from rescind.methods.retrain import Retrain
from rescind.workspace import Workspace

ASKED = [{"text": ROWS[0]["text"]}]


def lose(ws: Workspace, part: Snapshot) -> None:
    artifact = ws.backends.artifacts.find(part.name)
    assert artifact is not None
    (ws.folder / "artifacts" / artifact.address[:2] / artifact.address).unlink()


def test_what_was_served_before_is_lost_and_the_request_is_closed(ws: Workspace) -> None:
    """The lost snapshot is cut: only the figure of before cannot be had any more."""
    lose(ws, next(s for s in served(ws) if "0.0" in s.cells))
    request = ws.request(ask(*keys_in(ws, "test")[:1], *some_key(ws, "0.0")))
    said = statement(ws.process(request.id))
    assert said.guarantee == Exact("never_saw")
    assert [(m.name, m.compared_with) for m in said.measurements] == [("test_accuracy", "none")]
    report = ws.report(request.id)
    assert (report.before, len(report.after)) == ((), 1)
    assert any("measured after only" in moment.what for moment in report.timeline)
    assert ws.remaining() == {}


@pytest.mark.parametrize("method", [None, Retrain()], ids=["s3t", "retrain"])
def test_a_lost_snapshot_that_goes_on_serving_leaves_service_and_the_request_goes_on(
    method: Retrain | None, ws: Workspace
) -> None:
    part = next(s for s in served(ws) if "0.0" not in s.cells and s.shard == 1)
    lose(ws, part)
    request = ws.request(ask(*keys_in(ws, "test")[:1], *some_key(ws, "0.0")))
    with pytest.raises(DamagedArtifact, match="rescind rebuild"):
        ws.process(request.id, method=method)
    failed = [e for e in ws.backends.ledger.entries(request.id) if e.kind == "request.failed"]
    assert [e.facts["dropped"] for e in failed] == [1]
    assert part.name not in {s.name for s in state.parts(ws.backends)}
    assert statement(ws.process(request.id, method=method)).guarantee.kind == "exact"


def test_a_withdrawal_does_not_stop_at_a_snapshot_that_is_gone(ws: Workspace) -> None:
    part = next(s for s in served(ws) if "0.0" in s.cells)
    ws.backends.artifacts.destroy([part.name])
    request = ws.request(ask(*some_key(ws, "0.0")))
    assert request.status == "withdrawn"
    assert LiveModel(ws.backends).ready()
    assert statement(ws.process(request.id)).guarantee == Exact("never_saw")


def test_rebuilding_trains_a_lost_snapshot_again_to_the_same_bytes(ws: Workspace) -> None:
    digest, answers = ws.state_digest(), ws.predict(ASKED)
    for part in served(ws):
        lose(ws, part)
    with pytest.raises(DamagedArtifact):
        ws.verify()
    assert ws.rebuild() == 2
    ws.verify()
    assert (ws.state_digest(), ws.predict(ASKED)) == (digest, answers)
    with pytest.raises(NoOp):
        ws.rebuild()


def test_an_allow_list_that_was_replaced_is_seen(ws: Workspace) -> None:
    b = ws.backends
    now = state.manifest(b)
    artifact = b.artifacts.find(now.name)
    assert artifact is not None
    ws.verify()
    fewer = manifest_bytes(state.manifest_entries(b)[1:])
    b.artifacts.put(now.name, "manifest", fewer, artifact.cells)
    with pytest.raises(DamagedArtifact, match="allow-list"):
        ws.verify()


@pytest.mark.parametrize("how", ["lost", "another"])
def test_a_wrong_signing_key_is_told_before_anything_is_erased(how: str, ws: Workspace) -> None:
    b, request = ws.backends, ws.request(ask(*some_key(ws, "0.0")))
    name = f"signing/{b.ledger.get('signer', 'current')}"
    b.keys.destroy(name)
    if how == "another":
        b.keys.put(name, bytes(32))
    with pytest.raises(DamagedArtifact, match="rescind key rotate"):
        ws.process(request.id)
    assert state.request(b, request.id).status == "withdrawn"
    ws.rotate_key()
    assert statement(ws.process(request.id)).guarantee == Exact("never_saw")
