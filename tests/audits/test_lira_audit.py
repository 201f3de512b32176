from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from margin_worlds import normal
from scipy import stats
from torch import Tensor

from rescind.audits.lira import held_out, lira, lira_offline
from rescind.audits.shadows import Shadows, trained_shadows, unlearned_shadows
from rescind.audits.worlds import Variance, held_out_worlds, worlds
from rescind.core.errors import BadData, BadParameter, InsufficientEvidence
from rescind.metrics.membership import auc


def half(models: int, records: int, seed: int) -> Tensor:
    """Each record in half of the models, drawn anew for each."""
    places = torch.rand(models, records, generator=torch.Generator().manual_seed(seed)).argsort(0)
    return places < models // 2


def gaussian(
    models: int, records: int, gap: float, seed: int = 0
) -> tuple[Tensor, Tensor, Shadows]:
    """Margins N(level, 1), or N(level + gap, 1) where seen, and levels N(0, 9).

    The last model is the target: its margins, what it has seen, and the others as shadows.
    """
    seen = half(models, records, seed)
    seen = torch.cat([seen, half(2, records, seed + 1)[:1]])
    margins = normal(models + 1, records, seed=seed + 2) + 3 * normal(records, seed=seed + 3)
    margins += gap * seen
    return margins[-1], seen[-1], trained_shadows(margins[:-1], seen[:-1])


def slow_ratio(x: float, inside: list[float], outside: list[float]) -> float:
    def log_density(sample: list[float]) -> float:
        mean = sum(sample) / len(sample)
        spread = math.sqrt(sum((s - mean) ** 2 for s in sample) / (len(sample) - 1))
        return float(stats.norm.logpdf(x, mean, spread))

    return log_density(inside) - log_density(outside)


def columns(shadows: Shadows) -> list[tuple[list[float], list[float]]]:
    """Of each record the margins of models inside and outside."""
    triples = zip(shadows.margins.T, shadows.inside.T, shadows.outside.T, strict=True)
    return [(m[i].tolist(), m[o].tolist()) for m, i, o in triples]


def test_the_papers_attack_is_two_normal_densities_a_record() -> None:
    target, _, shadows = gaussian(10, 7, gap=2)
    slow = [
        slow_ratio(x, *sides) for x, sides in zip(target.tolist(), columns(shadows), strict=True)
    ]
    assert lira(target, shadows, "record", shrink=False).tolist() == pytest.approx(slow)


def test_pooled_variances_are_those_about_each_records_own_mean() -> None:
    target, _, shadows = gaussian(6, 9, gap=2)
    both = worlds(shadows, shrink=False)
    for side, world in enumerate((both.inside, both.outside)):
        samples = [sides[side] for sides in columns(shadows)]
        means = [sum(s) / len(s) for s in samples]
        squares = sum((x - m) ** 2 for s, m in zip(samples, means, strict=True) for x in s)
        pooled = squares / sum(len(s) - 1 for s in samples)
        assert world.mean.tolist() == pytest.approx(means)
        assert world.variance.tolist() == pytest.approx([pooled] * 9)
        assert world.models.tolist() == [len(s) for s in samples]
    assert lira(target, shadows).shape == (9,)


@pytest.mark.parametrize("gap", [1.0, 2.0])
def test_the_area_is_the_optimal_one_of_two_normal_worlds(gap: float) -> None:
    """N(gap, 1) against N(0, 1), known levels: Phi(gap / sqrt 2). Levels of spread 3 hide it."""
    target, seen, shadows = gaussian(128, 6000, gap)
    best = stats.norm.cdf(gap / math.sqrt(2))
    for scores in (lira(target, shadows), lira(target, shadows, "record", shrink=False)):
        assert auc(scores[seen], scores[~seen]) == pytest.approx(best, abs=0.02)
    offline = lira_offline(target, shadows)
    assert auc(offline[seen], offline[~seen]) == pytest.approx(best, abs=0.02)
    uncalibrated = stats.norm.cdf(gap / math.sqrt(20))
    assert auc(target[seen], target[~seen]) == pytest.approx(uncalibrated, abs=0.02)


