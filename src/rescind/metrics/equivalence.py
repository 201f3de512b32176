"""Is a candidate near enough to retrained models: two one-sided t-tests, and Holm's correction.

"Not significantly different" is no evidence of being alike: a few noisy seeds never differ. Here
the burden is turned round: the null hypothesis is that the gap is as wide as the margin or wider.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import mean, variance
from typing import Any

from rescind.core.errors import BadParameter, InsufficientEvidence, MissingExtra

DECIDES = 8  # retrained models where something is decided
SHOWS = 3  # retrained models where something is only displayed
LARGEST = 1e150  # the square of a value must still be a number
Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Equivalence:
    """The difference of two means, in the units of the metric, and how near to 0 it is.

    ``narrow`` is the 90 % and ``interval`` the 95 % interval of ``gap``; the test rejects at 5 %
    just where ``narrow`` lies within the margin. ``p_equivalent`` belongs to the null hypothesis
    |gap| >= margin and ``p_different`` to gap = 0. With zero spread both are exactly 0 or 1.
    """

    gap: float
    narrow: Interval
    interval: Interval
    p_equivalent: float
    p_different: float


def tost(
    candidate: Sequence[float], retrained: Sequence[float], margin: float, display: bool = False
) -> Equivalence:
    """``compare``, where there are retrained models enough: 8, or 3 if it is for ``display`` only.

    Raises:
        BadParameter: no candidate, a value that is not finite, a margin that is not above 0.
        InsufficientEvidence: too few retrained models.
    """
    require_references(len(retrained), display)
    return compare(candidate, retrained, margin)


def require_references(count: int, display: bool = False) -> None:
    """Refuse fewer than 8 retrained models, or fewer than 3 where nothing is decided.

    Raises:
        InsufficientEvidence: there are fewer.
    """
    needed = SHOWS if display else DECIDES
    if count < needed:
        raise InsufficientEvidence(
            f"There are {count} retrained models.",
            f"{'A display' if display else 'A decision'} needs {needed}: their spread is the scale"
            " on which a gap is read.",
            f"Retrain {needed - count} more"
            + (f", or ask for a display, which needs {SHOWS}." if count >= SHOWS else "."),
        )


def compare(candidate: Sequence[float], retrained: Sequence[float], margin: float) -> Equivalence:
    """Two one-sided tests of ``mean(candidate) - mean(retrained)``, one value a seed.

    D. J. Schuirmann, J. Pharmacokinet. Biopharm. 15:657-680 (1987); the p-value is the larger of
    the two. Standard error and degrees of freedom are those of B. L. Welch, Biometrika 34:28-35
    (1947). A single candidate has no spread of its own and is taken to have that of the n retrained
    models: s sqrt(1 + 1/n) with n - 1 degrees of freedom, the interval that predicts one more
    model.

    Raises:
        BadParameter: no candidate, fewer than two retrained models, a value that is not finite, a
            margin that is not above 0.
        MissingExtra: scipy is not installed.
    """
    _refuse_few(candidate, retrained)
    _refuse_infinite([*candidate, *retrained])
    _refuse_margin(margin)
    gap = _gap(candidate, retrained)
    error, freedom = _error(candidate, retrained)
    narrow, wide = (_around(gap, error, freedom, p) for p in (0.95, 0.975))
    if error == 0.0:
        within, same = abs(gap) < margin, gap == 0.0
        return Equivalence(gap, narrow, wide, float(not within), float(same))
    below = t_below((-gap - margin) / error, freedom)
    above = t_below((gap - margin) / error, freedom)
    different = 2.0 * t_below(-abs(gap) / error, freedom)
    return Equivalence(gap, narrow, wide, max(below, above), different)


def gap_interval(candidate: Sequence[float], retrained: Sequence[float]) -> Interval | None:
    """The 95 % interval of ``mean(candidate) - mean(retrained)``, as ``compare`` gives it.

    For what has no margin. None for a single retrained model, which has no spread to judge by.

    Raises:
        BadParameter: nothing on one side, or a value that is not finite.
        MissingExtra: scipy is not installed.
    """
    _refuse_infinite([*candidate, *retrained])
    if len(retrained) == 1 and candidate:
        return None
    _refuse_few(candidate, retrained)
    return _around(_gap(candidate, retrained), *_error(candidate, retrained), 0.975)


def mean_interval(values: Sequence[float]) -> Interval | None:
    """The 95 % interval of the mean by Student's t, one value a seed; None for a single seed.

    Student, Biometrika 6:1-25 (1908).

    Raises:
        BadParameter: no value, or one that is not finite.
        MissingExtra: scipy is not installed.
    """
    if not values:
        raise BadParameter("There are no values.", "A mean is of one or more.", "Measure a seed.")
    _refuse_infinite(values)
    if len(values) == 1:
        return None
    middle, n = float(mean(map(float, values))), len(values)
    return _around(middle, sqrt(float(variance(map(float, values))) / n), n - 1.0, 0.975)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """p-values corrected for being several, in the order given; compare each with the level.

    S. Holm, Scand. J. Statist. 6:65-70 (1979): the i-th smallest of k is multiplied by k - i + 1,
    and none is below a smaller one's. The chance of any false rejection stays below the level,
    however the tests depend on each other.

    Raises:
        BadParameter: a value outside [0, 1].
    """
    wrong = [p for p in p_values if not 0.0 <= p <= 1.0]
    if wrong:
        raise BadParameter(f"p-values {wrong} are given.", "A p-value lies between 0 and 1.")
    corrected, largest, k = [0.0] * len(p_values), 0.0, len(p_values)
    for done, index in enumerate(sorted(range(k), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (k - done) * p_values[index]))
        corrected[index] = largest
    return tuple(corrected)


def _gap(candidate: Sequence[float], retrained: Sequence[float]) -> float:
    return float(mean(map(float, candidate))) - float(mean(map(float, retrained)))


def _around(middle: float, error: float, freedom: float, p: float) -> Interval:
    """Up to the quantile ``p`` of Student's t on each side; a point where there is no error."""
    half = error * t_quantile(p, freedom) if error else 0.0
    return middle - half, middle + half


