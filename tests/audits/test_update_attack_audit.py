from __future__ import annotations

import math

import pytest
import torch
from margin_worlds import normal
from scipy import stats
from torch import Tensor

from rescind.audits.lira import lira
from rescind.audits.shadows import Shadows
from rescind.audits.update_attack import margin_drop, update_ratio, update_shadows
from rescind.core.errors import BadData, InsufficientEvidence
from rescind.metrics.membership import auc


def pairs(
    models: int, records: int, drop: float, noise: float = 1.0, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Margins before, after, and which were removed: half in each model, lower by ``drop``.

    Levels of records are N(0, 9), of a record in a model N(level, 4): both last through the update.
    """
    before = 3 * normal(records, seed=seed) + 2 * normal(models, records, seed=seed + 1)
    places = normal(models, records, seed=seed + 2).argsort(0)
    removed = places < models // 2
    after = before + noise * normal(models, records, seed=seed + 3) - drop * removed
    return before, after, removed


def test_the_drop_is_before_minus_after_and_finds_what_neither_model_shows() -> None:
    """Drops N(1, 1) against N(0, 1): Phi(1 / sqrt 2). Levels are the same in both groups."""
    before, after, removed = pairs(2, 8000, drop=1.0)
    drop = margin_drop(before[0], after[0])
    assert torch.equal(drop, before[0] - after[0])
    gone, kept = removed[0], ~removed[0]
    best = stats.norm.cdf(1 / math.sqrt(2))
    assert auc(drop[gone], drop[kept]) == pytest.approx(best, abs=0.02)
    alone = stats.norm.cdf(1 / math.sqrt(2 * (9 + 4 + 1)))
    assert auc(-after[0][gone], -after[0][kept]) == pytest.approx(alone, abs=0.02)
    assert auc(before[0][gone], before[0][kept]) == pytest.approx(0.5, abs=0.02)


def test_the_ratio_is_lira_on_drops() -> None:
    before, after, removed = pairs(9, 12, drop=1.0)
    shadows = update_shadows(before[1:], after[1:], removed[1:], ~removed[1:])
    assert torch.equal(shadows.margins, before[1:] - after[1:])
    by_hand = Shadows(before[1:] - after[1:], removed[1:], ~removed[1:])
    expected = lira(before[0] - after[0], by_hand, "record", False)
    assert torch.equal(update_ratio(before[0], after[0], shadows, "record", False), expected)


@pytest.mark.parametrize("drop", [1.5, -1.5])
def test_the_ratio_has_the_optimal_area_and_learns_the_direction(drop: float) -> None:
    before, after, removed = pairs(65, 4000, drop)
    shadows = update_shadows(before[1:], after[1:], removed[1:], ~removed[1:])
    found = update_ratio(before[0], after[0], shadows)
    best = stats.norm.cdf(1.5 / math.sqrt(2))
    assert auc(found[removed[0]], found[~removed[0]]) == pytest.approx(best, abs=0.02)


def test_records_are_weighed_by_how_far_their_own_margin_falls() -> None:
    """Drops of 3 for half of the records and 0 for the others, which only add noise to a drop."""
    before, after, removed = pairs(33, 4000, drop=0.0)
    after[:, :2000] -= 3.0 * removed[:, :2000]
    after[:, 2000:] += 2 * normal(33, 2000, seed=9)
    shadows = update_shadows(before[1:], after[1:], removed[1:], ~removed[1:])
    gone = removed[0]
    ratio = update_ratio(before[0], after[0], shadows, "record")
    drop = margin_drop(before[0], after[0])
    assert auc(ratio[gone], ratio[~gone]) > auc(drop[gone], drop[~gone]) + 0.03


def test_a_server_that_does_nothing_gives_nothing_away() -> None:
    before, after, removed = pairs(9, 4000, drop=0.0)
    shadows = update_shadows(before[1:], after[1:], removed[1:], ~removed[1:])
    found = update_ratio(before[0], after[0], shadows)
    assert auc(found[removed[0]], found[~removed[0]]) == pytest.approx(0.5, abs=0.03)


def test_bad_pairs_are_refused() -> None:
    before, after, removed = pairs(6, 5, drop=1.0)
    with pytest.raises(BadData, match="5 margins before and 4 margins after"):
        margin_drop(before[0], after[0, :4])
    with pytest.raises(BadData, match="NaN"):
        margin_drop(before[0], after[0] * math.nan)
    with pytest.raises(BadData, match=r"\(6, 5\) before and \(5, 5\) after"):
        update_shadows(before, after[1:], removed, ~removed)
    with pytest.raises(BadData, match="in both worlds"):
        update_shadows(before, after, removed, removed)
    with pytest.raises(BadData, match="have the shapes"):
        update_shadows(before, after, removed[:, :4], ~removed[:, :4])
    never = update_shadows(before, after, removed & False, ~removed)
    with pytest.raises(InsufficientEvidence, match="5 records have fewer than 1 inside"):
        update_ratio(before[0], after[0], never)
