"""Say all that is wrong with some data at once, and in an error that every caller knows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rescind.core.errors import BadData, MissingSource, RescindError

SHOWN = 5
NO_ROWS = "There is nothing to train on."  # why an empty source is refused


def first_few(items: Sequence[str]) -> str:
    """The first five items on one line, and how many more there are."""
    rest = len(items) - SHOWN
    return "; ".join(items[:SHOWN]) + (f"; and {rest:,} more" if rest > 0 else "")


def bad_data(problems: Sequence[str], why: str, do: str) -> BadData:
    """One error for all problems of a reading; the caller raises it."""
    count = "1 problem" if len(problems) == 1 else f"{len(problems):,} problems"
    return BadData(f"The data has {count}: {first_few(problems)}.", why, do)


@contextmanager
def as_missing(what: str, do: str) -> Iterator[None]:
    """Turn whatever the block raises into ``MissingSource``; our own errors pass as they are.

    Only for reading what a user's code or disk holds. Nothing may wait for a source that cannot be
    read, least of all a withdrawal, and callers can only go on without an error that they know.
    """
    try:
        yield
    except (Exception, SystemExit) as error:  # a loader, or what it calls, may raise anything
        if not isinstance(error, RescindError):
            raise MissingSource(
                f"{what} failed: {type(error).__name__}: {error}.",
                "Without its rows a model can neither be trained nor replayed.",
                do,
            ) from error
        raise
