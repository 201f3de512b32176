from __future__ import annotations

import math

import pytest
import torch
from margin_worlds import normal
from scipy import stats
from torch import Tensor

from rescind.audits.epsilon import epsilon_at_least, epsilon_from_rates
from rescind.core.errors import BadData, BadParameter, InsufficientEvidence


def epsilon_of(shift: float, delta: float) -> float:
    """Of N(shift, 1) and N(0, 1): B. Balle and Y.-X. Wang, ICML 2018, theorem 8, by bisection."""

    def spent(epsilon: float) -> float:
        a, b = shift / 2 - epsilon / shift, -shift / 2 - epsilon / shift
        return float(stats.norm.cdf(a) - math.exp(epsilon) * stats.norm.cdf(b))

    low, high = 0.0, 50.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if spent(middle) > delta else (low, middle)
    return high


@pytest.mark.parametrize(
    ("true", "members", "false", "non_members"),
    [(90, 100, 5, 100), (99, 100, 60, 100), (40, 100, 0, 100), (100, 100, 0, 100), (7, 9, 1, 12)],
)
@pytest.mark.parametrize("delta", [0.0, 1e-2])
def test_the_bound_is_the_larger_of_two_logs_of_exact_ends(
    true: int, members: int, false: int, non_members: int, delta: float
) -> None:
    low = float(stats.beta.ppf(0.025, true, members - true + 1))
    high = float(stats.beta.ppf(0.975, false + 1, non_members - false))
    one = math.log((low - delta) / high) if low > delta else 0.0
    other = math.log((1 - high - delta) / (1 - low)) if 1 - high > delta else 0.0
    found = epsilon_from_rates(true, members, false, non_members, delta)
    assert found == pytest.approx(max(0.0, one, other))
    assert found >= epsilon_from_rates(true, members, false, non_members, delta, level=0.99)


def test_the_second_inequality_counts_where_few_members_are_missed() -> None:
    assert epsilon_from_rates(1000, 1000, 500, 1000, 0.0) > 4  # ln(.47 / .0037)
    assert epsilon_from_rates(500, 1000, 0, 1000, 0.0) > 4
    assert epsilon_from_rates(0, 100, 0, 100, 0.0) == 0.0
    assert epsilon_from_rates(10, 100, 90, 100, 0.0) == 0.0


@pytest.mark.parametrize("delta", [1e-5, 1e-2])
def test_the_bound_is_seldom_above_the_epsilon_of_two_normal_worlds(delta: float) -> None:
    """40 trials; at a level of .95 more than 5 above it have a probability of 1.4 %."""
    truth, found = epsilon_of(1.5, delta), []
    for s in range(40):
        bound = epsilon_at_least(normal(300, seed=2 * s) + 1.5, normal(300, seed=2 * s + 1), delta)
        found.append(bound.epsilon)
    assert sum(f > truth for f in found) <= 5
    assert 1.0 < sorted(found)[20] < truth


def test_equal_worlds_show_nothing() -> None:
    found = [
        epsilon_at_least(normal(100, seed=s), normal(100, seed=s + 1), 0.0).epsilon
        for s in range(20)
    ]
    assert sum(f > 0 for f in found) <= 3


def test_the_threshold_is_chosen_on_one_half_and_measured_on_the_other() -> None:
    members, others = normal(60, seed=0) + 2, normal(80, seed=1)
    bound = epsilon_at_least(members, others, 1e-3, seed=3)
    order = [torch.randperm(n, generator=torch.Generator().manual_seed(3)) for n in (60, 80)]
    pilot, measured = members[order[0][:30]], members[order[0][30:]]
    other_pilot, other_measured = others[order[1][:40]], others[order[1][40:]]
    assert bound.threshold in torch.cat([pilot, other_pilot]).tolist()

    def at(inside: Tensor, outside: Tensor, t: float) -> float:
        true, false = int((inside >= t).sum()), int((outside >= t).sum())
        return epsilon_from_rates(true, len(inside), false, len(outside), 1e-3)

    best = max(at(pilot, other_pilot, t) for t in [*pilot.tolist(), *other_pilot.tolist()])
    assert at(pilot, other_pilot, bound.threshold) == best
    assert bound.epsilon == at(measured, other_measured, bound.threshold)
    counts = (bound.true, bound.members, bound.false, bound.non_members)
    assert bound.epsilon == epsilon_from_rates(*counts, 1e-3)
    assert counts[1::2] == (30, 40)
    # what the measuring half holds does not move the threshold
    moved = members.clone()
    moved[order[0][30:]] = -9.0
    assert epsilon_at_least(moved, others, 1e-3, seed=3).threshold == bound.threshold


def test_bad_input_is_refused() -> None:
    scores = normal(20, seed=0)
    for delta in (-0.1, 1.0, math.nan):
        with pytest.raises(BadParameter, match="delta is"):
            epsilon_at_least(scores, scores, delta)
    with pytest.raises(BadParameter, match=r"level is 1\.0"):
        epsilon_from_rates(1, 2, 1, 2, 0.0, level=1.0)
    with pytest.raises(BadParameter, match="3 successes among 2"):
        epsilon_from_rates(3, 2, 1, 2, 0.0)
    with pytest.raises(InsufficientEvidence, match="There are 7 scores of non-members"):
        epsilon_at_least(scores, scores[:7], 0.0)
    with pytest.raises(BadData, match="scores of members are NaN"):
        epsilon_at_least(scores * math.nan, scores, 0.0)
