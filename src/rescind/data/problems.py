"""Say all that is wrong with some data at once: the first few problems, and how many there are."""

from __future__ import annotations

from collections.abc import Sequence

from rescind.core.errors import BadData

SHOWN = 5


def first_few(items: Sequence[str]) -> str:
    """The first five items on one line, and how many more there are."""
    rest = len(items) - SHOWN
    return "; ".join(items[:SHOWN]) + (f"; and {rest:,} more" if rest > 0 else "")


def bad_data(problems: Sequence[str], why: str, do: str) -> BadData:
    """One error for all problems of a reading; the caller raises it."""
    count = "1 problem" if len(problems) == 1 else f"{len(problems):,} problems"
    return BadData(f"The data has {count}: {first_few(problems)}.", why, do)
