"""Run jobs in this process, one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rescind.core.protocols import Job, Progress


@dataclass(frozen=True, slots=True)
class InlineExecutor:
    """No processes: for tests, debuggers and machines that allow none."""

    def run(self, jobs: Sequence[Job], progress: Progress) -> Iterator[tuple[int, Any]]:
        """Yield (index, result) in order; nothing runs before the first is asked for."""
        for index, job in enumerate(jobs):
            yield index, job.run(progress)
