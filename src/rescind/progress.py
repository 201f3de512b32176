"""Progress bars for whoever watches a terminal, fed by the callable that all long work takes."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

from tqdm import tqdm


class Bars:
    """One bar a piece of work, on standard error; nothing is drawn where nobody watches."""

    def __init__(self, watched: bool | None = None) -> None:
        self._watched = sys.stderr.isatty() if watched is None else watched
        self._bars: dict[str, Any] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        """Move the bar of this work; the last step takes it away."""
        if what not in self._bars:
            self._bars[what] = tqdm(
                desc=what, total=total, leave=False, disable=not self._watched, file=sys.stderr
            )
        bar = self._bars[what]
        bar.update(done - bar.n)
        if done >= total:
            self._bars.pop(what).close()

    def __enter__(self) -> Bars:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take away what an interruption left."""
        for bar in self._bars.values():
            bar.close()
        self._bars.clear()
