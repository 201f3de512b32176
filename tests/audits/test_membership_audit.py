from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, product

import pytest
import torch
from margin_worlds import normal
from scipy import stats
from torch import Tensor

from rescind.audits import membership_audit
from rescind.audits.membership_audit import NOT_CLAIMABLE, MembershipAudit, RankTest
from rescind.audits.one_verdict import verdict
from rescind.audits.results import UNSEEN
from rescind.core.audit import AuditResult, Case, Sizes
from rescind.core.errors import BadData, BadParameter
from rescind.metrics.statistics import clopper_pearson

QUICK = MembershipAudit(draws=999)
SIZES = Sizes("classes", 12, 60, 40, truncated=False)


def case_of(
    asked: Tensor | Sequence[float],
    retained: Tensor | Sequence[float],
    outside: Tensor | Sequence[float],
    kinds: tuple[Sequence[int], Sequence[int], Sequence[int]] | None = None,
) -> Case:
    """Scores in the model after; ``kinds`` are their classes. The model before knew all records."""
    parts = [torch.as_tensor(x, dtype=torch.float64) for x in (asked, retained, outside)]
    own, others, held = parts
    labels = [torch.tensor(k) for k in kinds or [[0] * len(x) for x in parts]]
    both = torch.cat([own, others])
    drawn = torch.randn(len(both), generator=torch.Generator().manual_seed(11)).to(both)
    return Case(
        sizes=Sizes("classes", len(own), len(others), len(held), truncated=False),
        before=drawn + 50.0,
        after=both,
        labels=torch.cat(labels[:2]),
        features=drawn[:, None],
        requested=torch.arange(len(both)) < len(own),
        outside_before=torch.zeros_like(held),
        outside_after=held,
        outside_labels=labels[2],
    )


def world(seed: int, asked: float = 0.0, retained: float = 0.0) -> Case:
    """Two classes in turn; what the model remembers is added to the scores of a set."""
    draw = normal(112, seed=seed)
    own, others, held = draw[:12] + asked, draw[12:72] + retained, draw[72:]
    return case_of(own, others, held, tuple([i % 2 for i in range(n)] for n in (12, 60, 40)))  # type: ignore[arg-type]


def audited(case: Case, audit: MembershipAudit = QUICK, tests: int = 1) -> AuditResult:
    return audit.audit(case, level=0.05, tests=tests, seed=3)


def error(p: float, draws: int) -> float:
    """Four standard errors of a p-value from random draws."""
    return float(4 * (p * (1 - p) / draws) ** 0.5)


# --- oracles ---


def test_p_is_that_of_all_permutations_within_the_classes() -> None:
    asked, outside = {0: [3.1, 0.2], 1: [1.0]}, {0: [1.5, 2.5, 0.5], 1: [0.0, 2.0]}

    def share(own: Sequence[float], others: Sequence[float]) -> float:
        return sum(a > b for a in own for b in others) / len(others)

    sums = []
    pools = {k: asked[k] + outside[k] for k in asked}
    choices = [combinations(range(len(pools[k])), len(asked[k])) for k in asked]
    for rows in product(*choices):
        split = [
            ([pools[k][i] for i in own], [x for i, x in enumerate(pools[k]) if i not in own])
            for k, own in zip(asked, rows, strict=True)
        ]
        sums.append(sum(share(*both) for both in split))
    seen = sum(share(asked[k], outside[k]) for k in asked)
    exact = sum(s >= seen - 1e-9 for s in sums) / len(sums)
    case = case_of(
        asked[0] + asked[1],
        [0.0] * 6,
        outside[0] + outside[1],
        ([0, 0, 1], [0] * 6, [0] * 3 + [1] * 2),
    )
    found = audited(case, MembershipAudit(draws=20_000))
    assert len(sums) == 30 and 0.1 < exact < 0.9
    assert found.p == pytest.approx(exact, abs=error(exact, 20_000))
    assert found.effect == pytest.approx(seen / 3)


@pytest.mark.parametrize("shift", [0.0, 0.5, 1.0])
def test_one_class_is_the_rank_sum_test(shift: float) -> None:
    own, held = normal(9, seed=1) + shift, normal(14, seed=2)
    oracle = stats.mannwhitneyu(own.numpy(), held.numpy(), alternative="greater", method="exact")
    found = audited(case_of(own, normal(20, seed=3), held), MembershipAudit(draws=20_000))
    assert found.p == pytest.approx(oracle.pvalue, abs=error(oracle.pvalue, 20_000) + 1e-4)
    assert found.effect == pytest.approx(oracle.statistic / (9 * 14))
    assert found.interval is not None
    assert found.interval[0] < oracle.statistic / (9 * 14) < found.interval[1]