def _error(candidate: Sequence[float], retrained: Sequence[float]) -> tuple[float, float]:
    """Standard error of the difference of means, and its degrees of freedom."""
    n, m = len(retrained), len(candidate)
    spread = float(variance(map(float, retrained)))
    if m == 1:
        return sqrt(spread * (1 + 1 / n)), n - 1.0
    first, second = float(variance(map(float, candidate))) / m, spread / n
    total = first + second
    if total == 0.0:
        return 0.0, 1.0
    share = first / total  # of sum 1: squares of the variances themselves could underflow
    return sqrt(total), 1 / (share**2 / (m - 1) + (1 - share) ** 2 / (n - 1))


def t_below(t: float, freedom: float) -> float:
    """Student's distribution function.

    Raises:
        MissingExtra: scipy is not installed.
    """
    return float(_special().stdtr(freedom, t))


def t_quantile(p: float, freedom: float) -> float:
    """The value below which Student's t lies with probability p.

    Raises:
        MissingExtra: scipy is not installed.
    """
    return float(_special().stdtrit(freedom, p))


def _special() -> Any:
    try:
        from scipy import special
    except ImportError as error:
        raise MissingExtra(
            "scipy is not installed.",
            "Student's t distribution comes from it.",
            'Type: pip install "rescind[train]"',
        ) from error
    return special


def _refuse_few(candidate: Sequence[float], retrained: Sequence[float]) -> None:
    if not candidate or len(retrained) < 2:
        raise BadParameter(
            f"There are {len(candidate)} values of the candidate and {len(retrained)} of retrained"
            " models.",
            "One and two are the fewest that have a difference with a spread.",
            "Measure more seeds.",
        )


def _refuse_infinite(values: Sequence[float]) -> None:
    wrong = [v for v in values if not abs(v) < LARGEST]
    if wrong:
        raise BadParameter(
            f"The values {wrong} are not finite numbers below {LARGEST:g}.",
            "A mean with such a value says nothing.",
            "Find out why the metric gave it; a training that diverged is no reference.",
        )


def _refuse_margin(margin: float) -> None:
    if not 0.0 < margin < LARGEST:
        raise BadParameter(
            f"The margin is {margin}.",
            "It is the widest gap that still counts as alike.",
            "Use a finite number above 0, in the units of the metric.",
        )
