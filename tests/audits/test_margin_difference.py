from __future__ import annotations

import itertools
from dataclasses import replace
from statistics import fmean, variance

import pytest
import torch
from margin_worlds import HELD_OUT, OWES, TRAINED, World, normal, world

from rescind.audits import intervals, permutation
from rescind.audits.extent import told
from rescind.audits.holdout_gap import Gap, Holdout, holdout_gap
from rescind.audits.intervals import RESAMPLES, resampled_means
from rescind.audits.margin_difference import (
    MarginDifference,
    _interval,
    changes,
    measure,
    prepare,
)
from rescind.audits.matched import match
from rescind.audits.permutation import Permuted, adjusted, permuted
from rescind.core.errors import BadData, BadParameter, InsufficientEvidence

DRAWS = 499


def found(w: World, extent: float, seed: int = 0) -> MarginDifference:
    return measure(w.question(), w.after(extent), draws=DRAWS, seed=seed)


# --- what is said of planted worlds ---


@pytest.mark.parametrize(("n", "worlds"), [(1, 40), (12, 30)])
def test_where_nothing_is_removed_p_is_uniform(n: int, worlds: int) -> None:
    p = torch.tensor([found(world(n, s), 0.0).p for s in range(worlds)])
    for level in (0.1, 0.25, 0.5, 0.75):
        share, error = float((p <= level).double().mean()), (level * (1 - level) / worlds) ** 0.5
        assert abs(share - level) < 3 * error, level


def hard(n: int, seed: int, share: float) -> World:
    """``n`` records requested at random among that share of all with the smallest margins."""
    w = world(n, seed)
    lowest = w.before.argsort()[: int(share * TRAINED)]
    drawn = torch.randperm(len(lowest), generator=torch.Generator().manual_seed(seed))[:n]
    return replace(
        w, requested=torch.zeros(TRAINED, dtype=torch.bool).index_fill(0, lowest[drawn], True)
    )


@pytest.mark.parametrize("share", [0.05, 0.3])
@pytest.mark.parametrize("rounding", [0.0, 1e-8])
def test_a_model_that_is_the_same_accuses_no_hard_request(share: float, rounding: float) -> None:
    """Nothing but the difficulty of the records tells them from others."""
    for seed in range(8):
        w = hard(20, seed, share)
        f = measure(w.question(), w.before + rounding * normal(TRAINED, seed=seed), draws=DRAWS)
        assert (f.p_fell, f.p_rose, f.told) == (1.0, 1.0, "nothing_seen")


def test_what_is_the_same_around_records_that_fell_hides_no_fall() -> None:
    w = hard(20, 0, 0.3)
    least = pytest.approx(1 / (DRAWS + 1))
    fell = measure(w.question(), w.before - w.requested.double(), draws=DRAWS)
    assert fell.p_fell == least and fell.p_rose == 1.0
    rose = measure(w.question(), w.before + w.requested.double(), draws=DRAWS)
    assert rose.p_rose == least and rose.p_fell == 1.0


@pytest.mark.parametrize("extent", [0.0, 0.4, 1.0, 4.0])
def test_the_planted_share_is_found_and_lies_in_the_interval(extent: float) -> None:
    each = [found(world(16, s), extent) for s in range(100, 112)]
    extents = torch.tensor([f.extent for f in each], dtype=torch.float64)
    error = float(extents.std()) / len(each) ** 0.5
    assert float(extents.mean()) == pytest.approx(extent, abs=max(3 * error, 0.05))
    assert sum(f.interval[0] <= extent <= f.interval[1] for f in each) >= 10


def test_a_single_record_has_an_interval_that_holds_its_share() -> None:
    each = [found(world(1, s), 1.0) for s in range(200, 220)]
    assert all(f.interval[1] - f.interval[0] > 0.3 for f in each)
    assert sum(f.interval[0] <= 1 <= f.interval[1] for f in each) >= 17


