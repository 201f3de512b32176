from __future__ import annotations

import pytest
import torch
from margin_worlds import world
from torch import Tensor

from rescind.audits.utility_check import Rebound, rebound, utility
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
    assert r.interval == (float("-inf"), float("inf"))


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


def test_bad_input_is_told() -> None:
    with pytest.raises(BadParameter, match="The margin is 0"):
        utility([True], [True], margin=0.0)
    with pytest.raises(BadParameter, match="1 results before and 2 after"):
        utility([True], [True, False])
