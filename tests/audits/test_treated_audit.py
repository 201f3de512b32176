"""U-LiRA as a plug-in: its level, the models that it finds, its power where it has none."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from rescind.audits import treated_audit
from rescind.audits.treated_audit import UNSEEN, TreatedAudit
from rescind.audits.treated_shadows import Pairs, Treated, measure
from rescind.core.audit import FORGOT, HAS, NEVER, AuditResult, Case, Sizes
from rescind.core.errors import BadData, BadParameter, InsufficientEvidence
from rescind.treated_models import Fates

ASKED, RETAINED = 10, 150
N = ASKED + RETAINED
SIZES = Sizes("classes", ASKED, RETAINED, 10, truncated=False, retraining_seconds=1.0)


def fate_of(seed: int) -> Tensor:
    """(8, N), the requested records first."""
    keys = [f"r{i}" for i in range(N)]
    drawn = Fates(seed).drawn(keys[:ASKED], keys[ASKED:])
    return torch.tensor([drawn.get(k, (HAS,) * 8) for k in keys]).T


def case(left: float, method_leaves: float, seed: int = 0, models: int = 8) -> Case:
    """A model that keeps ``left`` of what the requested records owe, and a method that keeps
    ``method_leaves`` of it in the auditor's models.
    """
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    level, owed, fate = normal(N), 1.0 + 0.5 * normal(N), fate_of(seed)[:models]
    asked = torch.arange(N) < ASKED
    noise = 0.5 * normal(models, N)
    untreated = level + owed * (fate != NEVER) + noise
    treated = torch.where(fate == FORGOT, level + owed * method_leaves + noise, untreated)
    return Case(
        sizes=SIZES,
        before=level + owed,
        after=level + owed * torch.where(asked, left, 1.0) + 0.5 * normal(N),
        labels=torch.arange(N) % 2,
        features=normal(N, 3),
        requested=asked,
        outside_before=normal(10),
        outside_after=normal(10),
        outside_labels=torch.arange(10) % 2,
        untreated=untreated,
        treated=treated + 0.1 * normal(models, N),
        fate=fate,
    )


def asked_of(found: Case, tests: int = 1) -> AuditResult:
    return TreatedAudit().audit(found, level=0.05, tests=tests, seed=0)


def test_what_a_weak_method_leaves_is_found_and_an_untouched_model_too() -> None:
    weak, untouched = asked_of(case(0.7, 0.7)), asked_of(case(1.0, 0.7))
    assert weak.outcome == untouched.outcome == "residue_found"
    assert weak.power is not None and weak.power > 0.9
    assert "a trace in 8 of 8" in weak.told
    assert weak.effect is not None and weak.effect > 0 and weak.interval is not None


def test_a_retrained_model_is_not_told_and_the_power_supports_it() -> None:
    found = asked_of(case(0.0, 0.7))
    assert found.outcome == "removed_supported" and (found.p or 0.0) > 0.05


def test_records_that_were_never_there_are_not_called_removed() -> None:
    removed = case(0.0, 0.7)
    never = asked_of(replace(removed, before=removed.after))
    assert never.outcome == "no_power" and never.power is None and UNSEEN in never.told
    left = case(0.7, 0.7)
    assert asked_of(replace(left, before=removed.after)).outcome == "residue_found"


def test_what_was_pushed_too_far_is_found() -> None:
    assert asked_of(case(-2.0, -2.0)).outcome == "residue_found"


@pytest.mark.parametrize("method_leaves", [0.0, -2.0])
def test_an_untouched_model_is_never_supported(method_leaves: float) -> None:
    """Where the method leaves nothing, or pushes to the other side, U-LiRA cannot see it."""
    found = [asked_of(case(1.0, method_leaves, seed=s)) for s in range(12)]
    assert all(one.outcome != "removed_supported" for one in found)
    assert any("the power is over models that it has not treated" in one.told for one in found)


def test_honest_retraining_is_flagged_no_more_than_the_level_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fewer(pairs: Pairs, observed: Tensor, requested: Tensor, **options: float) -> Treated:
        return measure(pairs, observed, requested, level=options["level"], groups=99)

    monkeypatch.setattr(treated_audit, "measure", fewer)
    flagged = sum((asked_of(case(0.0, 0.7, seed=s)).p or 0.0) < 0.05 for s in range(120))
    assert flagged <= 14  # 6 expected: the exact 99.9 % range


def test_one_of_many_tests_has_less_power() -> None:
    alone, among = (asked_of(case(0.0, 0.1, seed=3), tests).power for tests in (1, 10))
    assert alone is not None and among is not None and among < alone


def test_what_has_no_pairs_is_refused() -> None:
    audit = TreatedAudit()
    assert audit.refuses(SIZES) == "" and audit.seconds(SIZES) > 16.0
    assert audit.refuses(replace(SIZES, untreated="no method")) == "no method"
    assert "part" in audit.refuses(replace(SIZES, truncated=True))
    assert "parts" in audit.refuses(replace(SIZES, retraining_seconds=None))
    assert "5 records" in audit.refuses(replace(SIZES, forget=4))
    assert "few" in audit.refuses(replace(SIZES, retain=69))
    with pytest.raises(InsufficientEvidence, match="was treated"):
        asked_of(replace(case(0.0, 0.7), treated=None))
    with pytest.raises(InsufficientEvidence, match="3 shadow models"):
        asked_of(case(0.0, 0.7, models=3))


def test_what_cannot_be_measured_is_refused() -> None:
    fate = fate_of(0)[:, :40]
    margins = torch.zeros(8, 40).double()
    with pytest.raises(BadData, match="shapes"):
        Pairs(margins, margins[:, 1:], fate)
    pairs, asked = Pairs(margins, margins, fate), torch.arange(40) < ASKED
    with pytest.raises(BadData, match="0 of 40"):
        measure(pairs, margins[0], torch.zeros(40, dtype=torch.bool))
    with pytest.raises(BadData, match="margins of shape"):
        measure(pairs, margins[0, 1:], asked)
    with pytest.raises(BadParameter, match="10 groups"):
        measure(pairs, margins[0], asked, groups=10)
    with pytest.raises(InsufficientEvidence, match="Groups of 30"):
        measure(pairs, margins[0], torch.arange(40) < 30)


def test_each_model_forgets_as_many_as_are_requested_and_each_candidate_in_two() -> None:
    keys = [f"k{i}" for i in range(300)]
    drawn = Fates(7).drawn(keys[:20], keys[20:])
    assert len(drawn) == 80 and set(keys[:20]) <= set(drawn)
    for model in range(8):
        fates = [f[model] for f in drawn.values()]
        assert [fates.count(x) for x in (HAS, FORGOT, NEVER)] == [20, 20, 40]
    assert {tuple(f.count(x) for x in (HAS, FORGOT, NEVER)) for f in drawn.values()} == {(2, 2, 4)}
    assert Fates(7).drawn(keys[19::-1], keys[:19:-1]) == drawn
    assert Fates(8).drawn(keys[:20], keys[20:]) != drawn
    with pytest.raises(InsufficientEvidence, match="60 retained"):
        Fates(7).drawn(keys[:20], keys[20:79])
