"""Deletions may empty a cell, or a whole shard: the methods and the way back go on working."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tiny_workspace import ROWS, ask, keys_in, served, some_key, statement

from rescind import state
from rescind.core.errors import NoOp
from rescind.core.guarantee import Exact
from rescind.methods.retrain import Retrain
from rescind.workspace import Workspace

Make = Callable[..., Workspace]
ASKED = [{"text": ROWS[0]["text"]}]


@pytest.mark.parametrize("cell", ["0.0", "0.1"])
@pytest.mark.parametrize(("method", "sense"), [("sisa", "retrain"), ("retrain", "retrain")])
def test_retraining_without_a_cell_is_exact(method: str, sense: str, cell: str, make: Make) -> None:
    ws = make("sisa" if method == "sisa" else "s3t")
    request = ws.request(ask(*keys_in(ws, cell)))
    said = statement(ws.process(request.id, method=Retrain() if method == "retrain" else None))
    assert said.guarantee == Exact(sense)  # type: ignore[arg-type]
    assert any(s.shard == 0 for s in served(ws))
    assert ws.remaining() == {}
    assert ws.predict(ASKED)


def test_a_later_request_finds_the_emptied_cell_in_its_way_no_more(make: Make) -> None:
    ws = make("sisa")
    ws.process(ws.request(ask(*keys_in(ws, "0.0"))).id)
    for cell in ("0.1", "1.0"):
        said = statement(ws.process(ws.request(ask(*some_key(ws, cell))).id))
        assert said.guarantee == Exact("retrain")


def test_a_shard_with_an_emptied_cell_is_brought_back(ws: Workspace) -> None:
    ws.process(ws.request(ask(*keys_in(ws, "0.0"), *some_key(ws, "0.1"))).id)
    assert {s.shard for s in served(ws)} == {1}
    assert ws.rebuild() == 2
    stages = [(s.order, s.slices) for s in state.parts(ws.backends) if s.shard == 0]
    assert stages == [(0, (0, 1)), (1, (1,)), (1, (1, 0))]  # order 0 begins with the empty slice
    said = statement(ws.process(ws.request(ask(*keys_in(ws, "test")[:1])).id))
    assert (said.guarantee, said.proof.sense) == (Exact("never_saw"), "retrain")
    with pytest.raises(NoOp):
        ws.rebuild(shards=[0])


def test_a_shard_without_a_record_is_not_missing(ws: Workspace) -> None:
    said = statement(ws.process(ws.request(ask(*keys_in(ws, "0.0", "0.1"))).id))
    assert said.guarantee == Exact("never_saw")
    assert {s.shard for s in served(ws)} == {1}
    with pytest.raises(NoOp):
        ws.rebuild()
    again = statement(ws.process(ws.request(ask(*keys_in(ws, "test")[:1])).id, method=Retrain()))
    assert again.guarantee == Exact("retrain")


def test_everything_is_emptied_by_every_method(make: Make) -> None:
    for method in ("sisa", "retrain", "s3t"):
        ws = make(method, method)
        request = ws.request(ask(*ws.keys(), outage=True))
        ws.process(request.id, accept_outage=True)
        assert (served(ws), ws.keys(), ws.remaining()) == ((), (), {})
