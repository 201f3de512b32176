"""A result as one page that refers to nothing outside itself, and as lines for a terminal."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from rescind.benchmarks.by_class import by_class, is_about_top
from rescind.benchmarks.by_class import signs as class_signs
from rescind.benchmarks.depth import depths
from rescind.benchmarks.details import details, drift_table, told_goal
from rescind.benchmarks.order import (
    VERDICTS,
    distance,
    ordered,
    percent,
    refuse,
    rejection_rate,
    seconds,
    share,
    verdict,
    worst,
)
from rescind.benchmarks.panels import Panel, drifts, layer_names, profiles
from rescind.benchmarks.plots import costs, dots, gaps, signs, told
from rescind.benchmarks.result import Line, Part, Result
from rescind.benchmarks.stored import rounded
from rescind.benchmarks.table import Grid, cost_grid, verdict_grid
from rescind.blocks import Facts
from rescind.core.request import GOALS, Goal
from rescind.drawing import number
from rescind.metrics.scores import CAP, WEIGHTS
from rescind.picture import Table, words
from rescind.sections import counted, when

REFERENCE = {
    "influence": "Each figure is a gap to models retrained without the records.",
    "concept": "Retraining is no reference for this question: it may still know the concept.",
}


@dataclass(frozen=True, slots=True)
class View:
    """One part as the template shows it."""

    id: str
    title: str
    question: str
    notices: tuple[str, ...]
    notes: tuple[str, ...]
    facts: Facts
    grids: tuple[Grid, Grid]
    scatter: Markup | None
    points: tuple[tuple[int, str, str], ...]
    profiles: tuple[Panel, ...]
    layers: str
    costs: Markup | None
    details: Sequence[tuple[str, Table]]


def to_html(result: Result) -> str:
    """One page with all tables and pictures; its figures are those of ``stored.to_json``.

    Raises:
        BadData: what must not be shown, such as a no-op with a rank (``order.refuse``); a number
            that is not finite.
    """
    refuse(result)
    stored = rounded(result)
    pages = _pages()
    style = pages.get_template("report.css").render()
    allowed = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return pages.get_template("bench.html.j2").render(
        style=style,
        allowed=allowed,
        result=stored,
        facts=_about(stored),
        overview=_overview(stored),
        weights=_weights(),
        signs=signs(),
        rankings=_rankings(stored),
        by_class=by_class(stored),
        class_goal=_goals(p.goal for p in stored.parts if p.kind in ("class", "top class")),
        class_signs=class_signs(),
        not_applicable=[line for line in stored.not_applicable if not is_about_top(line)],
        parts=[_view(i, part) for i, part in enumerate(stored.parts, 1)],
        drifts=drifts(stored.sequence),
        drift_goal=_goals(point.goal for point in stored.sequence),
        drift_table=drift_table(stored.sequence),
    )


def summary(result: Result) -> str:
    """A plain table a part: verdict, worst gap in margins, H-LR, share of retraining, ranks.

    Raises:
        BadData: what must not be shown (``order.refuse``).
    """
    refuse(result)
    size = ", quick: for a look, no figures" if result.quick else ""
    head = f"{result.benchmark}{size}: {counted(len(result.parts), 'part')}"
    return "\n".join([head, *(line for part in result.parts for line in _lines(part))])


def _lines(part: Part) -> list[str]:
    rate = rejection_rate(part)
    rejected = "no metric counts" if rate is None else f"{percent(rate)} of them not admitted"
    shown = "" if part.decides else ", display only"
    head = (
        f"{part.model}, {part.forget_set}: {GOALS[part.goal]}; "
        f"{counted(part.references, 'retrained model')}, {rejected}{shown}"
    )
    rows: list[tuple[str, ...]] = [
        ("/".join(WEIGHTS), "method", "verdict", "margins", "worst gap", "H-LR", "cost")
    ]
    rows += [_told(line, part) for line in ordered(part)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    texts = ("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows)
    return ["", head, *(f"  {text}".rstrip() for text in texts)]


def _told(line: Line, part: Part) -> tuple[str, ...]:
    ranks = [line.ranks.get(name) for name in WEIGHTS]
    places = "/".join("-" if rank is None else str(rank) for rank in ranks)
    gap, cost = worst(line), share(line, part)
    power = "" if gap is None or gap.counts else ", no power"
    score = line.scores.h_lr if line.scores else None
    kind = " (control)" if line.control else ""
    return (
        places if any(ranks) else "-",
        f"{line.name}{kind}{' (unchanged)' if line.unchanged else ''}",
        VERDICTS[verdict(line)],
        "-" if gap is None else f"{distance(gap):.2f}",
        "-" if gap is None else f"{gap.metric}{power}",
        "-" if score is None else f"{score:.3f}",
        "-" if cost is None else percent(cost),
    )


def _about(result: Result) -> Facts:
    taken = sum(part.cpu_seconds for part in result.parts)
    return Facts(
        [
            ("System", result.system),
            ("Threads", str(result.threads)),
            ("Parts", number(len(result.parts))),
            ("Processor time of all parts", seconds(taken)),
        ]
    )


def _goals(found: Iterable[Goal]) -> str:
    """Each goal once; empty where there is no record of one."""
    return " ".join(told_goal(goal) for goal in dict.fromkeys(found))


def _overview(result: Result) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for i, part in enumerate(result.parts, 1):
        first = [ln.name for ln in ordered(part) if ln.ranks.get("balanced") == 1]
        admitted = sum(verdict(ln) == "admissible" and not ln.control for ln in part.lines)
        of = sum(not ln.control for ln in part.lines)
        rate = rejection_rate(part)
        told_ = f"{admitted} of {of}" if part.decides else "display only"
        rejected = "no metric counts" if rate is None else percent(rate)
        names = ", ".join(first) or "none"
        rows.append((f"part-{i}", _title(part), told_, names, rejected, GOALS[part.goal]))
    return rows


def _weights() -> list[str]:
    names = ("processor time", "steps", "memory", "bytes read", "bytes stored")
    found = []
    for name, weights in WEIGHTS.items():
        shares = [f"{n} {w:g}" for n, w in zip(names, weights, strict=True) if w]
        found.append(f"{name}: {', '.join(shares)}")
    return [*found, f"no saving counts for more than {CAP:g} times"]


def _rankings(result: Result) -> Table:
    rows = [
        (
            ranking.downstream,
            ranking.model or "not named",
            ", ".join(ranking.predictions),
            ", ".join(ranking.text) or "no text encoder",
            "none" if ranking.agreement is None else f"{ranking.agreement:+.2f}",
        )
        for ranking in result.rankings
    ]
    heads = ("Downstream set", "Model", "By predictions", "By names", "Agreement (Spearman)")
    return Table(heads, rows)


def _title(part: Part) -> str:
    return f"{part.model}, {part.forget_set}"


def _view(i: int, part: Part) -> View:
    points = dots(part)
    return View(
        id=f"part-{i}",
        title=_title(part),
        question=f"Question asked: {GOALS[part.goal]}. {REFERENCE[part.goal]}",
        notices=tuple(_notices(part)),
        notes=part.notes,
        facts=_facts(part),
        grids=(verdict_grid(part), cost_grid(part)),
        scatter=gaps(part) if points else None,
        points=tuple((dot.number, dot.line.name, told(dot)) for dot in points),
        profiles=profiles(part),
        layers=", ".join(f"{n} {name}" for n, name in enumerate(layer_names(part), 1)),
        costs=costs(part),
        details=details(part),
    )


def _notices(part: Part) -> list[str]:
    found, methods = [], [ln for ln in part.lines if not ln.control]
    verdicts = {verdict(ln) for ln in methods}
    if not part.decides:
        references = counted(part.references, "retrained model")
        found.append(f"Display only: {references} show, but decide nothing.")
    if "no_power" in verdicts:
        found.append(
            "No power: no forgetting metric separates the original from the retrained models on"
            " this forget set. That is no success of any method."
        )
    if part.decides and "admissible" not in verdicts and "no_power" not in verdicts:
        found.append("No method is admissible, so none is ranked.")
    undefined = {ln.scores.undefined for ln in part.lines if ln.scores and ln.scores.undefined}
    found += [f"AGR and H-LR are undefined: {why}" for why in sorted(undefined)]
    return found


def _facts(part: Part) -> Facts:
    rate, floor = rejection_rate(part), part.floor
    rows = [
        ("Forget set", f"{part.kind}, {counted(part.forget, 'record')}"),
        ("Retain and test set", f"{number(part.retain)} and {number(part.test)} records"),
        ("Retrained models", f"{part.references}; {counted(part.seeds, 'seed')} a method"),
        (
            "Retrained models that the same rules reject",
            "none: no metric counts" if rate is None else percent(rate),
        ),
        ("Core metrics of one model", f"{percent(part.metrics_share)} of one retraining"),
        (
            f"CKA of unrelated features, {floor.examples} by {floor.width}",
            f"biased {floor.biased:.4f}, unbiased {floor.unbiased:.4f}",
        ),
        *((f"Shallow edit: {depth.name}", depth.told) for depth in depths(part)),
        ("One retraining", f"{seconds(part.retraining.cpu_seconds)} of processor time"),
        ("This part", f"{seconds(part.cpu_seconds)} of processor time"),
    ]
    if part.search_cpu_seconds:
        spent = f"{seconds(part.search_cpu_seconds)} of processor time"
        rows.append(("The search for parameters, shared by all parts of the model", spent))
    return Facts(rows)


def _pages() -> Environment:
    pages = Environment(
        loader=PackageLoader("rescind", "templates"),
        autoescape=select_autoescape(enabled_extensions=("html.j2",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters.update(when=when, words=words)
    return pages
