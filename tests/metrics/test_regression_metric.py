from __future__ import annotations

import math
import statistics

import pytest
import torch
from torch import Tensor

from rescind.core.errors import BadData, BadParameter
from rescind.metrics.regression import (
    absolute_error_quantiles,
    bias,
    errors,
    kolmogorov_smirnov,
    rmse,
    wasserstein,
)


def draw(n: int, seed: int, levels: int | None = None) -> Tensor:
    values = torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return values if levels is None else (values * levels).round()


def test_bias_and_rmse_are_those_of_a_loop() -> None:
    predictions, targets = draw(30, 0) + 0.3, draw(30, 1)
    gaps = [p - t for p, t in zip(predictions.tolist(), targets.tolist(), strict=True)]
    assert errors(predictions, targets).tolist() == gaps
    assert bias(predictions, targets) == pytest.approx(sum(gaps) / 30)
    assert rmse(predictions, targets) == pytest.approx(math.sqrt(sum(g * g for g in gaps) / 30))


def test_too_much_is_a_bias_above_0() -> None:
    assert bias(torch.tensor([2.0, 4.0]), torch.tensor([1.0, 1.0])) == 2.0


@pytest.mark.parametrize("n", [1, 2, 21, 100])
def test_quantiles_are_those_of_the_standard_library(n: int) -> None:
    predictions, targets = draw(n, 0), draw(n, 1)
    absolute = sorted(abs(e) for e in errors(predictions, targets).tolist())
    if n > 1:
        cuts = statistics.quantiles(absolute, n=20, method="inclusive")
        levels = [k / 20 for k in range(1, 20)]
        assert absolute_error_quantiles(predictions, targets, levels) == pytest.approx(cuts)
    ends = absolute_error_quantiles(predictions, targets, [0.0, 1.0])
    assert ends == (absolute[0], absolute[-1])
    assert len(absolute_error_quantiles(predictions, targets)) == 4


def slow_share(values: list[float], at: float) -> float:
    return sum(v <= at for v in values) / len(values)


CASES = [(1, None), (2, None), (40, None), (40, 1), (33, 3)]


@pytest.mark.parametrize(("n", "levels"), CASES)
@pytest.mark.parametrize("shift", [0.0, 0.5, 10.0])
def test_distances_are_those_of_loops(n: int, levels: int | None, shift: float) -> None:
    first, second = draw(n, 2, levels) + shift, draw(n, 3, levels)
    a, b = first.tolist(), second.tolist()
    points = sorted({*a, *b})
    gaps = [abs(slow_share(a, e) - slow_share(b, e)) for e in points]
    assert kolmogorov_smirnov(first, second) == pytest.approx(max(gaps), abs=1e-15)
    area = sum(
        gap * (right - left)
        for gap, left, right in zip(gaps[:-1], points[:-1], points[1:], strict=True)
    )
    assert wasserstein(first, second) == pytest.approx(area, abs=1e-12)


def test_distances_are_symmetric_and_do_not_ask_which_record() -> None:
    first, second = draw(25, 0), draw(25, 1)
    shuffled = first[torch.randperm(25, generator=torch.Generator().manual_seed(0))]
    for distance in (kolmogorov_smirnov, wasserstein):
        assert distance(first, second) == distance(second, first)
        assert distance(first, shuffled) == 0.0


def test_how_far_is_seen_by_wasserstein_only() -> None:
    first = draw(25, 0)
    for shift in (100.0, 1000.0):
        assert wasserstein(first + shift, first) == pytest.approx(shift)
        assert kolmogorov_smirnov(first + shift, first) == 1.0


@pytest.mark.parametrize("levels", [[], [1.5], [-0.1, 0.5], [math.nan]])
def test_levels_outside_their_range_are_refused(levels: list[float]) -> None:
    with pytest.raises(BadParameter, match="levels are"):
        absolute_error_quantiles(draw(5, 0), draw(5, 1), levels)


@pytest.mark.parametrize(
    "metric", [errors, bias, rmse, absolute_error_quantiles, kolmogorov_smirnov, wasserstein]
)
def test_what_cannot_be_compared_is_refused(metric: object) -> None:
    assert callable(metric)
    good = draw(3, 0)
    for first, second, what in (
        (good[:0], good[:0], r"shape \(0,\)"),
        (good[:, None], good, r"shape \(3, 1\)"),
        (good, good[:2], "There are 3"),
        (good, good * math.nan, "3 of the"),
    ):
        with pytest.raises(BadData, match=what):
            metric(first, second)