def test_ties_count_half() -> None:
    case = case_of([1.0, 2.0, 2.0], [0.0], [2.0, 2.0, 1.0, 5.0])
    test = RankTest.of(case, 99, torch.Generator().manual_seed(0))
    ranks = test.ranks(case.after[:3], case.labels[:3])
    assert ranks.tolist() == [0.125, 0.5, 0.5]


# --- level and power ---


def test_the_level_holds_where_nothing_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The retained are held out like the others, so that no set is more familiar."""
    monkeypatch.setattr(membership_audit, "POWER_SETS", 1)
    p = [audited(world(s)).p or 0.0 for s in range(300)]
    for level in (0.05, 0.2, 0.5):
        low, high = clopper_pearson(sum(x <= level for x in p), len(p), 0.99)
        assert low <= level <= high, level


def test_what_is_still_remembered_is_found_and_what_is_gone_is_supported() -> None:
    kept, gone = audited(world(1, asked=3, retained=3)), audited(world(1, retained=3))
    assert (kept.outcome, gone.outcome) == ("residue_found", "removed_supported")
    assert kept.power == gone.power == 1.0
    assert kept.p == 1 / 1000  # what was seen counts as one
    assert kept.effect is not None and kept.effect > 0.9
    assert kept.null == "no_trace" and (kept.n, kept.seed, kept.as_removal) == (12, 3, None)
    assert kept.limits == NOT_CLAIMABLE


def test_a_model_that_remembers_nobody_gives_no_power() -> None:
    found = audited(world(2))
    assert found.power is not None and found.power < 0.2
    assert found.outcome == "no_power"
    assert found.told.startswith("not enough power to tell (p ")


def test_power_is_that_of_retained_records_at_the_shared_level() -> None:
    """About the rank test of 12 against 40 at this shift; the set that is drawn from is one."""
    alone, shared = (audited(world(4, retained=0.9), tests=k).power or 0.0 for k in (1, 10))
    fires = 0
    for seed in range(200):
        draw = normal(52, seed=9000 + seed)
        fires += (
            float(stats.mannwhitneyu(draw[:12] + 0.9, draw[12:], alternative="greater")[1]) < 0.05
        )
    assert alone == pytest.approx(fires / 200, abs=0.25)
    assert 0.05 < shared < alone < 1.0


# --- the model before ---


def unseen(seed: int, retained: float = 3.0, tests: int = 1) -> AuditResult:
    """Requested records that score like held-out ones in both models, which are the same."""
    case = world(seed, retained=retained)
    return audited(replace(case, before=case.after, outside_before=case.outside_after), tests=tests)


def test_the_removal_of_records_that_were_never_seen_is_not_supported() -> None:
    """Were the model before not asked, all of these would be supported, with a power of 1."""
    found = [unseen(seed) for seed in range(20)]
    quiet = [r for r in found if r.outcome != "residue_found"]
    assert len(quiet) >= 17  # the level, of which nothing else is changed
    assert all((r.outcome, r.power) == ("no_power", None) for r in quiet)
    assert all(r.told.endswith(UNSEEN) for r in quiet)


def test_the_model_before_takes_no_residue_back_and_gives_none() -> None:
    """Of what it shows the p-value is no part; one that Holm corrects is then not supported."""
    seen = world(1, asked=0.8, retained=3)
    lost = replace(seen, before=seen.before - 50.0)
    found, other = audited(seen), audited(lost)
    assert (found.p, found.effect, found.interval) == (other.p, other.effect, other.interval)
    assert found.outcome == other.outcome == "residue_found"
    assert found.power == 1.0 and other.power is None
    quiet = replace(other, audit="a", p=0.9, p_corrected=None, null="no_trace")
    corrected = verdict("v2", [replace(other, p=0.04), quiet])
    assert [r.outcome for r in corrected.results] == ["no_power", "no_power"]


def test_what_the_model_before_shows_is_asked_at_the_level_of_the_power() -> None:
    """So that of several audits that are read together no more support what was never there."""
    case = world(1, retained=3)
    weak = replace(case, before=torch.zeros_like(case.before) + 0.1)
    for draw in range(60):
        outside = normal(40, seed=500 + draw)
        both = [audited(replace(weak, outside_before=outside), tests=k) for k in (1, 40)]
        if (both[0].power is None, both[1].power is None) == (False, True):
            return
    raise AssertionError("no held-out records lie between both levels")


# --- strata ---


def test_a_request_of_an_easy_class_is_not_flagged_for_that() -> None:
    """Class 0 scores three higher and is requested more often than held out."""
    pooled, stratified = [], []
    kinds = ([0] * 16 + [1] * 4, [0, 1] * 30, [0] * 8 + [1] * 32)
    for seed in range(20):
        own, others, held = (
            normal(len(k), seed=seed + 100 * i) + 3.0 * (1 - torch.tensor(k))
            for i, k in enumerate(kinds)
        )
        pooled.append(stats.mannwhitneyu(own, held, alternative="greater").pvalue)
        stratified.append(audited(case_of(own, others, held, kinds)).p)
    assert all(p < 0.05 for p in pooled)
    assert sum(p < 0.05 for p in stratified if p is not None) <= 3


def test_a_residue_in_one_class_is_found_among_others() -> None:
    kinds = ([0] * 10 + [1] * 10, [0, 1] * 30, [0, 1] * 20)
    own = normal(20, seed=5) + 3.0 * (torch.tensor(kinds[0]) == 1)
    found = audited(case_of(own, normal(60, seed=6) + 3, normal(40, seed=7), kinds))
    assert found.outcome == "residue_found"


# --- what it refuses ---


def test_a_class_without_held_out_records_is_refused() -> None:
    case = case_of([1.0] * 6, [0.0] * 6, [0.0] * 6, ([0, 0, 0, 1, 2, 2], [0] * 6, [0] * 6))
    with pytest.raises(BadData, match="No held-out record has the class 1, 2"):
        audited(case)


def test_power_is_unknown_where_a_class_has_too_few_retained() -> None:
    case = case_of(normal(6, seed=0), [0.0] * 5, normal(20, seed=1))
    found = audited(case)
    assert found.power is None and found.outcome == "no_power"
    assert "power unknown" in found.told


def test_sizes_that_no_rank_test_decides_are_refused() -> None:
    assert QUICK.refuses(SIZES) == ""
    assert QUICK.refuses(replace(SIZES, truncated=True)) == ""
    assert QUICK.refuses(Sizes("classes", 5, 5, 5, truncated=False)) == ""
    for forget, retain, test in ((4, 5, 5), (5, 4, 5), (5, 5, 4)):
        assert "5 records each" in QUICK.refuses(Sizes("classes", forget, retain, test, False))
    with pytest.raises(BadParameter, match="draws is 98"):
        MembershipAudit(draws=98)


def test_more_records_take_longer() -> None:
    many = replace(SIZES, forget=4_000)
    assert 0 < MembershipAudit().seconds(SIZES) < MembershipAudit().seconds(many)


def test_a_seed_gives_a_result_and_the_order_of_records_none() -> None:
    case = world(8, retained=1)
    rows = torch.randperm(72, generator=torch.Generator().manual_seed(1))
    shuffled = replace(
        case, after=case.after[rows], labels=case.labels[rows], requested=case.requested[rows]
    )
    assert audited(case) == audited(case)
    assert audited(shuffled).p == audited(case).p
    assert audited(shuffled).effect == pytest.approx(audited(case).effect)


def test_curves_are_drawn_of_both_models() -> None:
    draw = normal(200, seed=9)
    kinds = tuple([i % 2 for i in range(n)] for n in (60, 80, 60))
    case = case_of(draw[:60], draw[60:140] + 2.0, draw[140:], kinds)  # type: ignore[arg-type]
    before, after = audited(case).curves
    assert (before.model, after.model) == ("before", "after")
    assert {y for _, y in before.points} == {1.0}  # all lie above what was held out
    rates = [x for x, _ in after.points]
    assert rates == sorted(rates) and rates[-1] == 1.0 and after.points[-1][1] == 1.0
    assert before.rates == ()  # sixty held-out records show no rate of 1 %


def test_true_positives_are_told_at_false_ones_that_the_held_out_records_can_show() -> None:
    draw = normal(1_160, seed=9)
    kinds = tuple([i % 2 for i in range(n)] for n in (60, 1_000, 100))
    case = case_of(draw[:60] + 5.0, draw[60:1_060], draw[1_060:], kinds)  # type: ignore[arg-type]
    case = replace(case, outside_after=draw[60:1_060], outside_labels=torch.arange(1_000) % 2)
    case = replace(case, outside_before=draw[60:1_060])
    [_, after] = audited(case).curves
    assert [at for at, *_ in after.rates] == [0.001, 0.01]
    out = draw[60:1_060].sort(descending=True).values
    for (_, true, low, high), allowed in zip(after.rates, (1, 10), strict=True):
        assert true == float((case.after[case.requested] > out[allowed]).double().mean())
        assert low < true <= high


def test_of_few_records_no_curve_is_drawn() -> None:
    assert audited(world(0)).curves == ()


def test_records_that_were_pushed_away_are_not_supported() -> None:
    found = audited(world(0, asked=-6.0, retained=2.0))
    assert (found.outcome, found.power) == ("no_power", None)
    assert "pushed away" in found.told
