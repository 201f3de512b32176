"""After the close nothing in the workspace holds the record or what was made from it."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny_workspace import (
    INLINE,
    ROWS,
    ask,
    keys_in,
    new_workspace,
    reopened,
    served,
    some_key,
    statement,
    text_of,
    usable,
)

from rescind import rows, state
from rescind.core.dataset import Split
from rescind.core.errors import (
    BadParameter,
    Busy,
    DamagedArtifact,
    ErasureIncomplete,
    MissingSource,
    UnknownKey,
)
from rescind.core.guarantee import Exact
from rescind.core.lineage import label
from rescind.core.protocols import ModelHandle, Unlearned
from rescind.core.run import Run
from rescind.sealing import open_keys
from rescind.testing.tiny import tiny_recipe, tiny_task
from rescind.workspace import Workspace


def everything_stored(ws: Workspace) -> Iterator[tuple[str, bytes]]:
    """Each file as it lies on disk, and each artifact as whoever has the keys can read it."""
    for path in sorted(ws.folder.rglob("*")):
        if path.is_file():
            yield str(path), path.read_bytes()
    for artifact in ws.backends.artifacts.list():
        yield artifact.name, ws.backends.artifacts.get(artifact.name)


def holding(ws: Workspace, *secrets: bytes) -> list[str]:
    return [where for where, data in everything_stored(ws) if any(s in data for s in secrets)]


def stale_bytes(ws: Workspace, labels: frozenset[str]) -> list[bytes]:
    """The readable bytes, and those on disk, of all that was made from these labels."""
    found = []
    for artifact in ws.backends.artifacts.list(labels):
        address = artifact.address
        found.append(ws.backends.artifacts.get(artifact.name))
        found.append((ws.folder / "artifacts" / address[:2] / address).read_bytes())
        found.append(ws.backends.keys.get(f"artifact/{address}"))
    return found


@pytest.mark.parametrize("method", ["s3t", "sisa", "retrain"])
def test_nothing_of_the_record_is_left_in_any_file(method: str, make: object) -> None:
    ws: Workspace = make(method)  # type: ignore[operator]
    [key] = some_key(ws, "0.0")
    secrets = [key.encode(), text_of(ws, key).encode()]
    assert holding(ws, secrets[0]) == ["manifest/1", *job_manifests(ws)]
    request = ws.request(ask(key, outage=True))
    gone = frozenset({label("0.0", 0)})
    secrets += stale_bytes(ws, gone)
    assert len(secrets) > 4
    sealing_key = ws.backends.keys.get(f"request/{request.id}")

    ws.process(request.id, accept_outage=True)

    assert holding(ws, *secrets, sealing_key) == []
    assert ws.remaining() == {}


def job_manifests(ws: Workspace) -> list[str]:
    names = [a.name for a in ws.backends.artifacts.list()]
    return [n for n in names if n.startswith("manifest/job-")]


def test_every_artifact_has_lineage_and_none_is_stale(ws: Workspace) -> None:
    request = ws.request(ask(*some_key(ws, "0.0")))
    assert ws.remaining()
    assert all("is withdrawn" in why for why in ws.remaining().values())
    ws.process(request.id)
    listed = ws.backends.artifacts.list()
    assert listed
    assert [a.name for a in listed if not a.cells] == [f"absence/{request.id}"]
    stale = state.request(ws.backends, request.id).labels
    assert stale == {"0.0#0"}
    assert not [a.name for a in listed if a.cells & stale]
    assert not [a.name for a in listed if a.sealed]
    current = {label(c, state.generation(ws.backends, c)) for a in listed for c in cells_of(a)}
    assert {c for a in listed for c in a.cells} <= current


def cells_of(artifact: object) -> list[str]:
    return [c.partition("#")[0] for c in artifact.cells]  # type: ignore[attr-defined]


def test_the_allow_list_is_written_anew_and_its_secret_is_new(ws: Workspace) -> None:
    [key] = some_key(ws, "0.0")
    b = ws.backends
    before, entries = state.manifest(b), state.manifest_entries(b)
    secret = b.keys.get(before.name)
    ws.process(ws.request(ask(key)).id)
    after = state.manifest(b)
    assert (after.version, after.count) == (before.version + 1, before.count - 1)
    assert after.digest != before.digest
    assert state.manifest_entries(b) == tuple(e for e in entries if e.key != key)
    assert b.artifacts.find(before.name) is None
    assert b.keys.names("manifest/") == (after.name,) and b.keys.get(after.name) != secret


def test_sealed_keys_cannot_be_opened_after_the_close(ws: Workspace) -> None:
    [key] = some_key(ws, "0.0")
    request = ws.request(ask(key))
    assert open_keys(ws.backends.keys, request) == (key,)
    ws.process(request.id)
    assert ws.backends.keys.names("request") == ()
    with pytest.raises(DamagedArtifact, match="not in the key store"):
        open_keys(ws.backends.keys, state.request(ws.backends, request.id))
    leaf = state.suppression_leaf(ws.backends, key)
    assert ws.backends.ledger.items("suppressed") == {leaf: request.id}
    assert json.loads(ws.suppressed()) == [leaf]


def test_stored_rows_are_written_anew(encoder: Path, tmp_path: Path) -> None:
    ws = new_workspace(tmp_path / "ws")
    ws.train(tiny_recipe(tiny_task(encoder)), ROWS, store=True)
    [key] = some_key(ws, "0.0")
    text = text_of(ws, key).encode()
    assert holding(ws, text) == ["rows/0.0#0"]
    said = statement(ws.process(ws.request(ask(key)).id))
    assert said.erasure.rewritten == {"manifest": 1, "rows": 1}
    assert said.guarantee == Exact("never_saw")
    assert holding(ws, text, key.encode()) == []
    left = [r.key for r in rows.read(ws.backends, state.allowed(ws.backends))]
    assert len(left) == len(ROWS) - 1
    assert "rows/0.0#1" in [a.name for a in ws.backends.artifacts.list()]


def test_two_requests_in_one_cell_both_end_in_certificates(ws: Workspace) -> None:
    """The first erasure destroys what was made from both; the second still has its allow-list."""
    one, two = keys_in(ws, "0.0")[:2]
    first, second = ws.request(ask(one)), ws.request(ask(two))
    assert statement(ws.process(first.id)).erasure.destroyed["snapshot"] == 3
    assert holding(ws, one.encode()) == []
    said = statement(ws.process(second.id))
    assert said.erasure.rewritten == {"manifest": 1}
    assert said.guarantee == Exact("never_saw")
    assert holding(ws, one.encode(), two.encode()) == []
    names = [a.name for a in ws.backends.artifacts.list()]
    assert [n for n in names if n.startswith("manifest/") and n.count("-") == 0] == ["manifest/3"]


def test_requests_may_be_processed_in_the_other_order_once_the_evidence_is_in(
    ws: Workspace,
) -> None:
    """The older one is still to be compared with a snapshot that the newer one cut."""
    first = ws.request(ask(*some_key(ws, "0.0")))
    second = ws.request(ask(*some_key(ws, "1.0")))
    with pytest.raises(ErasureIncomplete, match=f"needed by request {first.id}"):
        ws.process(second.id)
    ws.process(first.id)
    assert statement(ws.process(second.id)).guarantee == Exact("never_saw")
    assert ws.remaining() == {}


def test_an_erasure_does_not_bring_back_what_another_erased_meanwhile(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading the allow-list and writing the next one is one step for all processes."""
    one, two = some_key(ws, "0.0", "1.0")
    first, second = ws.request(ask(one)), ws.request(ask(two))
    other = reopened(ws)
    seen: list[int] = []
    real, clock = state.allowed, SimpleNamespace(**vars(time))
    clock.monotonic = iter(range(0, 9999, 40)).__next__

    def allowed(b: object) -> object:
        found = real(ws.backends)
        if not seen and state.request(ws.backends, first.id).status == "evidenced":
            seen.append(1)
            with monkeypatch.context() as patch:
                patch.setattr(state, "allowed", real)
                patch.setattr("rescind.acceptance.time", clock)
                with pytest.raises(Busy):
                    other.process(second.id)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(state, "allowed", allowed)
        ws.process(first.id)
    assert seen
    other.process(second.id)
    assert holding(ws, one.encode(), two.encode()) == []


