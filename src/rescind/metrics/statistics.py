"""Intervals for proportions, on their own and before and after on the same records.

All keep their coverage near 0 and 1, where accuracies and agreements of unlearned models lie and
where the textbook interval, estimate plus or minus 1.96 standard errors, collapses to a point.
Wilson's holds the level on average, Clopper and Pearson's always: attacks use the second.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import NormalDist

from rescind.core.errors import BadParameter


def wilson(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Low and high end of the Wilson score interval of ``successes`` / ``n``.

    E. B. Wilson, J. Am. Stat. Assoc. 22:209-212 (1927), without continuity correction.

    Raises:
        BadParameter: nothing was counted (``n`` below 1), ``successes`` outside 0..n, or ``level``
            outside (0, 1).
    """
    _refuse(successes, n, level)
    z = NormalDist().inv_cdf(0.5 + level / 2)
    p = successes / n
    centre = p + z * z / (2 * n)
    half = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = ((centre + half * side) / (1 + z * z / n) for side in (-1, 1))
    # at the ends the formula gives exactly 0 or 1; floating point misses by 1e-17
    return (0.0 if successes == 0 else low, 1.0 if successes == n else high)


def clopper_pearson(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Low and high end of the exact interval of ``successes`` / ``n``, wider than Wilson's.

    C. J. Clopper and E. S. Pearson, Biometrika 26:404-413 (1934): each end is the share at which a
    count as far out as this one has the probability (1 - ``level``) / 2.

    Raises:
        BadParameter: what ``wilson`` refuses.
    """
    from scipy.special import betainccinv, betaincinv

    _refuse(successes, n, level)
    tail = (1 - level) / 2
    low = float(betaincinv(successes, n - successes + 1, tail)) if successes else 0.0
    high = float(betainccinv(successes + 1, n - successes, tail)) if successes < n else 1.0
    return low, high


def paired_difference(
    before: Sequence[bool], after: Sequence[bool], level: float = 0.95
) -> tuple[float, float, float]:
    """Share of True in ``after`` minus that in ``before``, with the low and high end.

    Position i of both is the same record. The interval squares and adds the distances of the two
    Wilson intervals, reduced by the correlation phi of the pairs: method 10 of R. G. Newcombe,
    Statist. Med. 17:2635-2650 (1998). Swapping the arguments mirrors it about 0.

    Raises:
        BadParameter: no records, or not the same number of them.
    """
    if len(before) != len(after):
        raise BadParameter(
            f"There are {len(before)} results before and {len(after)} after.",
            "A paired difference compares the same records.",
            "Score both models on the test records that are left.",
        )
    n, first, second = len(after), sum(map(bool, after)), sum(map(bool, before))
    low1, high1 = wilson(first, n, level)
    low2, high2 = wilson(second, n, level)
    p1, p2 = first / n, second / n
    both = sum(1 for b, a in zip(before, after, strict=True) if b and a)
    phi = _phi(both, first, second, n)
    difference = (first - second) / n
    below = _square_and_add(p1 - low1, high2 - p2, phi)
    above = _square_and_add(high1 - p1, p2 - low2, phi)
    return difference, difference - below, difference + above


def _square_and_add(first: float, second: float, phi: float) -> float:
    return sqrt(first * first - 2 * phi * first * second + second * second)


def _phi(both: int, first: int, second: int, n: int) -> float:
    """Correlation of two binary results; if positive, with Newcombe's continuity correction."""
    margins = first * (n - first) * second * (n - second)
    if margins == 0:
        return 0.0
    # n both - first second = (both)(neither) - (only first)(only second)
    product = n * both - first * second
    return (max(product - n / 2, 0.0) if product > 0 else product) / sqrt(margins)


def _refuse(successes: int, n: int, level: float) -> None:
    if n < 1:
        raise BadParameter(
            f"A proportion of {n} records is asked for.",
            "Nothing was counted, and no number stands for nothing.",
            "Score at least one record.",
        )
    if not 0 <= successes <= n:
        raise BadParameter(
            f"{successes} successes among {n} records.",
            "A count lies between 0 and the number of records.",
            "Pass the count first and the number of records second.",
        )
    if not 0.0 < level < 1.0:
        raise BadParameter(
            f"level is {level}.",
            "It is the share of intervals that hold the true value.",
            "Use a number between 0 and 1, such as 0.95.",
        )
