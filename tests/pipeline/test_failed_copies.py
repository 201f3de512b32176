"""A copy that failed is none: nothing of it is left, and nothing is to be recalled."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_workspace import ROWS, ask, kinds, some_key, statement

from rescind import exports, state
from rescind.core.errors import DamagedArtifact, StorageFailed
from rescind.core.protocols import Entry
from rescind.core.run import Snapshot
from rescind.serving.ensemble import Ensemble
from rescind.training.recipes import recipe_from
from rescind.workspace import Workspace


def recalled(ws: Workspace) -> tuple[str, ...]:
    request = ws.request(ask(*some_key(ws, "0.0")))
    return statement(ws.process(request.id, replay=False)).erasure.recipients


def test_it_is_noted_before_a_byte_is_written_and_taken_back_when_it_fails(
    ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def writes(*given: object) -> None:
        seen.extend(kinds(ws)[-1:])
        raise StorageFailed("The disk is full.")

    monkeypatch.setattr(exports, "_write", writes)
    with pytest.raises(StorageFailed):
        ws.export(tmp_path / "export", "the press")
    assert (seen, kinds(ws)[-1]) == (["version.exported"], "export.failed")
    assert recalled(ws) == ()


@pytest.mark.parametrize("what", ["export", "backup"])
def test_onto_a_file(what: str, ws: Workspace, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageFailed):
        if what == "export":
            ws.export(tmp_path / "file" / "x", "the press")
        else:
            ws.backup(tmp_path / "file" / "x.tar")
    assert recalled(ws) == ()


def test_half_an_export_is_removed(
    ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = state.weights

    def second_is_gone(b: object, part: Snapshot) -> bytes:
        if part.shard == 1:
            raise DamagedArtifact("gone")
        return real(ws.backends, part)

    with monkeypatch.context() as patch, pytest.raises(DamagedArtifact):
        patch.setattr(state, "weights", second_is_gone)
        ws.export(tmp_path / "export", "the press")
    assert not (tmp_path / "export").exists()
    assert recalled(ws) == ()


def test_a_crash_in_between_leaves_the_note(ws: Workspace, tmp_path: Path) -> None:
    """As after a kill: nobody was there to take it back, and the copy may be there."""
    exports.note(ws.backends, "version v1", "the press", exports.everything(ws.backends))
    assert isinstance(list(ws.backends.ledger.entries())[-1], Entry)
    assert len(recalled(ws)) == 1


def test_an_export_is_all_it_takes_to_answer(ws: Workspace, tmp_path: Path) -> None:
    """Its recipe names task, adapters and base: the files answer as the workspace does."""
    import json

    folder = tmp_path / "export"
    ws.export(folder, "a customer")
    told = json.loads((folder / "recipe.json").read_text())
    assert told["encoder"] == ws.run().environment.encoder
    recipe = recipe_from(told["recipe"])
    ensemble = Ensemble(recipe.task, recipe)
    parts = json.loads((folder / "selection.json").read_text())["parts"]
    states = [(ensemble.load_state((folder / p["file"]).read_bytes()), p["records"]) for p in parts]
    combined = ensemble.predict(ROWS[:3], states)
    assert recipe.task.answers(combined) == ws.predict(ROWS[:3])
