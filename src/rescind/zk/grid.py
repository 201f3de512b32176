"""The public grid of scales: a number of it tells little more of a model than its size.

Its numbers are 4, 5, 6 or 7 times a power of two, a step of at most a quarter. A scale that was
read off a model, written out, would tell the value of one of its gradients to sixteen digits.
"""

from __future__ import annotations

from math import ceil, frexp, ldexp

from rescind.core.errors import BadParameter

LARGEST = 2.0**64


def up(value: float) -> float:
    """The least number of the grid that is not below ``value``.

    Raises:
        BadParameter: it is not above 0, or beyond all that a scale could be.
    """
    _refuse(value)
    share, power = frexp(value)  # share from .5 below 1
    return ldexp(ceil(share * 8), power - 3)


def up_whole(value: float) -> int:
    """The same of a whole number; below 8 all are on the grid."""
    return int(up(max(1, ceil(value))))


def check(value: float, what: str) -> None:
    """Refuse a number that is not on the grid.

    Raises:
        BadParameter: it is not.
    """
    if up(value) != value:
        raise BadParameter(
            f"{what} is {value}, which is not on the grid of scales.",
            "A number to the last digit tells something of the model that it was read off.",
            f"Take {up(value)}.",
        )


def _refuse(value: float) -> None:
    if not 0.0 < value < LARGEST:
        raise BadParameter("A scale is no number above 0.", do="A scale is finite and above 0.")
