"""Training, every method of a benchmark and all its measures on a GPU, where there is one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from cloud_setting import RECIPE, cloud_setting, clouds

from rescind.benchmarks.cells import Cells
from rescind.benchmarks.models import Models
from rescind.benchmarks.part import run_part
from rescind.benchmarks.subjects import ANEW_LINE, ORIGINAL_LINE, Bench
from rescind.benchmarks.tried import editing
from rescind.training.determinism import settle
from rescind.training.plain import train_whole

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]


@pytest.fixture(autouse=True, scope="module")
def deterministic() -> None:
    settle()


def test_two_trainings_give_the_same_bytes() -> None:
    rows = [r.row for r in clouds("a", 80, 1)]
    first, second = (train_whole(RECIPE, rows, "cuda").state((0,)) for _ in range(2))
    assert all(t.is_cuda for t in first.values())
    assert all(torch.equal(t, second[name]) for name, t in first.items())


def test_it_learns_what_the_processor_learns() -> None:
    rows = [r.row for r in clouds("a", 240, 1)]
    there, here = (train_whole(RECIPE, rows, device) for device in ("cuda", "cpu"))
    batch = here.inputs(rows)
    answers = [m.outputs(batch).argmax(dim=1).cpu() for m in (there, here)]
    assert float((answers[0] == answers[1]).float().mean()) > 0.98


def test_a_whole_part_is_measured(tmp_path: Path) -> None:
    setting = dataclasses.replace(cloud_setting(), methods=editing("classes"), trials=2)
    models = Models(RECIPE, Cells(tmp_path, "cuda"))
    bench = Bench(setting, "mlp", models, lambda *_: None, deep=True)
    part = run_part(bench, setting.forget_sets[0])
    rows = {line.name: line for line in part.lines}
    named = {name: line.refused for name, line in rows.items() if line.refused}
    assert not [why for why in named.values() if "device" in why or "cuda" in why], named
    verdicts = {n: line.judgement.verdict for n, line in rows.items() if line.judgement}
    assert verdicts[ANEW_LINE] == "admissible"
    assert verdicts[ORIGINAL_LINE] == "not_admissible"
