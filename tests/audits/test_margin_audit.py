from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from margin_worlds import HELD_OUT, TRAINED, World, world
from torch import Tensor

from rescind.audits import margin_audit
from rescind.audits.extent import Told
from rescind.audits.margin_audit import NOT_CLAIMABLE, SAID, MarginAudit
from rescind.audits.one_verdict import verdict
from rescind.audits.results import UNSEEN
from rescind.core.audit import AuditResult, Case, Sizes
from rescind.core.errors import InsufficientEvidence

AUDIT = MarginAudit(controls=20)
SIZES = Sizes("classes", 20, 430, HELD_OUT, truncated=False)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(margin_audit, "SIMULATED", 20)


def case_of(w: World, after: Tensor) -> Case:
    """The margins that held-out records have in the model after are not read."""
    n = int(w.requested.sum())
    return Case(
        sizes=replace(SIZES, forget=n, retain=TRAINED - n),
        before=w.before,
        after=after,
        labels=w.labels,
        features=w.features,
        requested=w.requested,
        outside_before=w.holdout.margins,
        outside_after=torch.full((HELD_OUT,), torch.nan),
        outside_labels=w.holdout.labels,
    )


def audited(w: World, extent: float, tests: int = 1, seed: int = 3) -> AuditResult:
    return AUDIT.audit(case_of(w, w.after(extent)), level=0.05, tests=tests, seed=seed)


def test_a_removal_is_found_with_its_extent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(margin_audit, "SIMULATED", 1)
    each = [audited(world(20, s), 1.0) for s in range(8)]
    assert [r.outcome for r in each] == ["removed_supported"] * 8
    assert all(r.told.endswith(SAID["as_removed"]) and r.as_removal for r in each)
    extents = torch.tensor([r.effect or 0.0 for r in each], dtype=torch.float64)
    assert float(extents.mean()) == pytest.approx(1.0, abs=3 * float(extents.std()) / 8**0.5)
    assert sum(r.interval is not None and r.interval[0] < 1 < r.interval[1] for r in each) >= 7
    assert all(r.p is not None and r.p < 0.05 and r.null == "nothing_removed" for r in each)
    assert each[0].limits == NOT_CLAIMABLE
    assert (each[0].n, each[0].unit) == (20, "share of what retraining changes")


def test_a_model_that_did_nothing_keeps_a_residue_where_there_is_power() -> None:
    found = audited(world(20, 1), 0.0)
    assert found.power is not None and found.power >= 0.8
    assert found.p is not None and found.p >= 0.05
    assert found.outcome == "residue_found"
    assert found.told.endswith(SAID["nothing_seen"])


@pytest.mark.parametrize(
    ("extent", "says"), [(0.3, "partly"), (6.0, "overshoot"), (-1.0, "strengthened")]
)
def test_too_little_and_too_much_are_residues(extent: float, says: Told) -> None:
    found = audited(world(40, 7), extent)
    assert found.outcome == "residue_found"
    assert found.told.endswith(SAID[says]) and found.as_removal is False


def test_power_falls_with_fewer_records_and_the_level() -> None:
    few, many = (audited(world(n, 2, owes=0.6), 2.0).power or 0.0 for n in (5, 40))
    shared = audited(world(5, 2, owes=0.6), 2.0, tests=20).power or 0.0
    assert shared < few < many


def test_a_model_that_remembers_nobody_tells_nothing() -> None:
    w = world(20, 4, owes=0.0)
    found = audited(w, 1.0)
    assert (found.power, found.outcome) == (None, "no_power")
    assert found.told.endswith(UNSEEN)
    assert found.unit == "nats of margin"


def test_without_classmates_there_is_a_p_and_no_power() -> None:
    """Class 1 is requested but for as many: no set of retained ones has controls."""
    w = world(1, 0)
    own = (w.labels == 1).nonzero().flatten()
    requested = torch.zeros(TRAINED, dtype=torch.bool)
    requested[own[: len(own) // 2]] = True
    found = audited(replace(w, requested=requested), 1.0)
    assert found.power is None and found.outcome == "removed_supported"
    with pytest.raises(InsufficientEvidence, match="retained"):
        audited(replace(w, requested=w.labels == 1), 1.0)


def test_the_simulation_reads_nothing_of_how_the_request_changed() -> None:
    """The power is fixed by the others: what was done to the requested records moves none of it."""
    w = world(20, 1)
    assert audited(w, 0.0).power == audited(w, 1.0).power == audited(w, 5.0).power


def test_a_seed_gives_a_result() -> None:
    w = world(20, 1)
    assert audited(w, 1.0) == audited(w, 1.0)
    assert audited(w, 1.0).seed == 3


def test_models_with_a_part_cut_off_and_small_sets_are_refused() -> None:
    assert AUDIT.refuses(SIZES) == ""
    assert "a part was cut" in AUDIT.refuses(replace(SIZES, truncated=True))
    assert "5 records to forget" in AUDIT.refuses(replace(SIZES, forget=4))
    assert "10 held out" in AUDIT.refuses(replace(SIZES, test=9))
    assert "too few retained" in AUDIT.refuses(replace(SIZES, retain=49))
    assert AUDIT.refuses(replace(SIZES, forget=20, retain=50, test=10)) == ""


def test_more_records_take_longer() -> None:
    assert 0 < AUDIT.seconds(SIZES) < AUDIT.seconds(replace(SIZES, forget=400))


def test_the_verdict_takes_its_words() -> None:
    found = verdict("v2", [audited(world(20, 1), 1.0)])
    assert found.outcome == "removed_supported"
    assert SAID["as_removed"] in found.because
    assert NOT_CLAIMABLE in found.not_claimable


def test_records_that_nobody_saw_before_are_never_a_residue() -> None:
    """What the test would see of other records says nothing of records it could not see before."""
    unseen = 0
    for seed in range(12):
        w = world(6, seed, owes=0.05)  # hardly more familiar than held-out records
        found = audited(w, 0.0)
        if found.told.endswith(UNSEEN):
            assert (found.power, found.outcome) == (None, "no_power")
            unseen += 1
    assert unseen >= 8


def never_seen(seed: int) -> World:
    """Twenty records that nobody trained on are requested; the others owe as much as ever."""
    w = world(20, seed)
    never = torch.where(w.requested, w.owes, 0.0)
    return replace(w, before=w.before - never, kept=w.kept - never)


def test_a_fall_that_a_correction_may_undo_leaves_no_power_for_unseen_records(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Holm may read such a p as none; with a power, that would be a residue of unseen records."""
    monkeypatch.setattr(margin_audit, "SIMULATED", 1)
    undecided = 0
    for seed in range(60):
        case = case_of(w := never_seen(seed), w.after(0.0))
        gap = AUDIT._question(case, case.requested, 3).gap
        found = audited(w, 0.0, tests=2)
        assert gap is not None and found.p is not None
        if gap.p_present >= found.level and found.level / 2 <= found.p < found.level:
            undecided += 1
            assert found.power is None
            told = verdict("v2", [found, replace(found, audit="other", p=0.9)]).results
            assert told[0].outcome == "no_power"
    assert undecided
