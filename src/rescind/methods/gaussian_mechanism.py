"""How far noise hides a step: the analytic Gaussian mechanism (Balle and Wang, 2018, arXiv
1805.06530, Theorem 8), which holds for every epsilon; sqrt(2 ln(1.25 / delta)) only below 1.
"""

from __future__ import annotations

import math

from rescind.core.errors import BadParameter

SMALLEST = 1e-10  # below it a delta drowns in the rounding of double precision
LARGEST = 100.0  # an epsilon beyond says nothing
HALVINGS = 200


def delta_of(ratio: float, epsilon: float) -> float:
    """The least delta for which N(0, sigma^2 I) and N(m, sigma^2 I) are (epsilon, delta) close,
    ``ratio`` = |m| / sigma: Phi(ratio/2 - epsilon/ratio) - e^epsilon Phi(-ratio/2 - epsilon/ratio).
    """
    if not ratio:
        return 0.0
    near, far = (normal(side * ratio / 2 - epsilon / ratio) for side in (1, -1))
    # where far underflows nothing is subtracted: the delta is too large, never too small
    return near - (math.exp(epsilon + math.log(far)) if far else 0.0)


def largest_ratio(epsilon: float, delta: float) -> float:
    """The largest |m| / sigma that (epsilon, delta) hides, found by halving from below.

    Raises:
        BadParameter: epsilon is not in [0, 100], or delta not in [1e-10, 1).
    """
    if not 0.0 <= epsilon <= LARGEST or not SMALLEST <= delta < 1.0:
        raise BadParameter(
            f"epsilon is {epsilon} and delta {delta}.",
            f"epsilon must lie in [0, {LARGEST:g}], delta in [{SMALLEST:g}, 1).",
            "Correct them with --set name=value.",
        )
    low, high = 0.0, 1.0
    while delta_of(high, epsilon) <= delta:
        low, high = high, 2.0 * high
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if delta_of(middle, epsilon) <= delta:
            low = middle
        else:
            high = middle
    return low


def normal(x: float) -> float:
    """Phi(x), exact in both tails."""
    return math.erfc(-x / math.sqrt(2.0)) / 2
