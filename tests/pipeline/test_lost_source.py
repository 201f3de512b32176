"""Whatever keeps the source from being read, a record is forgotten all the same."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_workspace import ROWS, new_workspace, some_key, statement, usable

from rescind.core.errors import MissingSource
from rescind.resolve import Ask
from rescind.testing.tiny import tiny_recipe, tiny_task
from rescind.workspace import Workspace

MODULE = "a_source_for_tests"
RAISES = {
    "no connection": "raise ConnectionError('no route to the archive')",
    "no permission": "raise PermissionError(13, 'Permission denied')",
    "bad value": "raise ValueError('no such year')",
    "foreign module": "import no_such_package_at_all",
    "exit": "import sys; sys.exit(2)",
    "our own error": "from rescind.core.errors import BadParameter; raise BadParameter('Year?')",
}


def written(folder: Path, body: str) -> None:
    """The loader, with ``body`` before it returns its rows."""
    (folder / f"{MODULE}.py").write_text(f"def load():\n    {body}\n    return {ROWS!r}\n")
    sys.modules.pop(MODULE, None)


@pytest.fixture
def loaded(tmp_path: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """Trained on what a loader returns, whose module lies in ``tmp_path``."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    written(tmp_path, "pass")
    ws = new_workspace(tmp_path / "ws")
    ws.train(tiny_recipe(tiny_task(encoder)), f"{MODULE}:load")
    yield ws
    sys.modules.pop(MODULE, None)


@pytest.mark.parametrize("how", RAISES)
def test_a_source_that_fails_stops_no_withdrawal_and_no_certificate(
    loaded: Workspace, tmp_path: Path, how: str
) -> None:
    [key] = some_key(loaded, "0.0")
    written(tmp_path, RAISES[how])
    request = loaded.request(Ask(keys=(key,), near="keep"))
    assert (request.status, request.target.searched) == ("withdrawn", False)
    said = statement(loaded.process(request.id))
    assert (said.proof.outcome, said.guarantee.kind) == ("not_possible", "empirical")
    assert key not in usable(loaded)
    with pytest.raises(MissingSource):
        loaded.resolve(Ask(words="goal"))


def test_a_loader_with_other_arguments_or_none_at_all(loaded: Workspace, tmp_path: Path) -> None:
    one, two = some_key(loaded, "0.0", "1.0")
    (tmp_path / f"{MODULE}.py").write_text("def load(year):\n    return []\n")
    sys.modules.pop(MODULE, None)
    assert loaded.request(Ask(keys=(one,), near="keep")).status == "withdrawn"
    (tmp_path / f"{MODULE}.py").unlink()
    sys.modules.pop(MODULE, None)
    assert loaded.request(Ask(keys=(two,), near="keep")).status == "withdrawn"
