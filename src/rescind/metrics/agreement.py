"""How often two versions give the same answer."""

from __future__ import annotations

from collections.abc import Sequence

from rescind.core.evidence import Measurement
from rescind.metrics.statistics import wilson


def agreement(name: str, version: str, before: Sequence[str], after: Sequence[str]) -> Measurement:
    """Share of records with the same answer, with Wilson's 95 % interval.

    Raises:
        BadParameter: there is nothing to count.
    """
    same = sum(x == y for x, y in zip(before, after, strict=True))
    n = len(after)
    return Measurement(name, version, same / n if n else 0.0, wilson(same, n), n, "original")
