"""A subgroup and a random share: the parts are what they are said to be, and the page quotes."""

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
STORED = ROOT / "benchmarks" / "results" / "zk_apex_parts.json"
OURS = (
    *("gradient_members", "gradient_inversion", "published_gradient", "zk_apex"),
    *("learned_pulls", "chosen_steps", "kept_cells", "zk_apex_parts"),
)
CONTROLS = {"original", "random mask", "magnitude mask", "masked fine-tune", "retrained"}


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The benchmark, which is no package."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    yield importlib.import_module("zk_apex_parts")
    for name in OURS:
        sys.modules.pop(name, None)


def test_a_subgroup_is_the_half_of_a_class_along_what_varies_most(parts: ModuleType) -> None:
    draw = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 10, (800,), generator=draw)
    images = 0.01 * torch.rand(800, 1, 28, 28, generator=draw)
    ink = torch.rand(800, generator=draw)
    images[:, 0, 10:18] += ink[:, None, None]
    first, last = (
        {"labels": labels[s], "array": images[s]} for s in (slice(0, 300), slice(300, 800))
    )
    gone, gone_test = parts.half(first, last, "bag")
    own = labels == 8
    assert not gone[~own[:300]].any() and not gone_test[~own[300:]].any()
    assert int(gone.sum()) == int(own[:300].sum()) // 2
    limit = ink[:300][own[:300]].median()
    assert torch.equal(gone, own[:300] & (ink[:300] > limit))
    assert torch.equal(gone_test, own[300:] & (ink[300:] > limit))


def test_what_goes_and_what_stays_are_all(parts: ModuleType) -> None:
    batch = {"labels": torch.arange(10), "gone": torch.arange(10) % 3 == 0}
    assert parts.without(batch)["labels"].tolist() == [1, 2, 4, 5, 7, 8]
    assert parts.without(batch, gone=True)["labels"].tolist() == [0, 3, 6, 9]


def test_a_gradient_of_records_is_not_published(parts: ModuleType) -> None:
    assert "under 500 records would show them" in parts.refusal("records", 2000)
    assert "'concept', with 499 records" in parts.refusal("concept", 499)
    assert parts.refusal("concept", 500) is None


