from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from margin_worlds import normal
from torch import Tensor

from rescind.audits.shadow_difference import ShadowDifference, _drawn_sets, foretold, measure
from rescind.audits.shadows import Shadows, trained_shadows
from rescind.core.errors import BadData, BadParameter, InsufficientEvidence

RECORDS, MODELS = 80, 8
GAP, NOISE = 1.0, 0.8


def made(n: int, extent: float, seed: int, models: int = MODELS) -> tuple[Shadows, Tensor, Tensor]:
    """Shadows, the margins of a fresh model that had all but a share of the first n, the mask."""
    level = 2 * normal(RECORDS, seed=seed)
    owes = GAP + 0.4 * GAP * normal(RECORDS, seed=seed + 1)
    inside = normal(models, RECORDS, seed=seed + 2) > 0
    noise = NOISE * normal(models + 1, RECORDS, seed=seed + 3)
    margins = level + torch.where(inside, owes, 0.0) + noise[:models]
    requested = torch.arange(RECORDS) < n
    left = torch.where(requested, 1.0 - extent, 1.0)
    return trained_shadows(margins, inside), level + left * owes + noise[models], requested


def found(n: int, extent: float, seed: int, models: int = MODELS) -> ShadowDifference:
    shadows, observed, requested = made(n, extent, 10 * seed, models)
    return measure(shadows, observed, requested, sets=100)


@pytest.mark.parametrize("n", [1, 20])
def test_where_records_were_kept_p_is_uniform(n: int) -> None:
    worlds = 40
    p = torch.tensor([found(n, 0.0, s).p for s in range(worlds)])
    for level in (0.1, 0.25, 0.5, 0.75):
        share, error = float((p <= level).double().mean()), (level * (1 - level) / worlds) ** 0.5
        assert abs(share - level) < 3 * error, level


def test_models_are_counted_beside_sets() -> None:
    stricter = torch.zeros(3)
    for seed in range(8):
        given = made(5, 0.6, 10 * seed)
        both, ranks = measure(*given), measure(*given, ranks_alone=True)
        assert both.extent == ranks.extent
        pairs = (both.p, ranks.p), (both.p_present, ranks.p_present), (ranks.power, both.power)
        assert all(strict >= loose for strict, loose in pairs)
        stricter += torch.tensor([strict > loose for strict, loose in pairs])
    assert int(stricter.min()) >= 2


@pytest.mark.parametrize("extent", [0.0, 0.5, 1.0, 3.0])
def test_the_planted_share_is_found_and_lies_in_the_interval(extent: float) -> None:
    each = [found(20, extent, s) for s in range(100, 120)]
    extents = torch.tensor([f.extent for f in each], dtype=torch.float64)
    error = float(extents.std()) / len(each) ** 0.5
    assert float(extents.mean()) == pytest.approx(extent, abs=max(3 * error, 0.1))
    inside = sum(f.interval[0] <= extent <= f.interval[1] for f in each)
    # records owe unequally, which more than a removal makes count more than shadows have shown
    assert inside >= (17 if extent <= 1 else 10)


@pytest.mark.parametrize(
    ("extent", "says"),
    [(0.0, "nothing_seen"), (0.35, "partly"), (1.0, "as_removed"), (5.0, "overshoot")],
)
def test_the_rule_is_the_extent(extent: float, says: str) -> None:
    assert found(40, extent, 3).told == says


def test_the_power_is_how_often_removed_sets_are_found() -> None:
    each = [found(5, 1.0, s) for s in range(200, 230)]
    seen = sum(f.p < 0.05 for f in each) / len(each)
    told = sum(f.power for f in each) / len(each)
    assert told == pytest.approx(seen, abs=3 * math.sqrt(seen * (1 - seen) / 30))
    assert found(1, 1.0, 0).power < found(5, 1.0, 0).power < found(20, 1.0, 0).power


def test_a_finding_carries_the_extent_and_the_power() -> None:
    f = found(20, 1.0, 1)
    finding = f.finding()
    assert (finding.n, finding.null, finding.p) == (20, "nothing_removed", f.p)
    assert (finding.effect, finding.interval, finding.power) == (f.extent, f.interval, f.power)
    assert finding.outcome == "removed_supported"
    assert found(20, 0.0, 1).finding().outcome == "residue_found"


# --- what shadows foretell ---


def test_many_shadows_leave_nothing_to_shrink() -> None:
    shadows, _, _ = made(5, 0.0, 0, models=1_500)
    inside = shadows.inside.double()
    mean_in = (shadows.margins * inside).sum(0) / inside.sum(0)
    mean_out = (shadows.margins * (1 - inside)).sum(0) / (1 - inside).sum(0)
    records = foretold(shadows)
    torch.testing.assert_close(records.kept, mean_in, atol=0.04, rtol=0)
    torch.testing.assert_close(records.gap, mean_in - mean_out, atol=0.04, rtol=0)
    assert records.noise == pytest.approx(NOISE**2, rel=0.02)


