from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from rescind.audits.one_run import epsilon_from_guesses, epsilon_in_one_run, p_value
from rescind.core.errors import BadData, BadParameter


def binomial(hits: int, trials: int, share: Fraction) -> Fraction:
    return math.comb(trials, hits) * share**hits * (1 - share) ** (trials - hits)


@pytest.mark.parametrize(("right", "guesses", "records"), [(9, 10, 12), (3, 3, 3), (0, 4, 9)])
@pytest.mark.parametrize("delta", [Fraction(0), Fraction(1, 500)])
def test_the_p_value_is_the_theorem_in_whole_numbers(
    right: int, guesses: int, records: int, delta: Fraction
) -> None:
    share = Fraction(3, 4)  # an epsilon of log 3
    at_least = sum(binomial(i, guesses, share) for i in range(right, guesses + 1))
    slopes = [
        sum((binomial(right - j, guesses, share) for j in range(1, i + 1)), Fraction(0)) / i
        for i in range(1, right + 1)
    ]
    told = float(at_least + 2 * records * delta * max(slopes, default=Fraction(0)))
    found = p_value(right, guesses, records, math.log(3), float(delta))
    assert found == pytest.approx(min(1.0, told))


@pytest.mark.parametrize("guesses", [5, 40, 200])
def test_without_a_miss_the_bound_has_a_closed_form(guesses: int) -> None:
    share = 0.05 ** (1 / guesses)
    found = epsilon_from_guesses(guesses, guesses, 2 * guesses, 0.0)
    assert found == pytest.approx(math.log(share / (1 - share)), abs=1e-6)


@pytest.mark.parametrize(
    ("epsilon", "guesses"), [(0.0, 20), (0.5, 20), (0.0, 100), (0.5, 100), (2.0, 100)]
)
def test_coins_that_fall_right_as_epsilon_has_it_hold_the_level(
    epsilon: float, guesses: int
) -> None:
    """Randomised response leaks just epsilon: the bound is above it in at most .05 of all cases,
    summed over all of them, and not much less, since counts are whole numbers.
    """
    share = Fraction(1 / (1 + math.exp(-epsilon)))
    above = [
        float(binomial(right, guesses, share))
        for right in range(guesses + 1)
        if epsilon_from_guesses(right, guesses, guesses, 0.0) > epsilon
    ]
    assert 0.01 < sum(above) <= 0.05


def test_more_right_guesses_show_more_and_a_looser_claim_less() -> None:
    bounds = [epsilon_from_guesses(right, 100, 200, 1e-5) for right in (50, 70, 90, 100)]
    assert bounds == sorted(bounds) and bounds[0] == 0.0 < bounds[1]
    assert epsilon_from_guesses(90, 100, 200, 1e-3) < bounds[2]
    assert epsilon_from_guesses(90, 100, 2000, 1e-5) < bounds[2]
    assert epsilon_from_guesses(90, 100, 200, 1e-5, level=0.99) < bounds[2]
    assert epsilon_from_guesses(90, 100, 200, 0.5) == 0.0


def coins(seed: int, count: int = 400) -> Tensor:
    return torch.rand(count, generator=torch.Generator().manual_seed(seed)) < 0.5


def noise(seed: int, count: int = 400) -> Tensor:
    return torch.randn(count, generator=torch.Generator().manual_seed(1000 + seed)).double()


def test_both_ends_of_the_scores_are_guessed_and_the_middle_is_not() -> None:
    included = torch.tensor([True, False, True, False, True, False])
    scores = torch.tensor([9.0, 1.0, 8.0, 7.0, 2.0, 3.0])  # the two in the middle are wrong
    found = epsilon_in_one_run(scores, included, 4, 0.0)
    assert (found.right, found.guesses, found.records) == (3, 4, 6)
    assert epsilon_in_one_run(scores, included, 2, 0.0).right == 2
    turned = epsilon_in_one_run(-scores, included, 2, 0.0)
    assert turned.right == 0 and turned.epsilon == 0.0


def test_a_model_that_never_saw_them_shows_nothing_and_one_that_did_shows_much() -> None:
    untold = [epsilon_in_one_run(noise(s), coins(s), 100, 1e-5).epsilon for s in range(60)]
    # above 7 of 60 at a level of .05 has a probability of 1 %
    assert sum(bound > 0 for bound in untold) <= 7
    told = epsilon_in_one_run(noise(0) + 4 * coins(0), coins(0), 100, 1e-5)
    assert told.right > 95 and told.epsilon > 2


def test_scores_that_are_all_alike_are_guesses_at_random() -> None:
    found = epsilon_in_one_run(torch.zeros(400), coins(3), 200, 0.0)
    assert found.epsilon == 0.0 and 70 < found.right < 130


@pytest.mark.parametrize("guesses", [0, 1, 3, 402])
def test_guesses_are_even_and_about_planted_records(guesses: int) -> None:
    with pytest.raises(BadParameter, match="planted records"):
        epsilon_in_one_run(noise(0), coins(0), guesses, 0.0)


@pytest.mark.parametrize("included", [coins(0, 399), coins(0).double(), coins(0)[None]])
def test_each_score_has_its_coin(included: Tensor) -> None:
    with pytest.raises(BadData, match="coins"):
        epsilon_in_one_run(noise(0), included, 100, 0.0)


def test_a_score_that_is_no_number_is_refused() -> None:
    with pytest.raises(BadData):
        epsilon_in_one_run(noise(0).index_fill(0, torch.tensor([3]), math.nan), coins(0), 4, 0.0)


@pytest.mark.parametrize(
    ("right", "guesses", "records", "delta", "level"),
    [
        (5, 4, 9, 0.0, 0.95),
        (-1, 4, 9, 0.0, 0.95),
        (4, 10, 9, 0.0, 0.95),
        (0, 0, 9, 0.0, 0.95),
        (1, 2, 3, 1.0, 0.95),
        (1, 2, 3, -0.1, 0.95),
        (1, 2, 3, math.nan, 0.95),
        (1, 2, 3, 0.0, 1.0),
    ],
)
def test_counts_that_are_none_are_refused(
    right: int, guesses: int, records: int, delta: float, level: float
) -> None:
    with pytest.raises(BadParameter, match="guesses about"):
        epsilon_from_guesses(right, guesses, records, delta, level)
