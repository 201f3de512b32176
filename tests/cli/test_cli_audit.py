"""`rescind plan --audit-budget` and `rescind audit`, on a model that overfits its points."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest
from running import Place, ok, parsed, rescind

from rescind import audit_case
from rescind.settings import Settings
from rescind.storage.keys import KeyStore
from rescind.workspace import open_workspace

RECIPE = """
method = "finetune"
orders = 1
epochs = 40
batch_size = 16

[optimizer]
lr = 0.01

[partition]
shards = 1
slices = 1
test_share = 0.4

[task]
kind = "classification"
factory = "rescind.training.zoo:mlp"
classes = ["red", "green"]
shape = [12]
arguments = {inputs = 12, outputs = 2, hidden = [64]}

[source]
key = "id"
"""


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only audits for which no further model is trained."""
    monkeypatch.setattr(audit_case.AUDITS, "names", lambda: ["margins", "membership"])


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Place:
    root, draw, lines = tmp_path_factory.mktemp("audit"), random.Random(5), []
    for i in range(800):
        label = draw.choice(["red", "green"])
        point = [draw.gauss(0, 1) for _ in range(12)]
        point[0] += 1.0 if label == "red" else -1.0
        lines.append(json.dumps({"id": f"p{i}", "array": point, "label": label}))
    data, recipe = root / "points.jsonl", root / "recipe.toml"
    data.write_text("\n".join(lines))
    recipe.write_text(RECIPE)
    place = Place(root / "ws", recipe)
    for name in ("workspace", "partition"):
        KeyStore(place.folder / "keys").put(name, name.ljust(32, "2").encode())
    open_workspace(place.folder, Settings(executor="inline", near_threshold=1.0))
    ok("train", recipe, "--data", data, *place.at)
    return place


@pytest.fixture
def place(noisy: Place, tmp_path: Path) -> Place:
    shutil.copytree(noisy.folder, tmp_path / "ws")
    return Place(tmp_path / "ws", noisy.recipe)


def asked(place: Place, method: str, keys: range = range(120)) -> str:
    """The id of an accepted request; about four in ten of the keys are test records."""
    file = place.folder.with_name("keys.csv")
    file.write_text("key\n" + "".join(f"p{i}\n" for i in keys))
    options = ("--from", file, "--near", "keep", "--method", method, "--yes")
    return str(parsed("request", "add", *options, *place.at)["request"]["id"])


def plan(place: Place, *options: str) -> str:
    return ok("plan", "--audit-budget", "10m", *options, *place.at)


def test_what_is_planned_is_shown_and_recorded(place: Place) -> None:
    none = plan(place)
    assert "No request waits for audits" in none
    first, second = asked(place, "finetune"), asked(place, "finetune", range(200, 204))
    told = plan(place, "--request", first)
    assert f"Audits of request {first}, level 0.05, budget 600 s of one core, access to the" in told
    assert [line.split()[0] for line in told.splitlines()[-2:]] == ["membership", "margins"]
    again = rescind("plan", "--audit-budget", "10m", "--request", first, *place.at)
    assert again.exit_code == 1 and "planned already" in again.stderr
    found = parsed("plan", "--audit-budget", "90s", *place.at)["audits"]
    assert set(found) == {second}
    assert found[second]["choices"] == []
    assert found[second]["budget_seconds"] == 90.0
    assert "5 records" in found[second]["left_out"]["membership"]


def test_audits_that_need_more_access_than_there_is_are_left_out(place: Place) -> None:
    request = asked(place, "finetune")
    told = plan(place, "--request", request, "--audit-access", "answers")
    assert "access to answers of the models to the records:" in told
    assert "Left out: margins: it needs weights or features of the models, and the" in told
    unknown = rescind("plan", "--audit-budget", "10m", "--audit-access", "all", *place.at)
    assert unknown.exit_code == 2 and "'answers', 'weights', 'data'" in unknown.stderr


