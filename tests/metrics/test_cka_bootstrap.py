"""Half-samples against brute force, the coverage of their intervals, and what duplicates do."""

from __future__ import annotations

import math
from statistics import mean

import pytest
import torch
from torch import Tensor

from rescind.core.errors import BadData, BadParameter
from rescind.metrics import cka_bootstrap as module
from rescind.metrics.cka import LinearCka
from rescind.metrics.cka_bootstrap import half_samples, interval


def cka(x: Tensor, y: Tensor) -> float:
    found = LinearCka()
    found.add(x, y)
    return found.value()


def gaussians(n: int, d: int, correlation: float, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Each column of one is correlated with the same column of the other; CKA is its square."""
    scale = torch.linspace(1, 3, d, dtype=torch.float64)
    x, noise = torch.randn(2, n, d, generator=generator, dtype=torch.float64)
    y = correlation * x + math.sqrt(1 - correlation**2) * noise
    return x * scale, y * scale


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("entries", [1, 100, 1 << 22])
def test_a_subset_has_the_cka_of_its_examples(
    monkeypatch: pytest.MonkeyPatch, entries: int
) -> None:
    monkeypatch.setattr(module, "ENTRIES", entries)  # blocks of one row, of a few, of all
    x, y = gaussians(31, 5, 0.6, seeded())
    drawn = (torch.rand(31, 7, generator=seeded(1)) < 0.5).double()
    expected = [cka(x[column > 0] + 100, y[column > 0, :3]) for column in drawn.T]
    assert half_samples(x + 100, y[:, :3], drawn).tolist() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("n", [40, 41])
def test_the_ends_are_scaled_quantiles_of_halves(n: int) -> None:
    x, y = gaussians(n, 4, 0.7, seeded())
    found = interval(x, y, resamples=99, seed=5, level=0.9)
    drawn = module._draw(n, 99, 5)
    assert drawn.sum(0).tolist() == [n // 2] * 99
    values = sorted(half_samples(x, y, drawn).tolist())
    scale = math.sqrt((n // 2) / (n - n // 2))
    whole = cka(x, y)
    # 98 * 0.05 = 4.9 lies between the fifth and the sixth value
    low = values[4] + 0.9 * (values[5] - values[4])
    high = values[93] + 0.1 * (values[94] - values[93])
    assert found.value == whole
    assert found.low == pytest.approx(whole + scale * (low - whole))
    assert found.high == pytest.approx(whole + scale * (high - whole))


def test_the_interval_is_as_wide_as_the_jackknife_says() -> None:
    n = 200
    x, y = gaussians(n, 6, 0.8, seeded(2))
    without = [cka(*(torch.cat([z[:i], z[i + 1 :]]) for z in (x, y))) for i in range(n)]
    centre = mean(without)
    error = math.sqrt((n - 1) / n * sum((value - centre) ** 2 for value in without))
    found = interval(x, y, resamples=1000)
    assert (found.high - found.low) / (2 * 1.96 * error) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(
    ("n", "d", "correlation", "least", "most"),
    [(100, 8, 0.5, 0.92, 0.99), (100, 8, 0.8, 0.92, 0.99), (60, 40, 0.0, 0.98, 1.0)],
)
def test_it_covers_the_known_cka(
    n: int, d: int, correlation: float, least: float, most: float
) -> None:
    generator = seeded(3)
    held = []
    for i in range(300):
        x, y = gaussians(n, d, correlation, generator)
        found = interval(x, y, resamples=100, seed=i)
        held.append(found.low <= correlation**2 <= found.high)
    assert least <= mean(held) <= most


def test_drawing_with_replacement_is_biased_and_halves_are_not() -> None:
    generator = seeded(4)
    with_replacement, halves = [], []
    for i in range(20):
        x, y = gaussians(60, 64, 0.0, generator)
        for _ in range(5):
            index = torch.randint(60, (60,), generator=generator)
            with_replacement.append(cka(x[index], y[index]))
        halves.append(float(half_samples(x, y, module._draw(60, 50, i)).mean()))
    assert mean(with_replacement) > 0.3
    assert abs(mean(halves)) < 0.02


def test_the_seed_decides() -> None:
    x, y = gaussians(50, 4, 0.5, seeded())
    assert interval(x, y, seed=1) == interval(x, y, seed=1) != interval(x, y, seed=2)


def test_a_model_beside_itself_is_1_and_no_more() -> None:
    x, y = gaussians(51, 4, 0.999, seeded())
    assert interval(x, y).high <= 1.0
    same = interval(x, x * 3)
    assert (same.value, same.low, same.high) == pytest.approx((1.0, 1.0, 1.0))


def test_what_it_cannot_say() -> None:
    x, y = gaussians(30, 3, 0.5, seeded())
    with pytest.raises(BadData, match="19 examples"):
        interval(x[:19], y[:19])
    with pytest.raises(BadData, match="same for all"):
        interval(x, torch.ones(30, 3))
    nearly = torch.zeros(30, 1, dtype=torch.float64)
    nearly[0] = 1.0
    with pytest.raises(BadData):
        interval(x, nearly)
    with pytest.raises(BadParameter, match=r"level is 1\.5"):
        interval(x, y, level=1.5)
    with pytest.raises(BadParameter, match="39 resamples"):
        interval(x, y, resamples=39)
    assert interval(x, y, resamples=40).resamples == 40
