"""How far a candidate is from retrained models, as one number: what a search makes small."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from statistics import mean

from rescind.core.errors import BadParameter
from rescind.core.judgement import Margin
from rescind.metrics.admissible import Values


def distance(candidate: Values, retrained: Values, margins: Sequence[Margin]) -> float:
    """The largest ``|mean(candidate) - mean(retrained)| / width`` over the margins.

    No unit: 0 is like the retrained models, 1 is the edge of the margin. Forgetting and utility
    count alike, and the worst metric decides, so that none can be bought with another. It looks at
    means alone: whether they are known well enough is what ``judge`` tests. The two maps need not
    have the same numbers of seeds.

    Raises:
        BadParameter: margins without both roles, named twice or of a width that is not a finite
            number above 0; a metric that one of the maps lacks; no seed, or unequal numbers of
            seeds in one map; a value that is not finite.
    """
    _refuse_margins(margins)
    for which, values in (("candidate", candidate), ("retrained", retrained)):
        _refuse_values(which, values, margins)
    return max(_gap(candidate, retrained, m.metric) / m.width for m in margins)


def _gap(candidate: Values, retrained: Values, metric: str) -> float:
    first, second = (mean(map(float, values[metric])) for values in (candidate, retrained))
    return abs(first - second)


def _refuse_margins(margins: Sequence[Margin]) -> None:
    names = [m.metric for m in margins]
    problems = [
        f"{m.metric} has the width {m.width}" for m in margins if not 0.0 < m.width < float("inf")
    ]
    problems += [f"{n} is named twice" for n in sorted({n for n in names if names.count(n) > 1})]
    for role in ("forgetting", "utility"):
        if not any(m.role == role for m in margins):
            problems.append(f"no metric has the role {role}")
    if problems:
        raise BadParameter(
            f"The margins give no distance: {'; '.join(problems)}.",
            "Without one of the roles a destroyed or an untouched model would be nearest; a width"
            " is a finite number above 0.",
            "Correct them in the recipe, before anything is run.",
        )


def _refuse_values(which: str, values: Values, margins: Sequence[Margin]) -> None:
    problems = []
    for name in sorted(m.metric for m in margins):
        if not values.get(name):
            problems.append(f"{name} was not measured")
        elif not all(map(isfinite, values[name])):
            problems.append(f"{name} is not finite")
    counts = {len(values.get(m.metric, ())) for m in margins}
    if not problems and len(counts) > 1:
        problems.append(f"the numbers of seeds are {sorted(counts)}")
    if problems:
        raise BadParameter(
            f"The {which} values give no distance: {'; '.join(problems)}.",
            "What was not measured, or is no number, never counts as near.",
            "Measure all seeds with all metrics; a training that diverged is no reference.",
        )
