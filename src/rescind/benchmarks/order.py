"""What the page, its pictures and the terminal say alike: order of rows, verdicts, units."""

from __future__ import annotations

import math
from collections.abc import Iterable

from rescind.benchmarks.result import Line, Part, Result
from rescind.core.errors import BadData
from rescind.core.judgement import Gap
from rescind.metrics.scores import WEIGHTS
from rescind.metrics.scores import Part as Factor
from rescind.metrics.subgroups import Change

VERDICTS = {
    "admissible": "admissible",
    "not_admissible": "not admissible",
    "no_power": "no power",
    "display_only": "display only",
    "refused": "refused",
    "not_judged": "not judged",
}


def refuse(result: Result) -> None:
    """Refuse what must not be drawn, so that no table can say it.

    Raises:
        BadData: a control, an unchanged model or one that is not admissible has a rank; a point of
            a sequence whose interval is not that of its gap.
    """
    problems = [
        f"{line.name!r} on {part.forget_set!r} has a rank and is {_why_unranked(line)}"
        for part in result.parts
        for line in part.lines
        if any(rank is not None for rank in line.ranks.values()) and _why_unranked(line)
    ]
    for p in result.sequence:
        gap, slack = p.value - p.retrained, 1e-9 + 1e-4 * (abs(p.value) + abs(p.retrained))
        if not p.interval[0] - slack <= gap <= p.interval[1] + slack:
            problems.append(f"the gap {gap:g} of {p.method!r} is not in its interval {p.interval}")
    if problems:
        raise BadData(f"The result cannot be shown: {'; '.join(problems)}.", do="Compute it again.")


def verdict(line: Line) -> str:
    """A key of ``VERDICTS``."""
    if line.judgement is not None:
        return line.judgement.verdict
    return "refused" if line.refused else "not_judged"


def ordered(part: Part) -> tuple[Line, ...]:
    """Ranked methods by the balanced rank, then the other methods by saving, the controls, and
    those that refused the model.
    """
    return tuple(sorted(part.lines, key=_place))


def distance(gap: Gap) -> float:
    """How far from retrained models, in margins, whatever the direction."""
    return abs(gap.gap) / gap.margin


def worst(line: Line, role: str = "") -> Gap | None:
    """The gap that is most margins wide; one that does not count only where none counts."""
    gaps = line.judgement.gaps if line.judgement else ()
    chosen = [gap for gap in gaps if not role or gap.role == role]
    return max(chosen, key=lambda gap: (gap.counts, distance(gap)), default=None)


def rejection_rate(part: Part) -> float | None:
    """Share of retrained models that are not admitted, the same for each line of a part."""
    rates = [line.judgement.rejection_rate_of_retrained for line in part.lines if line.judgement]
    return next((rate for rate in rates if rate is not None), None)


def share(line: Line, part: Part) -> float | None:
    """Processor time as a share of one retraining."""
    if line.cost is None or part.retraining.cpu_seconds == 0:
        return None
    return line.cost.cpu_seconds / part.retraining.cpu_seconds


def worst_change(line: Line) -> tuple[str, Change] | None:
    """The inputs on which the worst group loses most beyond what retraining takes from it."""
    found = [(name, c) for name, d in line.damage.items() for c in d.changes if c.of == "worst"]
    return min(found, key=lambda item: item[1].beyond, default=None)


def percent(value: float) -> str:
    """A share in percent, three figures."""
    return f"{float(f'{100 * value:.3g}'):,g} %"


def seconds(value: float) -> str:
    """Processor time for a reader."""
    if value < 120:
        return f"{value:.3g} s"
    return f"{value / 60:.3g} min" if value < 7200 else f"{value / 3600:.3g} h"


def size(value: float) -> str:
    """Bytes for a reader, in powers of a thousand."""
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"


def decimals(margin: float) -> int:
    """So many that two figures of the margin are seen."""
    return min(8, max(0, 1 - math.floor(math.log10(margin))))


def factors(parts: Iterable[Factor]) -> str:
    """The parts of a score in one line."""
    return ", ".join(f"{p.name} {p.factor:.3f}" for p in parts)


def _why_unranked(line: Line) -> str:
    if line.control:
        return "a control"
    if line.unchanged:
        return "unchanged"
    return "" if verdict(line) == "admissible" else VERDICTS[verdict(line)]


def _place(line: Line) -> tuple[int, float, float, str]:
    ranks = [line.ranks.get(name) for name in WEIGHTS]
    ranked = next((rank for rank in ranks if rank is not None), None)
    group = 3 if verdict(line) == "refused" else 2 if line.control else int(ranked is None)
    by_saving = 0.0 if line.control else -line.savings.get("balanced", 0.0)
    return group, ranked or 0, by_saving, line.name
