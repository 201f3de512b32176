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
