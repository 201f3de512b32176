"""Who asks again is answered by the request that forgot; what is malformed is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_workspace import ROWS, ask, keys_in, new_workspace, reopened, some_key

from rescind import rows, state
from rescind.core.canonical import dumps
from rescind.core.dataset import Key
from rescind.core.errors import BadData, BadParameter, NoOp, UnknownKey
from rescind.core.protocols import Entry, Write
from rescind.core.request import RESTORED
from rescind.resolve import Ask
from rescind.testing.tiny import tiny_recipe, tiny_task
from rescind.workspace import Workspace

PERSON = "p4"


@pytest.fixture(params=["stored", "read again"])
def of_persons(request: pytest.FixtureRequest, encoder: Path, tmp_path: Path) -> Workspace:
    owned = [{"id": n, **row, "person": f"p{n // 3}"} for n, row in enumerate(ROWS)]
    ws = new_workspace(tmp_path / "ws", draw="5")
    data: Any = owned
    if request.param == "read again":
        data = tmp_path / "rows.jsonl"
        data.write_bytes(b"".join(dumps(row) + b"\n" for row in owned))
    ws.train(
        tiny_recipe(tiny_task(encoder)),
        data,
        key="id",
        subject="person",
        store=request.param == "stored",
    )
    return ws


def test_a_subject_asks_again_while_the_request_is_open_and_when_it_is_closed(
    of_persons: Workspace,
) -> None:
    ws, again = of_persons, Ask(subject=PERSON, near="keep", accept_outage=True)
    request = ws.request(again)
    for _ in ("open", "closed"):
        draft = ws.resolve(again)
        assert (draft.already_forgotten, {r for _, r in draft.already}) == (True, {request.id})
        head = ws.head()
        assert ws.accept(draft).id == request.id
        assert ws.head() == head
        ws.process(request.id, replay=False)
    told = "".join(str(e) for e in ws.backends.ledger.entries())
    assert f"'{PERSON}'" not in told


def test_a_subject_whose_request_was_cancelled_may_ask_again(of_persons: Workspace) -> None:
    asked = Ask(subject=PERSON, near="keep", method="retrain")
    of_persons.cancel(of_persons.request(asked).id)
    draft = of_persons.resolve(asked)
    assert (len(draft.keys), draft.already) == (3, ())


def test_a_subject_whose_rows_went_by_their_keys(of_persons: Workspace) -> None:
    keys = of_persons.resolve(Ask(subject=PERSON, near="keep")).keys
    request = of_persons.request(Ask(keys=keys, near="keep", accept_outage=True))
    if state.run(of_persons.backends).source.kind == "path":
        draft = of_persons.resolve(Ask(subject=PERSON, near="keep"))
        assert dict(draft.already) == dict.fromkeys(keys, request.id)
    else:
        of_persons.process(request.id, replay=False)  # its rows are gone, and so is whose they were
        with pytest.raises(UnknownKey, match="No record of subject"):
            of_persons.resolve(Ask(subject=PERSON, near="keep"))


def test_words_ask_again(ws: Workspace) -> None:
    again = Ask(words="anna", near="keep", accept_outage=True)
    request = ws.request(again)
    for _ in ("open", "closed"):
        draft = ws.resolve(again)
        assert (draft.already_forgotten, {r for _, r in draft.already}) == (True, {request.id})
        ws.process(request.id, replay=False)
    assert "anna" not in "".join(str(e) for e in ws.backends.ledger.entries())


def test_integers_are_the_keys_they_are_written_as(of_persons: Workspace) -> None:
    key: Any = 12
    assert of_persons.resolve(Ask(keys=(key,), near="keep")).keys == ("12",)


@pytest.mark.parametrize(
    "malformed", [{"keys": "17"}, {"keys": (True,)}, {"keys": (1.5,)}, {"near": "bogus"}], ids=str
)
def test_what_is_no_ask_is_refused(malformed: dict[str, Any], ws: Workspace) -> None:
    whole: dict[str, Any] = {"keys": some_key(ws, "0.0"), "near": "keep"} | malformed
    head = ws.head()
    with pytest.raises(BadParameter):
        ws.resolve(Ask(**whole))
    assert ws.head() == head


def test_a_draft_holds_the_records_that_would_stay(
    ws: Workspace, encoder: Path, tmp_path: Path
) -> None:
    double = {"text": ROWS[0]["text"], "label": ROWS[0]["label"]}
    data = [{"id": f"r{n}", **row} for n, row in enumerate([*ROWS, double])]
    apart = new_workspace(tmp_path / "apart")
    apart.train(tiny_recipe(tiny_task(encoder)), data, key="id", store=True)
    draft = apart.resolve(Ask(keys=("r0",)))
    assert ([r.key for r in draft.stays], draft.exact) == ([f"r{len(ROWS)}"], (f"r{len(ROWS)}",))
    assert ws.resolve(ask(*some_key(ws, "0.0"))).stays == ()


def test_a_stored_row_that_was_changed_is_not_used(encoder: Path, tmp_path: Path) -> None:
    ws = new_workspace(tmp_path / "ws")
    ws.train(tiny_recipe(tiny_task(encoder)), ROWS, store=True)
    b, key = ws.backends, some_key(ws, "0.0")[0]
    _change_stored(ws, key)
    with pytest.raises(BadData, match="with other content"):
        rows.read(b, state.allowed(b))
    request = ws.request(ask(*keys_in(ws, "1.0")[:1]))  # it does not stop a withdrawal
    assert (request.status, request.target.searched) == ("withdrawn", False)
    assert not any(s.cells & {"1.0"} for s in state.parts(reopened(ws).backends))


def _change_stored(ws: Workspace, key: Key) -> None:
    found = rows.read_cell(ws.backends, "0.0")
    changed = [
        {"key": r.key, "row": dict(r.row) | ({"text": "other"} if r.key == key else {})}
        | {"digest": r.digest, "subject": r.subject, "multiplicity": r.multiplicity}
        for r in found
    ]
    ws.backends.artifacts.put("rows/0.0#0", "rows", dumps(changed), frozenset({"0.0#0"}))


@pytest.mark.parametrize("row", [{}, {"text": 5}, {"text": None}, {"words": "a b"}], ids=str)
def test_a_row_without_a_text_is_not_answered(row: dict[str, Any], ws: Workspace) -> None:
    with pytest.raises(BadData, match=r"column 'text' .* row 2"):
        ws.predict([{"text": "fine"}, row])


def test_what_was_forgotten_before_a_restore_is_forgotten_already(ws: Workspace) -> None:
    [key] = some_key(ws, "0.0")
    mark = Write("suppressed", state.suppression_leaf(ws.backends, key), RESTORED)
    request = ws.request(ask(key))
    ws.process(request.id, replay=False)
    ws.backends.ledger.append(Entry("workspace.restored", writes=(mark,)))
    draft = ws.resolve(ask(key))
    assert draft.already_forgotten
    with pytest.raises(NoOp, match="before this workspace was restored"):
        ws.accept(draft)


def test_stored_rows_that_are_lost_stop_no_withdrawal(encoder: Path, tmp_path: Path) -> None:
    ws = new_workspace(tmp_path / "ws")
    ws.train(tiny_recipe(tiny_task(encoder)), ROWS, store=True)
    artifact = ws.backends.artifacts.find("rows/0.0#0")
    assert artifact is not None
    (ws.folder / "artifacts" / artifact.address[:2] / artifact.address).unlink()
    request = ws.request(ask(*some_key(ws, "0.0")))
    assert (request.status, request.target.searched) == ("withdrawn", False)