@pytest.mark.parametrize(
    ("extent", "says"),
    [
        (0.0, "nothing_seen"),
        (0.3, "partly"),
        (1.0, "as_removed"),
        (5.0, "overshoot"),
        (-1.0, "strengthened"),
    ],
)
def test_what_is_told_follows_the_extent_and_not_the_p(extent: float, says: str) -> None:
    assert found(world(40, 7), extent).told == says


def test_swapped_models_are_no_removal() -> None:
    w = world(40, 7)
    swapped = replace(w, before=w.after(1.0), kept=w.before)
    f = measure(swapped.question(), w.before, draws=DRAWS)
    assert f.told == "strengthened" and f.p < 0.05
    assert f.finding(power=0.99).outcome == "residue_found"
    assert f.finding().outcome == "no_power" and f.finding().p > 0.05


def test_the_change_of_a_whole_neighbourhood_is_no_change_of_the_record() -> None:
    w = world(40, 3)
    around = w.features[:, 0] / 3
    f = measure(w.question(), w.after(0.0) - 30 * around.cos(), draws=DRAWS)
    assert abs(f.drop) < 0.5 * OWES and f.p > 0.05


def test_the_interval_holds_the_noise_of_the_gap() -> None:
    """A fall that is sure, over a gap N(1.5, error): the ends are at 1.96 errors of the gap."""
    sure = Permuted(
        gaps=torch.full((9,), -1.5, dtype=torch.float64),
        gap=-1.5,
        null=torch.zeros(20_000, dtype=torch.float64),
        spread=0.0,
        below=0.0,
        above=1.0,
        both=0.0,
    )
    assert _interval(sure, Gap(1.5, 0.0, 0.01), 0) == pytest.approx((1.0, 1.0))
    low, high = _interval(sure, Gap(1.5, 0.3, 0.01), 0)
    assert low == pytest.approx(1.5 / (1.5 + 1.96 * 0.3), abs=0.02)
    assert high == pytest.approx(1.5 / (1.5 - 1.96 * 0.3), abs=0.06)
    assert _interval(sure, None, 0) == pytest.approx((1.5, 1.5))


def test_the_error_of_the_gap_is_that_of_means_of_two_classes() -> None:
    """Two of three requested records are of class 0: weights 2/3 and 1/3."""
    trained = {0: [3.0, 5.0, 7.0], 1: [1.0, 2.0]}
    outside = {0: [0.0, 1.0, 2.0, 5.0], 1: [-1.0, 1.0, 3.0]}
    margins = torch.tensor([4.0, 4.0, 4.0, *trained[0], *trained[1], 99.0]).double()
    kinds = torch.tensor([0, 0, 1, 0, 0, 0, 1, 1, 0])
    asked, retained = torch.arange(9) < 3, (torch.arange(9) >= 3) & (torch.arange(9) < 8)
    holdout = Holdout(torch.tensor(outside[0] + outside[1]), torch.tensor([0] * 4 + [1] * 3))
    gap = holdout_gap(margins, kinds, asked, retained, holdout, seed=0)
    parts = [(2 / 3, trained[0], outside[0]), (1 / 3, trained[1], outside[1])]
    error = sum(w**2 * (variance(i) / len(i) + variance(o) / len(o)) for w, i, o in parts) ** 0.5
    assert gap.error == pytest.approx(error)
    assert gap.expected == pytest.approx(sum(w * (fmean(i) - fmean(o)) for w, i, o in parts))


def test_records_that_were_never_trained_on_show_no_presence() -> None:
    w = world(40, 5)
    absent = replace(w, before=w.before - torch.where(w.requested, w.owes, 0.0))
    assert w.question().gap.p_present < 0.01  # type: ignore[union-attr]
    assert absent.question().gap.p_present > 0.05  # type: ignore[union-attr]


def test_a_model_that_keeps_no_record_apart_has_no_extent() -> None:
    w = world(40, 6, owes=0.0)
    f = measure(w.question(), w.after(0.0) - 3.0 * w.requested, draws=DRAWS)
    assert f.extent is None and f.told == "changed"
    assert f.finding().unit == "nats of margin"
    assert f.finding().effect == pytest.approx(3.0, abs=0.5)
    assert f.interval[0] < f.drop < f.interval[1]