def test_with_few_shadows_shrinking_finds_more_and_a_variance_a_record_less() -> None:
    target, seen, shadows = gaussian(8, 6000, gap=1)

    def area(scores: Tensor) -> float:
        return auc(scores[seen], scores[~seen])

    shrunk, pooled = area(lira(target, shadows)), area(lira(target, shadows, shrink=False))
    paper = area(lira(target, shadows, "record", shrink=False))
    assert shrunk > pooled + 0.02 > paper + 0.03
    # with levels known from eight models: N(1, 1 + 1/8) against N(0, 1 + 1/8)
    assert shrunk == pytest.approx(stats.norm.cdf(1 / math.sqrt(2 + 2 / 8)), abs=0.02)


def test_shrunk_means_are_the_posterior_of_known_moments() -> None:
    """Gaps N(2, 0.25), noise 1/2 + 1/2 of two models a side: a weight of 0.2 on what was seen."""
    seen = half(4, 20_000, 5)
    gaps = 2 + 0.5 * normal(20_000, seed=6)
    shadows = trained_shadows(normal(4, 20_000, seed=7) + seen * gaps, seen)
    raw, shrunk = (
        both.inside.mean - both.outside.mean
        for both in (worlds(shadows, shrink=False), worlds(shadows))
    )
    assert torch.allclose(shrunk, 2 + 0.2 * (raw - 2), atol=0.15)
    assert float((shrunk - gaps).std()) < 0.5 < float((raw - gaps).std())


def test_the_level_is_what_is_left_when_the_gap_is_taken_off() -> None:
    """Gaps of 6 without a spread; levels from four models, two of which saw the record."""
    seen, levels = half(4, 20_000, 5), 3 * normal(20_000, seed=6)
    shadows = trained_shadows(normal(4, 20_000, seed=7) + seen * 6 + levels, seen)
    both = worlds(shadows)
    for world, shift in ((both.inside, 6), (both.outside, 0)):
        wrong = world.mean - levels - shift
        assert abs(float(wrong.mean())) < 0.03
        assert float(wrong.std()) == pytest.approx(0.5, abs=0.05)  # 1 / sqrt 4


def test_records_that_no_model_tells_apart_give_nothing() -> None:
    target, seen, shadows = gaussian(16, 4000, gap=0)
    scores = lira(target, shadows)
    assert auc(scores[seen], scores[~seen]) == pytest.approx(0.5, abs=0.03)
    z = lira_offline(*gaussian(128, 800, gap=0)[::2])
    assert stats.kstest(z.numpy(), "norm").pvalue > 0.01


def test_unlearning_that_overshoots_is_found_like_one_that_leaves_something() -> None:
    for gap in (1.5, -1.5):
        unlearned, retrained = normal(40, 2000, seed=1) + gap, normal(40, 2000, seed=2)
        shadows = unlearned_shadows(unlearned, retrained)
        assert shadows.inside.sum(0).tolist() == [40] * 2000
        treated, clean = normal(2000, seed=3) + gap, normal(2000, seed=4)
        found = auc(lira(treated, shadows), lira(clean, shadows))
        assert found == pytest.approx(stats.norm.cdf(1.5 / math.sqrt(2)), abs=0.03)
    assert torch.equal(shadows.margins, torch.cat([unlearned, retrained]))


def test_held_out_models_show_how_well_the_attack_does() -> None:
    _, _, shadows = gaussian(12, 500, gap=2)
    inside, outside = held_out(shadows)
    assert (len(inside), len(outside)) == (3000, 3000)
    assert auc(inside, outside) == pytest.approx(
        stats.norm.cdf(2 / math.sqrt(2 + 2 / 11)), abs=0.02
    )
    inside, outside = held_out(gaussian(12, 500, gap=0)[2])
    assert auc(inside, outside) == pytest.approx(0.5, abs=0.05)  # each is worse than none


@pytest.mark.parametrize("variance", ["pooled", "record"])
@pytest.mark.parametrize("shrink", [True, False])
def test_held_out_worlds_are_those_of_the_other_models(variance: Variance, shrink: bool) -> None:
    _, _, shadows = gaussian(8, 6, gap=1)
    fast = held_out_worlds(shadows, variance, shrink)
    for model in range(8):
        slow = worlds(shadows.without(model), variance, shrink)
        for one, other in ((fast.inside, slow.inside), (fast.outside, slow.outside)):
            assert torch.allclose(one.mean[model], other.mean)
            assert torch.allclose(one.variance[model], other.variance)
            assert torch.equal(one.models[model], other.models)
    some = held_out_worlds(shadows, variance, shrink, models=[5, 2])
    assert torch.equal(some.inside.mean, fast.inside.mean[[5, 2]])


