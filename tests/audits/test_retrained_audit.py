"""The model after beside retrained models: level, power, both directions, and what is refused."""

from __future__ import annotations

import math
import random
import statistics

import pytest
import torch

from rescind.audits.results import UNSEEN
from rescind.audits.retrained_audit import HIGHER, LOWER, RetrainedAudit, power
from rescind.core.audit import AuditResult, Case, Sizes
from rescind.core.errors import BadData, InsufficientEvidence

N, ASKED, OUT = 60, 20, 40
SIZES = Sizes("classes", ASKED, N - ASKED, OUT, truncated=False, retraining_seconds=1.0)


def case(
    after: float, before: float = 3.0, seed: int = 0, models: int = 8, sure: float = 0.0
) -> Case:
    """Scores of requested records lie ``after`` above those of retrained models; each model has a
    shift of its own, and ``sure`` moves all scores of the model after.
    """
    draw = torch.Generator().manual_seed(seed)
    hard = torch.randn(N, generator=draw, dtype=torch.float64)
    out = torch.randn(OUT, generator=draw, dtype=torch.float64)
    asked = torch.arange(N) < ASKED

    def model(more: float, surer: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
        own = 0.3 * float(torch.randn(1, generator=draw)) + more
        noise = torch.randn(N, generator=draw, dtype=torch.float64)
        return hard + noise + own * asked + surer, out + surer

    retrained = [model(0.0) for _ in range(models)]
    (first, first_out), (last, last_out) = model(before), model(after, sure)
    return Case(
        sizes=SIZES,
        before=first,
        after=last,
        labels=torch.arange(N) % 2,
        features=torch.zeros(N, 1),
        requested=asked,
        outside_before=first_out,
        outside_after=last_out,
        outside_labels=torch.arange(OUT) % 2,
        retrained=torch.stack([own for own, _ in retrained]),
        retrained_outside=torch.stack([outside for _, outside in retrained]),
    )


def asked_of(found: Case, tests: int = 1) -> AuditResult:
    return RetrainedAudit().audit(found, level=0.05, tests=tests, seed=0)


def known(number: float | None) -> float:
    assert number is not None
    return number


def test_a_retrained_model_is_flagged_as_often_as_the_level_says() -> None:
    flagged = sum(known(asked_of(case(0.0, seed=s)).p) < 0.05 for s in range(400))
    assert 8 <= flagged <= 36  # of 400, 20 expected: the exact 99.9 % range


def test_being_surer_of_everything_is_no_trace() -> None:
    plain, surer = asked_of(case(0.0, seed=3)), asked_of(case(0.0, seed=3, sure=50.0))
    assert surer.p == pytest.approx(plain.p)


@pytest.mark.parametrize(("after", "word"), [(3.0, HIGHER), (-3.0, LOWER)])
def test_what_is_left_and_what_was_pushed_away_are_residues(after: float, word: str) -> None:
    found = asked_of(case(after))
    assert found.outcome == "residue_found" and word in found.told
    assert found.interval is not None
    low, high = found.interval
    assert low < after < high


def test_records_that_were_never_there_are_not_called_removed() -> None:
    never = asked_of(case(0.0, before=0.0))
    assert never.outcome == "no_power" and UNSEEN in never.told
    assert UNSEEN not in asked_of(case(0.0)).told


def test_no_trace_is_supported_where_the_model_before_would_have_been_told() -> None:
    assert asked_of(case(0.0, before=3.0, seed=1)).outcome == "removed_supported"
    assert asked_of(case(0.0, before=0.1, seed=1)).outcome == "no_power"


@pytest.mark.parametrize("shift", [0.0, 0.3, 1.0, 2.0])
def test_the_power_is_that_of_drawn_models(shift: float) -> None:
    draw = random.Random(7)
    retrained = [draw.gauss(0, 1) for _ in range(8)]
    spread = statistics.stdev(retrained)
    edge, seen, trials = 2.364624, 0, 20_000  # of Student's t with 7 degrees of freedom
    for _ in range(trials):
        others = [draw.gauss(0, spread) for _ in range(8)]
        gap = draw.gauss(shift, spread) - statistics.fmean(others)
        seen += abs(gap) > edge * statistics.stdev(others) * math.sqrt(1 + 1 / 8)
    assert power(shift, retrained, 0.05) == pytest.approx(seen / trials, abs=0.012)


@pytest.mark.parametrize("shift", [5.0, 20.0, 1e3, -1e3])
def test_a_shift_that_is_far_has_all_power_and_no_nan(shift: float) -> None:
    assert power(shift, [0.0, 0.1, -0.1, 0.2, -0.2, 0.3, -0.3, 0.15], 0.01) == pytest.approx(1.0)


def test_a_smaller_level_for_each_of_several_tests_leaves_less_power() -> None:
    alone, among = (asked_of(case(0.0, before=1.0), tests) for tests in (1, 5))
    assert known(among.power) < known(alone.power)


def test_too_few_retrained_models_and_classes_without_held_out_records_are_refused() -> None:
    with pytest.raises(InsufficientEvidence):
        asked_of(case(0.0, models=7))
    lacking = case(0.0)
    lacking.outside_labels[:] = 0
    with pytest.raises(BadData, match="class 1"):
        asked_of(lacking)


def test_what_cannot_be_retrained_is_refused_before() -> None:
    audit = RetrainedAudit()
    assert audit.refuses(SIZES) == ""
    assert "part" in audit.refuses(Sizes("classes", 5, 5, 5, True, 1.0))
    assert "parts" in audit.refuses(Sizes("classes", 5, 5, 5, False, None))
    assert audit.refuses(Sizes("classes", 0, 5, 5, False, 1.0))
    assert audit.seconds(SIZES) > 8.0
