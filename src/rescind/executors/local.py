"""Run jobs in fresh worker processes on this machine."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from rescind.core.protocols import Job, Progress
from rescind.executors.worker import Worker, start


@dataclass(frozen=True, slots=True)
class LocalExecutor:
    """``workers`` processes (0: one a core, shared by ``threads``), started for each ``run``.

    A worker takes one job after the other, which spares it importing torch again.
    """

    workers: int = 0
    threads: int = 1

    def run(self, jobs: Sequence[Job], progress: Progress) -> Iterator[tuple[int, Any]]:
        """Yield (index, result) as each job ends; nothing starts before the first is asked for.

        Whatever ends the iteration, be it an error, Ctrl-C or the caller, ends the workers.

        Raises:
            RescindError: a job raised it, or a worker died. Any other error of a job is raised
                as it is, with the worker's traceback as a note.
        """
        left = deque(enumerate(jobs))
        busy: dict[Connection, tuple[Worker, int]] = {}
        workers: list[Worker] = []
        try:
            for _ in range(min(self._processes(), len(left))):
                workers.append(start(self.threads))
                _give_next(workers[-1], left, busy)
            while busy:
                for pipe in wait(list(busy)):
                    worker, index = busy[pipe]  # type: ignore[index]
                    kind, content = worker.read()
                    if kind == "progress":
                        progress(*content)
                    elif kind == "error":
                        raise content
                    else:
                        del busy[pipe]  # type: ignore[arg-type]
                        _give_next(worker, left, busy)
                        yield index, content
        finally:
            for worker in workers:
                worker.stop()

    def _processes(self) -> int:
        if self.workers:
            return self.workers
        can_say = hasattr(os, "sched_getaffinity")  # Linux: cores we may use, not all there are
        cores = len(os.sched_getaffinity(0)) if can_say else os.cpu_count() or 1
        return max(1, cores // self.threads)


def _give_next(
    worker: Worker, left: deque[tuple[int, Job]], busy: dict[Connection, tuple[Worker, int]]
) -> None:
    """Keep a worker busy while there is work."""
    if left:
        index, job = left.popleft()
        worker.give(job)
        busy[worker.pipe] = (worker, index)
