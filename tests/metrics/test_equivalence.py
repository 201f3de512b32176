from __future__ import annotations

import itertools
import math
import random
from statistics import fmean, stdev, variance

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rescind.core.errors import BadParameter, InsufficientEvidence
from rescind.metrics.equivalence import compare, gap_interval, holm, mean_interval, tost

VALUES = st.floats(-10, 10, allow_subnormal=False)
MANY = st.lists(VALUES, min_size=2, max_size=12)
P = st.floats(0, 1)
REFERENCES = [0.40, 0.42, 0.39, 0.41, 0.43, 0.40, 0.38, 0.41]


def density(x: float, freedom: float) -> float:
    log = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)
    log -= 0.5 * math.log(freedom * math.pi)
    return math.exp(log - (freedom + 1) / 2 * math.log1p(x * x / freedom))


def t_below(t: float, freedom: float) -> float:
    """The integral of the density of Student's t from minus infinity, by Simpson's rule."""
    n, h = 2000, t / 2000
    inner = sum((4 if i % 2 else 2) * density(i * h, freedom) for i in range(1, n))
    return 0.5 + h / 3 * (density(0, freedom) + inner + density(t, freedom))


def welch(candidate: list[float], retrained: list[float]) -> tuple[float, float]:
    a, b = variance(candidate) / len(candidate), variance(retrained) / len(retrained)
    parts = a * a / (len(candidate) - 1) + b * b / (len(retrained) - 1)
    return math.sqrt(a + b), (a + b) ** 2 / parts


@pytest.mark.parametrize("margin", [0.02, 0.05])
@pytest.mark.parametrize("candidate", [[0.41], [0.44], [0.41, 0.45], [0.40, 0.43, 0.39, 0.41]])
def test_the_p_values_are_the_integrals(candidate: list[float], margin: float) -> None:
    if len(candidate) == 1:
        error, freedom = stdev(REFERENCES) * math.sqrt(1 + 1 / 8), 7.0
    else:
        error, freedom = welch(candidate, REFERENCES)
    gap = fmean(candidate) - fmean(REFERENCES)
    found = tost(candidate, REFERENCES, margin)
    low, high = t_below((gap + margin) / error, freedom), t_below((gap - margin) / error, freedom)
    assert found.gap == pytest.approx(gap)
    assert found.p_equivalent == pytest.approx(max(1 - low, high), abs=1e-7)
    assert found.p_different == pytest.approx(2 - 2 * t_below(abs(gap) / error, freedom), abs=1e-7)
    for (lowest, highest), p in ((found.narrow, 0.95), (found.interval, 0.975)):
        assert (lowest + highest) / 2 == pytest.approx(gap)
        assert t_below((highest - gap) / error, freedom) == pytest.approx(p, abs=1e-7)


def test_welch_is_the_one_of_scipy() -> None:
    from scipy import stats

    candidate = [0.44, 0.47, 0.41]
    found = tost(candidate, REFERENCES, 0.05)
    theirs = stats.ttest_ind(candidate, REFERENCES, equal_var=False)
    assert found.p_different == pytest.approx(theirs.pvalue)
    wide, narrow = (theirs.confidence_interval(level) for level in (0.95, 0.90))
    assert found.interval == pytest.approx((wide.low, wide.high))
    assert found.narrow == pytest.approx((narrow.low, narrow.high))


@given(st.lists(VALUES, min_size=1, max_size=6), MANY, st.floats(0.01, 20))
@example([1e-200, 0.0], [0.0, 1e-200], 0.01)
@example([1.0, 1.0], [0.0, 1e-120], 0.01)
def test_nothing_is_ever_nan_and_the_test_is_the_narrow_interval(
    candidate: list[float], retrained: list[float], margin: float
) -> None:
    found = compare(candidate, retrained, margin)
    (low, high), (lowest, highest) = found.narrow, found.interval
    assert 0.0 <= found.p_equivalent <= 1.0 and 0.0 <= found.p_different <= 1.0
    assert lowest <= low <= found.gap <= high <= highest
    if abs(found.p_equivalent - 0.05) > 1e-6:
        assert (found.p_equivalent < 0.05) == (-margin < low and high < margin)


