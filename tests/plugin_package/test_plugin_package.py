"""A package that registers a method is built, installed and checked as its author would do it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
NAME = "rescind-tiny-plugin/first_orders"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which pip has put the package; it is built from a copy."""
    source = tmp_path_factory.mktemp("source") / "package"
    shutil.copytree(HERE, source)
    target = tmp_path_factory.mktemp("installed")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--target"]
    command = [sys.executable, "-m", "pip", "install", *options, str(target), str(source)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return target


def run(installed: Path, *command: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(installed)}
    empty = installed.with_name("author")
    empty.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, *command],
        cwd=empty,
        env=env,
        capture_output=True,
        text=True,
        timeout=580,
    )


def test_an_installed_method_is_listed_and_made(installed: Path) -> None:
    code = (
        "from rescind.methods_of import METHODS, make, name_of\n"
        f"assert {NAME!r} in METHODS.names()\n"
        f"method = METHODS.make({NAME!r}, {{'orders_kept': '2'}})\n"
        "assert method.orders_kept == 2\n"
        f"assert name_of(method) == {NAME!r}\n"
    )
    found = run(installed, "-c", code)
    assert found.returncode == 0, found.stderr


def test_nothing_of_it_is_left_without_the_folder() -> None:
    from rescind.methods_of import METHODS

    assert NAME not in METHODS.names()


@pytest.mark.slow
def test_an_installed_method_conforms(installed: Path) -> None:
    found = run(installed, "-m", "pytest", "-q", "--rescind-method", NAME)
    assert "16 passed" in found.stdout, found.stdout + found.stderr