def test_without_a_holdout_the_drop_is_told() -> None:
    w = world(40, 6)
    question = prepare(w.before, w.labels, w.features, w.requested)
    f = measure(question, w.after(1.0), draws=DRAWS)
    assert (f.extent, f.expected, f.p_present) == (None, None, None)
    assert f.drop == pytest.approx(OWES, abs=0.5)


def test_a_finding_carries_extent_and_power() -> None:
    f = found(world(40, 7), 1.0)
    finding = f.finding(power=0.9)
    assert (finding.effect, finding.interval, finding.power) == (f.extent, f.interval, 0.9)
    assert (finding.null, finding.n, finding.p) == ("nothing_removed", 40, f.p_fell)
    assert finding.outcome == "removed_supported"


def test_a_request_of_hard_records_has_a_low_rank() -> None:
    w = world(10, 1)
    assert w.question().rank == pytest.approx(0.5, abs=0.25)
    hardest = torch.zeros(TRAINED, dtype=torch.bool)
    hardest[w.before.argsort()[:10]] = True
    assert replace(w, requested=hardest).question().rank < 0.1


# --- controls ---


def test_excluded_records_are_neither_controls_nor_neighbours() -> None:
    w = world(12, 2)
    excluded = (torch.arange(TRAINED) % 4 == 1) & ~w.requested
    question = w.question(excluded, controls=5)
    used = torch.cat([question.groups.rows[:, 1:].flatten(), question.nearest.flatten()])
    assert not bool((excluded | w.requested)[used].any())
    again = measure(question, w.after(1.0) - 50.0 * excluded, draws=DRAWS)
    assert again == measure(question, w.after(1.0), draws=DRAWS)
    assert bool(excluded[w.question(controls=5).nearest.flatten()].any())


def test_each_record_has_the_nearest_controls_of_its_class_and_none_twice() -> None:
    values = torch.tensor([0.0, 1.0, 1.1, 0.9, 5.0, 0.2, 0.3, 7.0])
    labels = torch.tensor([0, 0, 0, 0, 0, 1, 1, 0])
    requested = torch.tensor([True, True, *[False] * 6])
    groups = match(values, labels, requested, ~requested, 2)
    assert groups.rows.tolist() == [[0, 3, 4], [1, 2, 7]]
    assert match(values, labels, requested, ~requested, 1).rows.tolist() == [[0, 3], [1, 2]]


def test_what_follows_from_the_margin_before_is_taken_out() -> None:
    x, y = normal(5, 4, seed=0), normal(5, 4, seed=1)
    within = x - x.mean(1, keepdim=True)
    left = adjusted(y + 7 * x, x)
    torch.testing.assert_close(left, adjusted(y, x))
    assert float((left * within).sum()) == pytest.approx(0.0, abs=1e-9)


# --- the permutation test ---


def by_hand(values: torch.Tensor) -> list[float]:
    """Every choice of one of each group, minus the mean of the others of the group."""
    n, width = values.shape
    means = []
    for choice in itertools.product(range(width), repeat=n):
        rest = [
            (float(values[i].sum()) - float(values[i, j])) / (width - 1)
            for i, j in enumerate(choice)
        ]
        means.append(sum(float(values[i, j]) - rest[i] for i, j in enumerate(choice)) / n)
    return means


def test_all_choices_are_counted_where_they_are_few() -> None:
    values = normal(3, 5, seed=4)
    means, test = by_hand(values), permuted(values, draws=125)
    assert test.gap == pytest.approx(means[0])
    assert test.null.tolist() == pytest.approx(means)
    assert test.below == pytest.approx(sum(m <= means[0] + 1e-12 for m in means) / 125)
    assert test.above == pytest.approx(sum(m >= means[0] - 1e-12 for m in means) / 125)
    assert test.both == pytest.approx(sum(abs(m) >= abs(means[0]) - 1e-12 for m in means) / 125)


