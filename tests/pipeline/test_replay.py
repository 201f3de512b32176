"""Only a replay carries an exact claim; whatever keeps it from being one is in the certificate."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_workspace import (
    ROWS,
    ask,
    keys_in,
    new_workspace,
    reopened,
    served,
    some_key,
    statement,
    write_rows,
)

from rescind import jobs, pipeline, replay, rows, state
from rescind.core.canonical import plain
from rescind.core.errors import DamagedArtifact, NotDeterministic, UnknownKey
from rescind.core.guarantee import Empirical, Exact
from rescind.core.protocols import Entry, Write
from rescind.core.run import Snapshot
from rescind.core.version import weights_digest
from rescind.methods.retrain import Retrain
from rescind.render import to_html, to_markdown
from rescind.storage.artifacts import FolderArtifacts
from rescind.testing.tiny import tiny_recipe, tiny_task
from rescind.training import determinism
from rescind.training.snapshots import from_bytes, to_bytes
from rescind.workspace import Workspace

Make = Callable[..., Workspace]


@pytest.mark.parametrize(
    ("method", "sense"), [("s3t", "never_saw"), ("sisa", "retrain"), ("retrain", "retrain")]
)
def test_a_replay_carries_the_claim_in_the_sense_it_has(
    method: str, sense: str, make: Make
) -> None:
    ws = make(method)
    said = statement(ws.process(ws.request(ask(*some_key(ws, "0.0"), outage=True)).id))
    assert said.guarantee == Exact(sense)  # type: ignore[arg-type]
    assert (said.proof.outcome, said.proof.sense) == ("identical", sense)
    assert said.proof.weights == said.unlearned == weights_digest(served(ws))
    assert said.proof.compared == len(state.parts(ws.backends))
    assert said.unlearned != said.original


def test_s3t_retrained_in_full_is_as_good_as_a_retraining(ws: Workspace) -> None:
    request = ws.request(ask(*some_key(ws, "0.0")))
    said = statement(ws.process(request.id, method=Retrain()))
    assert said.guarantee == Exact("retrain")
    assert said.proof.compared == 8


@pytest.mark.slow  # three processes that each import torch
@pytest.mark.fresh
def test_in_brand_new_processes_the_bytes_are_the_same(ws: Workspace) -> None:
    said = statement(ws.process(ws.request(ask(*some_key(ws, "0.0"))).id))
    assert said.guarantee == Exact("never_saw")


# --- what lowers the claim


def lowered(ws: Workspace, request_id: str, **how: Any) -> str:
    """Why the certificate claims no more than what was measured."""
    said = statement(ws.process(request_id, **how))
    assert isinstance(said.guarantee, Empirical)
    assert said.proof.outcome != "identical"
    assert ws.remaining() == {}
    return said.guarantee.because


def test_no_replay_no_exact_claim(ws: Workspace) -> None:
    request = ws.request(ask(*some_key(ws, "0.0")))
    assert "not run: it was not asked for" in lowered(ws, request.id, replay=False)


def test_a_source_that_is_gone(ws: Workspace, source: Path) -> None:
    request = ws.request(ask(*some_key(ws, "0.0")))
    source.unlink()
    assert "source cannot be read again" in lowered(ws, request.id)


def test_a_source_that_is_gone_before_the_request_comes(ws: Workspace, source: Path) -> None:
    """Forgetting does not wait for the source; nobody could look for duplicates, which is said."""
    [key] = some_key(ws, "0.0")
    source.unlink()
    request = ws.request(ask(key))
    assert request.status == "withdrawn"
    lowered(ws, request.id)
    said = statement(ws.certificate(request.id))
    assert not said.target.searched
    assert "Duplicates were not looked for" in " ".join(said.scope)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_retained_row_that_changed(ws: Workspace, source: Path, when: str) -> None:
    retained, key = keys_in(ws, "1.1")[0], keys_in(ws, "0.0")[0]
    [record] = ws.resolve(ask(retained)).shown
    request = ws.request(ask(key)) if when == "after" else None
    changed = [r | {"text": "other words"} if r == record.row else r for r in ROWS]
    assert changed != ROWS
    write_rows(source, changed)
    request = request or ws.request(ask(key))
    assert "not give the rows that were recorded" in lowered(ws, request.id)


@pytest.mark.parametrize("how", ["gone", "changed", "a key twice"])
def test_why_there_is_no_replay_names_no_key_and_no_path(
    how: str, encoder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The ledger and a certificate are for good (rule 4); the person at the terminal is told."""
    rows = [{"id": f"ann.{n}@example.org", **row} for n, row in enumerate(ROWS)]
    source = write_rows(tmp_path / "rows.jsonl", rows)
    ws = new_workspace(tmp_path / "ws", draw="4")
    ws.train(tiny_recipe(tiny_task(encoder)), str(source), key="id")
    key, other = some_key(ws, "0.0", "1.1")
    request = ws.request(ask(key))
    again = {
        "changed": [r | ({"text": "other words"} if r["id"] == other else {}) for r in rows],
        "a key twice": [*rows, next(r for r in rows if r["id"] == key) | {"text": "new text"}],
    }
    write_rows(source, again[how]) if how in again else source.unlink()
    lowered(ws, request.id)
    told = "".join(str(e) for e in ws.backends.ledger.entries(request.id))
    told += str(ws.certificate_file(request.id)) + str(statement(ws.certificate(request.id)))
    told += to_markdown(ws.report(request.id)) + to_html(ws.report(request.id))
    assert [r["id"] for r in rows if r["id"] in told] == []
    assert str(source) not in told
    assert "The replay is not possible" in caplog.text


