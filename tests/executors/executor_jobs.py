"""Jobs for the executor tests; in a module of their own because workers must import them."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rescind.core.errors import RescindError, VerificationFailed
from rescind.core.protocols import Job, Progress
from rescind.executors.local import LocalExecutor


def silent(what: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


def run_alone(job: Job, progress: Progress = silent, threads: int = 1) -> Any:
    """The result of one job in a worker of its own."""
    [(_, result)] = LocalExecutor(workers=1, threads=threads).run([job], progress)
    return result


@dataclass(frozen=True)
class Square:
    number: int
    steps: int = 0

    def run(self, progress: Progress) -> int:
        for step in range(self.steps):
            progress(f"squaring {self.number}", step + 1, self.steps)
        return self.number**2


@dataclass(frozen=True)
class Process:
    def run(self, progress: Progress) -> int:
        return os.getpid()


@dataclass(frozen=True)
class Variables:
    names: tuple[str, ...]

    def run(self, progress: Progress) -> dict[str, str | None]:
        return {name: os.environ.get(name) for name in self.names}


@dataclass(frozen=True)
class TorchThreads:
    def run(self, progress: Progress) -> tuple[bool, int]:
        early = "torch" in sys.modules
        import torch

        return early, torch.get_num_threads()


@dataclass(frozen=True)
class Raise:
    kind: str

    def run(self, progress: Progress) -> None:
        if self.kind == "verification":
            raise VerificationFailed("signature", "It is forged.", "The key differs.", "Ask.")
        if self.kind == "rescind":
            raise RescindError("It failed.", "So it is.", "Try this.")
        if self.kind == "odd":
            raise OddError(1, 2)
        raise ValueError("plain")


class OddError(Exception):
    """Can be pickled and not unpickled."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"odd {a} {b}")


@dataclass(frozen=True)
class Die:
    by: str

    def run(self, progress: Progress) -> None:
        if self.by == "exit":
            os._exit(7)
        if self.by == "interrupt":
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)
            return
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Sleep:
    pid_file: str
    seconds: float = 60.0

    def run(self, progress: Progress) -> None:
        Path(self.pid_file).with_suffix(".part").write_text(str(os.getpid()))
        Path(self.pid_file).with_suffix(".part").rename(self.pid_file)
        time.sleep(self.seconds)


@dataclass(frozen=True)
class Meet:
    """Ends only if another job runs at the same time."""

    mine: str
    other: str

    def run(self, progress: Progress) -> bool:
        Path(self.mine).touch()
        for _ in range(600):
            if Path(self.other).exists():
                return True
            time.sleep(0.05)
        return False


@dataclass(frozen=True)
class Give:
    what: str

    def run(self, progress: Progress) -> Any:
        if self.what == "function":
            return lambda: None
        if self.what == "noise":
            print("noise from a library")
            return "quiet"
        return b"x" * 5_000_000