def test_few_shadows_are_shrunk_towards_what_all_records_owe() -> None:
    shadows, _, _ = made(5, 0.0, 0)
    inside = shadows.inside.double()
    raw = (shadows.margins * inside).sum(0) / inside.sum(0) - (shadows.margins * (1 - inside)).sum(
        0
    ) / (1 - inside).sum(0)
    true = GAP + 0.4 * GAP * normal(RECORDS, seed=1)
    known = raw.isfinite()
    error = [float(((x - true)[known] ** 2).mean()) for x in (foretold(shadows).gap, raw)]
    assert error[0] < 0.6 * error[1]


def test_a_record_that_no_shadow_had_is_foretold_from_the_others() -> None:
    shadows, _, _ = made(5, 0.0, 0)
    inside = shadows.inside.clone()
    inside[:, 0] = False
    records = foretold(trained_shadows(shadows.margins, inside))
    assert float(records.gap[0]) == pytest.approx(float(records.gap.mean()), abs=0.3)
    assert float(records.variance[0]) > float(records.variance[1:].max())


def test_a_model_in_neither_world_of_a_record_says_nothing_of_it() -> None:
    shadows, _, _ = made(5, 0.0, 0)
    neither = torch.zeros(MODELS, RECORDS, dtype=torch.bool)
    neither[2] = True
    silent = Shadows(shadows.margins, shadows.inside & ~neither, shadows.outside & ~neither)
    torch.testing.assert_close(foretold(silent).kept, foretold(shadows.without(2)).kept)


def test_the_statistic_is_the_likelihood_ratio() -> None:
    shadows, observed, _ = made(5, 1.0, 0)
    records = foretold(shadows)
    t, expected, variance = records.scores(observed)
    out = records.kept - records.gap
    ratio = ((observed - records.kept) ** 2 - (observed - out) ** 2) / (2 * records.noise)
    torch.testing.assert_close(t - expected / 2, ratio)
    torch.testing.assert_close(variance, (records.gap / records.noise) ** 2 * records.variance)


# --- bad input ---


def test_bad_input_is_told() -> None:
    shadows, observed, requested = made(5, 1.0, 0)
    with pytest.raises(BadData, match="79 margins of"):
        measure(shadows, observed[1:], requested)
    with pytest.raises(BadData, match="No record is requested"):
        measure(shadows, observed, torch.zeros_like(requested))
    with pytest.raises(BadData, match="requested has the shape"):
        measure(shadows, observed, requested.long())
    few = trained_shadows(shadows.margins[:3], shadows.inside[:3])
    with pytest.raises(InsufficientEvidence, match="There are 3 shadow models"):
        measure(few, observed, requested)


@pytest.mark.parametrize("bad", [{"level": 0.0}, {"level": 1.0}, {"level": 0.001, "sets": 100}])
def test_a_level_that_no_set_can_reach_is_refused(bad: dict[str, Any]) -> None:
    shadows, observed, requested = made(5, 1.0, 0)
    with pytest.raises(BadParameter, match="level is"):
        measure(shadows, observed, requested, **bad)


def test_shadows_that_tell_nothing_apart_are_refused() -> None:
    shadows, _, _ = made(5, 1.0, 0)
    with pytest.raises(InsufficientEvidence, match="do not vary"):
        foretold(trained_shadows(torch.zeros(MODELS, RECORDS), shadows.inside))
    with pytest.raises(InsufficientEvidence, match="0 records were in one"):
        foretold(trained_shadows(shadows.margins, torch.ones_like(shadows.inside)))


def test_a_shadow_is_not_judged_by_itself() -> None:
    """Judged by models among which it is, it would lie too near to what they foretell."""
    spreads, extents = [], []
    for seed in range(50, 250, 20):
        shadows, _, _ = made(10, 0.0, seed, models=4)
        kept, removed = _drawn_sets(shadows, 10, 100, torch.Generator().manual_seed(0))
        spreads.append(float((kept[0] / kept[2].sqrt()).std()))
        extents.append([float((part[0] / part[1]).mean()) for part in (kept, removed)])
    assert sum(spreads) / 10 == pytest.approx(1.0, abs=0.12)
    assert sum(e[0] for e in extents) / 10 == pytest.approx(0.0, abs=0.03)
    assert sum(e[1] for e in extents) / 10 == pytest.approx(1.0, abs=0.03)
