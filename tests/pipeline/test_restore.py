"""A restored backup forgets what was forgotten after it, whatever the method and the moment."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_workspace import (
    INLINE,
    ROWS,
    ask,
    kinds,
    new_workspace,
    served,
    some_key,
    statement,
    usable,
)

from rescind import acceptance, copies, state, steps, trainer
from rescind.core.dataset import Key
from rescind.core.errors import BadParameter, Exhausted, RescindError, StorageFailed
from rescind.core.guarantee import Exact
from rescind.core.request import RESTORED, Request
from rescind.resolve import resolve
from rescind.testing.tiny import tiny_recipe, tiny_task
from rescind.training import loop, stages
from rescind.workspace import Workspace, open_workspace

ASKED = [{"text": ROWS[0]["text"]}]
Make = Callable[..., Workspace]


def listed(ws: Workspace, folder: Path) -> Path:
    path = folder / "suppressed.json"
    path.write_bytes(ws.suppressed())
    return path


def restored(archive: Path, folder: Path, later: Path | None) -> tuple[Workspace, Request | None]:
    _, request = copies.restore(archive, folder / "back", later)
    return open_workspace(folder / "back"), request


def serves_nothing_of(ws: Workspace, *keys: Key) -> bool:
    """No record may be used, none is answered from, and each left its mark."""
    b = ws.backends
    marks = {state.suppression_leaf(b, key) for key in keys}
    stale = frozenset[str]().union(*(r.labels for r in state.suppressing(b)))
    live = [s for s in state.parts(b) if trainer.labels_of(b, s) & stale]
    return not live and marks <= set(json.loads(ws.suppressed())) and not set(keys) & usable(ws)


def the_power_goes(*given: object) -> None:
    raise RescindError("The power went.")


# --- methods that withdraw nothing


def test_a_method_that_edits_weights_forgets_again_before_it_answers(
    make: Make, tmp_path: Path
) -> None:
    ws = make("retrain")
    [key] = some_key(ws, "0.0")
    archive = ws.backup(tmp_path / "backup.tar")
    ws.process(ws.request(ask(key)).id)

    back, request = restored(archive, tmp_path, listed(ws, tmp_path))

    assert request is not None and request.status == "withdrawn"
    assert request.withdrawn_at is not None
    assert serves_nothing_of(back, key)
    with pytest.raises(Exhausted):
        back.predict(ASKED)
    assert back.suppressed() == ws.suppressed()
    with pytest.raises(RescindError, match="cannot be cancelled"):
        back.cancel(request.id)
    said = statement(back.process(request.id))
    assert (said.guarantee, said.target.records) == (Exact("retrain"), 1)
    assert said.erasure.destroyed["snapshot"] == 1
    assert {s.digest for s in served(back)} == {s.digest for s in served(ws)}
    assert back.predict(ASKED) == ws.predict(ASKED)
    assert back.remaining() == {}
    back.verify()


def test_bringing_it_back_first_trains_without_the_record(make: Make, tmp_path: Path) -> None:
    ws = make("retrain")
    [key] = some_key(ws, "0.0")
    archive = ws.backup(tmp_path / "backup.tar")
    ws.process(ws.request(ask(key)).id)
    back, request = restored(archive, tmp_path, listed(ws, tmp_path))
    assert request is not None
    back.rebuild()
    assert back.predict(ASKED) == ws.predict(ASKED)
    assert serves_nothing_of(back, key)
    assert statement(back.process(request.id)).guarantee == Exact("retrain")


def test_a_request_that_was_unlearning_when_the_backup_was_made(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws = make("retrain")
    [key] = some_key(ws, "0.0")
    request = ws.request(ask(key))
    with monkeypatch.context() as patch:
        patch.setattr(steps, "prove", the_power_goes)
        with pytest.raises(RescindError, match="power"):
            ws.process(request.id)
    assert served(ws)  # the old model answers until the new one is released
    archive = ws.backup(tmp_path / "backup.tar")
    ws.process(request.id)

    back, again = restored(archive, tmp_path, listed(ws, tmp_path))

    assert again is None  # the backup had it on its list already
    assert serves_nothing_of(back, key)
    assert served(back) == ()
    assert statement(back.process(request.id)).guarantee == Exact("retrain")
    assert back.predict(ASKED) == ws.predict(ASKED)


def test_a_request_that_was_on_hold_stays_on_hold_and_serves_nothing(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws = make("retrain")
    [key] = some_key(ws, "0.0")
    request = ws.request(ask(key))
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "train_orders", the_power_goes)
        with pytest.raises(RescindError, match="power"):
            ws.process(request.id)
    held = ws.reject(request.id, "a court asked")
    assert (held.status, held.resume) == ("held", "planned")
    archive = ws.backup(tmp_path / "backup.tar")
    ws.lift(request.id)
    ws.process(request.id)

    back, again = restored(archive, tmp_path, listed(ws, tmp_path))

    assert again is None
    now = state.request(back.backends, request.id)
    assert (now.status, now.resume) == ("held", "withdrawn")
    assert serves_nothing_of(back, key)
    assert served(back) == ()
    assert back.lift(request.id).status == "withdrawn"
    assert statement(back.process(request.id)).guarantee == Exact("retrain")


# --- moments


def test_a_request_that_waited_for_its_outage_waits_no_longer(
    ws: Workspace, tmp_path: Path
) -> None:
    keys = some_key(ws, "0.0", "0.1", "1.0", "1.1")
    request = ws.request(ask(*keys))
    assert request.status == "planned"
    archive = ws.backup(tmp_path / "backup.tar")
    ws.process(request.id, accept_outage=True)

    back, again = restored(archive, tmp_path, listed(ws, tmp_path))

    assert again is not None and (again.id, again.status) == (request.id, "withdrawn")
    assert serves_nothing_of(back, *keys)
    assert served(back) == ()
    theirs = statement(ws.certificate(request.id))
    assert statement(back.process(request.id)).guarantee == theirs.guarantee


def half_accepted(ws: Workspace, key: Key, monkeypatch: pytest.MonkeyPatch) -> str:
    """As if the process had died between the acceptance and the withdrawal."""
    with monkeypatch.context() as patch:
        patch.setattr(acceptance, "finish", lambda b, request, started: request)
        return acceptance.accept(ws.backends, resolve(ws.backends, ask(key))).id


@pytest.mark.parametrize("copied", ["restore", "fork"])
def test_what_was_accepted_is_withdrawn_before_a_copy_can_be_opened(
    ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copied: str
) -> None:
    [key] = some_key(ws, "0.0")
    request_id = half_accepted(ws, key, monkeypatch)
    assert key in usable(ws)
    if copied == "fork":
        found = ws.fork(tmp_path / "back").backends
    else:
        found, again = copies.restore(ws.backup(tmp_path / "b.tar"), tmp_path / "back", None)
        assert again is None
    child = Workspace(found)  # not opened, which would repair it
    assert state.request(found, request_id).status == "withdrawn"
    assert serves_nothing_of(child, key)


def test_what_was_accepted_is_not_forgotten_twice(
    ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = some_key(ws, "0.0", "1.0")
    half_accepted(ws, one, monkeypatch)
    archive = ws.backup(tmp_path / "backup.tar")
    for request in open_workspace(ws.folder).requests():
        ws.process(request.id)
    ws.process(ws.request(ask(two)).id)
    back, again = restored(archive, tmp_path, listed(ws, tmp_path))
    assert again is not None and again.target.records == 1
    assert serves_nothing_of(back, one, two)
    assert back.suppressed() == ws.suppressed()


# --- marks of records that the backup does not know


def test_every_mark_is_kept(ws: Workspace, tmp_path: Path) -> None:
    one, two = some_key(ws, "0.0", "1.0")
    ws.process(ws.request(ask(one)).id)
    archive = ws.backup(tmp_path / "backup.tar")
    request = ws.request(ask(two))
    path = listed(ws, tmp_path)
    path.write_text(json.dumps([*json.loads(path.read_text()), "ab" * 32]))
    back, _ = restored(archive, tmp_path, path)
    assert set(json.loads(back.suppressed())) == {*json.loads(ws.suppressed()), "ab" * 32}
    marks = back.backends.ledger.items("suppressed")
    assert marks["ab" * 32] == RESTORED
    assert marks[state.suppression_leaf(back.backends, one)] != RESTORED
    assert marks[state.suppression_leaf(back.backends, two)] == request.id
    back.verify()


def test_a_backup_from_before_the_training_trains_without_the_record(
    tmp_path: Path, encoder: Path, rows_file: Path
) -> None:
    ws = new_workspace(tmp_path / "ws")
    archive = ws.backup(tmp_path / "backup.tar")
    recipe = tiny_recipe(tiny_task(encoder))
    ws.train(recipe, str(rows_file))
    [key] = some_key(ws, "0.0")
    ws.request(ask(key))
    back, request = restored(archive, tmp_path, listed(ws, tmp_path))
    assert request is None
    assert back.suppressed() == ws.suppressed()
    back.train(recipe, str(rows_file))
    assert usable(back) == usable(ws)


def test_a_training_that_was_begun_with_the_record_is_begun_anew(
    tmp_path: Path, encoder: Path, rows_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws = new_workspace(tmp_path / "ws")
    recipe = tiny_recipe(tiny_task(encoder))
    real, calls = loop.fit, iter(range(100))

    def fit(*arguments: object) -> None:
        if next(calls) == 3:
            the_power_goes()
        real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(stages, "fit", fit)
    with pytest.raises(RescindError, match="power"):
        ws.train(recipe, str(rows_file))
    archive = ws.backup(tmp_path / "backup.tar")
    ws.train(recipe, str(rows_file))
    [key] = some_key(ws, "0.0")
    ws.request(ask(key))

    back, request = restored(archive, tmp_path, listed(ws, tmp_path))

    assert request is None
    assert back.backends.artifacts.list() == ()
    assert back.backends.keys.names("manifest/") == ()
    back.train(recipe, str(rows_file))
    assert usable(back) == usable(ws)


# --- lists


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('["nonsense"]', "is no suppression list"),
        ('{"payload": 1}', "is no suppression list"),
        ('"abc"', "is no suppression list"),
        ("7", "is no suppression list"),
        ("null", "is no suppression list"),
        (f'["{"AB" * 32}"]', "is no suppression list"),
        (f'["{"ab" * 32}", 3]', "is no suppression list"),
        ("[]", "names nothing"),
        (f'["{"ab" * 32}"]', "that of another workspace"),
    ],
)
def test_what_is_no_list_of_this_workspace_restores_nothing(
    ws: Workspace, tmp_path: Path, text: str, says: str
) -> None:
    archive = ws.backup(tmp_path / "backup.tar")
    (tmp_path / "list").write_text(text)
    with pytest.raises(BadParameter, match=says):
        copies.restore(archive, tmp_path / "back", tmp_path / "list")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["backup.tar", "list", "ws"]


@pytest.mark.parametrize("text", ["[" * 100_000, "", "\xff"])
def test_what_is_no_json_restores_nothing(ws: Workspace, tmp_path: Path, text: str) -> None:
    archive = ws.backup(tmp_path / "backup.tar")
    (tmp_path / "list").write_bytes(text.encode("latin-1"))
    with pytest.raises(StorageFailed, match="cannot be read"):
        copies.restore(archive, tmp_path / "back", tmp_path / "list")


def test_a_list_older_than_the_backup_is_refused(ws: Workspace, tmp_path: Path) -> None:
    one, two, three = some_key(ws, "0.0", "1.0", "test")
    ws.request(ask(one))
    old = listed(ws, tmp_path)
    ws.request(ask(two))
    archive = ws.backup(tmp_path / "backup.tar")
    with pytest.raises(BadParameter, match="1 of the 2 marks in the backup are not on the list"):
        copies.restore(archive, tmp_path / "back", old)
    ws.request(ask(three))
    back, again = restored(archive, tmp_path, listed(ws, tmp_path))
    assert again is not None
    assert serves_nothing_of(back, one, two, three)
    assert kinds(back)[-1] == "withdrawal.timed"


def test_a_workspace_without_a_list_cannot_be_made_to_forget_by_one(
    tmp_path: Path, encoder: Path, rows_file: Path
) -> None:
    ws = new_workspace(tmp_path / "ws", replace(INLINE, suppression_list=False))
    ws.train(tiny_recipe(tiny_task(encoder)), str(rows_file))
    archive = ws.backup(tmp_path / "backup.tar")
    (tmp_path / "list").write_text(f'["{"ab" * 32}"]')
    with pytest.raises(BadParameter, match="--nothing-forgotten-since, then request again by key"):
        copies.restore(archive, tmp_path / "back", tmp_path / "list")
    back, _ = restored(archive, tmp_path, None)
    assert not back.backends.settings.suppression_list
