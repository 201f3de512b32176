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
CONTROLS = {"original", "random mask", "magnitude mask", "masked fine-tune", "retrained"}


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The benchmark, which is no package."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    yield importlib.import_module("zk_apex_parts")
    ours = ("gradient_members", "gradient_inversion", "published_gradient", "zk_apex")
    for name in (*ours, "zk_apex_parts"):
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


@pytest.mark.slow
def test_it_runs(tmp_path: Path) -> None:
    file, out = ROOT / "benchmarks" / "zk_apex_parts.py", tmp_path / "out.json"
    args = ["--quick", "--work", str(tmp_path), "--out", str(out)]
    subprocess.run([sys.executable, str(file), *args], check=True, capture_output=True)
    found = json.loads(out.read_text())
    assert [c["part"] for c in found["cells"]] == ["bag", "random"]
    for cell in found["cells"]:
        assert CONTROLS | {"fisher mask", "mask, OBS"} == set(cell["edits"])
        assert cell["gradient refused"]  # there are too few records, and no records' at all


def test_the_page_says_what_was_found() -> None:
    whole = json.loads(STORED.read_text())
    text = (ROOT / "docs" / "methods" / "zk_apex.md").read_text()
    assert f"`{whole['command']}`" in text
    random = [c for c in whole["cells"] if c["part"] == "random"]
    assert len(random) == 3 and len(whole["cells"]) == 6
    assert all(bool(c["gradient refused"]) == (c in random) for c in whole["cells"])
    for kind, keys in (
        ("subgroup", ("forget", "forget shifted", "beside", "personal - original", "back 50")),
        ("random", ("forget", "forget - beside", "personal - original", "back 50")),
    ):
        edits = whole["summary"][kind]
        assert set(edits) >= CONTROLS
        assert ("mask, OBS, step 0.012" in edits) == (kind == "subgroup")
        for name, edit in edits.items():
            cells = [
                (
                    "{:+.3f} ({:+.3f} to {:+.3f})" if "-" in k else "{:.3f} ({:.3f} to {:.3f})"
                ).format(*edit[k])
                for k in keys
            ]
            assert f"| {name} | {' | '.join(cells)} |" in text, (kind, name)
    edits, same = (whole["summary"][kind] for kind in ("subgroup", "random"))
    pulled, original, retrained = (
        edits[k] for k in ("mask, OBS, step 0.012", "original", "retrained")
    )
    assert original["forget"][0] - edits["mask, OBS"]["forget"][0] < 0.05
    assert (
        original["beside"][0] - pulled["beside"][0]
        > 0.15
        > 0.05
        > abs(original["beside"][0] - retrained["beside"][0])
    )
    assert pulled["back 50"][0] > original["back 50"][0] - 0.05 > retrained["back 50"][0]
    sure = {k for k, e in edits.items() if e["forget - original"][2] < 0.0}
    assert sure == {"random mask, OBS, step 0.012"}
    assert pulled["forget shifted"][2] < original["forget shifted"][1]
    for name, edit in same.items():
        low, high = edit["forget - original"][1:]
        assert low <= 0.0 <= high, name
    costs = {k for k, e in same.items() if e["personal - original"][2] < 0.0}
    assert costs == {"fisher mask"}
