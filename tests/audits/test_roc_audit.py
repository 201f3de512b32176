from __future__ import annotations

import itertools
import math
from statistics import NormalDist

import pytest
import torch
from scipy import stats
from torch import Tensor

from rescind.audits.roc import Rate, log_points, rate_at, roc
from rescind.core.errors import BadData, BadParameter
from rescind.metrics.membership import auc, true_positive_rate
from rescind.metrics.statistics import clopper_pearson


def scores(n: int, seed: int, levels: int | None = None) -> Tensor:
    values = torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return values if levels is None else (values * levels).round()


CASES = [(1, 1, None), (20, 30, None), (30, 20, 2), (40, 40, 1), (25, 7, 3)]


@pytest.mark.parametrize(("n", "m", "levels"), CASES)
def test_every_threshold_has_its_point_and_no_other(n: int, m: int, levels: int | None) -> None:
    inside, outside = scores(n, 1, levels) + 0.5, scores(m, 2, levels)
    curve = roc(inside, outside)
    a, b = inside.tolist(), outside.tolist()
    slow = [
        (t, sum(x >= t for x in a), sum(x >= t for x in b))
        for t in sorted({math.inf, *a, *b}, reverse=True)
    ]
    fast = zip(curve.thresholds.tolist(), curve.true.tolist(), curve.false.tolist(), strict=True)
    assert list(fast) == slow
    assert (curve.members, curve.non_members) == (n, m)
    assert curve.auc == pytest.approx(auc(inside, outside), abs=1e-15)
    assert 0 <= curve.interval[0] <= curve.auc <= curve.interval[1] <= 1


@pytest.mark.parametrize(("n", "m", "levels"), [(20, 30, None), (30, 20, 2), (9, 12, 1)])
def test_the_interval_is_delongs(n: int, m: int, levels: int | None) -> None:
    inside, outside = scores(n, 3, levels) + 0.7, scores(m, 4, levels)
    pairs = [[(a > b) + 0.5 * (a == b) for b in outside.tolist()] for a in inside.tolist()]
    wins = torch.tensor(pairs, dtype=torch.float64)
    area = float(wins.mean())
    variance = float(wins.mean(1).var() / n + wins.mean(0).var() / m)
    reach = 1.959964 * math.sqrt(variance) / (area * (1 - area))
    ends = [math.log(area / (1 - area)) + side * reach for side in (-1, 1)]
    slow = [1 / (1 + math.exp(-end)) for end in ends]
    assert roc(inside, outside).interval == pytest.approx(slow, rel=1e-5)


def test_the_interval_covers_the_area_of_two_normal_worlds() -> None:
    """The area of N(1, 1) against N(0, 1) is Phi(1 / sqrt 2); 300 draws, standard error 1.3 %."""
    truth = NormalDist().cdf(1 / math.sqrt(2))
    curves = [roc(scores(25, 2 * s) + 1, scores(40, 2 * s + 1)) for s in range(300)]
    covered = sum(c.interval[0] <= truth <= c.interval[1] for c in curves)
    assert 0.91 <= covered / 300 <= 0.99
    assert sum(c.auc for c in curves) / 300 == pytest.approx(truth, abs=0.01)


def test_full_separation_of_few_is_not_certainty() -> None:
    low = 0.025 ** (1 / 4)
    apart, same = torch.arange(4.0) + 10, torch.ones(4)
    assert roc(apart, torch.arange(9.0)).interval == pytest.approx((low, 1.0))
    assert roc(torch.arange(9.0), apart).interval == pytest.approx((0.0, 1 - low))
    assert roc(same, same).interval == pytest.approx((low / 2, 1 - low / 2))
    one = roc(torch.tensor([3.5]), torch.arange(10.0))
    assert one.auc == 0.4 and one.interval[0] < 0.02 and one.interval[1] > 0.98


@pytest.mark.parametrize("rate", [0.05, 0.07, 0.29, 0.5, 1 - 0.9])
@pytest.mark.parametrize("levels", [None, 2])
def test_a_rate_counts_both_sides_at_its_threshold(rate: float, levels: int | None) -> None:
    inside, outside = scores(50, 5, levels) + 1, scores(100, 6, levels)
    found = rate_at(roc(inside, outside), rate)
    assert found is not None
    assert found.true == pytest.approx(true_positive_rate(inside, outside, rate), abs=1e-15)
    true, false = (int((side >= found.threshold).sum()) for side in (inside, outside))
    expected = (true / 50, clopper_pearson(true, 50), false / 100, clopper_pearson(false, 100))
    assert (found.true, found.interval, found.false, found.false_interval) == expected
    assert false <= round(100 * rate)


def test_a_rate_that_few_non_members_cannot_show_is_none() -> None:
    members = scores(50, 7) + 9
    assert rate_at(roc(members, scores(999, 8)), 0.001) is None
    assert rate_at(roc(members, scores(99, 8)), 0.01) is None
    found = rate_at(roc(members, scores(1000, 8)), 0.001)
    assert isinstance(found, Rate) and found.true == 1.0
    assert found.false_interval[1] > 0.003  # one of a thousand is a loose measurement


def test_the_analytic_power_is_found_at_low_rates() -> None:
    """N(2, 1) against N(0, 1): P(z > z_.99 - 2) of the members at a false-positive rate of 1 %."""
    curve = roc(scores(20_000, 9) + 2, scores(20_000, 10))
    for rate in (0.001, 0.01):
        found = rate_at(curve, rate)
        assert found is not None
        power = stats.norm.sf(stats.norm.isf(rate) - 2)
        assert found.true == pytest.approx(power, abs=0.02)
        assert found.interval[1] - found.interval[0] < 0.02


def test_log_points_run_from_one_non_member_to_all() -> None:
    inside, outside = scores(300, 11) + 1, scores(500, 12)
    points = log_points(roc(inside, outside), 40)
    assert points[0][0] == pytest.approx(1 / 500) and points[-1] == (1.0, 1.0)
    steps = [math.log(b[0] / a[0]) for a, b in itertools.pairwise(points)]
    assert steps == pytest.approx([math.log(500) / 39] * 39)
    for false, true in points[1:-1]:
        assert true == true_positive_rate(inside, outside, false)


def test_order_and_scale_do_not_matter() -> None:
    inside, outside = scores(30, 13, 2) + 1, scores(40, 14, 2)
    first, second = roc(inside, outside), roc(inside.flip(0).exp(), outside.roll(7).exp())
    assert torch.equal(first.true, second.true) and torch.equal(first.false, second.false)
    assert (first.auc, *first.interval) == pytest.approx((second.auc, *second.interval))
    mirrored = roc(-outside, -inside)
    assert mirrored.auc == pytest.approx(first.auc)
    assert mirrored.interval == pytest.approx(first.interval)


def test_what_cannot_be_drawn_is_refused() -> None:
    curve = roc(torch.ones(3), torch.zeros(3))
    with pytest.raises(BadData, match="scores of non-members"):
        roc(torch.ones(3), torch.zeros(0))
    with pytest.raises(BadData, match="1 of the scores of members are NaN"):
        roc(torch.tensor([math.nan]), torch.zeros(3))
    for rate in (0.0, 1.0, math.nan):
        with pytest.raises(BadParameter, match="false-positive rate is"):
            rate_at(curve, rate)
    with pytest.raises(BadParameter, match="1 points"):
        log_points(curve, 1)
