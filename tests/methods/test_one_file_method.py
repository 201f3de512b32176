"""The method of docs/how-to/add-a-method.md, from its page to its checks."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from rescind import methods_of
from rescind.core.protocols import Unlearner, Withdrawer
from rescind.testing.conformance import (
    CHECKS,
    WITHDRAWER_CHECKS,
    NotConforming,
    check_unlearner,
    checks_for,
)

THAWED = """
from dataclasses import dataclass

@dataclass
class Thawed:
    handle: object = print

    def unlearn(self, model, split, run):
        return None
"""
LAZY = """
class Lazy:
    def unlearn(self, model, split, run):
        return None
"""
SILENT = """
from collections.abc import Callable
from dataclasses import dataclass

@dataclass(frozen=True)
class Silent:
    score: Callable[[int], float] = float

    def unlearn(self, model, split, run):
        return None
"""
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "add-a-method.md"


@pytest.fixture(scope="module")
def method(tmp_path_factory: pytest.TempPathFactory) -> Unlearner:
    [code, *_] = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    file = tmp_path_factory.mktemp("one-file") / "drop_shard.py"
    file.write_text(code)
    return methods_of.make(f"{file}:DropShard")


def test_the_page_shows_a_method_that_conforms(method: Unlearner, tmp_path: Path) -> None:
    assert isinstance(method, Withdrawer)
    assert check_unlearner(method, tmp_path) == (*CHECKS, *WITHDRAWER_CHECKS)


def test_the_page_lists_every_check() -> None:
    listed = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", PAGE.read_text(), re.M)))
    assert {*CHECKS, *WITHDRAWER_CHECKS} <= set(listed)


def test_a_method_without_withdraw_has_fewer_checks() -> None:
    assert checks_for(methods_of.make("retrain")) == tuple(CHECKS)


def test_check_unlearner_names_every_check_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two checks that look at the class alone, so that nothing is trained."""
    (tmp_path / "thawed.py").write_text(THAWED)
    monkeypatch.syspath_prepend(tmp_path)
    from importlib import import_module

    quick = {n: CHECKS[n] for n in ("parameters_are_plain_fields", "parameters_survive_json")}
    monkeypatch.setattr("rescind.testing.conformance.CHECKS", quick)
    with pytest.raises(NotConforming) as caught:
        check_unlearner(import_module("thawed").Thawed(), tmp_path)
    assert all(name in str(caught.value) for name in quick)


def option(folder: Path, name: str) -> tuple[int, str]:
    """Two checks that train nothing, by the option and nothing else."""
    command = [sys.executable, "-m", "pytest", "-q", "--rescind-method", name, "-k", "parameters"]
    found = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return found.returncode, found.stdout + found.stderr


def test_the_option_runs_the_checks_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "silent.py").write_text(SILENT)
    code, said = option(tmp_path, "silent.py:Silent")
    assert code == 1
    assert "1 failed, 1 passed" in said
    assert "parameters_survive_json: Silent(" in said


def test_the_option_refuses_what_is_no_method(tmp_path: Path) -> None:
    (tmp_path / "lazy.py").write_text(LAZY)
    code, said = option(tmp_path, "lazy.py:Lazy")
    assert code not in (0, 1)
    assert "lazy.py:Lazy is not a frozen dataclass" in said
