from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from rescind.audits.rmia import rmia, rmia_offline
from rescind.audits.rmia_scale import tuned_scale
from rescind.audits.shadows import Shadows, trained_shadows
from rescind.core.errors import BadData, BadParameter, InsufficientEvidence
from rescind.metrics.membership import auc

World = tuple[Tensor, Tensor, Shadows, Tensor, Tensor]


def world(models: int, records: int, gap: float, population: int = 60, seed: int = 0) -> World:
    """Target, what it has seen, shadows, and the population in both, as log-probabilities.

    Margins are N(level, 1) with levels N(0, 4), and higher by ``gap`` where seen.
    """
    g = torch.Generator().manual_seed(seed)
    places = torch.rand(models, records, generator=g).argsort(0)
    seen = torch.cat([places < models // 2, torch.rand(1, records, generator=g) < 0.5])
    seen = torch.cat([seen, torch.zeros(models + 1, population, dtype=torch.bool)], 1)
    n = records + population
    margins = torch.randn(models + 1, n, generator=g, dtype=torch.float64)
    margins += 2 * torch.randn(n, generator=g, dtype=torch.float64) + gap * seen
    log_p = torch.nn.functional.logsigmoid(margins)
    x, z = log_p[:, :records], log_p[:, records:]
    shadows = trained_shadows(x[:-1], seen[:-1, :records])
    return x[-1], seen[-1, :records], shadows, z[-1], z[:-1]


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def slow_scores(w: World, gamma: float, scale: float | None) -> list[float]:
    target, _, shadows, z_target, z = w

    def average(inside: list[float], outside: list[float]) -> float:
        if scale is None:
            return (mean(inside) + mean(outside)) / 2
        return ((1 + scale) * mean(outside) + 1 - scale) / 2

    def of(column: int, mask: Tensor) -> list[float]:
        return shadows.margins[mask[:, column], column].exp().tolist()

    ratios = [
        math.exp(float(x)) / average(of(i, shadows.inside), of(i, shadows.outside))
        for i, x in enumerate(target)
    ]
    columns = z.exp().T.tolist()
    others = [math.exp(float(x)) / average(c, c) for x, c in zip(z_target, columns, strict=True)]
    return [mean([float(r / o >= gamma) for o in others]) for r in ratios]


@pytest.mark.parametrize("gamma", [0.5, 1.0, 1.5])
@pytest.mark.parametrize("scale", [None, 0.0, 0.3, 1.0])
def test_scores_count_the_population_that_is_dominated(gamma: float, scale: float | None) -> None:
    w = world(6, 15, gap=2)
    target, _, shadows, z_target, z = w
    if scale is None:
        fast = rmia(target, shadows, z_target, z, gamma)
    else:
        fast = rmia_offline(target, shadows, z_target, z, scale, gamma)
    assert fast.tolist() == pytest.approx(slow_scores(w, gamma, scale), abs=1e-12)


def test_the_offline_attack_does_not_look_at_models_trained_on_the_record() -> None:
    target, _, shadows, z_target, z = world(8, 20, gap=2)
    changed = shadows.margins.masked_fill(shadows.inside, -7.0)
    other = Shadows(changed, shadows.inside, shadows.outside)
    first, second = (rmia_offline(target, s, z_target, z, 0.3) for s in (shadows, other))
    assert torch.equal(first, second)
    assert not torch.equal(rmia(target, shadows, z_target, z), rmia(target, other, z_target, z))


def test_a_planted_leak_is_found_better_than_without_reference_models() -> None:
    target, seen, shadows, z_target, z = world(8, 3000, gap=1.5, population=500)
    uncalibrated = auc(target[seen], target[~seen])
    online = rmia(target, shadows, z_target, z)
    offline = rmia_offline(target, shadows, z_target, z, 0.5)
    for scores in (online, offline):
        assert auc(scores[seen], scores[~seen]) > uncalibrated + 0.05
    null, unseen, shadows, z_target, z = world(8, 3000, gap=0.0, population=500)
    scores = rmia(null, shadows, z_target, z)
    assert auc(scores[unseen], scores[~unseen]) == pytest.approx(0.5, abs=0.03)
    # non-members are ranked among the population, which is like them: uniform scores
    assert float(scores.mean()) == pytest.approx(0.5, abs=0.03)


def test_sure_answers_do_not_round_to_zero() -> None:
    target, _, shadows, z_target, z = world(6, 15, gap=2)
    low = Shadows(shadows.margins - 2000, shadows.inside, shadows.outside)
    scores = rmia(target - 2000, low, z_target - 2000, z - 2000)
    assert torch.equal(scores, rmia(target, shadows, z_target, z))


def test_the_scale_is_tuned_on_reference_models_alone() -> None:
    _, _, shadows, _, z = world(6, 300, gap=3, population=100)
    scale = tuned_scale(shadows, z)
    areas = []
    for tenth in range(11):
        total = 0.0
        for m in range(6):
            rest = [k for k in range(6) if k != m]
            found = rmia_offline(shadows.margins[m], shadows.without(m), z[m], z[rest], tenth / 10)
            total += auc(found[shadows.inside[m]], found[shadows.outside[m]])
        areas.append(total)
    assert scale == areas.index(max(areas)) / 10
    assert 0.0 <= scale < 1.0  # a gap this wide needs a correction


def test_a_record_that_equals_the_population_counts_at_a_ratio_of_one() -> None:
    _, _, shadows, _, z = world(6, 8, gap=1, population=9)
    sure = Shadows(torch.zeros(6, 8), shadows.inside, shadows.outside)
    inputs = (torch.zeros(8), sure, torch.zeros(9), torch.zeros_like(z))
    assert rmia(*inputs).tolist() == [1.0] * 8
    assert rmia(*inputs, gamma=1.01).tolist() == [0.0] * 8


def test_order_does_not_matter() -> None:
    target, _, shadows, z_target, z = world(6, 8, gap=1, population=9)
    models, records, others = (
        [2, 0, 1, 5, 4, 3],
        [3, 1, 0, 2, 7, 5, 6, 4],
        [8, 0, 4, 2, 1, 3, 7, 6, 5],
    )
    parts = (shadows.margins, shadows.inside, shadows.outside)
    shuffled = Shadows(*(part[models][:, records] for part in parts))
    found = rmia(target[records], shuffled, z_target[others], z[models][:, others])
    assert torch.equal(found, rmia(target, shadows, z_target, z)[records])


def test_bad_input_is_refused() -> None:
    target, _, shadows, z_target, z = world(6, 8, gap=1, population=9)
    for scale in (-0.1, 1.1, math.nan):
        with pytest.raises(BadParameter, match="The scale is"):
            rmia_offline(target, shadows, z_target, z, scale)
    for gamma in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(BadParameter, match="gamma is"):
            rmia(target, shadows, z_target, z, gamma)
    with pytest.raises(BadData, match=r"population has the shape \(6, 8\)"):
        rmia(target, shadows, z_target, z[:, :8])
    with pytest.raises(BadData, match="There are 7 margins"):
        rmia(target[:7], shadows, z_target, z)
    with pytest.raises(BadData, match="8 values are above 0"):
        rmia(target.exp(), shadows, z_target, z)
    with pytest.raises(BadData, match="above 0"):
        rmia(target, shadows, z_target, z.exp())
    blind = trained_shadows(shadows.margins, torch.zeros_like(shadows.inside))
    with pytest.raises(InsufficientEvidence, match="8 records have no inside reference model"):
        rmia(target, blind, z_target, z)
    assert rmia_offline(target, blind, z_target, z, 0.3).shape == (8,)
    with pytest.raises(InsufficientEvidence, match="none or on all of the records"):
        tuned_scale(blind, z)
