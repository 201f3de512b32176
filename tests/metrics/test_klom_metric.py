from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from rescind.core.errors import BadData, BadParameter, InsufficientEvidence
from rescind.metrics.klom import Smoothing, klom


def draw(models: int, n: int, seed: int, shift: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return shift + torch.randn(models, n, generator=generator, dtype=torch.float64)


def slow_counts(values: list[float], low: float, high: float) -> list[int]:
    """By comparing with each edge in turn; the last bin is closed."""
    edges = [low + (high - low) * b / 20 for b in range(21)]
    counts = [0] * 20
    for value in values:
        inside = [b for b in range(20) if edges[b] <= value < edges[b + 1]]
        counts[inside[0] if inside else 19] += 1
    return counts


def slow_klom(u: list[float], o: list[float], smoothing: Smoothing) -> float:
    u, o = ([min(max(v, -100.0), 100.0) for v in side] for side in (u, o))
    low, high = min(u + o), max(u + o)
    high = high if high > low else low + 1
    p: list[float] = list(slow_counts(u, low, high))
    q: list[float] = list(slow_counts(o, low, high))
    if smoothing == "counts":
        p, q = [v + 0.5 for v in p], [v + 0.5 for v in q]
    else:
        q = [v / len(o) for v in q]
        q = [max(b, 1e-5) if a > 0 else b for a, b in zip(p, q, strict=True)]
    p, q = [v / sum(p) for v in p], [v / sum(q) for v in q]
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


@pytest.mark.parametrize("smoothing", ["counts", "floor"])
@pytest.mark.parametrize(("m", "r", "shift"), [(8, 8, 0.0), (12, 30, 1.5), (25, 9, -4.0)])
def test_it_is_that_of_a_loop(smoothing: Smoothing, m: int, r: int, shift: float) -> None:
    u, o = draw(m, 40, 0, shift), draw(r, 40, 1)
    slow = [slow_klom(a, b, smoothing) for a, b in zip(u.T.tolist(), o.T.tolist(), strict=True)]
    found = klom(u, o, smoothing)
    assert found.each.tolist() == pytest.approx(slow, rel=1e-10, abs=1e-13)
    assert found.each.dtype == torch.float64
    assert found.models == (m, r)


def test_a_margin_on_an_edge_is_in_the_bin_above() -> None:
    u, o = ((10 * draw(15, 30, seed)).round().clamp(0, 20) for seed in (0, 1))
    u[0], o[0] = 0.0, 20.0  # bins are one wide
    slow = [slow_klom(a, b, "counts") for a, b in zip(u.T.tolist(), o.T.tolist(), strict=True)]
    assert klom(u, o).each.tolist() == pytest.approx(slow, rel=1e-10)


def test_quantiles_are_those_over_the_examples() -> None:
    found = klom(draw(10, 101, 0), draw(10, 101, 1))
    ordered = sorted(found.each.tolist())
    median, high, highest = found.quantiles
    assert (median, high) == pytest.approx((ordered[50], ordered[95]))
    assert highest == pytest.approx(ordered[99])


@pytest.mark.parametrize("smoothing", ["counts", "floor"])
def test_the_same_margins_have_no_divergence(smoothing: Smoothing) -> None:
    margins = draw(10, 20, 0)
    assert klom(margins, margins, smoothing).each.tolist() == pytest.approx([0.0] * 20, abs=1e-12)
    constant = torch.full((10, 3), 2.5)
    assert klom(constant, constant, smoothing).quantiles == (0.0, 0.0, 0.0)


def test_the_largest_margin_is_counted() -> None:
    """The published code leaves it out; then these two would be alike."""
    u, o = torch.zeros(8, 1), torch.zeros(8, 1)
    u[0], o[0] = 1.0, 0.5
    u[1], o[1] = 0.5, 0.5
    assert klom(u, o, "floor").each.item() > 0.5


def test_margins_are_clipped() -> None:
    u, o = draw(8, 5, 0), draw(8, 5, 1)
    u[0], o[0] = 1e6, -1e6
    near_u, near_o = u.clamp(-100, 100), o.clamp(-100, 100)
    assert torch.equal(klom(u, o).each, klom(near_u, near_o).each)
    u[0], o[0] = math.inf, -math.inf
    assert torch.equal(klom(u, o).each, klom(near_u, near_o).each)


def test_the_direction_is_from_unlearned_to_retrained() -> None:
    """With the floor, mass where no retrained model is costs; retrained mass left out does not."""
    spread, narrow = draw(40, 200, 0), 0.1 * draw(40, 200, 1)
    outside = klom(spread, narrow, "floor").quantiles[0]
    assert outside > 4 > 2.5 > klom(narrow, spread, "floor").quantiles[0]


# the figures of the docstring: median of equal distributions, and 3 standard deviations apart
FIGURES: list[tuple[Smoothing, int, float, float]] = [
    ("counts", 8, 0.38, 0.60),
    ("counts", 32, 0.32, 1.4),
    ("counts", 100, 0.15, 2.3),
    ("floor", 8, 6.2, 9.8),
    ("floor", 32, 1.6, 7.8),
    ("floor", 100, 0.32, 6.6),
]


@pytest.mark.parametrize(("smoothing", "models", "same", "apart"), FIGURES)
def test_the_figures_of_the_docstring(
    smoothing: Smoothing, models: int, same: float, apart: float
) -> None:
    o = draw(models, 4000, 0)
    alike = klom(draw(models, 4000, 1), o, smoothing).quantiles[0]
    other = klom(draw(models, 4000, 2, 3.0), o, smoothing).quantiles[0]
    assert alike == pytest.approx(same, rel=0.05)
    assert other == pytest.approx(apart, rel=0.05)


@pytest.mark.parametrize(("m", "r", "who"), [(7, 8, "7 unlearned"), (8, 7, "7 retrained")])
def test_few_models_are_refused(m: int, r: int, who: str) -> None:
    with pytest.raises(InsufficientEvidence, match=f"{who} models") as caught:
        klom(draw(m, 3, 0), draw(r, 3, 1))
    assert "1 more" in caught.value.do


@pytest.mark.parametrize("side", [0, 1])
def test_margins_that_cannot_be_compared_are_refused(side: int) -> None:
    good = draw(8, 3, 0)
    nan = good.index_fill(0, torch.tensor(2), math.nan)
    for bad in (good[:, :2], good[:, :0], good[0], nan):
        pair = (bad, good) if side == 0 else (good, bad)
        with pytest.raises(BadData, match=r"Margins of shape|margins of (un|re)\w+ models are NaN"):
            klom(*pair)


def test_an_unknown_smoothing_is_refused() -> None:
    with pytest.raises(BadParameter, match="kernel"):
        klom(draw(8, 3, 0), draw(8, 3, 1), "kernel")  # type: ignore[arg-type]
