"""Slice orders of one shard, arXiv 2406.16257: rotations (Alg. 1) and matching (BMS, Alg. 2).

A deletion in slice k keeps of every order only the slices before k, so orders are worth their
training if they lose different slices first. Both algorithms are pure and deterministic, except
that where two matchings weigh the same BMS keeps the one scipy's solver meets first.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, islice
from math import factorial, inf, isfinite

from rescind.core.errors import BadParameter, MissingExtra

TOLERANCE = 1e-6


def rotations(n_slices: int, budget: int) -> tuple[tuple[int, ...], ...]:
    """``budget`` different orders of ``n_slices`` slices by iterative cyclic rotation.

    The i-th of the first ``n_slices`` is (0, 1, ...) rotated right by i: any two of these differ in
    every position. Beyond them, round n keeps the first n slices of every order and rotates the
    rest, so that after n rounds L (L - 1) ... (L - n) orders exist. Any ``n_slices`` consecutive
    orders start with different slices, and a smaller budget gives a prefix of a larger one.

    Raises:
        BadParameter: no slice, no order, or more orders than permutations.
    """
    if n_slices < 1:
        raise BadParameter(
            f"n_slices is {n_slices}.", "An order needs a slice.", "Use 1 slice or more."
        )
    _refuse_budget(budget)
    if budget > factorial(n_slices):
        raise BadParameter(
            f"{budget} orders of {n_slices} slices are asked for.",
            f"Only {n_slices}! = {factorial(n_slices)} exist.",
            f"Use a budget of at most {factorial(n_slices)}, or more slices.",
        )
    pool: tuple[tuple[int, ...], ...] = (tuple(range(n_slices)),)
    kept = 0
    while len(pool) < budget:
        # rotation outermost: the pool so far stays in front, and first slices keep alternating
        grown = (
            order[:kept] + _rotated(order[kept:], by)
            for by in range(n_slices - kept)
            for order in pool
        )
        pool = tuple(islice(grown, budget))
        kept += 1
    return pool


def bms(
    probabilities: Sequence[float], requests: int = 100, budget: int | None = None
) -> tuple[tuple[int, ...], ...]:
    """A Latin square of slice orders for slices that are deleted with different probabilities.

    ``probabilities[k]`` is the chance that one request hits slice k, and ``requests`` the number t
    expected before a retraining. Starting from one order per slice, each step appends to all orders
    at once the slices of a maximum-weight perfect matching, weighed by Eq. 24,
    score(s) = sum over n of n (1 - p(s_1) - ... - p(s_n)) ** t. Any two orders differ in every
    position. Orders come by first slice; a ``budget`` below the number of slices keeps those whose
    first slice is least likely to be hit (of equals, the lower index).

    Raises:
        BadParameter: probabilities that are none, ``requests`` below 1, or a budget that a Latin
            square cannot fill; all problems of the arguments are named together.
        MissingExtra: scipy is not installed.
    """
    budget = len(probabilities) if budget is None else budget
    _refuse_probabilities(probabilities, requests)
    _refuse_budget(budget)
    if budget > len(probabilities):
        raise BadParameter(
            f"{budget} orders of {len(probabilities)} slices are asked for.",
            f"Matching gives {len(probabilities)}, one starting with each slice.",
            f"Use a budget of at most {len(probabilities)}, or rotations, which need no "
            "probabilities.",
        )
    orders: list[tuple[int, ...]] = [(k,) for k in range(len(probabilities))]
    for _ in range(len(probabilities) - 1):
        orders = _extended(orders, probabilities, requests)
    kept = sorted(range(len(orders)), key=lambda k: (probabilities[k], k))[:budget]
    return tuple(orders[k] for k in sorted(kept))


def score(order: Sequence[int], probabilities: Sequence[float], requests: int) -> float:
    """Eq. 24 of a partial order, the sum taken anew: adding up step by step breaks ties otherwise.

    Up to its weights, the expected length of the prefix that ``requests`` requests leave.
    """
    hit = accumulate(probabilities[k] for k in order)
    return sum(n * (1.0 - share) ** requests for n, share in enumerate(hit, start=1))


def _extended(
    orders: Sequence[tuple[int, ...]], probabilities: Sequence[float], requests: int
) -> list[tuple[int, ...]]:
    """Every order with one more slice, no slice given twice (a regular graph: always possible)."""
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError as error:
        raise MissingExtra(
            "scipy is not installed.",
            "Orders for known deletion probabilities come from its assignment solver.",
            'Type: pip install "rescind[train]"',
        ) from error
    weights = [
        [
            -inf if k in order else score((*order, k), probabilities, requests)
            for k in range(len(probabilities))
        ]
        for order in orders
    ]
    _, chosen = linear_sum_assignment(weights, maximize=True)
    return [(*order, int(k)) for order, k in zip(orders, chosen, strict=True)]


def _rotated(slices: tuple[int, ...], by: int) -> tuple[int, ...]:
    cut = len(slices) - by
    return slices[cut:] + slices[:cut]


def _refuse_budget(budget: int) -> None:
    if budget < 1:
        raise BadParameter(
            f"The budget is {budget} orders.",
            "A shard without an order has no model.",
            "Use a budget of 1 or more.",
        )


def _refuse_probabilities(probabilities: Sequence[float], requests: int) -> None:
    wrong = [p for p in probabilities if not (isfinite(p) and p >= 0.0)]
    problems = [f"{p} is not a probability" for p in wrong]
    if not wrong and abs(sum(probabilities) - 1.0) > TOLERANCE:
        problems.append(f"they sum to {sum(probabilities)}, not to 1 (within {TOLERANCE})")
    if requests < 1:
        problems.append(f"requests is {requests}, below 1")
    if problems:
        raise BadParameter(
            f"Deletion probabilities {list(probabilities)} cannot be used: {'; '.join(problems)}.",
            "They are not rescaled, since a wrong sum is mostly a missing slice.",
            "Give one probability a slice, summing to 1, and at least 1 request.",
        )
