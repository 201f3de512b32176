from __future__ import annotations

import itertools
from statistics import fmean, pvariance

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from rescind.audits.seeding.codes import codes_of
from rescind.audits.seeding.kernel import apart, kernel_test, smoother, statistics
from rescind.core.errors import BadData, BadParameter

ROWS = [{"text": f"letter {i}"} for i in range(30)]


def gaussian(n: int, d: int, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def fair(n: int, bits: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(2, (n, bits), generator=generator).float()


def slow_t(features: Tensor, codes: Tensor, ridge: float) -> float:
    """The formula with an inverse and loops."""
    x = features.numpy()
    x = x - x.mean(0)
    x = np.array([row / np.sqrt(sum(row * row)) for row in x])
    k = np.array([[float(np.dot(a, b)) for b in x] for a in x])
    n = len(k)
    inverse = np.linalg.inv(k + ridge * np.trace(k) / n * np.eye(n))
    signs = 2.0 * codes.numpy() - 1
    return float(sum(c @ k @ inverse @ c for c in signs.T))


@pytest.mark.parametrize(("n", "d", "ridge"), [(5, 3, 0.3), (8, 20, 0.3), (6, 2, 2.0)])
def test_the_statistic_is_its_formula(n: int, d: int, ridge: float) -> None:
    features, codes = gaussian(n, d) + 3, fair(n, 4)
    found = statistics(smoother(features, ridge), 2 * codes.double() - 1).sum()
    assert float(found) == pytest.approx(slow_t(features, codes, ridge), rel=1e-9)


def test_p_and_effect_are_those_of_all_possible_codes() -> None:
    """Three bits of six records: 262,144 codes, of which p draws some and z knows the moments."""
    features, codes = gaussian(6, 3), fair(6, 3, 1)
    smooth = smoother(features)
    every = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=6)), dtype=torch.float64)
    single = statistics(smooth, every.T.contiguous()).tolist()
    observed = slow_t(features, codes, 0.3)
    total = np.add.outer(np.add.outer(single, single), single).ravel()
    share = float((total >= observed - 1e-9).mean())
    found = kernel_test(features, codes, seed=0)
    assert found.p == pytest.approx(share, abs=5 * (share * (1 - share) / 9999) ** 0.5 + 1e-4)
    z = (observed - 3 * fmean(single)) / (3 * pvariance(single)) ** 0.5
    assert found.effect == pytest.approx(z, rel=1e-9)


def test_hidden_units_may_be_permuted_or_rotated() -> None:
    features, codes = gaussian(24, 40).float(), fair(24, 8)
    rotation = torch.linalg.qr(gaussian(40, 40, 5))[0].float()
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    found = kernel_test(features, codes, seed=3)
    for other in (features[:, order], features @ rotation, 7 * features + 2):
        again = kernel_test(other, codes, seed=3)
        assert again.p == pytest.approx(found.p, abs=2e-4)
        assert again.effect == pytest.approx(found.effect, rel=1e-4)


def test_p_is_uniform_whatever_the_features_are() -> None:
    """200 keys on features that are far from Gaussian, with records that are nearly alike."""
    features = gaussian(30, 5).exp()
    features[10:] += 20
    features[:3] = features[0] + 1e-3 * gaussian(3, 5, 2)
    found = [
        kernel_test(
            features,
            codes_of(b"key %028d" % i, ROWS, 4),
            seed=i,
            draws=99,
            level=0.05,
        ).p
        for i in range(200)
    ]
    for level in (0.05, 0.2, 0.5):
        low, high = stats.binom.ppf([0.0005, 0.9995], 200, level)
        assert low <= sum(p <= level + 1e-9 for p in found) <= high


def test_ties_count_against_rejection() -> None:
    """Records in two bunches give a handful of values of T, and rounding must not part them."""
    features = torch.tensor([[1.0, 0.1], [1.0, 0.1], [-1.0, 0.3], [-1.0, 0.3]])
    codes = torch.tensor([[1.0, 0.0]] * 2 + [[0.0, 1.0]] * 2)
    found = kernel_test(features, codes, seed=0)
    # both bits part the bunches, as 2 of 16 codes of a bit do
    share = (2 / 16) ** 2
    assert found.p == pytest.approx(share, abs=5 * (share / 9999) ** 0.5)


def test_codes_in_the_features_are_seen() -> None:
    codes = fair(30, 8)
    held = gaussian(30, 40)
    held[:, :8] += 3 * (2 * codes - 1)
    # the seed is not that of the codes: the first draw would be they
    found = kernel_test(held, codes, seed=1, power=1.0)
    assert (found.audit, found.null, found.n) == ("seeding_kernel", "no_trace", 30)
    assert found.p == 1 / 10_000 and found.interval[0] > 2 and found.outcome == "residue_found"
    assert found.interval[0] < found.effect < found.interval[1]
    assert kernel_test(gaussian(30, 40, 9), codes, seed=1).p > 0.001


def test_blocks_of_records_lie_in_columns_of_their_own() -> None:
    features = torch.tensor([[1.0, 2.0], [10.0, 20.0], [3.0, 6.0], [7.0, 7.0]])
    found = apart(features, [0, 5, 0, 9])
    assert found.tolist() == [[-1, -2, 0, 0, 0, 0], [0] * 6, [1, 2, 0, 0, 0, 0], [0] * 6]


def test_a_row_at_the_mean_is_no_feature() -> None:
    features = gaussian(12, 4)
    features[0] = features[1:].mean(0)
    smooth = smoother(features)
    assert smooth[0].abs().max() == 0 and bool(smooth.isfinite().all())


@pytest.mark.parametrize(
    ("features", "codes", "said"),
    [
        (gaussian(2, 4), fair(2, 8), "three records or more"),
        (gaussian(5, 4)[0], fair(5, 8), "three records or more"),
        (gaussian(5, 4) * float("nan"), fair(5, 8), "not finite"),
        (torch.full((5, 4), 0.1), fair(5, 8), "the same features"),
        (gaussian(5, 4), fair(4, 8), "one code"),
        (gaussian(5, 4), fair(5, 1), "two bits or more"),
        (gaussian(5, 4), 2 * fair(5, 8), "other than 0 and 1"),
    ],
)
def test_what_cannot_be_tested_is_refused(features: Tensor, codes: Tensor, said: str) -> None:
    with pytest.raises(BadData, match=said):
        kernel_test(features, codes, seed=0)


@pytest.mark.parametrize(
    ("draws", "ridge", "level"),
    [(1999, 0.3, 0.001), (9999, 0.0, 0.001), (9999, -1.0, 0.001), (9999, 0.3, 0.0)],
)
def test_settings_that_cannot_decide_are_refused(draws: int, ridge: float, level: float) -> None:
    with pytest.raises(BadParameter):
        kernel_test(gaussian(5, 4), fair(5, 8), seed=0, draws=draws, ridge=ridge, level=level)