def test_equal_margins_leave_no_spread_when_a_third_is_held_out() -> None:
    margins, seen = normal(7, 5, seed=3), torch.ones(7, 5, dtype=torch.bool)
    margins[:2, 0], margins[2, 0], seen[3:] = 0.1, 1 / 3, False
    assert worlds(trained_shadows(margins, seen), "record").inside.variance.min() > 0
    with pytest.raises(BadData, match="1 records have one margin in all inside"):
        held_out_worlds(trained_shadows(margins, seen), "record")


def test_a_model_in_neither_world_does_not_count() -> None:
    target, _, shadows = gaussian(12, 5, gap=1)
    wild = torch.cat([shadows.margins, torch.full((1, 5), 1e6)])
    nowhere = torch.zeros(1, 5, dtype=torch.bool)
    more = Shadows(
        wild, torch.cat([shadows.inside, nowhere]), torch.cat([shadows.outside, nowhere])
    )
    assert torch.allclose(lira(target, more), lira(target, shadows))
    assert torch.allclose(lira_offline(target, more), lira_offline(target, shadows))
    assert torch.equal(more.without(12).margins, shadows.margins)


def test_the_order_of_models_and_records_does_not_matter() -> None:
    target, _, shadows = gaussian(9, 6, gap=1)
    models, records = [3, 1, 2, 0, 8, 4, 7, 5, 6], [5, 0, 3, 1, 2, 4]
    parts = (shadows.margins, shadows.inside, shadows.outside)
    shuffled = Shadows(*(part[models][:, records] for part in parts))
    for attack in (lira, lira_offline):
        assert torch.allclose(attack(target[records], shuffled), attack(target, shadows)[records])


def test_what_cannot_be_compared_is_refused() -> None:
    target, _, shadows = gaussian(6, 5, gap=1)
    m, i, o = shadows.margins, shadows.inside, shadows.outside
    wrong: Any = "both"
    with pytest.raises(BadData, match="There are 4 margins of the audited model and 5"):
        lira(target[:4], shadows)
    with pytest.raises(BadData, match=r"shapes .*\(6, 4\)"):
        Shadows(m, i, o[:, :4])
    with pytest.raises(BadData, match=r"float64"):
        Shadows(m, i.double(), o)
    with pytest.raises(BadData, match="in both worlds"):
        Shadows(m, i, torch.ones_like(o))
    with pytest.raises(BadData, match="shadow margins are NaN"):
        Shadows(m * math.nan, i, o)
    with pytest.raises(BadData, match=r"\(6, 4\) of retrained"):
        unlearned_shadows(m, m[:, :4])
    with pytest.raises(BadParameter, match="no variance 'both'"):
        lira(target, shadows, wrong)


def test_too_few_shadows_are_refused() -> None:
    target, margins = normal(5, seed=0), normal(3, 5, seed=1)
    seen = torch.tensor([[True] * 5, [True] * 4 + [False], [False] * 5])
    with pytest.raises(InsufficientEvidence, match="4 records have fewer than 2 outside"):
        lira_offline(target, trained_shadows(margins, seen), "record")
    one_each = trained_shadows(margins[:, :4], seen[:, :4])
    with pytest.raises(InsufficientEvidence, match=r"0 records .* has 1, where"):
        lira_offline(target[:4], one_each)
    with pytest.raises(InsufficientEvidence, match="5 records have fewer than 1 inside"):
        lira(target, trained_shadows(margins, torch.zeros_like(seen)))
    assert lira_offline(target, trained_shadows(margins, torch.zeros_like(seen))).shape == (5,)


def test_margins_without_a_spread_are_refused() -> None:
    target, seen = normal(5, seed=0), half(6, 5, 1)
    with pytest.raises(BadData, match="5 records have one margin in all inside"):
        lira(target, trained_shadows(torch.ones(6, 5), seen))
    margins = normal(6, 5, seed=2)
    margins[:, 2] = 1.0
    with pytest.raises(BadData, match="1 records have one margin in all inside"):
        lira(target, trained_shadows(margins, seen), "record")
    assert lira(target, trained_shadows(margins, seen)).isfinite().all()
