"""Data as users hold it: from their rows to a certificate in about ten lines."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import pytest
from tiny_workspace import INLINE, ROWS, fixed_secrets, new_workspace, statement, usable

from rescind.core.errors import BadData, MissingSource, NoOp, Refused, UnknownKey
from rescind.core.guarantee import Exact
from rescind.core.run import Recipe
from rescind.resolve import Ask
from rescind.testing.tiny import NAMES, tiny_recipe, tiny_task
from rescind.workspace import Workspace


@pytest.fixture
def recipe(encoder: Path) -> Recipe:
    return tiny_recipe(tiny_task(encoder))


def owner(number: int) -> str:
    """Whose row it is: three rows a person, two for the last."""
    return f"{NAMES[number // 3 % 10]}{number // 30}"


def owned(rows: Sequence[dict[str, str]] = ROWS) -> list[dict[str, Any]]:
    return [{"id": f"row-{n}", **row, "person": owner(n)} for n, row in enumerate(rows)]


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def for_persons(folder: Path) -> Workspace:
    """Its secrets place the thirteen persons so that no cell is empty."""
    return new_workspace(folder / "ws", draw="5")


def test_a_list_of_pairs(recipe: Recipe, tmp_path: Path) -> None:
    """The README's lines, over the tiny encoder."""
    import rescind

    folder = fixed_secrets(tmp_path / "ws")
    pairs = [(row["text"], row["label"]) for row in ROWS]
    ws = rescind.open(folder, INLINE)
    ws.train(recipe, pairs, store=True)
    draft = ws.resolve(rescind.Ask(words="anna", near="keep", accept_outage=True))
    request = ws.accept(draft)
    certificate = ws.process(request.id)
    assert statement(certificate).target.records == len(draft.shown) == 4
    assert all("anna" in str(record.row["text"]) for record in draft.shown)


def test_a_dataset_of_hugging_face(recipe: Recipe, tmp_path: Path) -> None:
    data = datasets.Dataset.from_list(owned())
    ws = for_persons(tmp_path)
    ws.train(recipe, data, key="id", subject="person", store=True)
    assert set(ws.keys()) == {row["id"] for row in owned()}
    said = statement(ws.process(ws.request(Ask(keys=("row-7",), near="keep")).id))
    assert said.guarantee == Exact("never_saw")
    assert "row-7" not in usable(ws)


def test_rows_in_memory_must_be_kept_or_have_a_source(recipe: Recipe, tmp_path: Path) -> None:
    ws = new_workspace(tmp_path / "ws")
    with pytest.raises(MissingSource, match="store=True"):
        ws.train(recipe, ROWS)
    assert ws.backends.ledger.items("run") == {}


@pytest.fixture
def of_persons(recipe: Recipe, tmp_path: Path) -> Workspace:
    """Trained on a CSV file with a column of keys and one of subjects."""
    ws = for_persons(tmp_path)
    path = write_csv(tmp_path / "rows.csv", owned())
    ws.train(recipe, str(path), key="id", subject="person")
    return ws


def test_a_subject_is_forgotten_as_a_whole(of_persons: Workspace) -> None:
    ws, person = of_persons, owner(4)
    theirs = {row["id"] for row in owned() if row["person"] == person}
    draft = ws.resolve(Ask(subject=person, near="keep", accept_outage=True))
    assert set(draft.keys) == theirs
    assert len(theirs) == 3
    assert len(draft.cells) == 1  # a person's rows lie together, so that one cut takes them all
    said = statement(ws.process(ws.accept(draft).id))
    assert (said.target.kind, said.target.records) == ("subject", 3)
    assert said.guarantee == Exact("never_saw")
    assert not theirs & set(ws.keys())
    told = b"".join(p.read_bytes() for p in ws.folder.rglob("*") if p.is_file())
    assert person.encode() not in told


def test_one_person_cannot_name_the_rows_of_another_by_subject(of_persons: Workspace) -> None:
    with pytest.raises(UnknownKey, match="No record of subject"):
        of_persons.resolve(Ask(subject="nobody"))


def test_equal_content_of_two_persons_is_listed_and_stays_unless_told(
    recipe: Recipe, tmp_path: Path
) -> None:
    rows = owned()
    rows[31] = {**rows[31], "text": rows[2]["text"], "label": rows[2]["label"]}
    assert rows[31]["person"] != rows[2]["person"]
    ws = for_persons(tmp_path)
    ws.train(recipe, rows, key="id", subject="person", store=True)
    asked = {"subject": rows[2]["person"], "accept_outage": True}

    draft = ws.resolve(Ask(**asked))
    assert draft.exact == ("row-31",)
    with pytest.raises(Refused, match="duplicates of the forget set would stay"):
        ws.accept(draft)
    with pytest.raises(Refused, match="would stay"):
        ws.resolve(Ask(**asked, near="refuse"))
    included = ws.resolve(Ask(**asked, near="include"))
    assert set(included.keys) == {*draft.keys, "row-31"}

    said = statement(ws.process(ws.request(Ask(**asked, near="keep")).id))
    assert said.target.exact_kept == 1
    assert "duplicates of the forget set stay" in " ".join(said.scope)
    assert "row-31" in usable(ws)


def test_equal_rows_of_nobody_are_one_record_with_copies(recipe: Recipe, tmp_path: Path) -> None:
    ws = new_workspace(tmp_path / "ws")
    ws.train(recipe, [*ROWS, ROWS[5], ROWS[5]], store=True)
    assert len(ws.keys()) == len(ROWS)
    text = ROWS[5]["text"]
    draft = ws.resolve(Ask(words=text, near="keep", accept_outage=True))
    assert (draft.target.records, draft.target.copies) == (1, 3)


def test_a_key_with_two_contents_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    rows = owned()
    rows[9]["id"] = rows[3]["id"]
    rows[12]["id"] = rows[3]["id"]
    ws = new_workspace(tmp_path / "ws")
    with pytest.raises(BadData) as caught:
        ws.train(recipe, rows, key="id", subject="person", store=True)
    for number in ("row 10", "row 13"):
        assert number in str(caught.value)
    assert ws.backends.ledger.items("run") == {}


def test_too_few_rows_for_the_cells_are_refused_by_name(recipe: Recipe, tmp_path: Path) -> None:
    ws = new_workspace(tmp_path / "ws")
    with pytest.raises(BadData, match="cells have no record"):
        ws.train(recipe, ROWS[:3], store=True)


def test_a_word_nobody_wrote(of_persons: Workspace) -> None:
    with pytest.raises(NoOp, match="whole words"):
        of_persons.resolve(Ask(words="tea"))  # part of "team" only