def test_many_choices_are_drawn_and_what_was_seen_counts() -> None:
    values = normal(6, 8, seed=4)
    few = permuted(values, draws=4_000, seed=1)
    all_of_them = permuted(values, draws=8**6)
    assert len(few.null) == 4_001 and len(all_of_them.null) == 8**6
    assert few.both == pytest.approx(all_of_them.both, abs=0.03)
    values[:, 0] += 100
    assert permuted(values, draws=999).both == pytest.approx(1 / 1_000)


def test_draws_do_not_depend_on_how_many_are_held_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = normal(6, 8, seed=4)
    at_once = permuted(values, draws=100).null
    monkeypatch.setattr(permutation, "ENTRIES", 70)
    assert torch.equal(permuted(values, draws=100).null, at_once) and len(at_once) == 101
    assert len({*at_once.tolist()}) > 90


def test_resamples_do_not_depend_on_how_many_are_held_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values, seeded = normal(7, seed=4), torch.Generator().manual_seed
    at_once = resampled_means(values, seeded(0))
    monkeypatch.setattr(intervals, "ENTRIES", 70)
    assert torch.equal(resampled_means(values, seeded(0)), at_once)
    assert len(at_once) == RESAMPLES
    error = float(values.std(correction=0)) / 7**0.5
    assert float(at_once.mean()) == pytest.approx(float(values.mean()), abs=4 * error / 44)
    assert float(at_once.std()) == pytest.approx(error, rel=0.07)


# --- bad input ---


def test_bad_input_is_told() -> None:
    w = world(6, 0)
    question = w.question()
    with pytest.raises(BadData, match="450 margins before and 449 after"):
        changes(question, w.kept[1:])
    with pytest.raises(BadData, match="margins after are NaN"):
        changes(question, w.kept * float("nan"))
    with pytest.raises(BadData, match="0 records are requested"):
        replace(w, requested=torch.zeros(TRAINED, dtype=torch.bool)).question()
    with pytest.raises(BadData, match="excluded has the shape"):
        w.question(excluded=torch.zeros(3, dtype=torch.bool))
    with pytest.raises(BadParameter, match="0 controls"):
        w.question(controls=0)
    one_class = Holdout(torch.zeros(HELD_OUT), torch.zeros(HELD_OUT, dtype=torch.long))
    with pytest.raises(BadData, match="holdout has 0 records of class"):
        replace(w, holdout=one_class).question()


def test_a_whole_class_has_no_controls() -> None:
    w = world(6, 0)
    with pytest.raises(InsufficientEvidence, match="150 requested records and 0 retained"):
        replace(w, requested=w.labels == 1).question()


def test_too_few_for_any_significance_is_refused() -> None:
    w = world(1, 0)
    with pytest.raises(InsufficientEvidence, match="1 records with 19 controls"):
        measure(w.question(controls=19), w.kept)
    measure(w.question(controls=20), w.kept)
    with pytest.raises(InsufficientEvidence, match="19 draws"):
        measure(world(9, 0).question(), w.kept, draws=19)
    with pytest.raises(BadParameter, match="level is 1"):
        measure(w.question(), w.kept, level=1)


@pytest.mark.parametrize("values", [torch.zeros(3), torch.zeros(3, 1), torch.zeros(0, 3)])
def test_what_is_no_group_is_refused(values: torch.Tensor) -> None:
    with pytest.raises(BadData, match="values have the shape"):
        permuted(values)


def test_an_interval_that_reaches_below_one_is_no_overshoot() -> None:
    assert told(0.01, 0.05, 1.0, 2.5, (0.9, 4.0)) == "as_removed"
    assert told(0.01, 0.05, 1.0, 2.5, (1.1, 4.0)) == "overshoot"
    assert told(0.01, 0.05, 1.0, 1.5, (1.1, 1.9)) == "as_removed"
    assert told(0.05, 0.05, 1.0, 1.5, (1.1, 1.9)) == "nothing_seen"