def test_a_simulated_client_keeps_the_rest_of_the_class(
    parts: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    pulls, draw = parts.learned_pulls, torch.Generator().manual_seed(0)
    own = {
        "labels": torch.arange(80) % 2,
        "array": torch.rand(80, 1, 28, 28, generator=draw),
        "gone": (torch.arange(80) % 4 == 0),
    }
    model = pulls.scenario.new_model(0)
    monkeypatch.setattr(pulls, "personalised", lambda *_: model)
    monkeypatch.setattr(pulls, "own_images", lambda *_: own)
    gone, rest = parts.without(own, gone=True), parts.without(own)
    beside = pulls.rows(rest, rest["labels"] == 0)
    plain, shown = (pulls.simulated(None, 0, 0, parts.of_part, gone, b) for b in (None, beside))
    assert torch.equal(plain.retain["array"], rest["array"])  # of both classes
    assert len(plain.forget["labels"]) == 2 * 20 and plain.forget["gone"].all()
    assert not shown.retain["gone"].any()
    more = {name: t[60:] for name, t in shown.retain.items()}
    assert more["labels"].tolist() == [0] * 40  # the other half, upright and shifted
    upright = {image.numpy().tobytes() for image in more["array"][:20]}
    assert upright == {image.numpy().tobytes() for image in beside["array"]}
    assert torch.equal(more["array"][20:], more["array"][:20].rot90(1, (2, 3)))
    assert all(torch.equal(plain.sketches[n], shown.sketches[n]) for n in plain.sketches)


def test_draws_of_a_seed_are_not_one_another(parts: ModuleType) -> None:
    batch = {"labels": torch.zeros(1000, dtype=torch.long)}
    bench = parts.scenario.Bench(parts.FULL, parts.scenario.Images(batch, batch), Path())
    drawn = [parts.part(bench, s, n).bench.images.train["gone"] for s, n in parts.DRAWS]
    assert len({tuple(d.tolist()) for d in drawn}) == 9
    assert all(60 < int(d.sum()) < 140 for d in drawn)


@pytest.mark.slow
def test_it_runs(tmp_path: Path) -> None:
    file, out = ROOT / "benchmarks" / "zk_apex_parts.py", tmp_path / "out.json"
    args = ["--quick", "--work", str(tmp_path), "--out", str(out)]
    subprocess.run([sys.executable, str(file), *args], check=True, capture_output=True)
    found = json.loads(out.read_text())
    assert [c["part"] for c in found["cells"]] == ["bag", "random 0"]
    for cell in found["cells"]:
        assert CONTROLS | {"fisher mask", "mask, OBS"} == set(cell["edits"])
        assert cell["gradient refused"]  # there are too few records, and no records' at all


def test_nine_of_each_are_told_and_none_that_a_step_was_chosen_on(parts: ModuleType) -> None:
    whole = json.loads(STORED.read_text())
    random = [c for c in whole["cells"] if c["part"].startswith("random")]
    halves = [c for c in whole["cells"] if c not in random]
    for cells in (random, halves):
        assert len({(c["seed"], c["part"]) for c in cells}) == len(cells) == 9
        assert len({c["seed"] for c in cells}) == 3
    assert all(bool(c["gradient refused"]) == (c in random) for c in whole["cells"])
    told, before = (
        [{c[k] for c in cells} for k in ("seed", "part")] for cells in (halves, whole["chosen on"])
    )
    assert not told[0] & before[0] and not told[1] & before[1]
    rows = parts.CANDIDATES
    assert parts.chosen_of(whole["chosen on"], rows, parts.LOOKED) == whole["chosen"]


def test_the_page_says_what_was_found() -> None:
    whole = json.loads(STORED.read_text())
    text = (ROOT / "docs" / "methods" / "zk_apex.md").read_text()
    assert f"`{whole['command']}`" in text
    back = ("personal - original", "back 10", "back 50")
    for kind, keys in (
        ("subgroup", ("forget", "forget shifted", "beside", *back)),
        ("random", ("forget", "forget - beside", *back)),
    ):
        edits = whole["summary"][kind]
        assert set(edits) >= CONTROLS
        assert ("mask, OBS, learned step" in edits) == (kind == "subgroup")
        for name, edit in edits.items():
            cells = [
                (
                    "{:+.3f} ({:+.3f} to {:+.3f})" if "-" in k else "{:.3f} ({:.3f} to {:.3f})"
                ).format(*edit[k])
                for k in keys
            ]
            assert f"| {name} | {' | '.join(cells)} |" in text, (kind, name)


def test_a_half_takes_the_other_half_along() -> None:
    edits = json.loads(STORED.read_text())["summary"]["subgroup"]
    step, learned, hard, retrained = (
        edits[k]
        for k in (
            "mask, OBS, step",
            "mask, OBS, learned step",
            "mask, OBS, step 0.012",
            "retrained",
        )
    )
    for edit in (step, learned, hard):
        assert edit["beside - original"][2] < 0.0 and edit["forget - original"][2] < 0.0
        assert edit["forget shifted"][1] > retrained["forget shifted"][2]
    low, high = retrained["beside - original"][1:]
    assert low < 0.0 < high
    for key in ("forget", "forget shifted"):
        assert retrained[key][0] < learned[key][0] < step[key][0]
    assert learned["beside"][0] > step["beside"][0] > hard["beside"][0]
    assert hard["personal - original"][2] < 0.0
    for name, edit in edits.items():
        for key in ("back 10 - original", "back 50 - original"):
            low, high = edit[key][1:]
            assert (high < 0.0) == (name == "retrained"), (name, key)
            assert low <= 0.0, (name, key)


def test_of_a_random_share_there_is_nothing_to_see() -> None:
    edits = json.loads(STORED.read_text())["summary"]["random"]
    low, high = edits["original"]["forget - beside"][1:]
    assert low < 0.0 < high
    for name, edit in edits.items():
        low, high = edit["forget - original"][1:]
        assert (high < 0.0) == (name == "fisher mask") and low <= 0.0 <= max(high, 0.0), name
    mask = edits["fisher mask"]
    assert mask["personal - original"][0] < mask["forget - original"][0]
    costs = {k for k, e in edits.items() if e["personal - original"][2] < 0.0}
    assert costs == {"fisher mask", "random mask", "mask, OBS", "masked fine-tune"}


def test_what_learning_takes_is_what_the_page_says() -> None:
    halves = [c for c in json.loads(STORED.read_text())["cells"] if "random" not in c["part"]]
    spent = {k: sum(c["seconds"][k] for c in halves) / 9 for k in halves[0]["seconds"]}
    assert spent["learning"] == pytest.approx(13.0, abs=0.6)
    assert spent["simulating clients"] == pytest.approx(42.0, abs=0.6)
    assert spent["retraining"] == pytest.approx(88.0, abs=0.6)
