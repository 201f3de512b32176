from __future__ import annotations

import itertools
import math
from statistics import mean

import pytest
import torch
from torch import Tensor

from rescind.core.errors import BadData, BadParameter
from rescind.metrics import cka as module
from rescind.metrics.cka import LinearCka, biased_cka, normalised


def gaussian(n: int, d: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def cka(*pairs: tuple[Tensor, Tensor]) -> float:
    found = LinearCka()
    for x, y in pairs:
        found.add(x, y)
    return found.value()


def slow_hsic(x: Tensor, y: Tensor) -> float:
    """The formula with loops, no matrix algebra."""
    n = len(x)
    k = [[0.0 if i == j else float(x[i] @ x[j]) for j in range(n)] for i in range(n)]
    m = [[0.0 if i == j else float(y[i] @ y[j]) for j in range(n)] for i in range(n)]
    trace = sum(k[i][j] * m[j][i] for i in range(n) for j in range(n))
    total_k, total_m = (sum(map(sum, kernel)) for kernel in (k, m))
    path = sum(k[i][j] * m[j][q] for i in range(n) for j in range(n) for q in range(n))
    inner = trace + total_k * total_m / ((n - 1) * (n - 2)) - 2 / (n - 2) * path
    return inner / (n * (n - 3))


def mean_over_quadruples(x: Tensor, y: Tensor) -> float:
    """HSIC as the mean of its U-statistic's kernel over ordered quadruples of different examples.

    Song et al. (2012), section 3: E[kl] + E[k]E[l] - 2 E[kl with one example shared].
    """
    k: list[list[float]] = (x @ x.T).tolist()
    m: list[list[float]] = (y @ y.T).tolist()
    return mean(
        k[i][j] * m[i][j] + k[i][j] * m[q][r] - 2 * k[i][j] * m[i][q]
        for i, j, q, r in itertools.permutations(range(len(x)), 4)
    )


def slow_cka(*pairs: tuple[Tensor, Tensor]) -> float:
    xx, yy, xy = (sum(len(a) * slow_hsic(a, b) for a, b in side) for side in _sides(pairs))
    return xy / math.sqrt(xx * yy)


def _sides(pairs: tuple[tuple[Tensor, Tensor], ...]) -> list[list[tuple[Tensor, Tensor]]]:
    return [[(x, x) for x, _ in pairs], [(y, y) for _, y in pairs], list(pairs)]


SHAPES = [(4, 3, 2), (7, 12, 9), (9, 2, 30), (12, 3, 1)]  # kernels and covariances are both taken


@pytest.mark.parametrize(("n", "d1", "d2"), SHAPES)
def test_it_is_the_formula_and_the_mean_over_quadruples(n: int, d1: int, d2: int) -> None:
    x, y = gaussian(n, d1) + 3, gaussian(n, d2, 1) - 5
    y[:, 0] += 2 * x[:, 0]
    found = LinearCka()
    found.add(x, y)
    for oracle in (slow_hsic, mean_over_quadruples):
        assert found.cross / n == pytest.approx(oracle(x, y), rel=1e-9, abs=1e-9)
        assert found.own[0] / n == pytest.approx(oracle(x, x), rel=1e-9, abs=1e-9)
        assert found.own[1] / n == pytest.approx(oracle(y, y), rel=1e-9, abs=1e-9)
    assert found.value() == pytest.approx(slow_cka((x, y)), rel=1e-9)


def test_both_ways_to_the_terms_agree() -> None:
    x, y = gaussian(20, 15), gaussian(20, 25, 1)
    for slow, fast in zip(module._by_kernels(x, y), module._by_features(x, y), strict=True):
        assert fast == pytest.approx(slow, rel=1e-9)


def test_the_cheaper_way_is_taken() -> None:
    assert module._kernels_are_cheaper(torch.empty(512, 2048), torch.empty(512, 2048))
    assert not module._kernels_are_cheaper(torch.empty(8192, 2048), torch.empty(8192, 2048))


def test_batches_are_summed_before_dividing_and_weigh_as_their_examples() -> None:
    x, y = gaussian(25, 6), gaussian(25, 5, 1)
    y += x[:, :5]
    cut = [0, 10, 18, 25]
    pairs = [(x[a:b], y[a:b] * (1 + a)) for a, b in itertools.pairwise(cut)]
    assert cka(*pairs) == pytest.approx(slow_cka(*pairs), rel=1e-9)
    assert cka(*pairs) != pytest.approx(mean(cka(pair) for pair in pairs), abs=1e-3)
    plain = [sum(slow_hsic(*ab) for ab in side) for side in _sides(tuple(pairs))]
    assert cka(*pairs) != pytest.approx(plain[2] / math.sqrt(plain[0] * plain[1]), abs=1e-3)


def test_many_batches_come_near_to_one_large_one() -> None:
    x = gaussian(4096, 32)
    y = x @ gaussian(32, 32, 1) + 4 * gaussian(4096, 32, 2)
    parts = [(x[i : i + 128], y[i : i + 128]) for i in range(0, 4096, 128)]
    assert cka(*parts) == pytest.approx(cka((x, y)), abs=0.02)
    assert 0.2 < cka((x, y)) < 0.9


@pytest.mark.parametrize("n", [16, 200])
def test_rotation_scale_and_shift_change_nothing(n: int) -> None:
    x = gaussian(n, 40)
    y = x[:, :20] + gaussian(n, 20, 1)
    turn = torch.linalg.qr(gaussian(40, 40, 2)).Q
    assert cka((7e3 * x @ turn + 100, y)) == pytest.approx(cka((x, y)), rel=1e-8)
    assert cka((x * torch.arange(1.0, 41), y)) != pytest.approx(cka((x, y)), rel=1e-3)
    assert cka((y, x)) == pytest.approx(cka((x, y)), rel=1e-12)


# the biased floors that the description of the protocol computes: 0.80 at 512 x 2048
@pytest.mark.parametrize(("n", "d", "floor"), [(512, 2048, 0.80), (512, 512, 0.50)])
def test_independent_features_give_zero_and_the_biased_estimate_does_not(
    n: int, d: int, floor: float
) -> None:
    x, y = gaussian(n, d, 3, torch.float32), gaussian(n, d, 4, torch.float32)
    assert abs(cka((x, y))) < 0.01
    assert biased_cka(x, y) == pytest.approx(floor, abs=0.01)


def test_the_estimate_is_as_often_negative_as_positive_and_is_not_cut_off() -> None:
    values = [cka((gaussian(64, 64, i), gaussian(64, 64, 100 + i))) for i in range(60)]
    assert 15 < sum(v < 0 for v in values) < 45
    assert abs(mean(values)) < 0.01


def test_the_biased_estimate_is_its_own_formula_both_ways() -> None:
    for n in (8, 60):
        x, y = gaussian(n, 12), gaussian(n, 9, 1)
        h = torch.eye(n, dtype=torch.float64) - 1 / n
        k, m = h @ x @ x.T @ h, h @ y @ y.T @ h
        expected = (k * m).sum() / ((k * k).sum() * (m * m).sum()).sqrt()
        assert biased_cka(x, y) == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_equal_features_give_one(dtype: torch.dtype) -> None:
    for n in (30, 300):
        x = gaussian(n, 64).to(dtype)
        assert cka((x, x)) == pytest.approx(1.0, abs=1e-12)
        assert biased_cka(x, x) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_are_multiplied_in_float32(dtype: torch.dtype) -> None:
    x, y = gaussian(100, 64).to(dtype), gaussian(100, 64, 1).to(dtype)
    y[:, :20] += x[:, :20]
    assert cka((x, y)) == pytest.approx(cka((x.double(), y.double())), abs=1e-6)


def test_integers_are_features_too() -> None:
    x = torch.arange(20).reshape(10, 2) ** 2
    assert cka((x, x.double())) == pytest.approx(1.0, abs=1e-12)


def test_a_large_common_part_costs_no_digits() -> None:
    x, y = gaussian(100, 20), gaussian(100, 300, 1)
    y[:, :20] += 3 * x
    near = cka(((x + 1000).float(), (y - 3000).float()))
    assert near == pytest.approx(cka((x, y)), abs=1e-3)


def test_what_is_kept_does_not_grow() -> None:
    found = LinearCka()
    for i in range(50):
        found.add(gaussian(8, 3, i), gaussian(8, 2, 99 + i))
    assert (found.batches, found.examples) == (50, 400)
    kept = [getattr(found, name) for name in LinearCka.__slots__]
    flat = [v for k in kept for v in (k if isinstance(k, tuple) else (k,))]
    assert all(isinstance(v, int | float) for v in flat)
    assert len(flat) < 10


def test_no_gradient_is_kept_and_nothing_is_changed() -> None:
    x = gaussian(10, 3).requires_grad_()
    before = x.detach().clone()
    assert cka((x, x)) == pytest.approx(1.0)
    assert torch.equal(x, before)


GOOD = torch.arange(30.0).reshape(10, 3) ** 2
BAD = [
    (GOOD[:3], GOOD[:3], "3 examples"),
    (GOOD, GOOD[:9], "same examples"),
    (GOOD, GOOD[:, 0], "same examples"),
    (GOOD, GOOD[:, :0], "0 wide"),
    (GOOD, torch.ones(10, 3) * 0.1, "second features are the same"),
    (torch.zeros(10, 3), GOOD, "first features are the same"),
    (1000 + 2.0**-14 * (GOOD % 2), GOOD, "first features are the same"),
    (GOOD, GOOD.clone().fill_(math.nan), "NaN"),
    (torch.cat([GOOD[:9], torch.full((1, 3), math.inf)]), GOOD, "NaN or infinite"),
    (GOOD * 1e25, GOOD, "products of the features are not finite"),
]


@pytest.mark.parametrize(("x", "y", "said"), BAD)
def test_batches_that_cannot_be_compared_are_refused_and_leave_no_trace(
    x: Tensor, y: Tensor, said: str
) -> None:
    found = LinearCka()
    found.add(GOOD, GOOD)
    before = (found.examples, found.batches, found.cross, found.own)
    with pytest.raises(BadData, match=said):
        found.add(x, y)
    assert (found.examples, found.batches, found.cross, found.own) == before


def test_nothing_added_has_no_value() -> None:
    with pytest.raises(BadData, match="No features were added"):
        LinearCka().value()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_features_that_only_one_example_has_are_constant_to_the_unbiased_hsic(
    dtype: torch.dtype, size: float
) -> None:
    lonely = torch.zeros(12, 5, dtype=dtype)
    lonely[3] = size
    assert mean_over_quadruples(lonely[:6], lonely[:6]) == pytest.approx(0, abs=1e-12 * size**4)
    with pytest.raises(BadData, match="constant, or the batches are too small"):
        cka((gaussian(12, 5).to(dtype), lonely))


def test_values_are_placed_between_floor_and_ceiling() -> None:
    found = normalised(0.6, [0.1, 0.3], [0.9, 1.0, 1.1])
    assert found.value == pytest.approx(0.5)
    assert found.floor == pytest.approx(0.2)
    assert found.ceiling == pytest.approx(1.0)
    # sums of squares 0.02 and 0.02 over 1 + 2 degrees of freedom
    assert found.spread == pytest.approx(math.sqrt(0.04 / 3))
    assert not found.undefined
    assert found.reason == ""


@pytest.mark.parametrize(("value", "clipped"), [(-0.5, 0.0), (0.25, 0.25), (1.5, 1.0)])
def test_values_outside_are_kept_and_clipped_only_for_scores(value: float, clipped: float) -> None:
    found = normalised(value, [0.0, 0.0], [1.0, 1.0])
    assert (found.value, found.clipped) == (value, clipped)


@pytest.mark.parametrize(
    ("floors", "ceilings", "undefined"),
    [
        ([0.0, 0.2], [0.28, 0.48], True),  # SD 0.1414, gap 0.28 < 0.2828
        ([0.0, 0.2], [0.29, 0.49], False),
        ([0.5, 0.5], [0.5, 0.5], True),
        ([0.8, 0.9], [0.1, 0.2], True),  # upside down
        ([0.5, 0.5], [0.6, 0.6], False),
    ],
)
def test_a_scale_without_length_is_undefined(
    floors: list[float], ceilings: list[float], undefined: bool
) -> None:
    found = normalised(0.4, floors, ceilings)
    assert found.undefined is undefined
    assert (found.value is None, found.clipped is None) == (undefined, undefined)
    assert bool(found.reason) is undefined


@pytest.mark.parametrize(
    ("value", "floors", "ceilings"),
    [
        (0.5, [0.1], [0.9, 0.9]),
        (0.5, [0.1, 0.1], [0.9]),
        (math.nan, [0.1, 0.1], [0.9, 0.9]),
        (0.5, [0.1, math.inf], [0.9, 0.9]),
    ],
)
def test_scales_need_two_finite_values_of_each(
    value: float, floors: list[float], ceilings: list[float]
) -> None:
    with pytest.raises(BadParameter):
        normalised(value, floors, ceilings)
