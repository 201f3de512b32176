"""The example's three scripts run one after the other, as its README says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[1] / "examples" / "news_s3t"


def run(script: str, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """A script in a process of its own, away from the repository."""
    command = [sys.executable, str(EXAMPLE / script), "news", *more]
    return subprocess.run(command, cwd=folder, env=os.environ, capture_output=True, text=True)


def fine(script: str, folder: Path, *more: str) -> str:
    done = run(script, folder, *more)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_train_forget_verify(tmp_path: Path) -> None:
    assert "Trained v1 from 203 articles" in fine("train.py", tmp_path)
    told = fine("forget.py", tmp_path)
    key = told.partition(":")[0]
    assert "Withdrawn after" in told
    assert "still stored: {}" in told
    checked = fine("verify.py", tmp_path)
    assert checked.count("passed ") == 9
    assert checked.count("failed ") == 0
    assert "not checked  ledger head" in checked
    assert "Claim: exact (never_saw)." in checked
    assert "forgotten already" in fine("forget.py", tmp_path, "--key", key)

    certificate = tmp_path / "news" / "certificate.json"
    envelope = json.loads(certificate.read_text())
    envelope["payload"] = envelope["payload"][:-8] + "AAAA" + envelope["payload"][-4:]
    certificate.write_text(json.dumps(envelope))
    assert run("verify.py", tmp_path).returncode != 0


def test_the_example_has_its_four_files() -> None:
    assert {p.name for p in EXAMPLE.iterdir() if p.is_file()} == {
        *("README.md", "train.py", "forget.py", "verify.py")
    }
