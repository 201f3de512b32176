"""What stands behind a part's table, as tables of text that a reader may open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from rescind.benchmarks.order import VERDICTS, distance, ordered, verdict
from rescind.benchmarks.result import Line, Part, Point
from rescind.core.request import GOALS, Goal
from rescind.core.search import Search
from rescind.drawing import number
from rescind.metrics.scores import Part as Factor
from rescind.picture import Table, words

NONE = "none"
INTERVAL = "95 % interval"


def details(part: Part) -> list[tuple[str, Table]]:
    """A title and a table for each that has rows, in the order of the page's table.

    Each table names the goal of the part.
    """
    lines = ordered(part)
    found = [
        ("Why: verdicts and parameters", _reasons(lines)),
        ("Gaps and tests", _gaps(lines)),
        ("Scores and their parts", _scores(lines)),
        ("Measures that decide nothing", _shown(lines)),
        ("Who pays: accuracy by subgroup", _damage(lines)),
        ("Layer profiles", _layers(lines)),
        ("Search for parameters: all trials", _trials(lines)),
    ]
    goal = told_goal(part.goal)
    return [(title, replace(table, caption=goal)) for title, table in found if table.rows]


def told_goal(goal: Goal) -> str:
    """Which question was asked, in one line."""
    return f"Goal: {GOALS[goal]}."


def drift_table(points: Sequence[Point]) -> Table:
    """All points of the sequences of requests, with the goal of each."""
    rows = [
        (
            p.model,
            p.method,
            words(p.metric),
            str(p.requests),
            number(p.forgotten),
            number(p.value),
            number(p.retrained),
            _signed(p.value - p.retrained),
            _interval(p.interval),
            number(p.margin),
            "yes" if p.retraining_due else "no",
            GOALS[p.goal],
        )
        for p in points
    ]
    head = ("Model", "Method", "Metric", "Requests", "Forgotten", "Value", "Retrained", "Gap")
    return Table((*head, INTERVAL, "Margin", "Retraining due", "Goal"), rows)


def _reasons(lines: Sequence[Line]) -> Table:
    rows = []
    for line in lines:
        because = line.judgement.because if line.judgement else line.refused
        rows.append(
            (line.name, VERDICTS[verdict(line)], because or NONE, _parameters(line.parameters))
        )
    return Table(("Method", "Verdict", "Because", "Parameters"), rows)


def _gaps(lines: Sequence[Line]) -> Table:
    rows = [
        (
            line.name,
            words(g.metric),
            number(g.value),
            number(g.retrained_mean),
            _signed(g.gap),
            _interval(g.interval),
            f"{distance(g):.3g}",
            f"{g.p_equivalent:.3g}",
            "no power" if g.p_corrected is None else f"{g.p_corrected:.3g}",
        )
        for line in lines
        for g in (line.judgement.gaps if line.judgement else ())
    ]
    head = ("Method", "Metric", "Value", "Retrained", "Gap", INTERVAL, "Margins")
    return Table((*head, "p equivalent", "p after Holm"), rows)


def _scores(lines: Sequence[Line]) -> Table:
    rows = []
    for line in lines:
        if (s := line.scores) is None:
            continue
        score = [("AGL", s.agl, s.logit_parts), ("AGR", s.agr, s.representation_parts)]
        rows += [(line.name, of, *_factor(p), "") for of, _, parts in score for p in parts]
        rows += [
            (line.name, of, "whole", "undefined" if v is None else f"{v:.4f}", "", "", "")
            for of, v in (("AGL", s.agl), ("AGR", s.agr), ("H-LR", s.h_lr))
        ]
        rows += [
            (line.name, of, "mean of each seed's own", f"{m.value:.4f}", "", "", span(m.interval))
            for of, m in line.seed_scores.items()
        ]
    return Table(("Method", "Score", "Part", "Factor", "Value", "Retrained", INTERVAL), rows)


def _factor(p: Factor) -> tuple[str, str, str, str]:
    retrained = "on its scale" if p.retrained is None else f"{p.retrained:.4f}"
    return p.name, f"{p.factor:.4f}", f"{p.value:.4f}", retrained


def _shown(lines: Sequence[Line]) -> Table:
    rows = [
        (
            line.name,
            words(name),
            number(s.value),
            _spread(s.spread),
            number(s.retrained),
            _spread(s.retrained_spread),
            _signed(s.gap),
            _interval(s.interval),
        )
        for line in lines
        for name, s in sorted(line.shown.items())
    ]
    head = ("Method", "Measure", "Value", "SD", "Retrained", "SD retrained", "Gap", INTERVAL)
    return Table(head, rows)


def _damage(lines: Sequence[Line]) -> Table:
    rows = [
        (
            line.name,
            inputs,
            words(c.name or c.of),
            f"{c.before:.4f}",
            f"{c.after:.4f}",
            f"{c.retrained:.4f}",
            _signed(c.change),
            _interval(c.interval),
            _signed(c.retrained_change),
            _interval(c.retrained_interval),
            _signed(c.beyond),
            _interval(c.beyond_interval),
        )
        for line in lines
        for inputs, damage in sorted(line.damage.items())
        for c in damage.changes
    ]
    head = ("Method", "Inputs", "Group", "Before", "After", "Retrained", "Change", INTERVAL)
    return Table((*head, "Change by retraining", INTERVAL, "Beyond", INTERVAL), rows)


def _layers(lines: Sequence[Line]) -> Table:
    rows = [
        (
            line.name,
            layer.name,
            f"{layer.value:.4f}",
            f"{layer.floor:.4f}",
            f"{layer.ceiling:.4f}",
            "undefined" if layer.normalised is None else f"{layer.normalised:.4f}",
            _signed(layer.gap),
            _interval(layer.interval),
        )
        for line in lines
        for layer in line.layers
    ]
    head = ("Method", "Layer", "CKA", "Floor", "Ceiling", "Normalised", "Gap to ceiling", INTERVAL)
    return Table(head, rows)


def _trials(lines: Sequence[Line]) -> Table:
    rows = [row for ln in lines if ln.search for row in _search(ln.name, ln.search)]
    return Table(("Method", "Trial", "Parameters", "Distance in margins", "Chosen"), rows)


def _search(name: str, search: Search) -> list[tuple[str, ...]]:
    return [
        (
            name,
            f"{i} of at most {search.budget}",
            _parameters(t.parameters),
            f"failed: {t.failure}" if t.distance is None else f"{t.distance:.4g}",
            "chosen" if t.parameters == search.chosen else "",
        )
        for i, t in enumerate(search.trials, 1)
    ]


def _parameters(parameters: Mapping[str, object]) -> str:
    told = [
        f"{k} {v:g}" if isinstance(v, float) else f"{k} {v}" for k, v in sorted(parameters.items())
    ]
    return ", ".join(told) or NONE


def span(ends: tuple[float, float] | None, places: int = 4) -> str:
    """Both ends of an interval of something that is no gap."""
    return NONE if ends is None else f"{ends[0]:.{places}f} to {ends[1]:.{places}f}"


def _interval(ends: tuple[float, float] | None) -> str:
    return NONE if ends is None else f"{_signed(ends[0])} to {_signed(ends[1])}"


def _signed(value: float) -> str:
    return f"{value:+.4g}"


def _spread(value: float | None) -> str:
    return NONE if value is None else number(value)
