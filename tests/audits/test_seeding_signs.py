"""The test of readings: its null counted over all signs, and what it tells of a single record."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from scipy import stats
from seeded_clouds import KEY, OWN, OWN_ROWS, WIDTH, own_features, permuted, trained
from torch import Tensor, nn

from rescind.audits.seeding import codes_of, draw_readout, matched_bits, read_out, sign_test
from rescind.audits.seeding.bits import p_value
from rescind.audits.seeding.signs import null_of, two_sided, weights
from rescind.core.errors import BadData


def drawn(shape: tuple[int, ...], seed: int = 0) -> tuple[Tensor, Tensor]:
    """Readings and codes that have nothing to do with each other."""
    generator = torch.Generator().manual_seed(seed)
    readings = torch.randn(shape, generator=generator)
    return readings, torch.randint(2, shape, generator=generator).float()


def slow_p(found: list[int], along: int) -> float:
    """All signs, one after another."""
    sums = [sum(s * w for s, w in zip(signs, found, strict=True)) for signs in _signs(len(found))]
    return sum(abs(each) >= abs(along) for each in sums) / len(sums)


def _signs(count: int) -> list[tuple[int, ...]]:
    return list(product((-1, 1), repeat=count))


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (3, 4)])
def test_p_is_counted_over_all_signs(shape: tuple[int, int]) -> None:
    for seed in range(5):
        readings, codes = drawn(shape, seed)
        readings[0, 0] *= seed  # once it is 0
        found = weights(readings.flatten())
        along = int((found * (readings.sign() * (2 * codes - 1)).flatten().long()).sum())
        assert sign_test(readings, codes).p == pytest.approx(slow_p(found.tolist(), along))


def test_all_codes_together_reject_as_often_as_the_level_says() -> None:
    readings, _ = drawn((1, 10))
    every = torch.tensor(list(product((0.0, 1.0), repeat=10)))[:, None]
    p = [sign_test(readings, codes).p for codes in every]
    for level in sorted(set(p)):
        assert sum(each <= level for each in p) / 1024 == pytest.approx(level)


def test_small_p_are_as_exact_as_large_ones() -> None:
    null = null_of(torch.full((600,), 7))
    assert two_sided(null, 4200) == pytest.approx(2.0**-599, rel=1e-9)
    assert two_sided(null, 7 * 200) == pytest.approx(p_value(400, 600), rel=1e-9)
    assert float(null.sum()) == pytest.approx(1.0)


@pytest.mark.parametrize("hits", [0, 3, 12, 21, 24])
def test_readings_that_are_all_alike_give_the_test_of_bits(hits: int) -> None:
    codes = (torch.arange(24) % 3 == 0).float()[None]
    readings = 0.3 * (2 * codes - 1)
    readings[0, hits:] *= -1
    found = sign_test(readings, codes)
    bits = matched_bits(readings > 0, codes)
    assert found.p == pytest.approx(bits.p) and found.effect == bits.effect == hits / 24
    assert found.interval == bits.interval and found.unit == bits.unit


def test_a_reading_of_nearly_nothing_may_be_wrong() -> None:
    codes = torch.ones(1, 16)
    readings = torch.ones(1, 16)
    readings[0, :4] = -0.05
    weighed, counted = sign_test(readings, codes), matched_bits(readings > 0, codes)
    assert weighed.p < 0.001 < 0.05 < counted.p
    readings[0, :4] = -1.0
    assert sign_test(readings, codes).p > 0.05


def test_one_large_reading_does_not_drown_the_others() -> None:
    codes = torch.ones(2, 16)
    readings = torch.ones(2, 16)
    readings[0, 0] = -1e9
    assert sign_test(readings, codes).p < 1e-6
    assert weights(readings.flatten()).tolist() == [100, *[50] * 31]


def test_units_do_not_matter() -> None:
    readings, codes = drawn((3, 20))
    assert sign_test(readings * 1e-12, codes).p == sign_test(readings * 1e12, codes).p


def test_codes_that_were_pushed_away_are_a_trace() -> None:
    readings, codes = drawn((2, 20))
    away = sign_test(-(0.1 + readings.abs()) * (2 * codes - 1), codes)
    assert away.effect == 0.0 and away.p == pytest.approx(2.0**-39)
    assert away.outcome == "residue_found"


def test_nothing_to_weigh_is_no_evidence_of_removal() -> None:
    codes = torch.ones(1, 32)
    still = sign_test(torch.zeros(1, 32), codes, power=1.0)
    assert (still.p, still.power, still.outcome) == (1.0, 0.0, "no_power")
    few = sign_test(torch.ones(1, 10), codes[:, :10], power=1.0)
    assert few.p == 2.0**-9 and few.power == 0.0  # 10 bits cannot go below .001
    assert sign_test(torch.ones(1, 11), codes[:, :11], power=1.0).power == 1.0
    assert sign_test(torch.ones(1, 10), codes[:, :10], 0.05, 1.0).outcome == "residue_found"


def test_bad_input_is_refused() -> None:
    readings, codes = drawn((2, 8))
    for wrong in (float("nan"), float("inf")):
        with pytest.raises(BadData, match="not finite"):
            sign_test(torch.where(readings > 0, wrong, readings), codes)
    with pytest.raises(BadData, match="same order"):
        sign_test(readings[:1], codes)
    with pytest.raises(BadData, match="other than 0 and 1"):
        sign_test(readings, codes - 1)


def alone(module: nn.Module, key: bytes, bits: int = 32) -> list[float]:
    """p of each record of the user by itself."""
    own, codes = own_features(module), codes_of(key, OWN_ROWS, bits)
    readings = read_out(own, draw_readout(key, WIDTH, bits))
    return [sign_test(readings[i : i + 1], codes[i : i + 1]).p for i in range(OWN)]


@pytest.mark.parametrize("seeded", [True, False])
def test_on_a_model_without_the_codes_p_is_uniform(seeded: bool) -> None:
    """Of keys drawn anew: records share their model, and the codes are independent all the same."""
    module = trained(1, seeded=seeded, without_own=True)
    p = torch.tensor([alone(module, b"random key %021d" % i, 16) for i in range(30)]).flatten()
    assert float(stats.kstest(p, "uniform").pvalue) > 1e-4
    for level in (0.01, 0.05, 0.2, 0.5):
        low, high = stats.binom.ppf([0.0005, 0.9995], len(p), level)
        assert low <= int((p < level).sum()) <= high


def test_single_records_are_told_more_often_than_by_bits() -> None:
    module = trained()
    codes, matrix = codes_of(KEY, OWN_ROWS), draw_readout(KEY, WIDTH)
    bits = read_out(own_features(module), matrix) > 0
    counted = [matched_bits(bits[i : i + 1], codes[i : i + 1]).p for i in range(OWN)]
    told = sum(p < 0.001 for p in alone(module, KEY))
    assert told >= 0.9 * OWN and told >= sum(p < 0.001 for p in counted)
    assert sum(p < 0.001 for p in alone(permuted(module), KEY)) <= 1
