"""Cells of a long benchmark, each kept in a file, so that a run that was stopped goes on."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def folder(work: Path, quick: bool) -> Path:
    """Where cells of this size are kept: a full run must never find those of a quick one."""
    found = work / ("quick" if quick else "full")
    found.mkdir(parents=True, exist_ok=True)
    return found


def kept(path: Path, make: Callable[[], Any]) -> Any:
    """The cell of that file, made and told on standard error if it is not there."""
    if not path.is_file():
        started = time.process_time()
        path.write_text(json.dumps(make()))
        print(f"{path.stem}: {time.process_time() - started:.0f} s", file=sys.stderr, flush=True)
    return json.loads(path.read_text())


def command(name: str, quick: bool) -> str:
    """How a result was made."""
    return shlex.join(["python", f"benchmarks/{name}", *(["--quick"] if quick else [])])
