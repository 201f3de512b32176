"""Relearning as a plug-in: savings beside retrained models, its power, and where it has none."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from rescind.audits.relearning_audit import MODELS, STEPS, RelearningAudit
from rescind.core.audit import AuditResult, Case, Sizes
from rescind.core.errors import InsufficientEvidence
from rescind.metrics.relearning import Budget

R, OTHERS = 20, 8
SIZES = Sizes("classes", R, 80, 10, truncated=False, retraining_seconds=1.0, passing_seconds=1e-4)
MARKS = torch.tensor([-1.0, *map(float, range(len(Budget(steps=STEPS).marks) - 1))])


def learned(place: float) -> Tensor:
    """Scores that rise from 0 to 1 about this place on log2(steps)."""
    return ((MARKS - place) / 2 + 0.5).clamp(0, 1).double()


def case(after: float, before: float = -3.0, hiding: float = 1.0, whole: bool = True) -> Case:
    """By the places at which the models know half of the records; retrained ones about 4."""
    draw = torch.Generator().manual_seed(0)
    others = 4 + 0.4 * torch.randn(OTHERS, generator=draw)
    hidden = hiding + 0.3 * torch.randn(MODELS * whole, generator=draw)
    first = [learned(p) for p in (before, after, *hidden.tolist())]
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
        relearned=torch.stack(first),
        relearned_retrained=torch.stack([learned(p) for p in others.tolist()]),
        relearned_counts=torch.tensor([6, 14]),
        relearned_lr=torch.tensor([1e-2]).double(),
    )


def asked_of(found: Case, tests: int = 1) -> AuditResult:
    return RelearningAudit().audit(found, level=0.05, tests=tests, seed=0)


def test_an_untouched_model_and_one_that_hides_are_found() -> None:
    untouched, hiding = asked_of(case(-3.0)), asked_of(case(1.0))
    assert untouched.outcome == hiding.outcome == "residue_found"
    assert "answered before any step" in untouched.told
    assert "answered before" not in hiding.told
    assert f"{MODELS} of {MODELS} models that hide" in hiding.told
    assert hiding.effect == pytest.approx(3.0, abs=0.5)


def test_a_retrained_model_is_supported_where_hidden_ones_would_be_found() -> None:
    assert asked_of(case(4.0)).outcome == "removed_supported"
    weak = asked_of(case(4.0, hiding=4.0))
    assert (weak.outcome, weak.power) == ("no_power", 0.0)
    assert f"finds 0 of {MODELS}" in weak.told


def test_a_model_before_that_is_not_found_leaves_no_power() -> None:
    assert asked_of(case(4.0, before=4.0)).outcome == "no_power"


def test_without_a_whole_class_there_is_no_power_and_it_says_so() -> None:
    found = asked_of(case(4.0, whole=False))
    assert (found.outcome, found.power) == ("no_power", 0.0)
    assert "no class goes as a whole" in found.told


def test_records_that_retrained_models_know_cannot_be_relearned() -> None:
    known = replace(case(4.0), relearned_retrained=torch.ones(OTHERS, len(MARKS)).double())
    with pytest.raises(InsufficientEvidence, match="before any step"):
        asked_of(known)


def test_what_has_no_reference_is_refused() -> None:
    audit = RelearningAudit()
    assert audit.refuses(SIZES) == "" and audit.seconds(SIZES) > 8.0
    assert "classes" in audit.refuses(replace(SIZES, target="tokens"))
    assert "encoder" in audit.refuses(replace(SIZES, adapted=True))
    assert "part" in audit.refuses(replace(SIZES, truncated=True))
    assert "parts" in audit.refuses(replace(SIZES, retraining_seconds=None))
    assert "10 records" in audit.refuses(replace(SIZES, forget=9))
    whole = case(1.0)
    for lacking in (
        replace(whole, relearned=None),
        replace(whole, relearned_retrained=None),
        replace(whole, relearned_counts=None),
        replace(whole, relearned_lr=None),
    ):
        with pytest.raises(InsufficientEvidence):
            asked_of(lacking)
    assert whole.relearned_retrained is not None
    with pytest.raises(InsufficientEvidence, match="2 retrained models"):
        asked_of(replace(whole, relearned_retrained=whole.relearned_retrained[:2]))
