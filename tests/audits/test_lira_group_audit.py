from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from margin_worlds import normal
from scipy import integrate, stats
from torch import Tensor

from rescind.audits.lira import lira
from rescind.audits.lira_drawn import drawn_finding
from rescind.audits.lira_group import group_finding
from rescind.audits.lira_power import held_out_power, power_on
from rescind.audits.shadows import Shadows, trained_shadows, unlearned_shadows
from rescind.core.errors import BadData, BadParameter, InsufficientEvidence


def whole_groups(models: int, records: int, gap: float, seed: int, shift: float = 0.0) -> Tensor:
    """Margins N(gap, 1) of models, whose records move together by N(0, shift^2)."""
    return gap + normal(models, records, seed=seed) + shift * normal(models, 1, seed=seed + 10**6)


def shadows_of(models: int, records: int, gap: float, seed: int, shift: float = 0.0) -> Shadows:
    seen = whole_groups(models, records, gap, seed + 10**7, shift)
    return unlearned_shadows(seen, whole_groups(models, records, 0.0, seed + 2 * 10**7, shift))


def power_of_rank(distance: float, models: int) -> float:
    """P(N(distance, 1) is above ``models`` draws of N(0, 1))."""
    value, _ = integrate.quad(
        lambda t: stats.norm.pdf(t - distance) * stats.norm.cdf(t) ** models, -8, distance + 8
    )
    return float(value)


def test_the_p_value_is_the_rank_among_models_held_out_in_turn() -> None:
    shadows, target = shadows_of(20, 5, 0.3, seed=0), normal(5, seed=1) + 0.2
    never = [*range(20, 40)]
    margins = torch.cat([shadows.margins, target[None]])
    sums = []
    for model in [*never, 40]:
        rest = [m for m in range(41) if m != model]
        inside = torch.zeros(41, 5, dtype=torch.bool)
        inside[:20] = True
        others = trained_shadows(margins[rest], inside[rest])
        sums.append(float(lira(margins[model], others).sum()))
    found = group_finding(target, shadows, power=0.9)
    null = torch.tensor(sums[:-1], dtype=torch.float64)
    assert found.p == (1 + sum(s >= sums[-1] for s in sums[:-1])) / 21
    assert found.effect == pytest.approx((sums[-1] - float(null.mean())) / 5)
    low, high = ((sums[-1] - float(null.quantile(q))) / 5 for q in (0.975, 0.025))
    assert found.interval == pytest.approx((low, high))
    assert (found.audit, found.null, found.n, found.power) == ("lira", "no_trace", 5, 0.9)


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_a_null_world_gives_uniform_p_values_even_where_whole_models_differ(shift: float) -> None:
    found = []
    for seed in range(120):
        target = whole_groups(1, 6, 0.0, seed + 3 * 10**7, shift)[0]
        found.append(group_finding(target, shadows_of(20, 6, 0.6, seed, shift)).p)
    # p is k/21; spread over the step, it is uniform on (0, 1)
    steps = torch.rand(120, generator=torch.Generator().manual_seed(0)).numpy() / 21
    assert stats.kstest(torch.tensor(found).numpy() - steps, "uniform").pvalue > 0.01
    assert sum(p < 0.05 for p in found) <= 11  # P(more) is 2 % where the rate is 1/21


def test_a_planted_world_has_the_analytic_power() -> None:
    """Sums of 9 ratios lie gap * 3 apart in standard deviations; 100 trials."""
    gap, rejected = 0.8, 0
    for seed in range(100):
        target = whole_groups(1, 9, gap, seed + 3 * 10**7)[0]
        finding = group_finding(target, shadows_of(20, 9, gap, seed))
        rejected += finding.outcome == "residue_found"
    assert rejected / 100 == pytest.approx(power_of_rank(3 * gap, 20), abs=0.12)


def test_power_is_measured_on_models_with_a_known_answer() -> None:
    shadows = shadows_of(20, 9, 0.2, seed=5)
    slow = [group_finding(shadows.margins[m], shadows.without(m)).p < 0.05 for m in range(20)]
    seen = [group_finding(shadows.margins[m], shadows).p < 0.05 for m in range(20)]
    assert held_out_power(shadows) == sum(slow) / 20 < sum(seen) / 20
    shadows = shadows_of(20, 9, 0.8, seed=5)
    holding = whole_groups(10, 9, 0.5, seed=77)
    slow = [group_finding(margins, shadows).p < 0.05 for margins in holding]
    assert 0 < sum(slow) < 10 and power_on(holding, shadows) == sum(slow) / 10
    assert power_on(holding + 3, shadows) == 1.0


def test_unlearning_without_a_trace_leaves_u_lira_without_power() -> None:
    shadows = shadows_of(20, 9, 0.0, seed=6)
    assert held_out_power(shadows) <= 0.2
    target = normal(9, seed=8)
    finding = group_finding(target, shadows, "u_lira", power=held_out_power(shadows))
    assert finding.outcome == "no_power"
    overshot = unlearned_shadows(shadows.margins[:20] - 2, shadows.margins[20:])
    assert group_finding(target - 2, overshot, "u_lira").outcome == "residue_found"


