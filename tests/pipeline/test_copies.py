"""Copies: forks, exports, backups and keys of other times, and what each of them is told."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tiny_workspace import ROWS, ask, keys_in, kinds, served, some_key, statement, usable

from rescind import copies, state
from rescind.certify import envelope_bytes
from rescind.core.errors import BadParameter, Exhausted, StorageFailed, VerificationFailed
from rescind.core.guarantee import Exact
from rescind.live import LiveModel
from rescind.proofs.verifier import verify
from rescind.render import to_markdown
from rescind.trainer import labels_of
from rescind.workspace import Workspace, open_workspace

ASKED = [{"text": ROWS[0]["text"]}]


def outcome(ws: Workspace, request_id: str, check: str, **given: object) -> str:
    envelope = envelope_bytes(ws.certificate(request_id))
    result = verify(envelope, **given)  # type: ignore[arg-type]
    [found] = [c for c in result.checks if c.name == check]
    return found.outcome


# --- forks


def test_a_fork_has_keys_of_its_own_and_answers_alike(ws: Workspace, tmp_path: Path) -> None:
    child = ws.fork(tmp_path / "fork")
    ours, theirs = ws.backends.keys, child.backends.keys
    same = [n for n in ours.names("artifact") if n in theirs.names()]
    assert same
    assert all(ours.get(name) != theirs.get(name) for name in same)
    assert child.backends.signer().key_id != ws.backends.signer().key_id
    assert child.state_digest() == ws.state_digest()
    assert child.predict(ASKED) == ws.predict(ASKED)
    child.verify()


def test_what_a_fork_forgets_its_parent_keeps(ws: Workspace, tmp_path: Path) -> None:
    [key] = some_key(ws, "0.0")
    answers = ws.predict(ASKED)
    child = ws.fork(tmp_path / "fork")
    head, digest, names = ws.head(), ws.state_digest(), ws.backends.keys.names()
    parent_head = head[1]
    request = child.request(ask(key))
    assert statement(child.process(request.id)).guarantee == Exact("never_saw")
    assert child.report(request.id).parent == parent_head
    assert parent_head[:12] in to_markdown(child.report(request.id))
    assert (ws.head(), ws.state_digest(), ws.backends.keys.names()) == (head, digest, names)
    assert ws.predict(ASKED) == answers
    assert key in usable(ws)
    assert key not in usable(child)


def test_a_fork_takes_open_requests_along_and_each_closes_its_own(
    ws: Workspace, tmp_path: Path
) -> None:
    request = ws.request(ask(*some_key(ws, "0.0")))
    child = ws.fork(tmp_path / "fork")
    sealed = [a.name for a in child.backends.artifacts.list() if a.sealed]
    assert len(sealed) == 3
    child.process(request.id)
    assert state.request(ws.backends, request.id).status == "withdrawn"
    assert statement(ws.process(request.id)) != statement(child.certificate(request.id))
    assert ws.state_digest() == child.state_digest()


def test_a_fork_is_a_copy_to_recall_and_says_that_its_parent_is_none(
    ws: Workspace, tmp_path: Path
) -> None:
    child = ws.fork(tmp_path / "fork")
    asked = ask(*some_key(ws, "0.0"))
    ours, theirs = (statement(w.process(w.request(asked).id)) for w in (ws, child))
    [recalled] = ours.erasure.recipients
    assert recalled.startswith("fork fork to whoever keeps the folder")
    assert theirs.erasure.recipients == ()
    assert any("copied from" in line for line in theirs.scope)
    assert not any("copied from" in line for line in ours.scope)


def test_a_fork_is_noted_before_it_is_made_and_one_that_failed_leaves_nothing(
    ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*given: object) -> None:
        assert kinds(ws)[-1] == "version.exported"
        raise StorageFailed("The disk is full.")

    monkeypatch.setattr(copies, "move_durably", fails)
    with pytest.raises(StorageFailed):
        ws.fork(tmp_path / "fork")
    assert ws.backends.ledger.items("export") == {}
    assert [p.name for p in tmp_path.iterdir()] == ["ws"]


def test_a_fork_needs_a_new_folder(ws: Workspace, tmp_path: Path) -> None:
    with pytest.raises(BadParameter, match="exists already"):
        ws.fork(tmp_path)


# --- exports


def test_only_exports_that_held_the_record_are_to_be_recalled(
    ws: Workspace, tmp_path: Path
) -> None:
    """Shard 0 serves order 0, which begins with slice 0; the second request is for shard 1."""
    ws.export(tmp_path / "before", "the press")
    first = ws.request(ask(*some_key(ws, "0.0")))
    ws.export(tmp_path / "between", "a partner")
    said = statement(ws.process(first.id))
    [recalled] = said.erasure.recipients
    assert recalled.startswith("version v1 to the press")
    assert ws.report(first.id).exports == said.erasure.recipients
    assert "the press" in to_markdown(ws.report(first.id))

    second = ws.request(ask(*some_key(ws, "1.1")))
    both = statement(ws.process(second.id)).erasure.recipients
    assert ["the press" in r or "a partner" in r for r in both] == [True, True]

    ws.export(tmp_path / "after", "a customer")
    third = ws.request(ask(*keys_in(ws, "test")[:1]))
    assert statement(ws.process(third.id)).erasure.recipients == ()


def test_an_exported_folder_is_the_certified_one_until_a_file_is_swapped(
    ws: Workspace, tmp_path: Path
) -> None:
    ws.export(tmp_path / "original", "archive")
    request = ws.request(ask(*some_key(ws, "0.0")))
    ws.process(request.id)
    digest = ws.export(tmp_path / "unlearned", "a customer")
    assert digest == statement(ws.certificate(request.id)).unlearned
    assert outcome(ws, request.id, "model", model=tmp_path / "unlearned") == "passed"
    assert outcome(ws, request.id, "model", model=tmp_path / "original") == "failed"
    for name in ("shard-0.safetensors", "shard-1.safetensors"):
        swapped = tmp_path / f"swapped-{name}"
        shutil.copytree(tmp_path / "unlearned", swapped)
        data = bytearray((swapped / name).read_bytes())
        data[-1] ^= 1
        (swapped / name).write_bytes(data)
        assert outcome(ws, request.id, "model", model=swapped) == "failed"


def test_an_export_needs_a_recipient_a_new_folder_and_a_model(
    ws: Workspace, tmp_path: Path
) -> None:
    head = ws.head()
    with pytest.raises(BadParameter, match="recipient"):
        ws.export(tmp_path / "export", " ")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(BadParameter, match="not empty"):
        ws.export(tmp_path / "full", "the press")
    assert ws.head() == head
    ws.request(ask(*some_key(ws, "0.0", "0.1", "1.0", "1.1"), outage=True))
    with pytest.raises(Exhausted):
        ws.export(tmp_path / "export", "the press")


# --- backups


def test_a_restored_backup_forgets_again_before_anything_is_served(
    ws: Workspace, tmp_path: Path
) -> None:
    keys = some_key(ws, "0.0", "1.0")
    archive = ws.backup(tmp_path / "backup.tar")
    for key in keys:
        ws.process(ws.request(ask(key)).id)
    listed = tmp_path / "suppressed.json"
    listed.write_bytes(ws.suppressed())

    _, request = copies.restore(archive, tmp_path / "back", listed)

    assert request is not None
    back = open_workspace(tmp_path / "back")
    stale = {"0.0#0", "1.0#0"}
    for part in LiveModel(back.backends).ready():
        assert not labels_of(back.backends, part) & stale
    assert not set(keys) & set(back.keys())
    said = statement(back.process(request.id))
    assert (said.target.records, said.guarantee) == (2, Exact("never_saw"))
    assert back.suppressed() == ws.suppressed()
    assert {s.digest for s in served(back)} == {s.digest for s in served(ws)}


def test_the_backup_itself_is_to_be_recalled(ws: Workspace, tmp_path: Path) -> None:
    ws.backup(tmp_path / "backup.tar")
    said = statement(ws.process(ws.request(ask(*some_key(ws, "0.0"))).id))
    assert [r.split(" (")[0] for r in said.erasure.recipients] == [
        "backup backup.tar to whoever keeps the file"
    ]


def test_without_a_later_list_the_backup_serves_what_it_held(ws: Workspace, tmp_path: Path) -> None:
    [key] = some_key(ws, "0.0")
    archive = ws.backup(tmp_path / "backup.tar")
    ws.process(ws.request(ask(key)).id)
    back, request = copies.restore(archive, tmp_path / "back", None)
    assert request is None
    assert key in usable(Workspace(back))
    assert kinds(Workspace(back))[-1] == "workspace.restored"


def test_a_restore_that_is_interrupted_leaves_nothing_to_open(
    ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [key] = some_key(ws, "0.0")
    archive = ws.backup(tmp_path / "backup.tar")
    ws.request(ask(key))
    (tmp_path / "list").write_bytes(ws.suppressed())

    def broken(*arguments: object) -> None:
        raise StorageFailed("The disk burned.")

    with monkeypatch.context() as patch:
        patch.setattr("rescind.acceptance.accept", broken)
        with pytest.raises(StorageFailed, match="burned"):
            copies.restore(archive, tmp_path / "back", tmp_path / "list")
    assert not (tmp_path / "back").exists()
    copies.restore(archive, tmp_path / "back", tmp_path / "list")
    assert key not in usable(open_workspace(tmp_path / "back"))


def test_an_unreadable_list_restores_nothing(ws: Workspace, tmp_path: Path) -> None:
    archive = ws.backup(tmp_path / "backup.tar")
    (tmp_path / "list").write_text("not JSON")
    with pytest.raises(StorageFailed, match="cannot be read"):
        copies.restore(archive, tmp_path / "back", tmp_path / "list")
    assert not (tmp_path / "back").exists()
    (tmp_path / "list").write_text(f'["{"0" * 64}"]')
    (tmp_path / "back").mkdir()
    (tmp_path / "back" / "file").touch()
    with pytest.raises(BadParameter, match="not empty"):
        copies.restore(archive, tmp_path / "back", tmp_path / "list")


# --- signing keys


def public_key(ws: Workspace) -> bytes:
    current = ws.backends.ledger.get("signer", "current")
    return bytes.fromhex(ws.backends.ledger.get("signer", current))


def test_each_certificate_verifies_under_the_key_of_its_time(ws: Workspace) -> None:
    old = public_key(ws)
    first = ws.request(ask(*some_key(ws, "0.0")))
    ws.process(first.id)
    ws.rotate_key()
    new = public_key(ws)
    second = ws.request(ask(*some_key(ws, "1.0")))
    ws.process(second.id)
    assert old != new
    assert outcome(ws, first.id, "signer", key=old) == "passed"
    assert outcome(ws, first.id, "signer", key=new) == "failed"
    assert outcome(ws, second.id, "signer", key=new) == "passed"
    assert outcome(ws, second.id, "signer", key=old) == "failed"
    with pytest.raises(VerificationFailed):
        verify(envelope_bytes(ws.certificate(second.id)), key=old).require()
    listed = ws.backends.ledger.items("signer")
    assert {listed[k] for k in listed if k != "current"} == {old.hex(), new.hex()}


def test_a_fork_signs_with_its_own_key(ws: Workspace, tmp_path: Path) -> None:
    child = ws.fork(tmp_path / "fork")
    request = child.request(ask(*some_key(ws, "0.0")))
    child.process(request.id)
    assert outcome(child, request.id, "signer", key=public_key(child)) == "passed"
    assert outcome(child, request.id, "signer", key=public_key(ws)) == "failed"
