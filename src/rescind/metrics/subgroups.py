"""Who pays: accuracy by subgroup, the worst one and the disparity, next to retraining."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot
from statistics import mean

from rescind.core.errors import BadParameter
from rescind.metrics.equivalence import gap_interval, mean_interval
from rescind.metrics.statistics import wilson

ENOUGH = 30  # examples; with fewer, the worst group is mostly the one that was drawn worst

Interval = tuple[float, float]
Answers = Sequence[bool]  # of one model, one an example: whether it is right


@dataclass(frozen=True, slots=True)
class Subgroup:
    """Share of right answers among the ``n`` examples of a group, with its 95 % interval.

    Of one model the interval is Wilson's; of several, the accuracy is the mean of theirs and the
    interval is over models, within [0, 1].
    """

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

    ``name`` is a group's, or empty where ``of`` is the worst group or the disparity. All are means
    over models; the worst group and the disparity are each model's own. Intervals are at 95 % and
    over models, the examples being the same: ``interval`` that of ``change``, paired by seed, None
    for a single seed; the two others Welch's (``equivalence.gap_interval``).
    """

    of: str
    name: str
    before: float
    after: float
    change: float
    interval: Interval | None
    retrained: float
    retrained_change: float
    retrained_interval: Interval | None
    beyond_interval: Interval | None = None

    @property
    def beyond(self) -> float:
        """What the method does to this group and retraining would not: ``after - retrained``."""
        return self.change - self.retrained_change


@dataclass(frozen=True, slots=True)
class Damage:
    """Subgroups of the models before, after and retrained on the same examples, and the changes.

    ``left_out`` names the groups that are too small to be among the changes.
    """

    before: Subgroups
    after: Subgroups
    retrained: Subgroups
    changes: tuple[Change, ...]
    left_out: tuple[str, ...]


def by_subgroup(right: Answers, groups: Sequence[str], at_least: int = ENOUGH) -> Subgroups:
    """Accuracy of each group; position i of both is the same example.

    The interval of the disparity squares and adds the distances of the two Wilson intervals: method
    10 of R. G. Newcombe, Statist. Med. 17:873-890 (1998), cut at 0. It is that of the two groups
    that were picked; picking the extremes of groups that are alike makes it too high by itself,
    which is why it stands next to retraining.

    Raises:
        BadParameter: no examples, unequal lengths, or ``at_least`` below 1.
    """
    _refuse(len(right), len(groups), at_least)
    inside: dict[str, list[bool]] = {}
    for answer, group in zip(right, groups, strict=True):
        inside.setdefault(group, []).append(bool(answer))
    found = [_subgroup(name, answers) for name, answers in sorted(inside.items())]
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
    before: Sequence[Answers],
    after: Sequence[Answers],
    retrained: Sequence[Answers],
    groups: Sequence[str],
    at_least: int = ENOUGH,
) -> Damage:
    """What unlearning changed for each group, the worst group and the disparity, over all models.

    Model i of ``after`` was made from model i of ``before``, so that their changes are paired. Each
    model has its own worst group: where one group pays in one seed and another in the next, means
    over seeds would hide both.

    Args:
        before: the answers of each original model.
        after: those of each edited model, as many.
        retrained: those of each retrained model.
        groups: the group of each example; position i of all is the same example.
        at_least: examples of the smallest group that counts.

    Raises:
        BadParameter: no models, no examples, unequal lengths, or ``at_least`` below 1.
    """
    _refuse_models(len(before), len(after), len(retrained))
    sides = [
        [by_subgroup(answers, groups, at_least) for answers in models]
        for models in (before, after, retrained)
    ]
    one = sides[0][0]
    changes = [
        _change("group", group.name, [[m.groups[i].accuracy for m in side] for side in sides])
        for i, group in enumerate(one.groups)
        if group.n >= at_least
    ]
    worst = [[m.worst.accuracy for m in side if m.worst] for side in sides]
    spread = [[m.disparity for m in side if m.disparity is not None] for side in sides]
    changes += [
        _change(of, "", numbers)
        for of, numbers in (("worst", worst), ("disparity", spread))
        if numbers[0]
    ]
    means = [_mean(side) for side in sides]
    return Damage(means[0], means[1], means[2], tuple(changes), one.left_out)


def _change(of: str, name: str, numbers: Sequence[Sequence[float]]) -> Change:
    """From the number of each model: before, after, retrained."""
    before, after, retrained = numbers
    means = [mean(each) for each in numbers]
    paired = [b - a for a, b in zip(before, after, strict=True)]
    mirrored = gap_interval(before, retrained)
    return Change(
        of=of,
        name=name,
        before=means[0],
        after=means[1],
        change=means[1] - means[0],
        interval=mean_interval(paired),
        retrained=means[2],
        retrained_change=means[2] - means[0],
        retrained_interval=mirrored and (-mirrored[1], -mirrored[0]),
        beyond_interval=gap_interval(after, retrained),
    )


def _mean(models: Sequence[Subgroups]) -> Subgroups:
    """Of several models: mean accuracies, the group whose mean is lowest, the mean disparity."""
    if len(models) == 1:
        return models[0]
    one = models[0]
    groups = tuple(map(_mean_group, zip(*(m.groups for m in models), strict=True)))
    large = [g for g in groups if g.n >= one.at_least]
    spread = [m.disparity for m in models if m.disparity is not None]
    return Subgroups(
        groups=groups,
        at_least=one.at_least,
        left_out=one.left_out,
        worst=min(large, key=lambda g: (g.accuracy, g.name), default=None),
        disparity=mean(spread) if spread else None,
        disparity_interval=_within(mean_interval(spread)) if spread else None,
    )


def _mean_group(same: Sequence[Subgroup]) -> Subgroup:
    """One group of several models: the mean of their accuracies, its interval over models."""
    own = [group.accuracy for group in same]
    return Subgroup(same[0].name, same[0].n, mean(own), _within(mean_interval(own)))


def _within(found: Interval | None) -> Interval:
    low, high = found or (0.0, 1.0)
    return max(low, 0.0), min(high, 1.0)


def _subgroup(name: str, answers: Sequence[bool]) -> Subgroup:
    n, hits = len(answers), sum(answers)
    return Subgroup(name, n, hits / n, wilson(hits, n))


def _difference(best: Subgroup, worst: Subgroup) -> tuple[float, Interval]:
    """Disparity, which is never below 0, of two groups with no example in common."""
    (a, (a_low, a_high)), (b, (b_low, b_high)) = ((g.accuracy, g.interval) for g in (best, worst))
    low, high = a - b - hypot(a - a_low, b_high - b), a - b + hypot(a_high - a, b - b_low)
    return a - b, (max(low, 0.0), high)


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


def _refuse_models(before: int, after: int, retrained: int) -> None:
    if before != after or not before or not retrained:
        raise BadParameter(
            f"There are {before} models before, {after} after and {retrained} retrained ones.",
            "Each edited model is compared with the one that it was made from.",
            "Pass the answers of both in one order, and those of one retrained model or more.",
        )
