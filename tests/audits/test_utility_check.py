from __future__ import annotations

from dataclasses import replace
from math import inf, sqrt

import pytest
import torch
from margin_worlds import world
from scipy import stats
from torch import Tensor

from rescind.audits.intervals import resampled_means
from rescind.audits.utility_check import Rebound, _ratio, rebound, utility
from rescind.core.errors import BadData, BadParameter
from rescind.metrics.statistics import paired_difference

DRAWS = 499


def asked(first: float, second: float, n: int = 40, seed: int = 1) -> Rebound:
    """A model after with that extent, and with another one after the auditor has trained it."""
    w = world(n, seed)
    return rebound(w.question(), w.after(first), lambda: w.after(second), draws=DRAWS)


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        (1.0, 0.5, "held"),
        (1.0, 0.0, "came_back"),
        (1.0, -0.5, "came_back"),
        (0.0, 0.0, "nothing_to_lose"),
        (-1.0, 0.0, "nothing_to_lose"),
    ],
)
def test_what_was_shallow_comes_back(first: float, second: float, says: str) -> None:
    assert asked(first, second).told == says


def test_what_is_left_is_found_and_lies_in_its_interval() -> None:
    each = [asked(1.0, 0.6, 16, seed) for seed in range(12)]
    left = [r.left for r in each if r.left is not None]
    assert sum(left) / len(each) == pytest.approx(0.6, abs=0.05)
    assert all(
        r.interval is not None and r.interval[0] < (r.left or 0) < r.interval[1] for r in each
    )
    assert sum(r.interval[0] <= 0.6 <= r.interval[1] for r in each if r.interval) >= 9


def test_few_records_that_could_have_held_are_not_accused() -> None:
    w = world(4, 11)
    noise = torch.linspace(-3, 3, len(w.kept), dtype=torch.float64)[torch.arange(450) * 7 % 450]
    r = rebound(w.question(), w.after(1.5), lambda: w.after(0.5) + noise, draws=DRAWS)
    assert r.first.p < 0.05 <= r.second.p
    assert r.told == "partly"


def test_a_single_record_has_no_interval_of_what_is_left() -> None:
    r = asked(5.0, 2.0, 1)
    assert r.interval == (-inf, inf)
    assert r.left == pytest.approx(r.second.drop / r.first.drop)
    assert asked(-1.0, 0.0).left is None


def sums_at_or_below_0(share: float, n: int = 25) -> Tensor:
    """Values whose resamples come to 0 or below in about that share."""
    spread = torch.arange(n, dtype=torch.float64) - (n - 1) / 2
    shift: float = stats.norm.ppf(share) * float(spread.std(correction=0)) / sqrt(n)
    return spread - shift


@pytest.mark.parametrize(("share", "bounded"), [(1e-6, True), (0.01, True), (0.04, False)])
def test_more_unbounded_resamples_than_an_end_leaves_out_make_no_limit(
    share: float, bounded: bool
) -> None:
    first = sums_at_or_below_0(share)
    later = 0.2 * first + 1.0
    low, high = _ratio(later, first, seed=0)
    base = resampled_means(first, torch.Generator().manual_seed(0))
    assert float((base <= 0).double().mean()) == pytest.approx(share, abs=0.01)
    if not bounded:
        assert (low, high) == (-inf, inf)
        return
    # above 0 the ratio is 0.2 + 1 / base; the resamples without a bound lie beyond both ends
    ratios = sorted(0.2 + 1 / b if b > 0 else inf for b in base.tolist())
    assert high == pytest.approx(ratios[1950])
    ratios = sorted(0.2 + 1 / b if b > 0 else -inf for b in base.tolist())
    assert low == pytest.approx(ratios[49])


def test_a_share_that_is_not_bounded_accuses_nobody() -> None:
    w = world(4, 11)
    r = rebound(w.question(), w.after(1.0), lambda: w.after(0.0), draws=DRAWS)
    assert r.told == "came_back"
    assert replace(r, interval=(-inf, inf)).told == "partly"


def test_the_model_is_trained_once() -> None:
    w, calls = world(10, 0), list[int]()

    def train() -> Tensor:
        calls.append(1)
        return w.after(0.5)

    rebound(w.question(), w.after(1.0), train, draws=DRAWS)
    assert calls == [1]
    with pytest.raises(BadData, match="margins before and 449 after"):
        rebound(w.question(), w.after(1.0), lambda: w.after(0.5)[1:], draws=DRAWS)


@pytest.mark.parametrize(
    ("wrong_after", "n", "says"),
    [(0, 1_000, "kept"), (5, 1_000, "kept"), (60, 1_000, "fell"), (2, 50, "cannot_tell")],
)
def test_a_fall_of_accuracy_is_told_where_it_is_sure(wrong_after: int, n: int, says: str) -> None:
    before, after = [True] * n, [i >= wrong_after for i in range(n)]
    found = utility(before, after)
    assert found.told == says
    assert (found.change, *found.interval) == paired_difference(before, after)
    assert found.change == -wrong_after / n


def test_a_small_fall_that_is_sure_is_kept() -> None:
    found = utility([True] * 5_000, [i >= 25 for i in range(5_000)])
    assert -found.margin < found.interval[0] < found.interval[1] < 0
    assert found.told == "kept"


def test_bad_input_is_told() -> None:
    with pytest.raises(BadParameter, match="The margin is 0"):
        utility([True], [True], margin=0.0)
    with pytest.raises(BadParameter, match="1 results before and 2 after"):
        utility([True], [True, False])