@dataclasses.dataclass(frozen=True)
class LooksAtTheForgetSet:
    """As a method does that descends from the forget set."""

    def unlearn(self, model: ModelHandle, split: Split, run: Run) -> Unlearned:
        assert len(split.forget) == 1
        assert [r.row["text"] for r in split.forget]
        return Unlearned(model.parts, Exact("never_saw"), from_scratch=False)


def test_a_forget_set_that_another_erasure_took_is_an_error_and_not_empty(ws: Workspace) -> None:
    first, second = (ws.request(ask(*some_key(ws, cell))) for cell in ("0.0", "1.0"))
    looks = LooksAtTheForgetSet()
    ws.process(first.id, method=looks)
    with pytest.raises(MissingSource, match="1 records of the forget set"):
        ws.process(second.id, method=looks)
    assert statement(ws.process(second.id)).guarantee == Exact("never_saw")


# --- records of the test split


def test_a_test_record_goes_with_its_predictions_and_no_weight_changes(ws: Workspace) -> None:
    keys = keys_in(ws, "test")
    before = ws.state_digest(), state.parts(ws.backends)
    ws.process(ws.request(ask(*some_key(ws, "0.0"))).id)  # so that predictions are there
    parts = state.parts(ws.backends)
    stale = frozenset({"test#0"})
    kinds = {a.kind for a in ws.backends.artifacts.list(stale)}
    assert kinds == {"predictions", "activations", "manifest"}
    secrets = [keys[0].encode(), text_of(ws, keys[0]).encode()]

    request = ws.request(ask(keys[0]))
    secrets += stale_bytes(ws, stale)
    said = statement(ws.process(request.id))

    assert (said.target.records, said.target.test_records) == (1, 1)
    assert said.original == said.unlearned
    assert said.unchanged == "test_only"
    assert said.guarantee == Exact("never_saw")
    assert {m.n for m in said.measurements} == {len(keys) - 1}
    assert state.parts(ws.backends) == parts
    assert ws.backends.artifacts.list(stale) == ()
    assert holding(ws, *secrets) == []
    assert ws.state_digest() != before[0]