def test_too_few_models_for_the_level_are_refused() -> None:
    target = normal(5, seed=0)
    with pytest.raises(InsufficientEvidence, match=r"19 shadow models .* records"):
        group_finding(target, shadows_of(19, 5, 1.0, seed=0))
    assert group_finding(target, shadows_of(19, 5, 1.0, seed=0), level=0.06).p >= 0.05
    mixed = trained_shadows(normal(60, 5, seed=1), normal(60, 5, seed=2) > 0)
    with pytest.raises(InsufficientEvidence, match="Train more than 19 without the group"):
        group_finding(target, mixed)
    only_out = shadows_of(25, 5, 1.0, seed=0)
    only_out = Shadows(only_out.margins, only_out.inside & False, only_out.outside)
    with pytest.raises(InsufficientEvidence, match="No shadow model has seen the whole group"):
        held_out_power(only_out)
    with pytest.raises(BadParameter, match=r"shape \(0, 5\)"):
        power_on(torch.zeros(0, 5), shadows_of(20, 5, 1.0, seed=0))
    with pytest.raises(BadData, match="There are 4 margins"):
        group_finding(target[:4], shadows_of(20, 5, 1.0, seed=0))


# --- with few models, other groups of records are the null ---


def mixed_world(
    gap: float, seed: int, shift: float = 0.0, holds: bool = False
) -> tuple[Tensor, Shadows]:
    """Four models of 120 records, each in two of them; the first ten are the target's group."""
    places = torch.rand(4, 120, generator=torch.Generator().manual_seed(seed)).argsort(0)
    margins = whole_groups(4, 120, 0.0, seed, shift) + gap * (places < 2)
    target = whole_groups(1, 120, 0.0, seed + 10**7, shift)[0]
    if holds:
        target[:10] += gap
    return target, trained_shadows(margins, places < 2)


def drawn(target: Tensor, shadows: Shadows, seed: int = 0) -> tuple[float, float]:
    finding = drawn_finding(target, shadows, torch.arange(10), draws=60, seed=seed)
    assert finding.power is not None
    return finding.p, finding.power


def test_drawn_groups_give_uniform_p_values_and_the_power_that_they_state() -> None:
    null = [drawn(*mixed_world(0.8, seed), seed)[0] for seed in range(80)]
    assert stats.kstest(null, "uniform").pvalue > 0.01
    assert sum(p < 0.05 for p in null) <= 9
    planted = [drawn(*mixed_world(0.8, 500 + seed, holds=True), seed) for seed in range(80)]
    power = sum(p < 0.05 for p, _ in planted) / 80
    assert sum(stated for _, stated in planted) / 80 == pytest.approx(power, abs=0.13)
    # the group's sum with all parameters known
    assert 0.4 < power < stats.norm.sf(stats.norm.isf(0.05) - 0.8 * math.sqrt(10)) + 0.05


def test_drawn_groups_are_no_exact_null_where_whole_models_differ() -> None:
    found = [drawn(*mixed_world(0.8, seed, shift=1.0), seed)[0] for seed in range(100)]
    assert sum(p < 0.05 for p in found) > 8


def test_the_power_of_drawn_groups_is_measured_against_other_models() -> None:
    """Within one model a shift cancels; beside its own null, power would be .7."""
    stated = [drawn(*mixed_world(0.8, seed, shift=1.0), seed)[1] for seed in range(15)]
    assert sum(stated) / 15 < 0.45


def test_a_drawn_finding_repeats_and_does_not_see_the_order() -> None:
    target, shadows = mixed_world(0.8, 3, holds=True)
    group = torch.arange(10)
    first = drawn_finding(target, shadows, group, draws=60)
    assert first == drawn_finding(target, shadows, group, draws=60)
    assert first.p == drawn_finding(target, shadows, group.flip(0), draws=60).p
    assert first != drawn_finding(target, shadows, group, draws=60, seed=1)
    assert (first.n, first.null) == (10, "no_trace")
    assert first.interval[0] <= first.effect <= first.interval[1]
    assert replace(first, p=0.04).outcome == "residue_found"


def test_what_no_group_can_be_drawn_from_is_refused() -> None:
    target, shadows = mixed_world(0.8, 0)
    for columns in ([], [1, 1], [120], [-1]):
        with pytest.raises(BadParameter, match="The group names"):
            drawn_finding(target, shadows, torch.tensor(columns))
    with pytest.raises(BadParameter, match=r"19 groups .* level of 0\.05"):
        drawn_finding(target, shadows, torch.arange(5), draws=19)
    with pytest.raises(InsufficientEvidence, match="needs 4 models and 100 records"):
        drawn_finding(target, shadows, torch.arange(50))
    with pytest.raises(InsufficientEvidence, match="There are 3 shadow models"):
        drawn_finding(target, shadows.without(0), torch.arange(5))
