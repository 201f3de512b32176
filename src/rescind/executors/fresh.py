"""One job in one brand-new process: nothing cached, nothing inherited, as a replay needs it."""

from __future__ import annotations

from typing import Any

from rescind.core.protocols import Job, Progress
from rescind.executors.local import LocalExecutor


def silent(what: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


def run_fresh(job: Job, progress: Progress = silent, threads: int = 1) -> Any:
    """The result of the job; its process is over when this returns.

    Raises:
        RescindError: as for ``LocalExecutor.run``.
    """
    [(_, result)] = LocalExecutor(workers=1, threads=threads).run([job], progress)
    return result