def test_a_request_for_test_and_training_records_is_measured_on_what_is_left(
    ws: Workspace,
) -> None:
    test = keys_in(ws, "test")
    said = statement(ws.process(ws.request(ask(test[0], *some_key(ws, "0.0"))).id))
    assert (said.target.records, said.target.test_records, said.unchanged) == (2, 1, "no")
    assert {m.n for m in said.measurements} == {len(test) - 1}


@pytest.mark.parametrize("replay", [True, False], ids=["replay", "no replay"])
def test_the_last_test_record_is_forgotten_although_nothing_can_be_measured_then(
    replay: bool, ws: Workspace
) -> None:
    request = ws.request(ask(*keys_in(ws, "test"), *some_key(ws, "0.0")))
    said = statement(ws.process(request.id, replay=replay))
    assert (said.measurements, said.unmeasured) == ((), "no_test_record")
    assert said.guarantee.kind == ("exact" if replay else "empirical")
    assert served(ws)
    assert ws.remaining() == {}
    assert ws.report(request.id).unmeasured == "no_test_record"
    later = statement(ws.process(ws.request(ask(*some_key(ws, "0.1"))).id, replay=replay))
    assert later.unmeasured == "no_test_record"


# --- bringing it back


def test_training_again_does_not_bring_it_back(
    ws: Workspace, encoder: Path, rows_file: Path, tmp_path: Path
) -> None:
    """The source still has the row; the workspace refuses it, and so does a copy."""
    [key] = some_key(ws, "0.0")
    ws.process(ws.request(ask(key)).id)
    recipe, copy = tiny_recipe(tiny_task(encoder)), ws.fork(tmp_path / "fork")
    for workspace in (ws, reopened(ws), copy):
        with pytest.raises(BadParameter, match="One workspace keeps one run"):
            workspace.train(recipe, str(rows_file))
        assert key not in usable(workspace)
    ws.rebuild(shards=[0])
    said = statement(ws.process(ws.request(ask(*keys_in(ws, "test")[:1])).id))
    assert said.proof.outcome == "identical"
    assert key not in [r.key for r in rows.read(ws.backends, state.allowed(ws.backends))]


# --- what a user may turn off


def test_without_a_suppression_list_the_certificate_says_so(encoder: Path, tmp_path: Path) -> None:
    ws = new_workspace(tmp_path / "ws", dataclasses.replace(INLINE, suppression_list=False))
    ws.train(tiny_recipe(tiny_task(encoder)), ROWS, store=True)
    [key] = some_key(ws, "0.0")
    said = statement(ws.process(ws.request(ask(key)).id))
    assert said.forgotten is None
    assert "re-import could bring the records back" in " ".join(said.scope)
    assert said.guarantee == Exact("never_saw")
    assert ws.backends.ledger.items("suppressed") == {}
    with pytest.raises(UnknownKey):
        ws.resolve(ask(key))


def test_without_encryption_the_certificate_says_so(encoder: Path, tmp_path: Path) -> None:
    ws = new_workspace(tmp_path / "ws", dataclasses.replace(INLINE, encrypt=False))
    ws.train(tiny_recipe(tiny_task(encoder)), ROWS, store=True)
    [key] = some_key(ws, "0.0")
    text = text_of(ws, key).encode()
    assert len([w for w in holding(ws, text) if w.startswith(str(ws.folder))]) == 1
    said = statement(ws.process(ws.request(ask(key)).id))
    assert not said.erasure.encrypted
    assert "Encryption at rest is off" in " ".join(said.scope)
    assert holding(ws, text, key.encode()) == []


def test_the_search_finds_what_is_there(ws: Workspace) -> None:
    """The searches above can fail: free pages and the write-ahead log are read too."""
    (ws.folder / "stray").write_bytes(b"x" * 5000 + b"needle" + b"x" * 5000)
    assert holding(ws, b"needle") == [str(ws.folder / "stray")]
    assert str(ws.folder / "rescind.db") in holding(ws, b"run.finished")
