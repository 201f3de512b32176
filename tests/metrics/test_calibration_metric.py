from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from rescind.core.errors import BadData, BadParameter
from rescind.metrics.calibration import (
    brier,
    brier_score,
    calibration_error,
    squared_calibration_error,
)


def draw(n: int, classes: int = 4, seed: int = 0, scale: float = 2.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(n, classes, generator=generator, dtype=torch.float64)
    return logits, torch.randint(classes, (n,), generator=generator)


def calibrated(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Labels drawn from the model's own probabilities."""
    logits, _ = draw(n, seed=seed)
    generator = torch.Generator().manual_seed(seed + 1000)
    return logits, torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]


def softmax(row: list[float]) -> list[float]:
    total = sum(math.exp(z) for z in row)
    return [math.exp(z) / total for z in row]


def slow_pairs(logits: Tensor, labels: Tensor) -> list[tuple[float, bool]]:
    """(confidence, right) of each example."""
    pairs = []
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        p = softmax(row)
        pairs.append((max(p), p.index(max(p)) == label))
    return pairs


def slow_bins(
    pairs: list[tuple[float, bool]], bins: int, mass: bool
) -> list[list[tuple[float, bool]]]:
    """Bins by counting, for confidences that all differ."""
    found: list[list[tuple[float, bool]]] = [[] for _ in range(bins)]
    for rank, (confidence, right) in enumerate(sorted(pairs)):
        where = rank * bins // len(pairs)
        if not mass:
            where = next(b for b in range(bins) if confidence <= (b + 1) / bins + 1e-15)
        found[where].append((confidence, right))
    return [b for b in found if b]


def slow_error(pairs: list[tuple[float, bool]], bins: int, mass: bool) -> float:
    error = 0.0
    for inside in slow_bins(pairs, bins, mass):
        confidence = sum(c for c, _ in inside) / len(inside)
        accuracy = sum(r for _, r in inside) / len(inside)
        error += len(inside) / len(pairs) * abs(accuracy - confidence)
    return error


@pytest.mark.parametrize("n", [7, 40, 101])
@pytest.mark.parametrize("bins", [1, 5, 7])
def test_the_error_is_that_of_a_loop(n: int, bins: int) -> None:
    logits, labels = draw(n, seed=n)
    pairs = slow_pairs(logits, labels)
    assert calibration_error(logits, labels, bins) == pytest.approx(
        slow_error(pairs, bins, True), abs=1e-12
    )
    assert calibration_error(logits, labels, bins, "width") == pytest.approx(
        slow_error(pairs, bins, False), abs=1e-12
    )


def test_a_small_case_by_hand() -> None:
    # confidences 0.6, 0.6, 0.9, 0.9 with one of two and two of two right
    logits = torch.tensor([[0.6, 0.4], [0.6, 0.4], [0.9, 0.1], [0.9, 0.1]]).double().log()
    labels = torch.tensor([0, 1, 0, 0])
    assert calibration_error(logits, labels, 2) == pytest.approx(0.5 * 0.1 + 0.5 * 0.1)
    # the squares less the noise 0.25 / 1 of the first bin
    expected = 0.5 * (0.01 - 0.25) + 0.5 * 0.01
    assert squared_calibration_error(logits, labels, 2) == pytest.approx(expected)


def test_bins_of_equal_width_hold_their_right_end() -> None:
    logits = torch.tensor([[0.5, 0.5], [0.6, 0.4]]).double().log()
    labels = torch.tensor([0, 1])
    assert calibration_error(logits, labels, 2, "width") == pytest.approx(0.5 * 0.5 + 0.5 * 0.6)


@pytest.mark.parametrize("bins", [1, 4, 9])
def test_the_squared_error_is_that_of_a_loop(bins: int) -> None:
    logits, labels = draw(60, seed=3)
    slow = 0.0
    for inside in slow_bins(slow_pairs(logits, labels), bins, True):
        m = len(inside)
        confidence = sum(c for c, _ in inside) / m
        accuracy = sum(r for _, r in inside) / m
        slow += m / 60 * ((accuracy - confidence) ** 2 - accuracy * (1 - accuracy) / (m - 1))
    assert squared_calibration_error(logits, labels, bins) == pytest.approx(slow, abs=1e-12)


def test_only_the_squared_error_is_unbiased() -> None:
    squared = [squared_calibration_error(*calibrated(90, seed)) for seed in range(200)]
    mean = sum(squared) / len(squared)
    spread = math.sqrt(sum((s - mean) ** 2 for s in squared) / 199 / 200)
    assert abs(mean) < 4 * spread
    assert min(squared) < 0
    plain = [calibration_error(*calibrated(90, seed)) for seed in range(50)]
    assert sum(plain) / 50 > 0.05
    many = calibration_error(*calibrated(20_000, 0))
    assert many < 0.015


def test_a_model_that_is_sure_and_wrong_has_the_largest_error() -> None:
    logits = torch.tensor([[1000.0, 0.0]] * 20)
    wrong = torch.ones(20, dtype=torch.long)
    assert calibration_error(logits, wrong) == 1.0
    assert calibration_error(logits, 1 - wrong) == 0.0
    assert squared_calibration_error(logits, wrong) == 1.0
    assert brier_score(logits, wrong) == 2.0


def test_the_order_of_the_examples_does_not_matter() -> None:
    logits, labels = draw(30)
    logits = logits.round()  # many equal confidences
    expected = calibration_error(logits, labels, 6)
    for seed in range(20):
        order = torch.randperm(30, generator=torch.Generator().manual_seed(seed))
        assert calibration_error(logits[order], labels[order], 6) == pytest.approx(expected)


def test_the_brier_score_is_that_of_a_loop() -> None:
    logits, labels = draw(25)
    slow = [
        sum((p - (c == label)) ** 2 for c, p in enumerate(softmax(row)))
        for row, label in zip(logits.tolist(), labels.tolist(), strict=True)
    ]
    assert brier(logits, labels).tolist() == pytest.approx(slow, rel=1e-12)
    assert brier_score(logits, labels) == pytest.approx(sum(slow) / 25)


@pytest.mark.parametrize(("bins", "binning"), [(0, "mass"), (11, "mass"), (-1, "width"), (5, "x")])
def test_bins_that_cannot_be_filled_are_refused(bins: int, binning: str) -> None:
    logits, labels = draw(10)
    with pytest.raises(BadParameter):
        calibration_error(logits, labels, bins, binning)  # type: ignore[arg-type]


def test_a_bin_of_one_has_no_noise_to_subtract() -> None:
    with pytest.raises(BadData, match="single of the 10 examples"):
        squared_calibration_error(*draw(10), bins=10)


def test_bad_rows_are_refused() -> None:
    logits, labels = draw(20)
    for metric in (calibration_error, squared_calibration_error, brier):
        with pytest.raises(BadData, match="from 0 to 4"):
            metric(logits, torch.full_like(labels, 4).scatter(0, torch.tensor(0), 0))
        with pytest.raises(BadData, match="20 of the logits are NaN"):
            metric(logits.clone().index_fill(1, torch.tensor(0), math.nan), labels)
