"""Controls judged by the candidate's rule: it must reject them, and not the retrained models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from rescind.core.control import Control, ControlGap, Kind, Ruling
from rescind.core.errors import BadParameter
from rescind.core.judgement import Judgement, Margin
from rescind.metrics.admissible import Values, judge, left_out
from rescind.metrics.equivalence import holm

UNDECIDED = ("no_power", "display_only")  # said of retrained models alone, whatever the candidate


def controls(
    found: Judgement,
    read: Mapping[Kind, Values],
    refused: Mapping[Kind, str],
    retrained: Values,
    margins: Sequence[Margin],
    level: float = 0.05,
) -> tuple[Control, ...]:
    """The verdict on each control beside the models that ``found`` was judged by.

    ``read`` holds the values of one model for each kind, among them "original", and ``refused`` why
    a kind has none; the retrained models come last.
    """
    told = dict(refused)
    single = list[Control]()
    for kind, values in read.items():
        try:
            judged = judge(values, read["original"], retrained, margins, found.goal, level)
        except BadParameter as error:  # a value that is not finite
            told[kind] = error.what.rstrip(".")
            continue
        gaps = tuple(ControlGap(g.metric, g.gap, g.equivalent) for g in judged.gaps)
        single.append(Control(kind, judged.verdict, gaps))
    lacking = [Control(kind, "refused", because=f"{why}.") for kind, why in told.items()]
    return (*single, *lacking, each_retrained(found, retrained, margins, level))


def each_retrained(
    found: Judgement, retrained: Values, margins: Sequence[Margin], level: float = 0.05
) -> Control:
    """Each retrained model as a candidate of one seed beside the others, as one control.

    The share that is rejected is ``Judgement.rejection_rate_of_retrained``.
    """
    counting = [g.metric for g in found.gaps if g.counts]
    tests = [left_out(retrained, i, margins) for i in range(found.references)]
    passed = [holm([one[m].p_equivalent for m in counting]) for one in tests]
    gaps = []
    for metric in (g.metric for g in found.gaps):
        size = fmean(abs(one[metric].gap) for one in tests)
        each = [p[counting.index(metric)] for p in passed] if metric in counting else [1.0]
        gaps.append(ControlGap(metric, size, all(p < level for p in each)))
    return Control("retrained", _ruling(found), tuple(gaps))


def _ruling(found: Judgement) -> Ruling:
    if found.verdict in UNDECIDED:
        return found.verdict
    return "not_admissible" if found.rejection_rate_of_retrained else "admissible"
