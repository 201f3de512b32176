"""`rescind seeds`: a key, what is handed over, and the answers before and after a request."""

from __future__ import annotations

import json
import random
import stat
from pathlib import Path

import pytest
from running import ok, parsed, rescind

from rescind.audits.seeding.term import Seeding
from rescind.core.errors import BadData, BadParameter
from rescind.settings import Settings
from rescind.storage.keys import KeyStore
from rescind.users_seeds import learned_by, read_seen
from rescind.workspace import open_workspace

RECIPE = """
method = "METHOD"
orders = 1
epochs = 120
batch_size = 16

[optimizer]
lr = 0.01
head_lr = 0.01

[partition]
shards = 1
slices = 1
test_share = 0.1

[task]
kind = "classification"
factory = "rescind.training.zoo:mlp"
classes = ["a", "b"]
shape = [20]
arguments = {inputs = 20, outputs = 2, hidden = [64]}

[source]
key = "id"
"""


def rows(count: int = 120) -> list[dict[str, object]]:
    draw = random.Random(1)
    points = [
        [draw.gauss(3 * (i % 2), 1), *(draw.gauss(0, 1) for _ in range(19))] for i in range(count)
    ]
    return [{"id": f"r{i}", "array": p, "label": "ab"[i % 2]} for i, p in enumerate(points)]


def written(path: Path, found: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in found))
    return path


@pytest.mark.slow
@pytest.mark.parametrize(("method", "code"), [("retrain", 0), ("finetune", 3)])
def test_a_user_marks_records_and_asks_before_and_after(
    tmp_path: Path, method: str, code: int
) -> None:
    place, secret = tmp_path / "ws", tmp_path / "anna.key"
    for name in ("workspace", "partition"):
        KeyStore(place / "keys").put(name, name.ljust(32, "2").encode())
    open_workspace(place, Settings(executor="inline", near_threshold=1.0))
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE.replace("METHOD", method))
    data, own = (
        written(tmp_path / "all.jsonl", rows()),
        written(tmp_path / "own.jsonl", rows()[:24]),
    )
    ok("seeds", "key", secret)
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    marks, at = tmp_path / "anna.seeds", ("--workspace", place)
    made = ("seeds", "make", own, "--secret", secret, "--recipe", recipe, "--out", marks)
    assert "of 12 bits" in ok(*made, "--bits", "12")
    ok(*made)
    assert secret.read_text().strip() not in marks.read_text()
    ok("train", recipe, "--data", data, "--seeds", marks, *at)
    before = tmp_path / "before.json"
    told = parsed("seeds", "ask", own, "--secret", secret, "--out", before, *at, "--json")
    assert told["findings"][0]["p"] < 1e-9
    lost = rescind("seeds", "ask", own, "--secret", tmp_path / "lost.key", *at)
    assert lost.exit_code == 1 and "There is no file" in lost.output
    chosen = tmp_path / "keys.csv"
    chosen.write_text("key\n" + "".join(f"r{i}\n" for i in range(24)))
    ok("request", "add", "--from", chosen, "--near", "keep", "--yes", *at)
    [request] = open_workspace(place).requests()
    ok("process", request.id, "--yes", *at)
    after = tmp_path / "after.json"
    asked = ("seeds", "ask", own, "--secret", secret, "--before", before, *at)
    answer = rescind(*asked, "--out", after)
    assert answer.exit_code == code, answer.output
    outcome = {0: "No evidence of codes.", 3: "Still held."}[code]
    assert outcome in answer.stdout and "Not claimed:" in answer.stdout
    [bits, _] = json.loads(after.read_text())["findings"]
    left = 24 - bits["n"]
    assert left and f"Left out: {left} records of the test set" in answer.stdout
    assert json.loads(rescind(*asked, "--json").stdout)["left_out"] == told["left_out"] == left
    assert bits["power"] > 0.99 and "power\n" in answer.stdout and "  1.00\n" in answer.stdout


def test_how_codes_are_learned_may_be_said_in_part() -> None:
    assert learned_by("") == Seeding()
    assert learned_by("every=1") == Seeding(every=1)
    said = learned_by("weight=32, every=8,batch=60,negatives=0,smoothing=0.2")
    assert said == Seeding(every=8, batch=60, weight=32.0, negatives=0.0, smoothing=0.2)


@pytest.mark.parametrize(
    "text",
    ["bits=20", "every", "every=1,every=1", "every=0", "every=1.5", "batch=x", "weight=nan", ","],
)
def test_what_says_nothing_of_how_codes_are_learned_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(BadParameter):
        learned_by(text)
    recipe, own = tmp_path / "recipe.toml", written(tmp_path / "own.jsonl", rows()[:3])
    recipe.write_text(RECIPE.replace("METHOD", "retrain"))
    ws = tmp_path / "ws"
    told = rescind("train", recipe, "--data", own, "--seeding", text, "--workspace", ws)
    assert told.exit_code == 1 and not ws.exists()
    assert "Seeding()" not in told.output or "--seeding" in told.output


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"version": "v1", "findings": []}', "which records were asked about"),
        ('{"key": "ab", "findings": []}', "what was seen before"),
        ("[]", "what was seen before"),
        ("no JSON", "what was seen before"),
    ],
)
def test_an_answer_that_does_not_say_of_what_is_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "before.json"
    file.write_text(text)
    with pytest.raises(BadData, match=message) as told:
        read_seen(file)
    assert "rescind seeds ask" in told.value.do


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    secret = tmp_path / "key"
    ok("seeds", "key", secret)
    assert "exists already" in rescind("seeds", "key", secret).output
    broken = tmp_path / "broken"
    broken.write_text("no hex")
    own = written(tmp_path / "own.jsonl", rows()[:3])
    recipe, out = tmp_path / "recipe.toml", tmp_path / "out"
    recipe.write_text(RECIPE.replace("METHOD", "retrain"))
    made = ("--recipe", recipe, "--out", out)
    none = written(tmp_path / "none.jsonl", [])
    assert "nothing to mark" in rescind("seeds", "make", none, "--secret", secret, *made).output
    assert (
        "There is no file"
        in rescind("seeds", "make", own, "--secret", tmp_path / "no", *made).output
    )
    assert "holds no key" in rescind("seeds", "make", own, "--secret", broken, *made).output
    ws = ("--workspace", tmp_path / "ws")
    told = rescind("train", recipe, "--data", own, "--seeds", tmp_path / "none", *ws)
    assert told.exit_code == 1 and "seeds make" in told.output
    told = rescind("train", recipe, "--data", own, "--seeds", broken, *ws)
    assert told.exit_code == 1 and "no file of codes" in told.output
