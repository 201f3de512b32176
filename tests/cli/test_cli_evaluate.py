"""`rescind evaluate` and `process --method auto`, on a workspace whose recipe file has margins."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from running import Place, ok, parsed, rescind

from rescind.settings import Settings
from rescind.storage.keys import KeyStore
from rescind.workspace import open_workspace

RECIPE = """
method = "finetune"
orders = 1
epochs = 12
batch_size = 16

[optimizer]
lr = 0.03

[partition]
shards = 1
slices = 1

[task]
kind = "classification"
factory = "rescind.training.zoo:mlp"
classes = ["red", "green", "blue"]
shape = [2]
arguments = {inputs = 2, outputs = 3, hidden = [8]}

[[margins]]
metric = "forget accuracy"
width = 0.4
role = "forgetting"

[[margins]]
metric = "retain accuracy"
width = 0.2
role = "utility"

[source]
key = "id"
"""
NAMED = {
    "original (no-op)": "not_admissible",
    "random weights": "not_admissible",
    "last layer only": "admissible",
    "retrained against retrained": "admissible",
}
CENTRES = {"red": (2.0, 0.0), "green": (-1.0, 1.7), "blue": (-1.0, -1.7)}


@pytest.fixture
def trained(tmp_path: Path) -> Place:
    draw, lines = random.Random(5), []
    for i in range(90):
        label, centre = list(CENTRES.items())[i % 3]
        point = [c + draw.gauss(0, 0.35) for c in centre]
        lines.append(json.dumps({"id": f"p{i}", "array": point, "label": label}))
    data, recipe = tmp_path / "points.jsonl", tmp_path / "recipe.toml"
    data.write_text("\n".join(lines))
    recipe.write_text(RECIPE)
    place = Place(tmp_path / "ws", recipe)
    for name in ("workspace", "partition"):
        KeyStore(place.folder / "keys").put(name, name.ljust(32, "2").encode())
    open_workspace(place.folder, Settings(executor="inline", near_threshold=1.0))
    ok("train", recipe, "--data", data, *place.at)
    return place


def asked(trained: Place) -> str:
    """All that is red is to be forgotten."""
    keys = trained.folder.with_name("red.csv")
    keys.write_text("key\n" + "".join(f"p{i}\n" for i in range(0, 90, 3)))
    added = parsed("request", "add", "--from", keys, "--near", "keep", "--yes", *trained.at)
    return str(added["request"]["id"])


def test_auto_is_a_method_like_others_and_its_attempts_are_shown(trained: Place) -> None:
    request = asked(trained)
    early = rescind("evaluate", request, *trained.at)
    assert early.exit_code == 1
    assert "no evaluation yet" in early.stderr
    chosen = ("--method", "auto", "--set", 'methods=["finetune"]', "--set", "seeds=2")
    done = ok("process", request, *chosen, "--yes", *trained.at)
    assert "Tried: finetune (defaults, first, seeds [0, 1]): not admissible." in done
    assert "Claim: exact (retrain)." in done
    said = ok("evaluate", request, *trained.at)
    assert "Goal: remove the influence of the records." in said
    assert "Not judged: the claim is exact" in said
    for told in ("finetune", "not_admissible", "retrain", "one retraining", "test_accuracy"):
        assert told in said
    found = parsed("evaluate", request, *trained.at)
    assert [a["outcome"] for a in found["attempts"]] == ["not_admissible", "exact"]
    assert found["attempts"][0]["judgement"]["references"] == 8


def test_the_verdict_and_the_gaps_are_shown(trained: Place) -> None:
    request = asked(trained)
    done = ok("process", request, "--set", "lr=1e-6", "--yes", *trained.at)
    assert "Judged: not admissible" in done
    said = ok("evaluate", request, *trained.at)
    assert "Verdict: not_admissible. Not equivalent to retrained models: forget accuracy" in said
    assert "1 seeds beside 8 retrained models" in said
    [line] = [line for line in said.splitlines() if line.startswith("forget accuracy")]
    assert line.split()[2:5] == ["forgetting", "1.0000", "+1.0000"]


def test_the_controls_are_shown_and_one_that_passes_warns(trained: Place) -> None:
    """Red as a whole is forgotten by the last layer alone, as far as these two metrics tell."""
    request = asked(trained)
    ok("process", request, "--set", "lr=1e-6", "--yes", *trained.at)
    said = ok("evaluate", request, *trained.at)
    assert "Warning: A control passes (last layer only): the margins are too wide" in said
    rows = {name: line for line in said.splitlines() for name in NAMED if line.startswith(name)}
    verdicts = {name: line.removeprefix(name).split()[0] for name, line in rows.items()}
    assert verdicts == NAMED
    assert rows["original (no-op)"].split()[-3:] == ["+1.0000", "+0.0000", "="]
    assert rows["retrained against retrained"].split()[-2:] == ["0.0000", "="]
    found = parsed("evaluate", request, *trained.at)["controls"]
    assert [c["kind"] for c in found] == ["original", "random_weights", "last_layer", "retrained"]
    assert found[0]["gaps"][0] == {"metric": "forget accuracy", "gap": 1.0, "equivalent": False}


@pytest.mark.parametrize(
    ("options", "goal"),
    [
        (("--key", "p0"), "remove the influence of the records"),
        (("--concept", "red"), "remove a concept"),
    ],
)
def test_the_goal_is_named_in_words(trained: Place, options: tuple[str, str], goal: str) -> None:
    added = parsed("request", "add", *options, "--near", "keep", "--yes", *trained.at)
    request = added["request"]["id"]
    ok("process", request, "--set", "lr=1e-6", "--yes", *trained.at)
    said = ok("evaluate", request, *trained.at)
    assert said.splitlines()[0].endswith(f"Goal: {goal}.")
    assert parsed("evaluate", request, *trained.at)["goal"] == added["request"]["goal"]


def test_an_unknown_request_is_told(trained: Place) -> None:
    result = rescind("evaluate", "nobody", *trained.at)
    assert result.exit_code == 1
    assert "No request 'nobody'" in result.stderr


def test_a_wrong_metric_in_the_recipe_is_told(trained: Place) -> None:
    trained.recipe.write_text(RECIPE.replace("retain accuracy", "retain acc"))
    data = trained.recipe.with_name("points.jsonl")
    at = ("--workspace", trained.folder.with_name("other"))
    result = rescind("train", trained.recipe, "--data", data, *at)
    assert result.exit_code == 1
    assert "margins for 'retain acc'" in result.stderr
    assert "forget confidence" in result.stderr
    assert not trained.folder.with_name("other").exists()