def test_rows_that_were_added_or_are_to_be_forgotten_do_not_matter(
    ws: Workspace, source: Path
) -> None:
    [key] = some_key(ws, "0.0")
    [record] = ws.resolve(ask(key)).shown
    request = ws.request(ask(key))
    write_rows(source, [r for r in ROWS if r != record.row] + [{"text": "new", "label": "tech"}])
    assert statement(ws.process(request.id)).guarantee == Exact("never_saw")


@pytest.mark.parametrize(("field", "value"), [("threads", 2), ("encoder", "0" * 64)])
def test_another_environment(
    field: str, value: object, ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = ws.request(ask(*some_key(ws, "0.0")))
    elsewhere(monkeypatch, **{field: value})
    because = lowered(ws, request.id)
    assert "environment differs for 5 of 5 snapshots" in because
    assert f"{field} was" in because


def elsewhere(monkeypatch: pytest.MonkeyPatch, **changed: Any) -> None:
    """As after an update of torch, or on another machine."""
    real = determinism.environment
    there = functools.partial(dataclasses.replace, **changed)
    monkeypatch.setattr(determinism, "environment", lambda *given: there(real(*given)))


def test_what_is_retrained_after_an_update_is_exact_again(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        elsewhere(patch, torch="9.9")
        lowered(ws, ws.request(ask(*some_key(ws, "0.0"))).id)
        request = ws.request(ask(*some_key(ws, "0.1")))
        assert statement(ws.process(request.id, method=Retrain())).guarantee == Exact("retrain")
    assert "environment differs for 8 of 8" in lowered(
        ws, ws.request(ask(*keys_in(ws, "test")[:1])).id
    )


def test_what_was_rebuilt_elsewhere_is_no_false_snapshot_at_home(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws.process(ws.request(ask(*some_key(ws, "0.0"))).id)
    with monkeypatch.context() as patch:
        elsewhere(patch, torch="9.9")
        ws.rebuild(shards=[0])
    because = lowered(ws, ws.request(ask(*keys_in(ws, "test")[:1])).id)
    assert "environment differs for 4 of 8 snapshots: they were retrained elsewhere" in because


def test_another_base_neither_answers_nor_trains(ws: Workspace, encoder: Path) -> None:
    file = next(encoder.glob("*.safetensors"))
    honest = file.read_bytes()
    request = ws.request(ask(*some_key(ws, "0.0")))
    try:
        file.write_bytes(honest[:-4] + bytes(4))
        for use in (lambda: reopened(ws).predict([ROWS[0]]), lambda: ws.rebuild(shards=[0])):
            with pytest.raises(DamagedArtifact, match="encoder is not the one"):
                use()
    finally:
        file.write_bytes(honest)
    assert statement(ws.process(request.id)).guarantee == Exact("never_saw")


def test_an_empirical_past_does_not_taint_a_later_replay(ws: Workspace) -> None:
    lowered(ws, ws.request(ask(*some_key(ws, "0.0"))).id, replay=False)
    said = statement(ws.process(ws.request(ask(*keys_in(ws, "test")[:1])).id))
    assert said.guarantee == Exact("never_saw")


# --- what a replay catches


def survivor(ws: Workspace) -> Snapshot:
    return state.parts(ws.backends)[0]


def check_nothing_is_certified(ws: Workspace, request_id: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        ws.process(request_id)
    assert state.request(ws.backends, request_id).status == "failed"
    with pytest.raises(UnknownKey):
        ws.certificate(request_id)


@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_a_flipped_bit_on_disk(place: str, ws: Workspace) -> None:
    request = ws.request(ask(*some_key(ws, "0.0")))
    address = ws.backends.artifacts.find(survivor(ws).name).address  # type: ignore[union-attr]
    path = ws.folder / "artifacts" / address[:2] / address
    data = bytearray(path.read_bytes())
    data[{"first": 0, "middle": len(data) // 2, "last": -1}[place]] ^= 1
    path.write_bytes(data)
    check_nothing_is_certified(ws, request.id, DamagedArtifact)


def replace_snapshot(ws: Workspace, part: Snapshot, data: bytes, digest: str) -> None:
    """As somebody with every key would: bytes, lineage and ledger agree with one another."""
    artifact = ws.backends.artifacts.find(part.name)
    assert artifact is not None
    ws.backends.artifacts.put(part.name, "snapshot", data, artifact.cells)
    changed = dataclasses.replace(part, digest=digest)
    ws.backends.ledger.append(Entry("x", writes=(Write("part", part.name, plain(changed)),)))


def test_a_weight_that_was_changed_with_all_the_keys(ws: Workspace) -> None:
    part = survivor(ws)
    tensors = from_bytes(ws.backends.artifacts.get(part.name))
    tensors["head.bias"][0] += 1e-6
    data = to_bytes(tensors)
    replace_snapshot(ws, part, data, hashlib.sha256(data).hexdigest())
    request = ws.request(ask(*keys_in(ws, "test")[:1]))
    check_nothing_is_certified(ws, request.id, NotDeterministic)


def test_bytes_that_were_replaced_while_the_ledger_was_not(ws: Workspace) -> None:
    part = survivor(ws)
    artifact = ws.backends.artifacts.find(part.name)
    assert artifact is not None
    tensors = from_bytes(ws.backends.artifacts.get(part.name))
    tensors["head.bias"][0] += 1e-6
    ws.backends.artifacts.put(part.name, "snapshot", to_bytes(tensors), artifact.cells)
    with pytest.raises(NotDeterministic):
        replay.replay(ws.backends, state.parts(ws.backends), pipeline.silent)
    request = ws.request(ask(*keys_in(ws, "test")[:1]))
    check_nothing_is_certified(ws, request.id, DamagedArtifact)


def test_a_snapshot_that_was_trained_on_one_more_record_than_its_label_says(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The forgotten record sneaks into a retraining whose lineage looks clean."""
    sneaks, goes = keys_in(ws, "0.0")[:2]
    listed = state.manifest_entries(ws.backends)
    request = ws.request(ask(sneaks, goes))
    real = state.allowed

    def with_one_of_them(b: Any) -> Any:
        return tuple(e for e in listed if e in real(b) or e.key == sneaks)

    with monkeypatch.context() as patch:
        patch.setattr(state, "allowed", with_one_of_them)
        patch.setattr("rescind.replay.surviving", lambda b, run: rows.read(b, real(b), run.source))
        with pytest.raises(NotDeterministic):
            ws.process(request.id, method=Retrain())
    with pytest.raises(UnknownKey):
        ws.certificate(request.id)
    assert statement(ws.process(request.id, method=Retrain())).guarantee == Exact("retrain")


# --- a replay starts from raw rows


def test_it_needs_no_cache(ws: Workspace) -> None:
    request = ws.request(ask(*some_key(ws, "0.0")))
    caches = [a.name for a in ws.backends.artifacts.list() if a.kind == "activations"]
    assert len(caches) == 5
    ws.backends.artifacts.destroy(caches)
    assert statement(ws.process(request.id)).guarantee == Exact("never_saw")


def test_a_poisoned_cache_has_no_influence(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would have changed the training: the same poison before it gives other bytes."""
    request = ws.request(ask(*some_key(ws, "0.0")))
    for artifact in ws.backends.artifacts.list():
        if artifact.kind == "activations" and "test#0" not in artifact.cells:
            tensors = from_bytes(ws.backends.artifacts.get(artifact.name))
            tensors["hidden"] += 1.0
            data = to_bytes(tensors)
            ws.backends.artifacts.put(artifact.name, "activations", data, artifact.cells)
    said = statement(ws.process(request.id))
    assert said.guarantee == Exact("never_saw")
    ws.rebuild(shards=[0])
    poisoned = ws.request(ask(*keys_in(ws, "test")[:1]))
    check_nothing_is_certified(ws, poisoned.id, NotDeterministic)


def test_it_reads_no_cache_at_all(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    request = ws.request(ask(*some_key(ws, "0.0")))

    def no_cache(*arguments: Any) -> Any:
        raise AssertionError("a replay read a cache")

    real, read = FolderArtifacts.get, []

    def get(self: FolderArtifacts, name: str) -> bytes:
        read.append(name)
        return real(self, name)

    def prove_only(*arguments: Any) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(jobs, "cell_reader", no_cache)
            patch.setattr(FolderArtifacts, "get", get)
            return replay_real(*arguments)

    replay_real = replay.replay
    monkeypatch.setattr(replay, "replay", prove_only)
    ws.process(request.id)
    # the allow-list, and the snapshots it compares with
    assert {name.partition("/")[0] for name in read} == {"manifest", "snapshot"}


# --- one after the other, and together


@pytest.mark.parametrize("method", ["sisa", "retrain", "s3t"])
def test_a_then_b_is_a_and_b(method: str, make: Make) -> None:
    """Oracle: two requests equal one, in the bytes of every part that may serve."""
    apart, together = make(method, "apart"), make(method, "together")
    cells = ("0.0", "0.0") if method == "retrain" else ("0.1", "1.1")
    keys = [keys_in(apart, cells[0])[0], keys_in(apart, cells[1])[1]]
    for key in keys:
        apart.process(apart.request(ask(key, outage=True)).id, accept_outage=True)
    together.process(together.request(ask(*keys, outage=True)).id, accept_outage=True)
    assert bytes_of(apart) == bytes_of(together)
    assert statement_weights(apart) == statement_weights(together)


def bytes_of(ws: Workspace) -> dict[tuple[int, int, tuple[int, ...]], str]:
    return {(s.shard, s.order, s.slices): s.digest for s in state.parts(ws.backends)}


def statement_weights(ws: Workspace) -> str:
    return statement(ws.certificate(ws.requests()[-1].id)).unlearned


@pytest.mark.parametrize("method", ["sisa", "retrain"])
def test_it_is_what_training_without_the_records_gives(
    method: str, make: Make, tmp_path: Path, encoder: Path
) -> None:
    """Oracle: a workspace that never had the record trains to the same bytes."""
    ws = make(method)
    [key] = some_key(ws, "0.0")
    [record] = ws.resolve(ask(key)).shown
    ws.process(ws.request(ask(key, outage=True)).id)
    without = write_rows(tmp_path / "less.jsonl", [r for r in ROWS if r != record.row])
    assert len(without.read_text().splitlines()) == len(ROWS) - 1
    never = new_workspace(tmp_path / "never")
    never.train(tiny_recipe(tiny_task(encoder), method), str(without))
    assert bytes_of(never) == bytes_of(ws)
