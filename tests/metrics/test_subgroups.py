from __future__ import annotations

import random
from statistics import fmean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescind.core.errors import BadParameter
from rescind.metrics.equivalence import gap_interval
from rescind.metrics.statistics import wilson
from rescind.metrics.subgroups import Change, Damage, by_subgroup, damage

Answers = tuple[list[bool], list[str]]


def answers(**groups: tuple[int, int]) -> Answers:
    """``hits`` right ones of ``n`` for each group, in an order that mixes the groups."""
    table = [(i < hits, name) for name, (hits, n) in groups.items() for i in range(n)]
    random.Random(0).shuffle(table)
    return [right for right, _ in table], [name for _, name in table]


def flipped(right: list[bool], groups: list[str], name: str, count: int) -> list[bool]:
    """The same answers, but ``count`` right ones of a group are now wrong."""
    hits = [i for i, r in enumerate(right) if r and groups[i] == name][:count]
    assert len(hits) == count
    return [r and i not in hits for i, r in enumerate(right)]


def named(found: Damage) -> dict[str, Change]:
    return {change.name or change.of: change for change in found.changes}


RIGHT, GROUPS = answers(young=(90, 100), old=(60, 80), rare=(1, 5))


def test_accuracies_worst_and_disparity_by_hand() -> None:
    found = by_subgroup(RIGHT, GROUPS)
    assert [(g.name, g.n, g.accuracy) for g in found.groups] == [
        ("old", 80, 0.75), ("rare", 5, 0.2), ("young", 100, 0.9),
    ]  # fmt: skip
    assert found.groups[0].interval == wilson(60, 80)
    assert found.worst == found.groups[0]
    assert found.disparity == pytest.approx(0.15)


def test_a_group_that_is_too_small_is_named_and_decides_nothing() -> None:
    found = by_subgroup(RIGHT, GROUPS)
    assert (found.left_out, found.at_least) == (("rare",), 30)
    counted = by_subgroup(RIGHT, GROUPS, at_least=5)
    assert counted.left_out == ()
    assert counted.worst is not None and counted.worst.name == "rare"
    assert counted.disparity == pytest.approx(0.7)
    assert by_subgroup(RIGHT, GROUPS, at_least=6).left_out == ("rare",)


def test_where_too_few_groups_are_left_it_is_undefined_not_zero() -> None:
    one = by_subgroup(RIGHT, GROUPS, at_least=90)
    assert one.worst is not None and one.worst.name == "young"
    assert (one.disparity, one.disparity_interval) == (None, None)
    none = by_subgroup(RIGHT, GROUPS, at_least=1000)
    assert (none.worst, none.left_out) == (None, ("old", "rare", "young"))
    assert damage([RIGHT], [RIGHT], [RIGHT], GROUPS, at_least=1000).changes == ()
    assert set(named(damage([RIGHT], [RIGHT], [RIGHT], GROUPS, at_least=90))) == {"young", "worst"}


# Newcombe, Statist. Med. 17:873-890 (1998), Table II, method 10
@pytest.mark.parametrize(
    ("best", "worst", "low", "high"),
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((10, 10), (0, 20), 0.6791, 1.0000),
        ((10, 10), (0, 10), 0.6075, 1.0000),
    ],
)
def test_the_disparity_has_the_published_limits(
    best: tuple[int, int], worst: tuple[int, int], low: float, high: float
) -> None:
    found = by_subgroup(*answers(a=best, b=worst), at_least=1)
    assert found.disparity_interval == pytest.approx((low, high), abs=5.1e-5)


def test_the_interval_of_the_disparity_covers() -> None:
    """Two groups that differ by 0.2: which of them is worse is then never in doubt."""
    generator, covered = random.Random(2), []
    for _ in range(800):
        a, b = (sum(generator.random() < p for _ in range(80)) for p in (0.9, 0.6))
        interval = by_subgroup(*answers(a=(a, 80), b=(b, 80))).disparity_interval
        assert interval is not None
        covered.append(interval[0] <= 0.3 <= interval[1])
    assert 0.93 <= fmean(covered) <= 0.98


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abc")), min_size=1), st.randoms())
def test_the_order_of_examples_plays_no_part(
    table: list[tuple[bool, str]], generator: random.Random
) -> None:
    found = by_subgroup([r for r, _ in table], [g for _, g in table], at_least=2)
    generator.shuffle(table)
    assert by_subgroup([r for r, _ in table], [g for _, g in table], at_least=2) == found
    assert sum(g.n for g in found.groups) == len(table)
    if found.disparity is not None and found.disparity_interval is not None:
        low, high = found.disparity_interval
        assert 0.0 <= low <= found.disparity <= high <= 1.0 + 1e-12


def test_damage_to_one_group_stands_next_to_retraining() -> None:
    after, retrained = (flipped(RIGHT, GROUPS, "old", n) for n in (20, 4))
    found = damage([RIGHT] * 2, [after] * 2, [retrained] * 3, GROUPS)
    changes = named(found)
    assert set(changes) == {"old", "young", "worst", "disparity"}
    assert found.left_out == ("rare",)
    old, young, worst, disparity = (changes[n] for n in ("old", "young", "worst", "disparity"))
    assert (old.before, old.after, old.retrained) == pytest.approx((0.75, 0.5, 0.7))
    assert (old.change, old.retrained_change) == pytest.approx((-0.25, -0.05))
    assert old.beyond == pytest.approx(-0.2)
    assert (young.change, young.beyond) == (0.0, 0.0)
    assert (worst.change, worst.retrained_change) == pytest.approx((-0.25, -0.05))
    assert (disparity.change, disparity.retrained_change) == pytest.approx((0.25, 0.05))
    for change in found.changes:  # models that agree have no spread
        assert change.interval == pytest.approx((change.change,) * 2)
        assert change.retrained_interval == pytest.approx((change.retrained_change,) * 2)
        assert change.beyond_interval == pytest.approx((change.beyond,) * 2)


