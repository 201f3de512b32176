"""Progress bars on standard error, where somebody looks at it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rescind.core.protocols import Progress


class Bars:
    """One bar for each thing under way; several workers may report in turns."""

    def __init__(self) -> None:
        self._open: dict[str, Any] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        """Move the bar of ``what``; a full one goes."""
        from tqdm import tqdm

        if what not in self._open:
            self._open[what] = tqdm(
                desc=what, initial=done, total=total, file=sys.stderr, leave=False
            )
        bar = self._open[what]
        bar.update(done - bar.n)
        if done >= total:
            self._open.pop(what).close()

    def close(self) -> None:
        """Take away whatever is still drawn."""
        for bar in self._open.values():
            bar.close()
        self._open.clear()


def _nobody_looks(what: str, done: int, total: int) -> None:
    """Nothing: standard error is no terminal."""


@contextmanager
def watched() -> Iterator[Progress]:
    """What to hand to a ``Workspace`` call that takes time."""
    if not sys.stderr.isatty():
        yield _nobody_looks
        return
    bars = Bars()
    try:
        yield bars
    finally:
        bars.close()
