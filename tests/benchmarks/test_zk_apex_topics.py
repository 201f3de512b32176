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

from rescind.data import bbc_news

ROOT = Path(__file__).parents[2]
STORED = ROOT / "benchmarks" / "results" / "zk_apex_topics.json"
OURS = (
    *("gradient_members", "gradient_inversion", "published_gradient", "zk_apex"),
    *("learned_pulls", "chosen_steps", "kept_cells", "topic_texts", "topic_pulls"),
    "zk_apex_topics",
)


@pytest.fixture
def topics(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The benchmark, which is no package."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    yield importlib.import_module("zk_apex_topics")
    for name in OURS:
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


def test_a_simulated_client_has_the_providers_passages_alone(
    topics: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    pulls = topics.topic_pulls
    ids = torch.randint(ord("a"), ord("z"), (60, 64), generator=torch.Generator().manual_seed(0))
    own = {"input_ids": ids, "labels": ids, "topic": torch.arange(60) % 3}
    model = topics.new_model(0)
    monkeypatch.setattr(pulls, "personalised", lambda *_: model)
    of = pulls.Provider(4, bbc_news.TOPICS[1], model, own, topics.Sizes(), Path())
    found = pulls.simulated(of, 2)
    assert of.draw(2) == 5402
    known = {bytes(row.tolist()) for row in ids[own["topic"] == 1]}
    gone = [bytes(row.tolist()) for row in found.forget["input_ids"]]
    assert {*gone[:20]} == known and gone[20:] == [text.upper() for text in gone[:20]]
    stays = [bytes(row.tolist()) for row in found.retain["input_ids"]]
    others = {bytes(row.tolist()) for row in ids[own["topic"] != 1]}
    assert len(stays) == 40 and {text.lower() for text in stays} == others
    assert 5 < sum(text.isupper() for text in stays) < 35


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
    assert f"`{whole['command']}`" in text
    assert all(c["records"] >= 500 for c in whole["cells"])
    keys = ("topic", "topic in capitals", "personal", "back 10", "back 50")
    for name, edit in whole["summary"].items():
        cells = ["{:+.3f} ({:+.3f} to {:+.3f})".format(*edit[k]) for k in keys]
        assert f"| {name} | {' | '.join(cells)} |" in text, name
    edits = whole["summary"]
    step, other, learned, retrained = (
        edits[k]
        for k in (
            "mask, OBS, step",
            "random mask, OBS, step",
            "mask, OBS, learned step",
            "retrained",
        )
    )
    assert step["personal"][1] > retrained["personal"][2]
    assert step["topic"][1] > edits["random mask"]["topic"][2]
    for weaker in (other, learned):
        assert weaker["topic"][2] < retrained["topic"][1]
    assert other["personal"][0] / other["topic"][0] < step["personal"][0] / step["topic"][0]
    assert learned["topic"][0] < other["topic"][0] and learned["personal"][0] > 0.0
    left = {k: e["back 50"][0] - edits["original"]["back 50"][0] for k, e in edits.items()}
    assert left.pop("retrained") > 2.0 * max(left.values())
    tuned = edits["masked fine-tune"]
    assert tuned["personal"][2] < 0.0 < tuned["topic"][1] and tuned["topic in capitals"][2] < 0.0


def test_nine_clients_are_told_and_none_that_a_step_was_chosen_on() -> None:
    whole = json.loads(STORED.read_text())
    told = {(c["seed"], c["topic"]) for c in whole["cells"]}
    before = {(c["seed"], c["topic"]) for c in whole["chosen on"]}
    assert len(whole["cells"]) == len(told) == 9
    for place in (0, 1):
        assert len({c[place] for c in told}) == 3
        assert not {c[place] for c in told} & {c[place] for c in before}


def test_the_step_is_the_one_that_the_rule_takes(topics: ModuleType) -> None:
    whole = json.loads(STORED.read_text())
    rows, keys = topics.CANDIDATES, topics.LOOKED
    assert topics.chosen_of(whole["chosen on"], rows, keys) == whole["chosen"]
    assert {*rows} < {*whole["summary"]}


def test_what_learning_takes_is_what_the_page_says() -> None:
    cells = json.loads(STORED.read_text())["cells"]
    spent = {k: sum(c["seconds"][k] for c in cells) / len(cells) for k in cells[0]["seconds"]}
    assert spent["learning, mask, OBS, learned step"] == pytest.approx(20.0, abs=0.5)
    assert spent["simulating clients"] == pytest.approx(20.0, abs=0.6)
    assert spent["retraining"] == pytest.approx(65.0, abs=0.5)
