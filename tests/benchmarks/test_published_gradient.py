"""What a published gradient shows: its tests find what they should, and the page says what was."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

ROOT = Path(__file__).parents[2]
STORED = ROOT / "benchmarks" / "results" / "published_gradient.json"
SHAPES = (torch.Size([12, 16]), torch.Size([12, 16]), torch.Size([16, 12]))
RECORDS, AUXILIARY = 60, 30


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """The benchmark's files, which are no package."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    names = ("gradient_members", "gradient_inversion", "published_gradient", "zk_apex")
    yield SimpleNamespace(**{name: importlib.import_module(name) for name in names[:3]})
    for name in names:
        sys.modules.pop(name, None)


def made_rows(bench: SimpleNamespace) -> Any:
    """Gradients of made-up records that share a part; the second tensor's are of rank one."""
    draw = torch.Generator().manual_seed(0)
    parts = []
    for place, shape in enumerate(SHAPES):
        shared = torch.randn(shape.numel(), generator=draw)
        each = shared + torch.randn(RECORDS + AUXILIARY, shape.numel(), generator=draw)
        if place == 1:
            errors = torch.randn(len(each), shape[0], 1, generator=draw)
            features = torch.randn(len(each), 1, shape[1], generator=draw) + 0.5
            each = (errors * features).flatten(1)
        parts.append(each * (32 / (each[RECORDS:].mean(0) ** 2).mean().sqrt()))
    values = torch.cat(parts, 1)
    return bench.gradient_members.Rows(values, values @ values.T, SHAPES, RECORDS)


def numbers(bench: SimpleNamespace, rows: Any, places: Tensor) -> list[Tensor]:
    mean = rows.values[places].mean(0).split([s.numel() for s in SHAPES])
    shaped = [m.view(s) for m, s in zip(mean, SHAPES, strict=True)]
    return [g.round() for g in bench.gradient_members.published(shaped)]


@pytest.mark.parametrize(("count", "sure"), [(1, {"span", "reference", "pool"}), (10, {"pool"})])
def test_members_are_told_from_others_and_not_by_a_gradient_of_others(
    bench: SimpleNamespace, count: int, sure: set[str]
) -> None:
    members, rows = bench.gradient_members, made_rows(bench)
    pool = torch.arange(40)
    own = members.scores(rows, numbers(bench, rows, pool[:count]), pool, count)
    other = members.scores(rows, numbers(bench, rows, torch.arange(40, 40 + count)), pool, count)
    assert set(own) == set(other) == set(members.TESTS)
    told = {k: members.auc(v[:count], v[count:]) for k, v in own.items()}
    assert {k for k, v in told.items() if v > 0.99} >= sure, told
    assert not any(torch.equal(own[k], other[k]) for k in own)
    assert members.auc(other["pool"][:count], other["pool"][count:]) < 0.95


def test_numbers_that_were_cut_off_are_left_out(bench: SimpleNamespace) -> None:
    """Taken as they are they would be far from any mean of records."""
    members, rows = bench.gradient_members, made_rows(bench)
    pool, own = torch.arange(40), numbers(bench, rows, torch.arange(10))
    own[0][:3] = 127.0
    found = members.scores(rows, own, pool, 10)["pool"]
    assert members.auc(found[:10], found[10:]) > 0.99
    flat = torch.cat([g.flatten() for g in own])
    cut = rows.values[:, flat.abs() >= members.LIMIT]
    left = rows.values[:, flat.abs() < members.LIMIT].double()
    assert cut.shape[1] >= 3
    inner = members._products(rows, cut, pool[:5], pool[5:])
    assert torch.allclose(inner, left[:5] @ left[5:40].T, rtol=1e-4)


