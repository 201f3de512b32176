"""A training that was killed goes on with the next stage, and ends in the same bytes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_kill import KILLED, dying, in_child
from tiny_workspace import INLINE, ROWS, artifacts, fixed_secrets, new_workspace

from rescind import backends, state
from rescind.core.errors import BadParameter, RescindError
from rescind.core.lineage import ArtifactKind
from rescind.core.run import Snapshot
from rescind.settings import Settings
from rescind.storage.artifacts import FolderArtifacts
from rescind.testing.tiny import tiny_recipe, tiny_task
from rescind.training import loop, stages
from rescind.workspace import Workspace, open_workspace

STAGES = 8  # 2 shards x 2 orders x 2 stages


@pytest.fixture
def whole(make: object, trained: object) -> Workspace:
    """The workspace of an uninterrupted training."""
    return make()  # type: ignore[no-any-return, operator]


def train(ws: Workspace, encoder: Path, source: Path) -> None:
    ws.train(tiny_recipe(tiny_task(encoder)), str(source))


def snapshots(folder: Path) -> list[str]:
    """Names of the stored snapshots, without repairing anything."""
    found = backends.connect(folder).artifacts.list()
    return [a.name for a in found if a.kind == "snapshot"]


def trained_parts(ws: Workspace) -> list[Snapshot]:
    return sorted(state.parts(ws.backends), key=lambda s: s.name)


def kill_after(folder: Path, encoder: Path, source: Path, finished: int) -> None:
    """Train in a child that dies as it begins to store the next snapshot."""

    def work() -> None:
        ws = open_workspace(folder)
        real, snapshot = FolderArtifacts.put, dying(FolderArtifacts.put, finished + 1, True)

        def put(self: FolderArtifacts, name: str, kind: ArtifactKind, *rest: Any) -> Any:
            chosen = snapshot if kind == "snapshot" else real
            return chosen(self, name, kind, *rest)

        FolderArtifacts.put = put  # type: ignore[assignment, method-assign]
        train(ws, encoder, source)

    assert in_child(work) == KILLED


@pytest.mark.parametrize("finished", [0, 1, 5, 7])
def test_only_what_is_missing_is_trained_again(
    finished: int,
    whole: Workspace,
    tmp_path: Path,
    encoder: Path,
    rows_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ws = new_workspace(tmp_path / "killed")
    kill_after(ws.folder, encoder, rows_file, finished)
    assert len(snapshots(ws.folder)) == finished
    real, fits = loop.fit, []

    def counted(*arguments: Any) -> None:
        fits.append(1)
        real(*arguments)

    monkeypatch.setattr(stages, "fit", counted)

    again = open_workspace(ws.folder)
    train(again, encoder, rows_file)

    assert len(fits) == STAGES - finished
    assert trained_parts(again) == trained_parts(whole)
    assert again.state_digest() == whole.state_digest()
    assert artifacts(again) == artifacts(whole)
    again.verify()


@pytest.mark.slow  # nine processes that each import torch
def test_a_killed_executor_of_processes_goes_on_too(
    whole: Workspace, tmp_path: Path, encoder: Path, rows_file: Path
) -> None:
    """The workers die with their parent; the next run, by workers again, takes up the rest."""
    ws = new_workspace(tmp_path / "killed", Settings(executor="local", workers=2))
    script = (
        "import os, sys\n"
        "from rescind.testing.tiny import tiny_recipe, tiny_task\n"
        "from rescind.workspace import open_workspace\n"
        "def watch(what, done, total):\n"
        "    if 'stage 2/2' in what: os._exit(9)\n"
        "ws = open_workspace(sys.argv[1])\n"
        "ws.train(tiny_recipe(tiny_task(sys.argv[2])), sys.argv[3], progress=watch)\n"
    )
    arguments = [sys.executable, "-c", script, str(ws.folder), str(encoder), str(rows_file)]
    assert subprocess.run(arguments, check=False, env=dict(os.environ)).returncode == KILLED
    finished = snapshots(ws.folder)
    assert 1 <= len(finished) < STAGES
    stored = {n: ws.backends.artifacts.find(n) for n in finished}

    again = open_workspace(ws.folder)
    train(again, encoder, rows_file)

    assert trained_parts(again) == trained_parts(whole)
    assert again.state_digest() == whole.state_digest()
    assert {n: again.backends.artifacts.find(n) for n in finished} == stored


def test_a_job_that_fails_leaves_a_workspace_that_goes_on(
    tmp_path: Path,
    whole: Workspace,
    encoder: Path,
    rows_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ws = new_workspace(tmp_path / "failed", INLINE)
    real, calls = loop.fit, iter(range(100))

    def fit(*arguments: Any) -> None:
        if next(calls) == 3:
            raise RescindError("The power went.")
        real(*arguments)

    monkeypatch.setattr(stages, "fit", fit)
    with pytest.raises(RescindError, match="power"):
        train(ws, encoder, rows_file)
    with pytest.raises(BadParameter, match="No model"):
        ws.predict([{"text": "match"}])
    train(ws, encoder, rows_file)
    assert ws.state_digest() == whole.state_digest()


def test_training_again_is_finding_it_done(
    whole: Workspace, encoder: Path, rows_file: Path
) -> None:
    before = whole.head()
    train(whole, encoder, rows_file)
    assert whole.head() == before


def test_another_recipe_needs_another_folder(
    whole: Workspace, encoder: Path, rows_file: Path
) -> None:
    with pytest.raises(BadParameter, match="One workspace keeps one run"):
        whole.train(tiny_recipe(tiny_task(encoder), "sisa"), str(rows_file))


def test_equal_secrets_give_equal_bytes_in_another_folder(
    whole: Workspace, tmp_path: Path, encoder: Path, rows_file: Path
) -> None:
    """What all the comparisons above rest on, and that the secrets do decide."""
    other = open_workspace(tmp_path / "other", INLINE)
    fixed = open_workspace(fixed_secrets(tmp_path / "fixed"), INLINE)
    train(fixed, encoder, rows_file)
    assert fixed.state_digest() == whole.state_digest()
    assert other.backends.keys.get("partition") != fixed.backends.keys.get("partition")


def test_no_snapshot_depends_on_the_test_records(encoder: Path, tmp_path: Path) -> None:
    """S3T, trap of the released code: no epoch or stage is chosen by the test split."""
    rows = [{"id": str(n), **row} for n, row in enumerate(ROWS)]
    apart: list[Workspace] = []
    for name, change in (("one", {}), ("two", {"text": "other words", "label": "tech"})):
        ws = new_workspace(tmp_path / name)
        test = (
            {e.key for e in state.allowed(apart[0].backends) if e.cell == "test"} if apart else ()
        )
        changed = [row | (change if row["id"] in test else {}) for row in rows]
        assert (changed == rows) == (not apart)
        ws.train(tiny_recipe(tiny_task(encoder)), changed, key="id", store=True)
        apart.append(ws)
    digests = [[s.digest for s in state.parts(ws.backends)] for ws in apart]
    assert digests[0] == digests[1]
    assert len(set(digests[0])) == STAGES