def wrong(*counts: tuple[int, int]) -> list[list[bool]]:
    """A model each: so many of the old and so many of the young that it no longer gets right."""
    old = [flipped(RIGHT, GROUPS, "old", n) for n, _ in counts]
    return [flipped(o, GROUPS, "young", n) for o, (_, n) in zip(old, counts, strict=True)]


BEFORE = wrong((0, 0), (4, 2), (2, 7))
AFTER = wrong((20, 0), (12, 5), (16, 1))
RETRAINED = wrong((4, 0), (8, 1), (0, 3), (2, 2))


def test_all_seeds_and_all_retrained_models_are_averaged() -> None:
    old = named(damage(BEFORE, AFTER, RETRAINED, GROUPS))["old"]
    before, after = [60 / 80, 56 / 80, 58 / 80], [40 / 80, 48 / 80, 44 / 80]
    retrained = [56 / 80, 52 / 80, 60 / 80, 58 / 80]
    assert old.before == pytest.approx(fmean(before))
    assert old.after == pytest.approx(fmean(after))
    assert old.retrained == pytest.approx(fmean(retrained))
    assert old.change == pytest.approx(fmean(after) - fmean(before))
    assert old.beyond == pytest.approx(fmean(after) - fmean(retrained))
    assert old.beyond_interval == pytest.approx(gap_interval(after, retrained))
    low, high = gap_interval(before, retrained) or (0.0, 0.0)
    assert old.retrained_interval == pytest.approx((-high, -low))


def test_the_change_of_a_group_is_paired_by_seed() -> None:
    """Student's t with two degrees of freedom, 4.3027; the originals' own spread plays no part."""
    old = named(damage(BEFORE, AFTER, RETRAINED, GROUPS))["old"]
    changes = [-20 / 80, -8 / 80, -14 / 80]
    half = 4.30265273 * stdev(changes) / 3**0.5
    assert old.interval == pytest.approx((fmean(changes) - half, fmean(changes) + half))
    same = named(damage(BEFORE, BEFORE, RETRAINED, GROUPS))["old"]
    assert (same.change, same.interval) == (0.0, (0.0, 0.0))


def test_another_group_may_be_the_worst_of_each_model() -> None:
    after = wrong((0, 60), (40, 0))
    found = damage([RIGHT] * 2, after, RETRAINED, GROUPS)
    changes = named(found)
    assert found.before.worst and found.after.worst
    assert (found.before.worst.name, found.after.worst.name) == ("old", "old")
    assert changes["worst"].after == pytest.approx((30 / 100 + 20 / 80) / 2)
    assert changes["worst"].change == pytest.approx((30 / 100 + 20 / 80) / 2 - 0.75)
    assert changes["disparity"].after == pytest.approx((0.75 - 0.3 + 0.9 - 0.25) / 2)


def test_groups_of_several_models_have_the_mean_accuracy_and_an_interval_over_models() -> None:
    found = damage(BEFORE, AFTER, RETRAINED, GROUPS).after
    rare, young = found.groups[1], found.groups[2]
    assert (rare.name, rare.n, rare.accuracy, rare.interval) == ("rare", 5, 0.2, (0.2, 0.2))
    assert young.accuracy == pytest.approx((0.9 + 0.85 + 0.89) / 3)
    assert young.interval[0] < 0.85 and young.interval[1] == pytest.approx(0.9457, abs=1e-4)
    assert found.disparity == pytest.approx((0.4 + 0.25 + 0.34) / 3)
    all_right = damage(
        [[True] * 40] * 2, [[True] * 40, [False] + [True] * 39], [[True] * 40], ["a"] * 40
    )
    assert all_right.after.groups[0].interval[1] == 1.0


def test_one_seed_has_no_interval_of_its_change_but_one_beyond_retraining() -> None:
    one = named(damage([RIGHT], [AFTER[0]], RETRAINED, GROUPS))["old"]
    assert one.interval is None and one.retrained_interval is not None
    assert one.beyond_interval is not None
    assert one.beyond_interval[0] < one.beyond < one.beyond_interval[1]
    alone = named(damage([RIGHT], [AFTER[0]], [RIGHT], GROUPS))["old"]
    assert (alone.retrained_interval, alone.beyond_interval) == (None, None)


@pytest.mark.parametrize(
    ("right", "groups", "at_least", "reason"),
    [
        ([], [], 1, "0 answers"),
        ([True], ["a", "b"], 1, "1 answers and 2"),
        ([True], ["a"], 0, "at_least is 0"),
    ],
)
def test_bad_input_is_refused(
    right: list[bool], groups: list[str], at_least: int, reason: str
) -> None:
    with pytest.raises(BadParameter, match=reason):
        by_subgroup(right, groups, at_least)
    with pytest.raises(BadParameter, match=reason):
        damage([right], [right], [right], groups, at_least)


@pytest.mark.parametrize("short", [0, 1, 2])
def test_three_models_answer_the_same_examples(short: int) -> None:
    models = [RIGHT[:-1] if i == short else RIGHT for i in range(3)]
    with pytest.raises(BadParameter, match="184 answers and 185"):
        damage([models[0]], [models[1]], [models[2]], GROUPS)


@pytest.mark.parametrize("counts", [(1, 2, 1), (0, 0, 1), (1, 1, 0)])
def test_models_that_are_missing_are_refused(counts: tuple[int, int, int]) -> None:
    before, after, retrained = ([RIGHT] * n for n in counts)
    with pytest.raises(BadParameter, match="models before"):
        damage(before, after, retrained, GROUPS)
