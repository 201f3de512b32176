"""The verdict on a candidate: equivalent to retrained models wherever a metric can tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from statistics import mean, stdev

from rescind.core.errors import BadParameter
from rescind.core.judgement import Gap, Judgement, Margin, Verdict
from rescind.core.request import Goal
from rescind.metrics.equivalence import (
    DECIDES,
    Equivalence,
    compare,
    holm,
    require_references,
    tost,
)

Values = Mapping[str, Sequence[float]]  # metric -> one value a seed


def judge(
    candidate: Values,
    original: Values,
    retrained: Values,
    margins: Sequence[Margin],
    goal: Goal,
    level: float = 0.05,
    display: bool = False,
) -> Judgement:
    """Judge a candidate against retrained models on the metrics that have a margin.

    A metric has power if the original is not equivalent to the retrained models, differs from them
    significantly (Welch, two-sided, at ``level``) and by more than the margin. A forgetting metric
    without power does not count; utility always does. Admissible: every metric that counts is
    equivalent at ``level`` after Holm's correction over those that count. Without any forgetting
    metric that counts the verdict is "no_power", whatever the candidate. ``display`` accepts 3 to 7
    retrained models and then decides nothing. The order of metrics and margins plays no part.

    Raises:
        BadParameter: the goal is a concept, to which retraining is no reference (arXiv 2604.07962);
            a metric that one of the maps lacks; unequal numbers of seeds; margins without both
            roles, named twice or not above 0; a value that is not finite.
        InsufficientEvidence: too few retrained models.
    """
    _refuse_goal(goal)
    _refuse_margins(margins, level)
    seeds = _seeds("candidate", candidate, margins)
    _seeds("original", original, margins)
    references = _seeds("retrained", retrained, margins)
    require_references(references, display)
    ordered = sorted(margins, key=lambda m: (m.role, m.metric))
    power = {m.metric: has_power(original, retrained, m, level) for m in ordered}
    counting = [m for m in ordered if m.role == "utility" or power[m.metric]]
    gaps = _gaps(candidate, retrained, ordered, power, level)
    verdict, because = _verdict(gaps, references, level)
    rate = rejection_rate(retrained, counting, level)
    return Judgement(verdict, goal, gaps, references, seeds, rate, because)


def has_power(original: Values, retrained: Values, margin: Margin, level: float = 0.05) -> bool:
    """Whether the metric separates the original model from the retrained ones; see ``judge``."""
    found = tost(original[margin.metric], retrained[margin.metric], margin.width, display=True)
    # a gap beyond the margin is never equivalent: its p-value is above a half
    return found.p_different < level and abs(found.gap) > margin.width


def rejection_rate(
    retrained: Values, margins: Sequence[Margin], level: float = 0.05
) -> float | None:
    """Share of retrained models that are not admitted as a candidate of one seed against the rest.

    ``margins`` are those of the metrics that count; with none there is no share, but None. One is
    left out and two more show a spread, so three retrained models are the fewest.

    Raises:
        BadParameter: a metric that is lacking, unequal numbers of seeds.
        InsufficientEvidence: fewer than three retrained models.
    """
    if not margins:
        return None
    count = _seeds("retrained", retrained, margins)
    require_references(count, display=True)
    return sum(not _admits_left_out(retrained, i, margins, level) for i in range(count)) / count


def left_out(retrained: Values, index: int, margins: Sequence[Margin]) -> dict[str, Equivalence]:
    """One retrained model as a candidate of one seed against the others, by metric."""
    found = {}
    for margin in margins:
        values = list(retrained[margin.metric])
        found[margin.metric] = compare([values.pop(index)], values, margin.width)
    return found


def _admits_left_out(
    retrained: Values, index: int, margins: Sequence[Margin], level: float
) -> bool:
    tests = left_out(retrained, index, margins).values()
    return all(p < level for p in holm([test.p_equivalent for test in tests]))


def _gaps(
    candidate: Values,
    retrained: Values,
    margins: Sequence[Margin],
    power: Mapping[str, bool],
    level: float,
) -> tuple[Gap, ...]:
    tests = [compare(candidate[m.metric], retrained[m.metric], m.width) for m in margins]
    counts = [m.role == "utility" or power[m.metric] for m in margins]
    corrected = iter(holm([t.p_equivalent for t, c in zip(tests, counts, strict=True) if c]))
    gaps = []
    for margin, test, counted in zip(margins, tests, counts, strict=True):
        p = next(corrected) if counted else None
        gaps.append(
            Gap(
                metric=margin.metric,
                role=margin.role,
                value=float(mean(map(float, candidate[margin.metric]))),
                retrained_mean=float(mean(map(float, retrained[margin.metric]))),
                gap=test.gap,
                interval=test.interval,
                natural_spread=float(stdev(map(float, retrained[margin.metric]))),
                margin=margin.width,
                p_equivalent=test.p_equivalent,
                p_corrected=p,
                power=power[margin.metric],
                equivalent=p is not None and p < level,
            )
        )
    return tuple(gaps)


def _verdict(gaps: Sequence[Gap], references: int, level: float) -> tuple[Verdict, str]:
    counting = [gap for gap in gaps if gap.counts]
    forgetting = [gap.metric for gap in gaps if gap.role == "forgetting"]
    if references < DECIDES:
        return "display_only", f"{references} retrained models show, {DECIDES} would decide."
    if not any(gap.role == "forgetting" for gap in counting):
        return "no_power", (
            "No forgetting metric separates the original from the retrained models: "
            f"{', '.join(forgetting)}."
        )
    failed = [
        f"{gap.metric} (gap {gap.gap:+.4g}, margin {gap.margin:g}, p {gap.p_corrected:.3g})"
        for gap in counting
        if not gap.equivalent
    ]
    if failed:
        return "not_admissible", f"Not equivalent to retrained models: {', '.join(failed)}."
    return "admissible", (
        f"All {len(counting)} metrics that count are equivalent to {references} retrained models "
        f"at level {level:g}, corrected for being {len(counting)}."
    )


def _seeds(which: str, values: Values, margins: Sequence[Margin]) -> int:
    """How many seeds a map holds: all metrics there, all finite, all of the same number."""
    missing = sorted(m.metric for m in margins if m.metric not in values)
    if missing:
        raise BadParameter(
            f"The {which} values lack {', '.join(missing)}.",
            "A metric that was not measured never counts as passed.",
            "Measure it, or take its margin out of the recipe before the run.",
        )
    names = sorted(m.metric for m in margins)
    diverged = [name for name in names if not all(map(isfinite, values[name]))]
    if diverged:
        raise BadParameter(
            f"The {which} values of {', '.join(diverged)} are not finite.",
            "A mean with such a value says nothing.",
            "Find out why; a training that diverged is neither a candidate nor a reference.",
        )
    counts = {name: len(values[name]) for name in names}
    if len(set(counts.values())) != 1 or 0 in counts.values():
        found = ", ".join(f"{name}: {count}" for name, count in counts.items())
        raise BadParameter(
            f"The {which} values are of different numbers of seeds, or of none ({found}).",
            "Each seed is measured by each metric.",
            "Measure the seeds that are missing.",
        )
    return next(iter(counts.values()))


def _refuse_goal(goal: str) -> None:
    if goal != "influence":
        raise BadParameter(
            f"The goal is {goal!r}.",
            "Margins around retrained models answer whether the influence of records is gone. To "
            "remove a concept or a capability is another question: a model retrained without the "
            "records may still have it, so retraining is not its reference (arXiv 2604.07962).",
            "Measure the concept itself: accuracy on probes of it that are not the forget set, how "
            "soon it is relearned, how often an attack or a rephrased prompt brings it back; and "
            "utility next to the original model.",
        )


def _refuse_margins(margins: Sequence[Margin], level: float) -> None:
    problems = [
        f"{m.metric} has the width {m.width}, which must be a finite number above 0"
        for m in margins
        if not 0.0 < m.width < float("inf")
    ]
    names = [m.metric for m in margins]
    problems += [
        f"{name} is named twice" for name in sorted({n for n in names if names.count(n) > 1})
    ]
    for role in ("forgetting", "utility"):
        if not any(m.role == role for m in margins):
            problems.append(f"no metric has the role {role}")
    if not 0.0 < level < 0.5:
        problems.append(f"the level is {level}, which must lie between 0 and 0.5")
    if problems:
        raise BadParameter(
            f"The margins cannot judge: {'; '.join(problems)}.",
            "A verdict needs what was to be forgotten and what was to be kept.",
            "Correct them in the recipe, before anything is run.",
        )
