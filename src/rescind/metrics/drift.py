"""Request after request: how far a model drifts from retraining, and when retraining is due."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from rescind.core.errors import BadParameter
from rescind.core.judgement import Margin
from rescind.metrics.equivalence import require_references, tost

REQUESTS = (1, 2, 5, 10)  # after how many a sequence is measured

Values = Mapping[str, Sequence[float]]  # metric -> one value a seed


@dataclass(frozen=True, slots=True)
class Drift:
    """The gap of one metric to models retrained after the same ``requests``.

    ``value``, ``gap``, its 95 % ``interval`` and ``natural_spread`` (the standard deviation between
    the ``references``) are in the units of the metric.
    """

    requests: int
    metric: str
    value: float
    gap: float
    interval: tuple[float, float]
    natural_spread: float
    references: int


def drift(
    candidate: Mapping[int, Values],
    retrained: Mapping[int, Values],
    margins: Sequence[Margin],
    display: bool = False,
) -> tuple[Drift, ...]:
    """Gaps of every metric that has a margin, by number of requests and then by metric.

    The retrained models are new at each number of requests: those of the request before still hold
    records that are now forgotten. ``display`` accepts 3 to 7 of them.

    Raises:
        BadParameter: a number of requests or a metric that is there on one side only, none at all,
            a value that is not finite.
        InsufficientEvidence: too few retrained models.
    """
    _refuse(candidate, retrained, margins)
    gaps = []
    for requests in sorted(candidate):
        for margin in sorted(margins, key=lambda m: m.metric):
            ours, theirs = (m[requests][margin.metric] for m in (candidate, retrained))
            found = tost(ours, theirs, margin.width, display)
            gaps.append(
                Drift(
                    requests=requests,
                    metric=margin.metric,
                    value=float(mean(map(float, ours))),
                    gap=found.gap,
                    interval=found.interval,
                    natural_spread=float(stdev(map(float, theirs))),
                    references=len(theirs),
                )
            )
    return tuple(gaps)


def retraining_due(
    gaps: Sequence[Drift], margins: Sequence[Margin], display: bool = False
) -> int | None:
    """The first number of requests at which a gap can no longer be said to lie within its margin.

    That is where the end of its interval that is farther from 0 reaches the margin, on either side.
    None: at no number that was measured. It may come back within later; it was due all the same.

    Raises:
        BadParameter: a metric with a margin and no gaps, or with gaps and no margin.
        InsufficientEvidence: fewer than 8 retrained models behind a gap, or than 3 for ``display``.
    """
    widths = {margin.metric: margin.width for margin in margins}
    odd = sorted(set(widths) ^ {gap.metric for gap in gaps})
    if odd:
        raise BadParameter(
            f"{', '.join(odd)} has gaps or a margin, but not both.",
            "A metric that was not measured never counts as within its margin.",
            "Measure it, or take it out on both sides.",
        )
    for gap in gaps:
        require_references(gap.references, display)
    left = [g.requests for g in gaps if not max(map(abs, g.interval)) < widths[g.metric]]
    return min(left, default=None)


def _refuse(
    candidate: Mapping[int, Values], retrained: Mapping[int, Values], margins: Sequence[Margin]
) -> None:
    problems = [
        f"after {requests} requests only one side is measured"
        for requests in sorted(set(candidate) ^ set(retrained))
    ]
    problems += [
        f"after {requests} requests {margin.metric} of the {which} is missing"
        for which, values in (("candidate", candidate), ("retrained models", retrained))
        for requests in sorted(set(candidate) & set(retrained))
        for margin in margins
        if margin.metric not in values[requests]
    ]
    if not candidate or not margins:
        problems.append("there is nothing to compare")
    problems += [f"{n} is no number of requests" for n in sorted(candidate) if n < 1]
    if problems:
        raise BadParameter(
            f"The drift cannot be measured: {'; '.join(problems)}.",
            "A gap that was not measured never counts as none.",
            "Measure candidate and retrained models after the same requests.",
        )
