"""A benchmark that goes on takes what it made, of its own size."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from kept_cells import command, folder, kept


def test_a_cell_is_made_once_and_a_full_run_takes_none_of_a_quick_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = []

    def make() -> list[int]:
        made.append(1)
        return [len(made)]

    quick, full = (folder(tmp_path, quick=size) / "a.json" for size in (True, False))
    assert kept(quick, make) == kept(quick, make) == [1]
    assert kept(full, make) == [2] and kept(quick, make) == [1]
    assert capsys.readouterr().err.count("a: ") == 2
    assert command("x.py", quick=True) == "python benchmarks/x.py --quick"
