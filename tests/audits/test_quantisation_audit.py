"""Rounding as a plug-in: what it finds, that it supports nothing by itself, what it refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from rescind.audits.quantisation_audit import DRAWS, WIDTHS, QuantisationAudit
from rescind.core.audit import AuditResult, Case, Sizes
from rescind.core.errors import InsufficientEvidence

R, OTHERS = 20, 8
SIZES = Sizes("classes", R, 80, 10, truncated=False, retraining_seconds=1.0, passing_seconds=1e-4)


def losses(
    draw: torch.Generator, high: float, back: float, width: int, models: int = 1, draws: int = DRAWS
) -> Tensor:
    """(models, widths, 2 + draws, R): losses about ``high``, which rounding to ``WIDTHS[width]``
    brings down by ``back``.
    """
    found = high + 0.1 * torch.randn(models, len(WIDTHS), 2 + draws, R, generator=draw).double()
    found[:, :, 1] += 0.05 * torch.randn(models, len(WIDTHS), 1, generator=draw)
    found[:, width, 1] -= back
    return found


def case(back: float, width: int = 0, before: float = 0.0, seed: int = 0) -> Case:
    """A model after in which rounding brings back so much; hidden ones in which it brings 2."""
    draw = torch.Generator().manual_seed(seed)
    first = losses(draw, 0.1, before, 0)
    after = losses(draw, 2.0, back, width)
    hiding = [losses(draw, 2.0, 1.5, w, models=2) for w in range(len(WIDTHS))]
    none = torch.zeros(R).double()
    return Case(
        sizes=SIZES,
        before=none,
        after=none,
        labels=torch.arange(R) % 2,
        features=torch.zeros(R, 1),
        requested=torch.ones(R, dtype=torch.bool),
        outside_before=none,
        outside_after=none,
        outside_labels=torch.arange(R) % 2,
        rounded=torch.cat([first, after, *hiding]).float(),
        rounded_retrained=losses(draw, 2.0, 0.0, 0, models=OTHERS, draws=39).float(),
    )


def asked_of(found: Case, tests: int = 1) -> AuditResult:
    return QuantisationAudit().audit(found, level=0.05, tests=tests, seed=0)


@pytest.mark.parametrize("width", [0, 1])
def test_what_rounding_brings_back_is_a_residue_at_either_width(width: int) -> None:
    found = asked_of(case(1.0, width), tests=9)
    assert found.outcome == "residue_found" and (found.p or 1.0) < 0.05 / 9
    assert found.effect == pytest.approx(1.0, abs=0.2)
    assert f"{WIDTHS[width]} bits" in found.unit
    assert "2 of 2 planted below half a step of 4 bits" in found.told


def test_seeing_nothing_supports_nothing_since_an_untouched_model_shows_nothing_too() -> None:
    found = asked_of(case(0.0))
    assert found.power == 0.0 and found.outcome == "no_power"
    assert "which hides nothing" in found.told
    assert asked_of(case(0.0, before=1.0)).outcome == "removed_supported"


def test_retrained_models_are_flagged_no_more_than_the_level_says() -> None:
    flagged = sum((asked_of(case(0.0, seed=s)).p or 0.0) < 0.05 for s in range(60))
    assert flagged <= 9  # at most 3 expected: the exact 99.9 % range


def test_the_smaller_p_of_two_widths_counts_twice() -> None:
    found = asked_of(case(1.0))
    assert found.p is not None and found.p >= 2 / (DRAWS + 1)


def test_what_has_no_reference_is_refused() -> None:
    audit = QuantisationAudit()
    assert audit.refuses(SIZES) == "" and audit.seconds(SIZES) > 8.0
    assert "classes" in audit.refuses(replace(SIZES, target="numbers"))
    assert "encoder" in audit.refuses(replace(SIZES, adapted=True))
    assert "part" in audit.refuses(replace(SIZES, truncated=True))
    assert "parts" in audit.refuses(replace(SIZES, retraining_seconds=None))
    assert "5 records" in audit.refuses(replace(SIZES, forget=4))
    whole = case(1.0)
    with pytest.raises(InsufficientEvidence, match="No retrained model"):
        asked_of(replace(whole, rounded_retrained=None))
    assert whole.rounded_retrained is not None
    with pytest.raises(InsufficientEvidence, match="2 retrained models"):
        asked_of(replace(whole, rounded_retrained=whole.rounded_retrained[:2]))