@given(st.lists(VALUES, min_size=2, max_size=6), MANY, st.floats(0.01, 20))
def test_negating_mirrors_and_a_wider_margin_is_easier(
    candidate: list[float], retrained: list[float], margin: float
) -> None:
    found = compare(candidate, retrained, margin)
    mirrored = compare([-v for v in candidate], [-v for v in retrained], margin)
    assert mirrored.p_equivalent == pytest.approx(found.p_equivalent, abs=1e-9)
    assert mirrored.gap == -found.gap
    assert compare(candidate, retrained, 2 * margin).p_equivalent <= found.p_equivalent


@pytest.mark.parametrize("candidate", [[0.5], [0.5, 0.5]])
@pytest.mark.parametrize(
    ("retrained", "margin", "p", "different"),
    [(0.5, 0.01, 0.0, 1.0), (0.25, 0.26, 0.0, 0.0), (0.25, 0.25, 1.0, 0.0), (0.25, 0.1, 1.0, 0.0)],
)
def test_zero_spread_is_decided_exactly(
    candidate: list[float], retrained: float, margin: float, p: float, different: float
) -> None:
    found = tost(candidate, [retrained] * 8, margin)
    assert (found.p_equivalent, found.p_different) == (p, different)
    assert found.interval == found.narrow == (found.gap, found.gap)


def test_the_mean_of_equal_values_is_that_value() -> None:
    for n in range(8, 40):
        assert tost([0.1], [0.1] * n, 1e-30).p_equivalent == 0.0
        assert tost([0.1] * n, [0.1] * 8, 1e-30).p_different == 1.0


def draws(m: int, shift: float, seed: int) -> tuple[list[float], list[float]]:
    generator = random.Random(seed)
    candidate = [generator.gauss(shift, 1.0) for _ in range(m)]
    return candidate, [generator.gauss(0.0, 1.0) for _ in range(8)]


@pytest.mark.parametrize("m", [1, 4])
def test_at_the_margin_it_rejects_at_the_level(m: int) -> None:
    """1500 pairs of samples whose true gap is the margin: the standard error is 0.6 %."""
    found = [compare(*draws(m, 4.0, seed), 4.0).p_equivalent < 0.05 for seed in range(1500)]
    assert 0.03 <= fmean(found) <= 0.07


@pytest.mark.parametrize("m", [1, 4])
def test_far_outside_it_never_admits_and_well_inside_it_does(m: int) -> None:
    outside = [compare(*draws(m, 8.0, seed), 4.0).p_equivalent < 0.05 for seed in range(300)]
    inside = [compare(*draws(m, 0.0, seed), 4.0).p_equivalent < 0.05 for seed in range(300)]
    assert fmean(outside) < 0.01
    assert fmean(inside) > 0.8


@pytest.mark.parametrize("m", [1, 4])
def test_the_intervals_cover(m: int) -> None:
    """The gap of one candidate is that of a model that is drawn, not of a mean that is known."""
    found = [compare(*draws(m, 0.7, seed), 1.0) for seed in range(1500)]
    assert fmean(f.interval[0] <= 0.7 <= f.interval[1] for f in found) == pytest.approx(
        0.95, abs=0.018
    )
    assert fmean(f.narrow[0] <= 0.7 <= f.narrow[1] for f in found) == pytest.approx(0.90, abs=0.024)


def slow_holm(p_values: list[float]) -> list[float]:
    """Closed testing: a hypothesis falls if Bonferroni rejects every group that it belongs to."""
    k = range(len(p_values))
    groups = [g for size in k for g in itertools.combinations(k, size + 1)]
    return [
        max(min(1.0, len(g) * min(p_values[j] for j in g)) for g in groups if i in g) for i in k
    ]


