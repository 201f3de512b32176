"""Learned pulls: a provider's simulated clients are not the real ones, and what it may know."""

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
OURS = ("gradient_members", "gradient_inversion", "published_gradient", "zk_apex")


@pytest.fixture
def pulls(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The benchmark's simulation, which is no package."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    yield importlib.import_module("learned_pulls")
    for name in (*OURS, "learned_pulls", "zk_apex_learned"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("domain", ["rotated", "inverted"])
def test_what_a_provider_knows_is_what_the_page_says(pulls: ModuleType, domain: str) -> None:
    known = {kind: {pulls.DOMAINS[i] for i in pulls.guessed(kind, domain)} for kind in pulls.KINDS}
    assert known["learned"] == {"rotated", "inverted"}
    other = {"rotated", "inverted"} - {domain}
    assert known["learned, other shifts"] == other | {"down", "dim", "blurred"}
    assert known["learned, upright"] == {"upright"}
    assert len(pulls.guessed("learned", domain)) == 8 == len(pulls.guessed(pulls.KINDS[1], domain))


def test_a_shift_that_clients_have_is_theirs_and_the_others_are_not(pulls: ModuleType) -> None:
    batch = {"array": torch.rand(2, 1, 28, 28), "labels": torch.arange(2)}
    made = {d: pulls.shift(batch, d)["array"] for d in {*pulls.DOMAINS}}
    for domain in ("rotated", "inverted"):
        assert torch.equal(made[domain], pulls.scenario.shifted(batch, domain)["array"])
    assert torch.equal(made["upright"], batch["array"])
    names = sorted(made)
    for i, one in enumerate(names):
        assert all(not torch.equal(made[one], made[two]) for two in names[i + 1 :])


def test_simulated_clients_have_seeds_and_images_that_no_real_one_has(pulls: ModuleType) -> None:
    whole = json.loads((ROOT / "benchmarks/results/zk_apex_learned.json").read_text())
    real = {cell["seed"] for cell in whole["cells"] + whole["chosen on"]}
    drawn = {pulls.FIRST + 100 * s + n for s in real for n in range(len(pulls.DOMAINS))}
    assert len(drawn) == len(real) * len(pulls.DOMAINS)
    assert min(drawn) > 400 + max(real)  # of which a real client's largest draw is made
    assert tuple(whole["simulated"]) == pulls.DOMAINS
    told = whole["learning"]
    assert told["alpha"] == pulls.LEARNED_AT and told["keep"] == pulls.LEARNING.keep


@pytest.mark.slow
def test_it_runs(tmp_path: Path) -> None:
    file, out = ROOT / "benchmarks" / "zk_apex_learned.py", tmp_path / "out.json"
    args = ["--quick", "--work", str(tmp_path), "--out", str(out)]
    subprocess.run([sys.executable, str(file), *args], check=True, capture_output=True)
    found = json.loads(out.read_text())
    edits = found["summary"]["edits"]
    assert {"original", "retrained", "learned 0.008", "learned, upright 0.008"} <= edits.keys()
    assert edits["original"]["lost"] == [0.0, 0.0]