def test_what_is_published_is_what_clients_get(bench: SimpleNamespace) -> None:
    from rescind.methods.zk_apex.quantise import whole_gradients

    gradient = torch.randn(40, 50, generator=torch.Generator().manual_seed(1)) ** 3
    [found] = bench.gradient_members.published([gradient])
    step = float((gradient**2).mean().sqrt()) / 32
    assert torch.equal(found.round().long(), whole_gradients(gradient, step))
    assert found.abs().max() == 127


def test_auc_counts_ties_as_a_half(bench: SimpleNamespace) -> None:
    one, two = torch.tensor([1.0, 3.0]), torch.tensor([1.0, 2.0])
    assert bench.gradient_members.auc(one, two) == pytest.approx((0.5 + 0 + 1 + 1) / 4)


def test_only_images_of_the_records_gain(bench: SimpleNamespace) -> None:
    images = torch.rand(64, 1, 28, 28, generator=torch.Generator().manual_seed(2))
    true, others = images[:4], images[4:40]
    found = bench.gradient_inversion.gain(true, true, others, 0)
    assert found["match"] == pytest.approx(1.0, abs=1e-5)
    assert found["gain"] > 0.8 and found["rank"] == 1.0
    none = bench.gradient_inversion.gain(images[40:], true, others, 0)
    assert abs(none["gain"]) < 0.05 and none["rank"] not in (0.0, 1.0)
    turned = bench.gradient_inversion.gain(1.0 - 0.5 * true, true, others, 0)
    assert turned["gain"] < 0.0


@pytest.mark.slow
def test_it_runs(tmp_path: Path) -> None:
    file, out = ROOT / "benchmarks" / "published_gradient.py", tmp_path / "out.json"
    args = ["--quick", "--work", str(tmp_path), "--out", str(out)]
    subprocess.run([sys.executable, str(file), *args], check=True, capture_output=True)
    found = json.loads(out.read_text())["summary"]
    assert set(found) == {"1", "all"} and out.with_suffix(".png").stat().st_size > 1000
    one = found["1"]["membership"]
    assert one["span"][0] > 0.9 and one["pool"][0] > 0.9
    assert (
        found["1"]["inversion"]["prior"]["match"][0] > found["1"]["inversion"]["noise"]["match"][0]
    )


def test_the_page_says_what_was_found() -> None:
    whole = json.loads(STORED.read_text())
    found, text = whole["summary"], (ROOT / "docs" / "methods" / "zk_apex.md").read_text()
    assert f"`{whole['command']}`" in text and len(whole["cells"]) == 6
    for count, told in found.items():
        images, tests = told["inversion"], told["membership"]
        gains = [images[k]["gain"] for k in ("prior", "others' prior")]
        cells = ["{:+.3f} ({:+.3f} to {:+.3f})".format(*g) for g in gains]
        names = ("product", "span", "reference", "pool", "reference, loud", "pool, loud")
        cells += [
            "{:.2f} ({:.2f} to {:.2f})".format(*tests[k]) if k in tests else "" for k in names
        ]
        assert f"| {count} | {' | '.join(cells)} |" in text
        others = [v for k, v in tests.items() if k.startswith("others'")]
        assert all(low < 0.5 + 0.02 and high > 0.5 - 0.02 for _, low, high in others), count
    many, one = (found["500"], found["all"]), found["1"]
    assert one["inversion"]["prior"]["gain"][1] > 0.05
    assert all(one["membership"][k][0] == 1.0 for k in ("span", "reference", "pool"))
    for told in many:
        for attack in ("pixels", "nearest", "prior"):
            _, low, high = told["inversion"][attack]["gain"]
            assert low < 0.0 < high and high < 0.01, attack
        assert told["inversion"]["class mean"]["gain"][0] < 0.01
    shares = [f"{t['membership'][k][0]:.2f}" for k in ("pool", "pool, loud") for t in many]
    for share in shares:
        assert share in text.split("It does not hide who was in it")[1].split("\n")[0]
    assert min(t["membership"]["pool"][1] for t in many) > 0.65
    assert max(t["membership"]["product"][2] for t in many) < 0.53
