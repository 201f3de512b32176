"""The plug-in of shadow models: what was kept, what was removed, its power, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rescind.audits.results import UNSEEN
from rescind.audits.shadow_audit import ShadowAudit
from rescind.core.audit import AuditResult, Case, Sizes
from rescind.core.errors import InsufficientEvidence

N, ASKED, CANDIDATES = 200, 20, 40
SIZES = Sizes("classes", ASKED, N - ASKED, 10, truncated=False, retraining_seconds=1.0)


def case(extent: float, seed: int = 0, models: int = 8, gap: float = 1.0) -> Case:
    """A model after from which ``extent`` of what the requested records owe was taken."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    level = normal(N)
    asked = torch.arange(N) < ASKED
    inside = (normal(models, N) > 0) | (torch.arange(N) >= CANDIDATES)
    shadows = level + gap * inside + 0.3 * normal(models, N)
    after = level + gap * torch.where(asked, 1.0 - extent, 1.0) + 0.3 * normal(N)
    return Case(
        sizes=SIZES,
        before=level + gap,
        after=after,
        labels=torch.arange(N) % 2,
        features=normal(N, 3),
        requested=asked,
        outside_before=normal(10),
        outside_after=normal(10),
        outside_labels=torch.arange(10) % 2,
        shadows=shadows,
        inside=inside,
    )


def asked_of(found: Case, tests: int = 1) -> AuditResult:
    return ShadowAudit().audit(found, level=0.05, tests=tests, seed=0)


def test_kept_records_are_a_residue_and_removed_ones_support() -> None:
    kept, removed = asked_of(case(0.0)), asked_of(case(1.0))
    assert kept.outcome == "residue_found" and (kept.p or 0.0) > 0.05
    assert removed.outcome == "removed_supported" and (removed.p or 1.0) < 0.05
    assert removed.effect == pytest.approx(1.0, abs=0.3)
    assert removed.power is not None and removed.power > 0.9


def test_records_that_were_never_there_are_not_called_removed() -> None:
    removed = case(1.0)
    never = asked_of(replace(removed, before=removed.after))
    assert never.outcome == "no_power" and UNSEEN in never.told
    assert (never.p or 1.0) < 0.05 and never.as_removal is None
    assert UNSEEN not in asked_of(removed).told


def test_a_residue_is_one_whatever_the_model_before_shows() -> None:
    removed, kept = case(1.0), case(0.0)
    assert asked_of(replace(kept, before=removed.after)).outcome == "residue_found"


def test_more_than_a_removal_takes_is_a_residue() -> None:
    assert asked_of(case(4.0)).outcome == "residue_found"


def test_kept_records_are_seldom_called_removed() -> None:
    flagged = sum((asked_of(case(0.0, seed=s)).p or 0.0) < 0.05 for s in range(100))
    assert flagged <= 13  # 5 expected; eight shadows calibrate themselves


def test_records_that_shadows_do_not_tell_apart_give_no_power() -> None:
    assert asked_of(case(1.0, gap=0.05)).outcome == "no_power"


def test_one_of_many_tests_has_less_power() -> None:
    alone, among = (asked_of(case(1.0, gap=0.25), tests) for tests in (1, 10))
    assert alone.power is not None and among.power is not None
    assert among.power < alone.power


def test_what_has_no_shadows_is_refused() -> None:
    audit = ShadowAudit()
    assert audit.refuses(SIZES) == ""
    assert "part" in audit.refuses(Sizes("classes", 5, 50, 5, True, 1.0))
    assert "parts" in audit.refuses(Sizes("classes", 5, 50, 5, False, None))
    assert "5 records" in audit.refuses(Sizes("classes", 4, 50, 5, False, 1.0))
    assert "few" in audit.refuses(Sizes("classes", 25, 50, 5, False, 1.0))
    assert audit.seconds(SIZES) > 8.0
    with pytest.raises(InsufficientEvidence):
        asked_of(case(1.0, models=3))
