"""Who pays: accuracy by subgroup, the worst one and the disparity, next to retraining."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from math import hypot

from rescind.core.errors import BadParameter
from rescind.metrics.statistics import paired_difference, wilson

ENOUGH = 30  # examples; with fewer, the worst group is mostly the one that was drawn worst

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Subgroup:
    """Share of right answers among the ``n`` examples of a group, with Wilson's 95 % interval."""

    name: str
    n: int
    accuracy: float
    interval: Interval


@dataclass(frozen=True, slots=True)
class Subgroups:
    """All groups by name, and what is said of those with at least ``at_least`` examples.

    ``left_out`` names the groups that are smaller; they are listed in ``groups`` and have no part
    in the rest. ``worst`` is None where no group is left and ``disparity`` (best minus worst
    accuracy) where fewer than two are.
    """

    groups: tuple[Subgroup, ...]
    at_least: int
    left_out: tuple[str, ...]
    worst: Subgroup | None
    disparity: float | None
    disparity_interval: Interval | None


@dataclass(frozen=True, slots=True)
class Change:
    """One number before and after unlearning, and the same change had the model been retrained.

    ``name`` is a group's, or empty where ``of`` is the worst group or the disparity. Intervals are
    of the changes, at 95 %. ``beyond`` is ``change - retrained_change``: what the method does to
    this group and retraining would not.
    """

    of: str
    name: str
    before: float
    after: float
    change: float
    interval: Interval
    retrained: float
    retrained_change: float
    retrained_interval: Interval

    @property
    def beyond(self) -> float:
        return self.change - self.retrained_change


@dataclass(frozen=True, slots=True)
class Damage:
    """Subgroups of three models on the same examples, and the changes between them.

    ``left_out`` names the groups that are too small to be among the changes.
    """

    before: Subgroups
    after: Subgroups
    retrained: Subgroups
    changes: tuple[Change, ...]
    left_out: tuple[str, ...]


def by_subgroup(right: Sequence[bool], groups: Sequence[str], at_least: int = ENOUGH) -> Subgroups:
    """Accuracy of each group; position i of both is the same example.

    The interval of the disparity squares and adds the distances of the two Wilson intervals: method
    10 of R. G. Newcombe, Statist. Med. 17:873-890 (1998), cut at 0. It is that of the two groups
    that were picked; picking the extremes of groups that are alike makes it too high by itself,
    which is why it stands next to retraining.

    Raises:
        BadParameter: no examples, unequal lengths, or ``at_least`` below 1.
    """
    _refuse(len(right), len(groups), at_least)
    found = []
    for name in sorted(set(groups)):
        inside = [bool(r) for r, group in zip(right, groups, strict=True) if group == name]
        n, hits = len(inside), sum(inside)
        found.append(Subgroup(name, n, hits / n, wilson(hits, n)))
    large = sorted((g for g in found if g.n >= at_least), key=lambda g: (g.accuracy, g.name))
    disparity, interval = _difference(large[-1], large[0]) if len(large) > 1 else (None, None)
    return Subgroups(
        groups=tuple(found),
        at_least=at_least,
        left_out=tuple(g.name for g in found if g.n < at_least),
        worst=large[0] if large else None,
        disparity=disparity,
        disparity_interval=interval,
    )


def damage(
    before: Sequence[bool],
    after: Sequence[bool],
    retrained: Sequence[bool],
    groups: Sequence[str],
    at_least: int = ENOUGH,
) -> Damage:
    """What unlearning changed for each group, the worst group and the disparity.

    The change of a group is that of the same examples (``statistics.paired_difference``). The worst
    group may be another one before and after: the intervals of the two numbers are squared and
    added as if they were of other examples, which is too wide rather than too narrow for models
    that agree (MOVER: G. Y. Zou and A. Donner, Statist. Med. 27:1693-1702, 2008).

    Raises:
        BadParameter: no examples, unequal lengths, or ``at_least`` below 1.
    """
    models = [by_subgroup(right, groups, at_least) for right in (before, after, retrained)]
    changes = [
        _group_change(name, [before, after, retrained], groups)
        for name in (g.name for g in models[0].groups if g.n >= at_least)
    ]
    worst = [(m.worst.accuracy, m.worst.interval) for m in models if m.worst]
    spread = [
        (m.disparity, m.disparity_interval)
        for m in models
        if m.disparity is not None and m.disparity_interval is not None
    ]
    changes += [
        _change(of, numbers) for of, numbers in (("worst", worst), ("disparity", spread)) if numbers
    ]
    return Damage(models[0], models[1], models[2], tuple(changes), models[0].left_out)


def _group_change(name: str, models: Sequence[Sequence[bool]], groups: Sequence[str]) -> Change:
    chosen = [group == name for group in groups]
    before, after, retrained = ([bool(r) for r in compress(m, chosen)] for m in models)
    change, *interval = paired_difference(before, after)
    other, *other_interval = paired_difference(before, retrained)
    n = len(before)
    return Change(
        of="group",
        name=name,
        before=sum(before) / n,
        after=sum(after) / n,
        change=change,
        interval=(interval[0], interval[1]),
        retrained=sum(retrained) / n,
        retrained_change=other,
        retrained_interval=(other_interval[0], other_interval[1]),
    )


def _change(of: str, numbers: Sequence[tuple[float, Interval]]) -> Change:
    before, after, retrained = numbers
    change, interval = _minus(after, before)
    other, other_interval = _minus(retrained, before)
    return Change(
        of, "", before[0], after[0], change, interval, retrained[0], other, other_interval
    )


def _difference(best: Subgroup, worst: Subgroup) -> tuple[float, Interval]:
    """Disparity, which is never below 0, of two groups with no example in common."""
    found, (low, high) = _minus((best.accuracy, best.interval), (worst.accuracy, worst.interval))
    return found, (max(low, 0.0), high)


def _minus(first: tuple[float, Interval], second: tuple[float, Interval]) -> tuple[float, Interval]:
    (a, (a_low, a_high)), (b, (b_low, b_high)) = first, second
    return a - b, (a - b - hypot(a - a_low, b_high - b), a - b + hypot(a_high - a, b - b_low))


def _refuse(right: int, groups: int, at_least: int) -> None:
    if right != groups or not right:
        raise BadParameter(
            f"There are {right} answers and {groups} group names.",
            "Each example has one of both, and without any there is nothing to count.",
            "Pass the answers and groups of the same examples.",
        )
    if at_least < 1:
        raise BadParameter(
            f"at_least is {at_least}.", "An empty group has no accuracy.", "Use at least 1."
        )
