from __future__ import annotations

import random
from collections.abc import Callable
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rescind.core.errors import BadParameter
from rescind.metrics.statistics import clopper_pearson, paired_difference, wilson

PAIRS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)


def pairs(
    both: int, after_only: int, before_only: int, neither: int
) -> tuple[list[bool], list[bool]]:
    table = [(True, True)] * both + [(False, True)] * after_only
    table += [(True, False)] * before_only + [(False, False)] * neither
    before, after = zip(*table, strict=True)
    return list(before), list(after)


# Newcombe, Statist. Med. 17:857-872 (1998), Table I, method 3
@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_the_published_limits(successes: int, n: int, low: float, high: float) -> None:
    assert wilson(successes, n) == pytest.approx((low, high), abs=5.1e-5)


@pytest.mark.parametrize("level", [0.9, 0.95])
@pytest.mark.parametrize(("hits", "n"), [(0, 10), (1, 10), (7, 10), (10, 10), (299, 300), (0, 1)])
def test_clopper_and_pearson_leave_half_of_the_rest_in_each_tail(
    hits: int, n: int, level: float
) -> None:
    low, high = clopper_pearson(hits, n, level)
    assert (low == 0.0) == (hits == 0) and (high == 1.0) == (hits == n)
    tail = pytest.approx((1 - level) / 2, rel=1e-6)
    assert hits == 0 or stats.binom.sf(hits - 1, n, low) == tail
    assert hits == n or stats.binom.cdf(hits, n, high) == tail


# Newcombe, Statist. Med. 17:2635-2650 (1998), Table III, method 10, as quoted by the tests of the R
# package propint and others; the last row is from those of contingencytables (Cavo et al., 2012).
# One printed limit, 0.8736, is 0.87367 by the formula: hence a tolerance of one last digit.
@pytest.mark.parametrize(
    ("cells", "low", "high"),
    [
        ((36, 12, 2, 0), 0.0569, 0.3404),
        ((20, 12, 2, 16), 0.0562, 0.3292),
        ((18, 12, 2, 18), 0.0562, 0.3290),
        ((36, 14, 0, 0), 0.1528, 0.4167),
        ((35, 14, 0, 1), 0.1461, 0.4175),
        ((18, 14, 0, 18), 0.1441, 0.3963),
        ((1, 97, 1, 1), 0.8736, 0.9850),
        ((0, 30, 0, 0), 0.8395, 1.0000),
        ((54, 0, 0, 0), -0.0664, 0.0664),
        ((53, 0, 0, 1), -0.0729, 0.0729),
        ((30, 0, 0, 24), -0.0358, 0.0358),
        ((59, 6, 16, 80), -0.1186, -0.0046),
    ],
)
def test_paired_difference_gives_the_published_limits(
    cells: tuple[int, int, int, int], low: float, high: float
) -> None:
    difference, lowest, highest = paired_difference(*pairs(*cells))
    assert difference == pytest.approx((cells[1] - cells[2]) / sum(cells))
    assert (lowest, highest) == pytest.approx((low, high), abs=1e-4)


def test_pairing_narrows_the_interval_of_agreeing_models() -> None:
    before, after = pairs(both=70, after_only=1, before_only=4, neither=25)
    _, low, high = paired_difference(before, after)
    shuffled = random.Random(0).sample(after, len(after))
    _, unpaired_low, unpaired_high = paired_difference(before, shuffled)
    assert high - low < 0.6 * (unpaired_high - unpaired_low)


@given(st.integers(1, 200), st.data())
def test_wilson_is_a_mirrored_interval_around_the_estimate(n: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, n))
    low, high = wilson(successes, n)
    assert 0.0 <= low <= successes / n <= high <= 1.0
    mirrored = wilson(n - successes, n)
    assert (1 - mirrored[1], 1 - mirrored[0]) == pytest.approx((low, high), abs=1e-12)
    narrow = wilson(successes, n, level=0.8)
    assert low <= narrow[0] and narrow[1] <= high and narrow != (low, high)


@given(PAIRS)
def test_swapping_or_negating_mirrors_the_difference(table: list[tuple[bool, bool]]) -> None:
    before, after = [b for b, _ in table], [a for _, a in table]
    difference, low, high = paired_difference(before, after)
    assert -1.0 - 1e-12 <= low <= difference <= high <= 1.0 + 1e-12
    mirrored = pytest.approx((-difference, -high, -low), abs=1e-12)
    assert paired_difference(after, before) == mirrored
    assert paired_difference([not b for b in before], [not a for a in after]) == mirrored


def test_wilson_covers_95_percent_over_all_proportions() -> None:
    """Exact coverage by summing the binomial; its mean over p is what Wilson is known for."""
    n = 40
    intervals = [wilson(k, n) for k in range(n + 1)]
    coverage = [
        sum(
            comb(n, k) * p**k * (1 - p) ** (n - k)
            for k, (low, high) in enumerate(intervals)
            if low <= p <= high
        )
        for p in (i / 500 for i in range(1, 500))
    ]
    assert sum(coverage) / len(coverage) == pytest.approx(0.95, abs=0.01)
    assert min(coverage) > 0.80


@pytest.mark.parametrize("cells", [(0.70, 0.02, 0.06, 0.22), (0.90, 0.01, 0.03, 0.06)])
def test_paired_difference_covers_95_percent(cells: tuple[float, float, float, float]) -> None:
    """2000 simulated test sets of 120 records: the standard error of the coverage is 0.5 %."""
    generator, truth, covered = random.Random(1), cells[1] - cells[2], 0
    for _ in range(2000):
        drawn = generator.choices(range(4), weights=cells, k=120)
        counts = [drawn.count(cell) for cell in range(4)]
        _, low, high = paired_difference(*pairs(*counts))
        covered += low <= truth <= high
    assert 0.93 <= covered / 2000 <= 0.985


@pytest.mark.parametrize("interval", [wilson, clopper_pearson])
@pytest.mark.parametrize(
    ("successes", "n", "level", "reason"),
    [
        (0, 0, 0.95, "Nothing was counted"),
        (3, 2, 0.95, "3 successes among 2"),
        (-1, 2, 0.95, "-1 successes"),
        (1, 2, 1.0, "level is 1.0"),
        (1, 2, float("nan"), "level is nan"),
    ],
)
def test_what_is_no_proportion_is_refused(
    interval: Callable[[int, int, float], tuple[float, float]],
    successes: int,
    n: int,
    level: float,
    reason: str,
) -> None:
    with pytest.raises(BadParameter, match=reason):
        interval(successes, n, level)


def test_paired_difference_refuses_unequal_or_no_records() -> None:
    with pytest.raises(BadParameter, match="1 results before and 2 after"):
        paired_difference([True], [True, False])
    with pytest.raises(BadParameter, match="Nothing was counted"):
        paired_difference([], [])
