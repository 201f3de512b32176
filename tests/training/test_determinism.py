from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import torch

from rescind.testing.tiny import tiny_task
from rescind.training.batches import batches, pieces, steps
from rescind.training.determinism import environment, settle, stage_seed
from rescind.training.encoder import encoder_digest
from rescind.training.loop import decay

PINNED = 618063725214325099


def test_seeds_differ_in_every_argument_and_stay_the_same() -> None:
    asked = [
        (0, 0, (0,), "head"),
        (1, 0, (0,), "head"),
        (0, 1, (0,), "head"),
        (0, 0, (1,), "head"),
        (0, 0, (0, 1), "head"),
        (0, 0, (1, 0), "head"),
        (0, 0, (0,), "batches"),
        (0, 0, (0,), "block 1"),
        (0, 0, (0,), "block 10"),
    ]
    seeds = [stage_seed(*arguments) for arguments in asked]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**60 for seed in seeds)
    assert stage_seed(0, 0, [0], "head") == seeds[0]
    # pinned: a seed that moves changes every snapshot that was ever certified
    assert seeds[0] == PINNED


def test_batches_take_every_row_once_an_epoch_and_depend_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    made = list(batches(10, 4, 3, seed=5))
    torch.manual_seed(2)
    again = list(batches(10, 4, 3, seed=5))
    assert all(torch.equal(a, b) for a, b in zip(made, again, strict=True))
    assert [len(b) for b in made] == [4, 4, 2] * 3
    assert len(made) == steps(10, 4, 3)
    epochs = [torch.cat(made[i : i + 3]).tolist() for i in (0, 3, 6)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1]
    assert torch.cat(list(batches(10, 4, 3, seed=6))).tolist() != torch.cat(made).tolist()


def test_pieces_keep_the_rows_in_order() -> None:
    parts = list(pieces({"a": torch.arange(5), "b": torch.arange(5, 10)}, 2))
    assert [p["a"].tolist() for p in parts] == [[0, 1], [2, 3], [4]]
    assert [p["b"].tolist() for p in parts] == [[5, 6], [7, 8], [9]]


def test_the_rate_rises_and_falls_to_nothing() -> None:
    rates = [decay(step, 40) for step in range(40)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert all(a > b for a, b in pairwise(rates[3:]))
    assert 0 < rates[-1] < 0.05
    assert decay(0, 1) == 1.0


def test_settle_fixes_threads_and_refuses_other_kernels() -> None:
    code = (
        "import sys; from rescind.training.determinism import settle; settle(1); import torch;"
        "sys.exit(not (torch.get_num_threads() == 1 and torch.get_num_interop_threads() == 1"
        " and torch.are_deterministic_algorithms_enabled()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    settle()  # a second time, after the pools were used, is no error
    assert torch.are_deterministic_algorithms_enabled()


def test_environment_names_what_the_bytes_depend_on(tmp_path: Path) -> None:
    task = tiny_task(tmp_path / "encoder")
    found = environment(task, threads=1)
    assert found.torch == torch.__version__
    assert found.encoder == encoder_digest(task)
    assert found.threads == 1
    assert all([found.transformers, found.peft, found.machine, found.cpu_capability])
