"""One tiny workspace, trained and one request processed through the command line; tests copy it."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from running import Place, ok, parsed

from rescind.executors.inline import InlineExecutor
from rescind.settings import Settings
from rescind.storage.keys import KeyStore
from rescind.testing.tiny import LABELS, tiny_encoder, tiny_rows
from rescind.workspace import open_workspace

NEAR = "the coach of the league said the cup match was the goal of the season"
TWIN = "felix greta hugo"
RECIPE = """
orders = 2
epochs = 1
batch_size = 8

[partition]
shards = 2
slices = 2

[task]
kind = "text_classification"
encoder = {encoder}
labels = {labels}
max_length = 16

[source]
data = {data}
key = "id"
subject = "who"
"""


def rows() -> list[dict[str, str]]:
    """Forty short rows of twenty subjects, two near duplicates, two equal rows."""
    found = [{**r, "id": f"r{i}", "who": f"s{i % 20}"} for i, r in enumerate(tiny_rows(40))]
    for key, text in (("near-1", NEAR), ("near-2", f"{NEAR} again"), ("twin-1", TWIN)):
        found.append({"text": text, "label": LABELS[0], "id": key, "who": key})
    found.append({**found[-1], "id": "twin-2", "who": "twin-2"})
    return found


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Place:
    root = tmp_path_factory.mktemp("cli")
    data = root / "rows.jsonl"
    data.write_text("".join(json.dumps(r) + "\n" for r in rows()))
    named = {"encoder": tiny_encoder(root / "encoder"), "labels": list(LABELS), "data": str(data)}
    recipe = root / "recipe.toml"
    recipe.write_text(RECIPE.format(**{n: json.dumps(v) for n, v in named.items()}))
    place = Place(root / "trained", recipe)
    for name in ("workspace", "partition"):  # every run places the rows alike, no cell empty
        KeyStore(place.folder / "keys").put(name, name.ljust(32, "2").encode())
    open_workspace(place.folder, Settings(executor="inline"))
    assert "Trained version v1" in ok("train", recipe, *place.at)
    return place


@pytest.fixture(scope="session")
def closed(trained: Place, tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("closed") / "ws"
    shutil.copytree(trained.folder, folder)
    at = ["--workspace", str(folder)]
    request = parsed("request", "add", "--subject", "s3", "--near", "keep", "--yes", *at)
    with pytest.MonkeyPatch.context() as patch:  # as tests/conftest.py does for each test
        patch.setattr("rescind.replay.fresh_executor", lambda b: InlineExecutor())
        done = ok("process", "--out", folder.parent, *at)
    assert "Claim: exact (never_saw)." in done
    return Place(folder, trained.recipe, request["request"]["id"])


@pytest.fixture
def fresh(trained: Place, tmp_path: Path) -> Place:
    """A copy in which nothing was forgotten."""
    shutil.copytree(trained.folder, tmp_path / "ws")
    return Place(tmp_path / "ws", trained.recipe)


@pytest.fixture
def done(closed: Place, tmp_path: Path) -> Place:
    """A copy in which one request is closed."""
    shutil.copytree(closed.folder, tmp_path / "done")
    return Place(tmp_path / "done", closed.recipe, closed.request)


@pytest.fixture
def keys_file(tmp_path: Path) -> Callable[..., Path]:
    def make(*keys: str, column: str = "key") -> Path:
        path = tmp_path / "keys.csv"
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([[column], *([key] for key in keys)])
        return path

    return make
