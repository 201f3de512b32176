"""Cells of a long benchmark, each kept in a file, so that a run that was stopped goes on."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

Made = TypeVar("Made")


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


def timed(path: Path, make: Callable[[], Made]) -> Made:
    """What was made, with its CPU seconds in a file beside ``path``, where it is kept."""
    started = time.process_time()
    found = make()
    _beside(path).write_text(f"{time.process_time() - started:.1f}")
    return found


def seconds(path: Path) -> float:
    """What making it took, of CPU time.

    Raises:
        FileNotFoundError: it was not timed.
    """
    return float(_beside(path).read_text())


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.seconds")


def command(name: str, quick: bool) -> str:
    """How a result was made."""
    return shlex.join(["python", f"benchmarks/{name}", *(["--quick"] if quick else [])])
