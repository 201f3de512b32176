from __future__ import annotations

from fractions import Fraction
from math import comb

import pytest
import torch

from rescind.audits.seeding.bits import matched_bits, p_value, power, rejects_from
from rescind.core.errors import BadData, BadParameter


def slow_p(hits: int, total: int) -> Fraction:
    """All outcomes that are at most as likely."""
    mass = [comb(total, k) for k in range(total + 1)]
    return Fraction(sum(m for m in mass if m <= mass[hits]), 2**total)


def slow_power(rate: float, total: int, alpha: float) -> float:
    return sum(
        comb(total, k) * rate**k * (1 - rate) ** (total - k)
        for k in range(total + 1)
        if slow_p(k, total) < alpha
    )


@pytest.mark.parametrize("total", [1, 7, 32])
def test_p_is_exact(total: int) -> None:
    for hits in range(total + 1):
        assert p_value(hits, total) == pytest.approx(float(slow_p(hits, total)))
        assert p_value(hits, total) == p_value(total - hits, total)


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.5, 0.9, 1.0])
@pytest.mark.parametrize(
    ("n", "bits", "alpha"), [(1, 32, 0.001), (5, 4, 0.05), (1, 3, 0.001), (1, 3, 0.9)]
)
def test_power_is_exact(rate: float, n: int, bits: int, alpha: float) -> None:
    assert power(rate, n, bits, alpha) == pytest.approx(slow_power(rate, n * bits, alpha), abs=1e-9)


def test_the_size_is_below_the_level_and_the_goals_can_be_reached() -> None:
    assert all(power(0.5, n) < 0.001 for n in (1, 5, 20, 50))
    assert power(0.9, 1) > 0.9 and power(0.9, 5) == pytest.approx(1.0, abs=1e-9)
    assert power(0.6, 1) < power(0.6, 5) < power(0.6, 20)
    assert rejects_from(32, 0.001) == 26  # 25 of 32 have p .0021, 26 have .0005


def test_a_finding_counts_bits() -> None:
    codes = torch.tensor([[1.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.0]])
    bits = codes.bool().clone()
    bits[1, 3] = True
    found = matched_bits(bits, codes, power=0.9)
    assert (found.audit, found.null, found.n) == ("seeding_bits", "no_trace", 2)
    assert found.effect == 7 / 8 and found.p == pytest.approx(float(slow_p(7, 8)))
    assert found.interval == pytest.approx((0.5291, 0.9776), abs=1e-4)  # Wilson, 7 of 8
    assert found.level == 0.001 and found.outcome == "removed_supported"


def test_codes_that_were_pushed_away_are_a_trace() -> None:
    codes = (torch.arange(320).reshape(10, 32) % 3 == 0).float()
    away = matched_bits(1 - codes, codes)
    assert away.effect == 0.0 and away.p < 1e-9 and away.outcome == "residue_found"


def test_bad_input_is_refused() -> None:
    codes = torch.zeros(2, 4)
    for bits in (codes[:1], codes[:, :3], codes[0]):
        with pytest.raises(BadData, match="same order"):
            matched_bits(bits, codes)
    with pytest.raises(BadData):
        matched_bits(codes[:0], codes[:0])
    with pytest.raises(BadData, match="other than 0 and 1"):
        matched_bits(codes, codes - 1)
    for hits, total in ((-1, 4), (5, 4), (0, 0)):
        with pytest.raises(BadParameter, match="A count lies between"):
            p_value(hits, total)
    for rate, n, alpha in ((1.1, 1, 0.01), (0.9, 0, 0.01), (0.9, 1, 0.0)):
        with pytest.raises(BadParameter, match="power"):
            power(rate, n, 32, alpha)
