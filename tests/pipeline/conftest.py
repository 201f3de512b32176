"""One workspace a method, trained once; each test gets a copy of its own."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tiny_workspace

from rescind.core.run import Recipe
from rescind.testing.tiny import tiny_encoder
from rescind.training import models
from rescind.training.encoder import StagedModel
from rescind.workspace import Workspace

Make = Callable[..., Workspace]


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(tiny_encoder(tmp_path_factory.mktemp("encoder") / "tiny"))


@pytest.fixture(scope="session")
def rows_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_workspace.write_rows(tmp_path_factory.mktemp("source") / "rows.jsonl")


@pytest.fixture
def source(rows_file: Path) -> Iterator[Path]:
    """The file all workspaces were trained on; whatever a test does to it is undone."""
    yield rows_file
    tiny_workspace.write_rows(rows_file)


@pytest.fixture(scope="session")
def trained(
    tmp_path_factory: pytest.TempPathFactory, encoder: Path, rows_file: Path
) -> Callable[[str], Path]:
    """The folder of a closed workspace trained by a method."""

    @functools.cache
    def folder(method: str) -> Path:
        made = tmp_path_factory.mktemp(method) / "trained"
        tiny_workspace.train(made, encoder, rows_file, method)
        return made

    return folder


@pytest.fixture
def make(trained: Callable[[str], Path], tmp_path: Path) -> Make:
    """A copy of the trained workspace, under the given name."""

    def copied(method: str = "s3t", name: str = "ws") -> Workspace:
        return tiny_workspace.copy(trained(method), tmp_path / name)

    return copied


@pytest.fixture
def ws(make: Make) -> Workspace:
    return make()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Load the frozen base once and wait for no disk; a kill of a process loses no written byte."""
    monkeypatch.setattr(os, "fsync", lambda number: None)
    monkeypatch.setattr(models, "StagedModel", _loaded_once)


_REAL = StagedModel


@functools.lru_cache(maxsize=4)
def _loaded_once(recipe: Recipe) -> StagedModel:
    return _REAL(recipe)
