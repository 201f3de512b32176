"""A topic goes from a small GPT: the domains are what they are said to be, and the page quotes."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

ROOT = Path(__file__).parents[2]
STORED = ROOT / "benchmarks" / "results" / "zk_apex_topics.json"


@pytest.fixture
def topics(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The benchmark, which is no package."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    yield importlib.import_module("zk_apex_topics")
    ours = ("gradient_members", "gradient_inversion", "published_gradient", "zk_apex")
    for name in (*ours, "zk_apex_topics"):
        sys.modules.pop(name, None)


def test_capitals_are_those_of_ascii(topics: ModuleType) -> None:
    ids = torch.tensor([list("Az{`é~".encode())])
    found = topics.capitals({"input_ids": ids, "labels": ids, "topic": torch.tensor([0])})
    assert bytes(found["input_ids"][0].tolist()).decode() == "AZ{`é~"
    assert torch.equal(found["labels"], found["input_ids"])


def test_half_of_a_clients_passages_are_in_capitals(topics: ModuleType) -> None:
    ids = torch.full((6, 3), ord("a"))
    found = topics.both({"input_ids": ids, "labels": ids, "topic": torch.arange(6)})
    large = found["topic"][(found["input_ids"] == ord("A")).all(1)]
    assert large.tolist() == [1, 3, 5] and sorted(found["topic"].tolist()) == list(range(6))


def test_differences_are_from_each_clients_own_original(topics: ModuleType) -> None:
    cells = [
        {
            "edits": {
                "original": {"topic": base, "back 10": base - 0.5},
                "edit": {"topic": base + 1.0, "back 10": base + 0.25},
            }
        }
        for base in (1.0, 3.0, 7.0)
    ]
    found = topics.summary(cells)["edit"]
    assert found["topic"] == [1.0, 1.0, 1.0] and found["back 10"] == [0.25, 0.25, 0.25]


@pytest.mark.slow
def test_it_runs(tmp_path: Path) -> None:
    file, out = ROOT / "benchmarks" / "zk_apex_topics.py", tmp_path / "out.json"
    args = ["--quick", "--work", str(tmp_path), "--out", str(out)]
    subprocess.run([sys.executable, str(file), *args], check=True, capture_output=True)
    found = json.loads(out.read_text())
    assert {"original", "random mask", "magnitude mask", "retrained"} <= set(found["summary"])
    assert found["cells"][0]["records"] >= 480


def test_the_page_says_what_was_found() -> None:
    whole = json.loads(STORED.read_text())
    text = (ROOT / "docs" / "methods" / "zk_apex.md").read_text()
    assert f"`{whole['command']}`" in text and len(whole["cells"]) == 3
    assert all(c["records"] >= 500 for c in whole["cells"])
    for name, edit in whole["summary"].items():
        keys = ("topic", "topic in capitals", "personal", "back 50")
        cells = ["{:+.3f} ({:+.3f} to {:+.3f})".format(*edit[k]) for k in keys]
        assert f"| {name} | {' | '.join(cells)} |" in text, name
    edits = whole["summary"]
    pulled, repaired, retrained = (
        edits[k] for k in ("fisher mask, OBS, step 0.001", "mask, OBS", "retrained")
    )
    assert pulled["topic"][1] > repaired["topic"][2] and retrained["topic"][1] > 0.0
    assert pulled["personal"][1] > retrained["personal"][2]
    assert pulled["back 50"][0] < 0.5 * pulled["topic"][0]
    assert retrained["back 50"][0] > 0.9 * retrained["topic"][0]
    other = edits["random mask, OBS, step 0.001"]
    assert other["personal"][0] / other["topic"][0] < pulled["personal"][0] / pulled["topic"][0]
    assert edits["masked fine-tune"]["personal"][2] < 0.0 < edits["masked fine-tune"]["topic"][1]