@pytest.mark.parametrize("text", ["soon", "0", "-5m", "m", "10d", "inf", "nan"])
def test_a_budget_that_is_none_is_a_mistake_of_usage(place: Place, text: str) -> None:
    result = rescind("plan", f"--audit-budget={text}", *place.at)
    assert result.exit_code == 2
    assert "is no length of time" in result.stderr


def test_a_residue_is_shown_and_ends_with_its_code(place: Place) -> None:
    request = asked(place, "finetune")
    early = rescind("audit", request, *place.at)
    assert early.exit_code == 4
    assert "--audit-budget 10m" in early.stderr
    plan(place)
    result = rescind("audit", request, *place.at)
    assert result.exit_code == 3
    assert ": residue found. m" in result.stdout and "it saw a residue (p 0." in result.stdout
    rows = {line.split()[0]: line for line in result.stdout.splitlines() if line}
    assert "residue found" in rows["margins"] and "share of what retraining" in rows["margins"]
    assert "Not claimed:" in result.stdout
    as_json = rescind("audit", request, "--json", *place.at)
    found = json.loads(as_json.stdout)
    assert as_json.exit_code == 3
    assert found["outcome"] == "residue_found"
    assert found["version"] in result.stdout
    by_version = rescind("audit", found["version"], "--json", *place.at)
    assert json.loads(by_version.stdout) == found
    asks = rescind("process", request, *place.at)
    assert asks.exit_code != 0 and "Release its model after the evidence?" in asks.output
    other = rescind("process", request, "--method", "retrain", "--yes", *place.at)
    assert other.exit_code == 1 and "made by finetune" in other.stderr
    done = ok("process", request, "--yes", *place.at)
    assert "Claim: empirical, because an audit found a residue of the records: m" in done


def test_too_little_power_ends_with_its_code_whatever_is_added(place: Place) -> None:
    request = asked(place, "retrain", range(16))
    ok("plan", "--audit-budget", "2", *place.at)
    weak = rescind("audit", request, *place.at)
    assert weak.exit_code == 4
    assert "not enough power to tell" in weak.stdout
    added = rescind("audit", request, "--add", "membership", *place.at)
    assert added.exit_code == 4
    assert "membership (added)" in added.stdout
    unknown = rescind("audit", request, "--add", "nothing", *place.at)
    assert unknown.exit_code == 1
    assert "Unknown audit 'nothing'" in unknown.stderr


def test_a_verdict_that_no_plan_led_to_is_shown_again_with_its_own_code(place: Place) -> None:
    request = asked(place, "finetune")
    added = rescind("audit", request, "--add", "membership", *place.at)
    assert added.exit_code == 3 and "residue found" in added.stdout
    again = rescind("audit", request, *place.at)
    assert (again.exit_code, again.stdout) == (3, added.stdout)


def test_a_removal_that_is_supported_ends_with_zero(place: Place) -> None:
    request = asked(place, "retrain")
    plan(place)
    said = ok("audit", request, *place.at)
    assert ": removal supported. m" in said and "what it saw is what a removal looks like" in said


def test_the_audits_are_listed() -> None:
    said = ok("list", "audits")
    assert "membership" in said and "margins" in said


def test_an_unknown_version_is_told(place: Place) -> None:
    result = rescind("audit", "nobody", *place.at)
    assert result.exit_code == 1
    assert "nobody" in result.stderr


def test_options_of_a_draft_and_of_audits_are_not_mixed(place: Place) -> None:
    lone = rescind("plan", "--audit-access", "answers", *place.at)
    assert lone.exit_code == 2 and "goes with --audit-budget" in lone.stderr
    alone = rescind("plan", "--request", "r", *place.at)
    assert alone.exit_code == 2 and "goes with --audit-budget" in alone.stderr
    both = rescind("plan", "--key", "r1", "--audit-budget", "10m", *place.at)
    assert both.exit_code == 2 and "request add" in both.stderr
