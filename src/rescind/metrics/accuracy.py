"""How often the model is right, and by how much that changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from rescind.core.evidence import Measurement
from rescind.metrics.statistics import paired_difference, wilson


def accuracy(
    name: str,
    version: str,
    right: Sequence[bool],
    compared_with: Literal["retrained", "original", "none"],
) -> Measurement:
    """Share of right answers with Wilson's 95 % interval.

    Raises:
        BadParameter: there is nothing to count.
    """
    interval = wilson(sum(right), len(right))
    return Measurement(name, version, sum(right) / len(right), interval, len(right), compared_with)


def change(name: str, version: str, before: Sequence[bool], after: Sequence[bool]) -> Measurement:
    """After minus before on the same records, with Newcombe's interval for paired proportions."""
    difference, low, high = paired_difference(before, after)
    return Measurement(name, version, difference, (low, high), len(after), "original")
