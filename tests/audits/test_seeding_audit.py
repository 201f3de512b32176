"""The plug-in of seeded records: what is still shown, what is gone, and what says nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from rescind.audits.seeding_audit import (
    BITS_ALONE,
    GONE,
    HELD,
    PUSHED,
    REORDERED,
    UNSEEN,
    SeedingAudit,
)
from rescind.core.audit import AuditResult, Case, Sizes
from rescind.core.errors import InsufficientEvidence

BITS = 320
NO_SCORES = torch.zeros(0)
SIZES = Sizes("classes", 30, 50, 10, truncated=True, seeded=30)
EMPTY = Case(
    sizes=SIZES,
    before=NO_SCORES,
    after=NO_SCORES,
    labels=NO_SCORES,
    features=NO_SCORES,
    requested=NO_SCORES,
    outside_before=NO_SCORES,
    outside_after=NO_SCORES,
    outside_labels=NO_SCORES,
)


def case(before: float, after: float, seed: int = 0, total: int = BITS, seeded: int = 30) -> Case:
    """Codes of so many records, of which these shares of the bits match in the two models."""
    draw = torch.Generator().manual_seed(seed)
    codes = torch.rand(total, generator=draw) < 0.5
    shown = [codes ^ (torch.rand(total, generator=draw) >= share) for share in (before, after)]
    readings = [torch.where(bits, 1.0, -1.0) * torch.rand(total, generator=draw) for bits in shown]
    sizes = replace(SIZES, seeded=seeded)
    both = {"code_readings_before": readings[0], "code_readings_after": readings[1]}
    return replace(EMPTY, sizes=sizes, codes=codes, **both)


def asked_of(found: Case, tests: int = 1) -> AuditResult:
    return SeedingAudit().audit(found, level=0.05, tests=tests, seed=0)


@pytest.mark.parametrize("seeded", [10, 30])
@pytest.mark.parametrize(
    ("before", "after", "outcome", "word"),
    [
        (0.95, 0.95, "residue_found", HELD),
        (0.95, 0.50, "removed_supported", GONE),
        (0.95, 0.20, "residue_found", PUSHED),
        (0.50, 0.50, "no_power", UNSEEN),
        (0.50, 0.95, "residue_found", HELD),
    ],
)
def test_each_pair_of_models_has_its_outcome(
    before: float, after: float, outcome: str, word: str, seeded: int
) -> None:
    found = asked_of(case(before, after, seed=2, seeded=seeded))
    assert found.audit == ("seeding_readings" if seeded < 20 else "seeding_bits")
    assert found.outcome == outcome and word in found.told


@pytest.mark.parametrize("seeded", [10, 30])
def test_a_model_without_the_codes_is_flagged_no_more_than_the_level_says(seeded: int) -> None:
    flagged = sum(
        (asked_of(case(0.9, 0.5, s, 10 * seeded, seeded)).p or 0.0) < 0.05 for s in range(400)
    )
    assert flagged <= 36  # 20 expected at most: the exact 99.9 % range


def test_the_power_is_that_against_codes_held_as_before() -> None:
    weak, strong = (asked_of(case(share, 0.5, seed=2)).power for share in (0.58, 0.95))
    assert weak is not None and strong is not None
    assert weak < 0.9 < strong
    among = asked_of(case(0.58, 0.5, seed=2), tests=20).power
    assert among is not None and among < weak


def test_records_without_codes_are_refused_and_models_of_several_parts_are_not() -> None:
    audit = SeedingAudit()
    assert audit.refuses(SIZES) == ""
    assert "seeded" in audit.refuses(Sizes("classes", 10, 50, 10, truncated=False))
    with pytest.raises(InsufficientEvidence):
        asked_of(EMPTY)


def test_a_model_whose_readings_are_nothing_shows_no_removal() -> None:
    found = case(0.95, 0.5, seed=2, total=64, seeded=2)
    still = replace(found, code_readings_after=torch.zeros(64))
    assert asked_of(found).outcome == "removed_supported"
    assert (asked_of(still).outcome, asked_of(still).power) == ("no_power", 0.0)


def with_features(found: Case, before: Tensor, after: Tensor) -> Case:
    return replace(
        found,
        code_rows=codes_in_rows(found),
        code_blocks=torch.tensor([0] * 20 + [1] * 10),
        code_features_before=before,
        code_features_after=after,
    )


def codes_in_rows(found: Case) -> Tensor:
    assert found.codes is not None
    return found.codes.reshape(30, 32)


def test_features_that_foretell_the_codes_are_a_residue_though_no_bit_shows_it() -> None:
    found = case(0.95, 0.5, seed=2, total=30 * 32)
    noise = torch.randn(30, 64, generator=torch.Generator().manual_seed(3))
    holding = torch.cat([4.0 * codes_in_rows(found), noise], 1)
    none = torch.randn(30, 96, generator=torch.Generator().manual_seed(4))
    order = torch.randperm(96, generator=torch.Generator().manual_seed(5))
    reordered = asked_of(with_features(found, holding, holding[:, order]))
    assert reordered.outcome == "residue_found" and REORDERED in reordered.told
    assert reordered.unit == "standard deviations from chance"
    gone = asked_of(with_features(found, holding, none))
    assert gone.outcome == "removed_supported" and BITS_ALONE not in gone.told
    assert gone.unit == "share of bits matched"
    blind = asked_of(with_features(found, none, none))
    assert blind.outcome == "removed_supported" and BITS_ALONE in blind.told


def test_bits_and_kernel_share_the_level() -> None:
    found = case(0.55, 0.5, seed=2, total=30 * 32)
    none = torch.randn(30, 96, generator=torch.Generator().manual_seed(4))
    alone, both = asked_of(found), asked_of(with_features(found, none, none))
    assert alone.power is not None and both.power is not None
    assert alone.power > both.power > 0.5
