from __future__ import annotations

import random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescind.core.errors import BadParameter
from rescind.metrics.statistics import paired_difference, wilson
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
    assert damage(RIGHT, RIGHT, RIGHT, GROUPS, at_least=1000).changes == ()
    assert set(named(damage(RIGHT, RIGHT, RIGHT, GROUPS, at_least=90))) == {"young", "worst"}


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
    found = damage(RIGHT, after, retrained, GROUPS)
    changes = named(found)
    assert set(changes) == {"old", "young", "worst", "disparity"}
    assert found.left_out == ("rare",)
    old, young, worst, disparity = (changes[n] for n in ("old", "young", "worst", "disparity"))
    assert (old.before, old.after, old.retrained) == (0.75, 0.5, 0.7)
    assert (old.change, old.retrained_change) == pytest.approx((-0.25, -0.05))
    assert old.beyond == pytest.approx(-0.2)
    assert (young.change, young.beyond) == (0.0, 0.0)
    assert (worst.change, worst.retrained_change) == pytest.approx((-0.25, -0.05))
    assert (disparity.change, disparity.retrained_change) == pytest.approx((0.25, 0.05))
    for change in found.changes:
        assert change.interval[0] <= change.change <= change.interval[1]
        low, high = change.retrained_interval
        assert low <= change.retrained_change <= high


def test_the_change_of_a_group_is_that_of_the_same_examples() -> None:
    after = flipped(RIGHT, GROUPS, "old", 20)
    inside = [i for i, group in enumerate(GROUPS) if group == "old"]
    expected = paired_difference([RIGHT[i] for i in inside], [after[i] for i in inside])
    old = named(damage(RIGHT, after, RIGHT, GROUPS))["old"]
    assert (old.change, *old.interval) == expected
    worst = named(damage(RIGHT, after, RIGHT, GROUPS))["worst"]
    assert worst.interval[1] - worst.interval[0] > old.interval[1] - old.interval[0]


def test_another_group_may_become_the_worst() -> None:
    after = flipped(RIGHT, GROUPS, "young", 60)
    found = damage(RIGHT, after, RIGHT, GROUPS)
    assert found.before.worst and found.after.worst
    assert (found.before.worst.name, found.after.worst.name) == ("old", "young")
    assert named(found)["worst"].change == pytest.approx(0.3 - 0.75)


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
        damage(right, right, right, groups, at_least)


@pytest.mark.parametrize("short", [0, 1, 2])
def test_three_models_answer_the_same_examples(short: int) -> None:
    models = [RIGHT[:-1] if i == short else RIGHT for i in range(3)]
    with pytest.raises(BadParameter, match="184 answers and 185"):
        damage(models[0], models[1], models[2], GROUPS)
