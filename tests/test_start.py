"""What a first import may load. How long it takes is measured by benchmarks/start.py."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOADED = "import sys; print(' '.join(sorted(m for m in sys.modules if '.' not in m)))"
HELP = """
import sys
sys.argv = ["rescind", "--help"]
from rescind.cli.main import run
try:
    run()
except SystemExit as end:
    assert not end.code, end.code
"""


def loaded_by(code: str) -> set[str]:
    """The top-level modules in a fresh process after this code; its last line of output."""
    command = [sys.executable, "-c", f"{code}\n{LOADED}"]
    out = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert out.returncode == 0, out.stderr
    return set(out.stdout.splitlines()[-1].split())


def test_the_package_alone_loads_nothing_heavy() -> None:
    heavy = {"torch", "transformers", "peft", "numpy", "sqlalchemy", "cryptography", "typer"}
    loaded = loaded_by("import rescind")
    assert "rescind" in loaded
    assert loaded & heavy == set()


@pytest.mark.parametrize("name", ["Recipe", "Exact", "Certificate", "verify", "RescindError"])
def test_records_and_the_verifier_need_no_torch(name: str) -> None:
    loaded = loaded_by(f"from rescind import {name}")
    assert loaded & {"torch", "transformers", "peft", "numpy"} == set()


@pytest.mark.parametrize("name", ["open", "Workspace", "S3T", "Sisa", "Retrain"])
def test_a_workspace_opens_without_torch(name: str) -> None:
    assert loaded_by(f"from rescind import {name}") & {"torch", "transformers", "peft"} == set()


def test_help_needs_no_torch() -> None:
    loaded = loaded_by(HELP)
    assert "typer" in loaded
    assert loaded & {"torch", "transformers", "peft"} == set()


def test_a_heavy_import_would_be_seen() -> None:
    assert "sqlalchemy" in loaded_by("import rescind, sqlalchemy")