@given(st.lists(P, min_size=1, max_size=6))
def test_holm_is_the_slow_definition(p_values: list[float]) -> None:
    assert list(holm(p_values)) == pytest.approx(slow_holm(p_values))


@given(st.lists(P, max_size=8), st.randoms())
def test_holm_knows_no_order_and_never_lowers(
    p_values: list[float], generator: random.Random
) -> None:
    order = list(range(len(p_values)))
    generator.shuffle(order)
    corrected = holm(p_values)
    assert holm([p_values[i] for i in order]) == tuple(corrected[i] for i in order)
    assert all(p <= c <= 1.0 for p, c in zip(p_values, corrected, strict=True))


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm([]) == ()


@pytest.mark.parametrize("wrong", [-0.1, 1.1, math.nan])
def test_holm_refuses_what_is_no_p_value(wrong: float) -> None:
    with pytest.raises(BadParameter, match="p-values"):
        holm([0.1, wrong])


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf, 1e200])
@pytest.mark.parametrize("where", ["candidate", "retrained", "margin"])
def test_values_that_are_not_finite_are_refused(where: str, wrong: float) -> None:
    candidate = [0.5, wrong if where == "candidate" else 0.5]
    retrained = [*REFERENCES, wrong if where == "retrained" else 0.4]
    with pytest.raises(BadParameter, match=r"margin is|not finite"):
        tost(candidate, retrained, wrong if where == "margin" else 0.1)


@pytest.mark.parametrize("margin", [0.0, -0.1])
def test_a_margin_is_above_zero(margin: float) -> None:
    with pytest.raises(BadParameter, match="margin is"):
        tost([0.5], REFERENCES, margin)


def test_eight_decide_three_show() -> None:
    with pytest.raises(InsufficientEvidence, match=r"7 retrained.*needs 8.*Retrain 1 more, or ask"):
        tost([0.4], REFERENCES[:7], 0.1)
    with pytest.raises(InsufficientEvidence, match=r"2 retrained.*needs 3"):
        tost([0.4], REFERENCES[:2], 0.1, display=True)
    assert tost([0.4], REFERENCES[:3], 0.1, display=True).p_equivalent < 1.0
    with pytest.raises(BadParameter, match="0 values of the candidate"):
        tost([], REFERENCES, 0.1)
    with pytest.raises(BadParameter, match="1 of retrained"):
        compare([0.4], [0.4], 0.1)


@given(st.lists(VALUES, min_size=1, max_size=6), MANY)
def test_the_interval_of_a_gap_is_that_of_the_test_and_needs_no_margin(
    candidate: list[float], retrained: list[float]
) -> None:
    assert gap_interval(candidate, retrained) == compare(candidate, retrained, 1.0).interval


def test_a_single_retrained_model_has_no_spread_to_judge_by() -> None:
    assert gap_interval([0.4, 0.5], [0.4]) is None
    assert gap_interval([0.4], REFERENCES) is not None
    for candidate, retrained in (([], [0.4]), ([], REFERENCES), ([0.4], [])):
        with pytest.raises(BadParameter, match="values of the candidate"):
            gap_interval(candidate, retrained)
    with pytest.raises(BadParameter, match="not finite"):
        gap_interval([math.nan], [0.4])


def test_the_interval_of_a_mean_is_the_one_of_scipy() -> None:
    from scipy import stats

    theirs = stats.ttest_1samp(REFERENCES[:3], 0.0).confidence_interval(0.95)
    assert mean_interval(REFERENCES[:3]) == pytest.approx((theirs.low, theirs.high))
    assert mean_interval([0.5, 0.5]) == (0.5, 0.5)
    assert mean_interval([0.5]) is None
    with pytest.raises(BadParameter, match="no values"):
        mean_interval([])
    with pytest.raises(BadParameter, match="not finite"):
        mean_interval([0.5, math.inf])
