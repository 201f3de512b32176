from __future__ import annotations

import sys
from collections import Counter
from itertools import pairwise, permutations
from math import factorial, prod

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rescind.core.errors import BadParameter, MissingExtra
from rescind.methods.s3t.sequences import bms, rotations

WEIGHTS = st.lists(st.integers(1, 50), min_size=1, max_size=6)


def shares(weights: list[int]) -> list[float]:
    return [weight / sum(weights) for weight in weights]


def differ_everywhere(orders: tuple[tuple[int, ...], ...]) -> bool:
    return all(len(set(column)) == len(orders) for column in zip(*orders, strict=True))


def slow_score(order: tuple[int, ...], p: list[float], t: int) -> float:
    return sum(n * (1 - sum(p[k] for k in order[:n])) ** t for n in range(1, len(order) + 1))


@st.composite
def slices_and_budget(draw: st.DrawFn) -> tuple[int, int]:
    n_slices = draw(st.integers(1, 7))
    return n_slices, draw(st.integers(1, min(factorial(n_slices), 800)))


def test_rotations_turn_right() -> None:
    assert rotations(4, 4) == ((0, 1, 2, 3), (3, 0, 1, 2), (2, 3, 0, 1), (1, 2, 3, 0))


def test_rotations_beyond_the_slices_turn_the_rest_right() -> None:
    # round 1 keeps the first slice and rotates the others by 0, then by 1
    assert rotations(4, 6)[4:] == ((0, 3, 1, 2), (3, 2, 0, 1))


@given(slices_and_budget())
def test_rotations_are_distinct_orders_of_all_slices(case: tuple[int, int]) -> None:
    n_slices, budget = case
    orders = rotations(n_slices, budget)
    assert len(set(orders)) == len(orders) == budget
    assert all(sorted(order) == list(range(n_slices)) for order in orders)
    firsts = Counter(order[0] for order in orders)
    assert len(firsts) == min(budget, n_slices)
    assert max(firsts.values()) - min(firsts.values()) <= 1


@given(slices_and_budget())
def test_the_first_rotations_differ_in_every_position(case: tuple[int, int]) -> None:
    assert differ_everywhere(rotations(*case)[: case[0]])


@given(slices_and_budget())
def test_a_smaller_budget_is_a_prefix(case: tuple[int, int]) -> None:
    n_slices, budget = case
    assume(budget > 1)
    assert rotations(n_slices, budget - 1) == rotations(n_slices, budget)[:-1]


@pytest.mark.parametrize("n_slices", [2, 3, 4, 5, 6])
def test_every_round_fills_its_pool_with_balanced_prefixes(n_slices: int) -> None:
    """After round n all L (L - 1) ... (L - n) orders start with different n + 1 slices."""
    for n in range(n_slices - 1):
        size = prod(range(n_slices - n, n_slices + 1))
        prefixes = {order[: n + 1] for order in rotations(n_slices, size)}
        assert prefixes == set(permutations(range(n_slices), n + 1))


def test_all_permutations_are_reached() -> None:
    assert set(rotations(5, 120)) == set(permutations(range(5)))


def test_many_slices_cost_no_more_than_the_budget() -> None:
    assert len(rotations(200, 30_000)) == 30_000


def test_bms_gives_the_specified_square() -> None:
    assert bms([0.4, 0.3, 0.2, 0.1], requests=100) == (
        (0, 1, 2, 3),
        (1, 0, 3, 2),
        (2, 3, 0, 1),
        (3, 2, 1, 0),
    )


@given(WEIGHTS, st.integers(1, 200))
def test_bms_is_a_latin_square(weights: list[int], requests: int) -> None:
    orders = bms(shares(weights), requests)
    assert [order[0] for order in orders] == list(range(len(weights)))
    assert all(sorted(order) == list(range(len(weights))) for order in orders)
    assert differ_everywhere(orders)


@settings(max_examples=60)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=4), st.integers(1, 100))
def test_bms_matches_as_well_as_trying_every_matching(weights: list[int], requests: int) -> None:
    """Oracle: no assignment of the next slices to the orders so far has a larger weight."""
    p, everything = shares(weights), range(len(weights))
    orders = bms(p, requests)
    for length in range(1, len(p)):
        heads = [order[:length] for order in orders]
        best = max(
            sum(slow_score((*head, k), p, requests) for head, k in zip(heads, next_, strict=True))
            for next_ in permutations(everything)
            if all(k not in head for head, k in zip(heads, next_, strict=True))
        )
        taken = sum(slow_score(order[: length + 1], p, requests) for order in orders)
        assert taken == pytest.approx(best, rel=1e-12, abs=1e-300)


@given(WEIGHTS, st.data())
def test_bms_below_full_budget_keeps_the_safest_first_slices(
    weights: list[int], data: st.DataObject
) -> None:
    budget = data.draw(st.integers(1, len(weights)))
    p = shares(weights)
    full, orders = bms(p), bms(p, budget=budget)
    safest = sorted(range(len(p)), key=lambda k: (p[k], k))[:budget]
    assert orders == tuple(full[k] for k in sorted(safest))


def test_bms_serves_a_slice_that_is_never_deleted_first() -> None:
    assert bms([0.5, 0.5, 0.0], budget=1)[0][0] == 2


@pytest.mark.parametrize(
    ("n_slices", "budget", "reason"),
    [(4, 0, "budget is 0"), (4, -1, "budget is -1"), (0, 1, "n_slices is 0"), (4, 25, "4! = 24")],
)
def test_rotations_refuse(n_slices: int, budget: int, reason: str) -> None:
    with pytest.raises(BadParameter, match=reason):
        rotations(n_slices, budget)


@pytest.mark.parametrize(
    ("probabilities", "requests", "budget", "reason"),
    [
        ([], 100, None, "sum to 0"),
        ([1.5, -0.5], 100, None, "-0.5 is not a probability"),
        ([float("nan"), 1.0], 100, None, "nan is not a probability"),
        ([float("inf"), 0.0], 100, None, "inf is not a probability"),
        ([0.5, 0.499], 100, None, "sum to 0.999, not to 1"),
        ([0.5, 0.5], 0, None, "requests is 0"),
        ([0.5, 0.5], 100, 0, "budget is 0"),
        ([0.5, 0.5], 100, 3, "Matching gives 2"),
    ],
)
def test_bms_refuses(
    probabilities: list[float], requests: int, budget: int | None, reason: str
) -> None:
    with pytest.raises(BadParameter, match=reason):
        bms(probabilities, requests, budget)


def test_bms_names_all_problems_at_once() -> None:
    with pytest.raises(BadParameter, match=r"-0\.5 is not .*; requests is 0") as caught:
        bms([1.5, -0.5], requests=0)
    assert caught.value.do


def test_bms_tolerates_a_rounded_sum() -> None:
    thirds = [0.3333333, 0.3333333, 0.3333333]
    assert len(bms(thirds)) == 3
    assert all(a != b for a, b in pairwise(bms(thirds)))


def test_bms_without_scipy_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(MissingExtra, match="pip install"):
        bms([0.5, 0.5])
    assert rotations(2, 2) == ((0, 1), (1, 0))
