"""The classes most like a downstream set against every other class: one table and picture a model.

"Are We Truly Forgetting?" (arXiv 2503.06991) forgets such classes, as it is there that features
must change and not only answers. What only edits answers scores lower on them than elsewhere.
"""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from markupsafe import Markup

from rescind.benchmarks.order import ordered
from rescind.benchmarks.plots import Box, overlap
from rescind.benchmarks.result import Line, Part, Result
from rescind.benchmarks.setting import Ranking
from rescind.benchmarks.table import NONE, Cell, Grid, Row, score_cell
from rescind.drawing import Attributes, Scale, canvas, draw, marker, text_of
from rescind.picture import Table
from rescind.sections import counted

SIGNS = {"method": "circle", "control": "square"}
WIDTH, HEIGHT = 440.0, 458.0
LEFT, TOP, RIGHT, BOTTOM = 46.0, 24.0, 428.0, 406.0  # a square, as both axes are alike


@dataclass(frozen=True, slots=True)
class Column:
    """A forget set of whole classes; ``name`` is its only class, empty where that is not known."""

    part: Part
    name: str

    @property
    def top(self) -> bool:
        """Whether its classes were chosen by likeness to a downstream set."""
        return self.part.kind == "top class"

    @property
    def title(self) -> str:
        """The name of the forget set."""
        return self.part.forget_set


@dataclass(frozen=True, slots=True)
class Against:
    """A row in the picture: H-LR of the top set, and mean, least and largest of the others.

    ``of`` counts the other classes on which H-LR is defined.
    """

    number: int
    name: str
    control: bool
    top: float
    others: float
    least: float
    largest: float
    of: int


@dataclass(frozen=True, slots=True)
class ClassView:
    """One model as the template shows it."""

    model: str
    grid: Grid
    parts: Table
    picture: Markup | None
    points: tuple[tuple[int, str, str], ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ByClass:
    """All models, and the lines that say what does not apply or does not hold."""

    models: tuple[ClassView, ...]
    reasons: tuple[str, ...]


def by_class(result: Result) -> ByClass:
    """Tables and pictures of a stored result; no model and a reason where there is no structure."""
    reasons = [line for line in result.not_applicable if is_about_top(line)]
    parts = [p for p in result.parts if p.kind in ("class", "top class")]
    if result.rankings and parts:
        models = dict.fromkeys(p.model for p in parts)
        return ByClass(tuple(_of_model(m, parts, result.rankings) for m in models), tuple(reasons))
    if result.rankings:
        reasons.append("No part that forgets a whole class has been computed yet.")
    elif not reasons:
        reasons.append("No order of classes by likeness to a downstream set was measured.")
    return ByClass((), tuple(reasons))


def _of_model(model: str, parts: Sequence[Part], rankings: Sequence[Ranking]) -> ClassView:
    """In the order by this model's own predictions, where they were measured."""
    own = [r for r in rankings if r.model == model] or rankings
    return _view(model, columns([p for p in parts if p.model == model], own[0]), own[0])


def is_about_top(line: str) -> bool:
    """Whether a line of ``Result.not_applicable`` speaks of top classes."""
    return re.search(r"\btop (\d+ )?class", line, re.IGNORECASE) is not None


def columns(parts: Sequence[Part], ranking: Ranking) -> tuple[Column, ...]:
    """Top sets, the smallest first, then the classes in the order by predictions, then others.

    Args:
        parts: those of one model that forget whole classes.
        ranking: whose order it is.
    """
    tops = sorted((p for p in parts if p.kind == "top class"), key=lambda p: p.forget)
    place = {name: i for i, name in enumerate(ranking.predictions)}
    singles = [Column(p, _name(p)) for p in parts if p.kind == "class"]
    singles.sort(key=lambda c: (place.get(c.name, len(place)), c.title))
    return (*(Column(p, _name(p)) for p in tops), *singles)


def _name(part: Part) -> str:
    return part.classes[0] if len(part.classes) == 1 else ""


def against(found: Sequence[Column]) -> tuple[Against, ...]:
    """Rows whose H-LR is defined on the smallest top set and on at least one other class.

    An undefined score is left out of the mean and never counted as 0.
    """
    if not found or not found[0].top:
        return ()
    rows = []
    for i, line in enumerate(_rows(found), 1):
        top, others = _h_lr(found[0].part, line.name), _others(found, line.name)
        if top is None or not others:
            continue
        mean = round(fmean(others), 9)
        ends = (min(others), max(others))
        rows.append(Against(i, line.name, line.control, top, mean, *ends, len(others)))
    return tuple(rows)


def _others(found: Sequence[Column], name: str) -> list[float]:
    scores = [_h_lr(c.part, name) for c in found if not c.top]
    return [score for score in scores if score is not None]


def _h_lr(part: Part, name: str) -> float | None:
    line = _line(part, name)
    return line.scores.h_lr if line and line.scores else None


def _line(part: Part, name: str) -> Line | None:
    return next((ln for ln in part.lines if ln.name == name), None)


def _rows(found: Sequence[Column]) -> tuple[Line, ...]:
    """A line for each name, in the order of the first part that has it."""
    rows: dict[str, Line] = {}
    for column in found:
        for line in ordered(column.part):
            rows.setdefault(line.name, line)
    return tuple(rows.values())


def _view(model: str, found: Sequence[Column], ranking: Ranking) -> ClassView:
    points = against(found)
    return ClassView(
        model=model,
        grid=_grid(model, found, ranking),
        parts=_parts(found),
        picture=_picture(model, found[0].title, points) if points else None,
        points=tuple((p.number, p.name, _told(p)) for p in points),
        notes=tuple(_notes(found, points)),
    )


def _grid(model: str, found: Sequence[Column], ranking: Ranking) -> Grid:
    heads = [Cell(c.title, _place(c, ranking), "", "number") for c in found]
    count = sum(not c.top for c in found)
    compared = found[0].top and count > 0
    if compared:
        heads.append(Cell("Mean", f"over {counted(count, 'other set')}", "", "number"))
    rows = []
    for i, line in enumerate(_rows(found), 1):
        cells = [_cell(c.part, line.name) for c in found]
        if compared:
            cells.append(_mean(_others(found, line.name), count))
        sign, note = ("control", "control") if line.control else ("method", "")
        rows.append(Row(i, line.name, note, sign, tuple(cells)))
    return Grid(f"{model}: H-LR by what is forgotten", tuple(heads), tuple(rows))


def _place(column: Column, ranking: Ranking) -> str:
    """Where its class stands in both orders."""
    if column.name not in ranking.predictions:
        return ""
    told = f"place {ranking.predictions.index(column.name) + 1}"
    if column.name in ranking.text:
        told += f", by names {ranking.text.index(column.name) + 1}"
    return f"{column.name}, {told}" if column.top else told


def _cell(part: Part, name: str) -> Cell:
    line = _line(part, name)
    if line is None or line.refused:
        return Cell(NONE, hint=line.refused if line else "Not in this part.", sign="number")
    if line.scores is None:
        return Cell("undefined", hint=_why(part, line), sign="number")
    cell = score_cell("H-LR", line.scores.h_lr, line.scores.undefined, line)
    both = {"agl": line.scores.agl, "agr": line.scores.agr}
    numbers = {key: value for key, value in both.items() if value is not None}
    return replace(cell, numbers={**numbers, **cell.numbers})


def _why(part: Part, line: Line) -> str:
    """Why H-LR is undefined; empty where it is not."""
    if line.scores is not None:
        return line.scores.undefined
    return " ".join(note for note in part.notes if "AGL" in note) or "No score was computed."


def _mean(others: Sequence[float], count: int) -> Cell:
    if not others:
        return Cell(NONE, sign="number")
    fewer = f"over {len(others)}" if len(others) < count else ""
    numbers = {"others": round(fmean(others), 9), "of": float(len(others))}
    return Cell(f"{fmean(others):.3f}", fewer, sign="number", numbers=numbers)


def _parts(found: Sequence[Column]) -> Table:
    """AGL and AGR of each cell as text."""
    rows = []
    for line in _rows(found):
        lines = [_line(c.part, line.name) for c in found]
        rows.append((line.name, *(_both(ln) for ln in lines)))
    return Table(("AGL / AGR", *(c.title for c in found)), rows)


def _both(line: Line | None) -> str:
    if line is None or line.refused:
        return NONE
    if line.scores is None:
        return "undefined"
    agr = line.scores.agr
    return f"{line.scores.agl:.3f} / {'undefined' if agr is None else f'{agr:.3f}'}"


def _notes(found: Sequence[Column], points: Sequence[Against]) -> Iterator[str]:
    """What is undefined and why, and what the picture has not."""
    for column in found:
        lines = [ln for ln in column.part.lines if not ln.refused]
        gone = [ln for ln in lines if ln.scores is None or ln.scores.h_lr is None]
        whys = dict.fromkeys(_why(column.part, ln) for ln in gone)
        if gone:
            rows = f"{len(gone)} of {counted(len(lines), 'row')}"
            yield f"Undefined on {column.title} for {rows}. {' '.join(whys)}".strip()
    if not found[0].top:
        yield "No top class has been forgotten yet, so nothing is set against the others."
    elif all(c.top for c in found):
        yield "No other class has been forgotten yet, so nothing is set against the top classes."
    else:
        there = {p.name for p in points}
        names = [ln.name for ln in _rows(found) if ln.name not in there]
        if names:
            yield f"Not in the picture, for want of a defined score: {', '.join(names)}."


def _told(point: Against) -> str:
    ends = f"{point.least:.3f} to {point.largest:.3f}"
    classes = counted(point.of, "set")
    return f"top {point.top:.3f}, others {point.others:.3f} ({ends}, {classes})"


def signs() -> list[tuple[Markup, str]]:
    """The shapes of the picture and what they say."""
    found = []
    for name, shape in SIGNS.items():
        svg = canvas(name, 20, 20, "sign")
        marker(draw(svg, "g", {"class": f"point {name}"}), shape, 10, 10, {})
        found.append((text_of(svg), name))
    return found


def _picture(model: str, top: str, points: Sequence[Against]) -> Markup:
    """H-LR of the others across and of the top set up, on one scale; the diagonal is equality."""
    seen = [n for p in points for n in (p.top, p.least, p.largest)]
    across = Scale.over(seen, LEFT, RIGHT, pad=0.05, within=(0.0, 1.0))
    up = Scale.over(seen, BOTTOM, TOP, pad=0.05, within=(0.0, 1.0))
    svg = canvas(f"{model}: H-LR of {top} against the mean of the others", WIDTH, HEIGHT)
    across.draw(svg, BOTTOM, grid=BOTTOM - TOP)
    up.draw_up(svg, LEFT, RIGHT)
    draw(svg, "line", {"class": "even", "x1": LEFT, "y1": BOTTOM, "x2": RIGHT, "y2": TOP})
    draw(svg, "text", {"class": "axis", "x": 4, "y": 12}, f"H-LR, {top}")
    middle: Attributes = {"x": (LEFT + RIGHT) / 2, "y": HEIGHT - 8, "text-anchor": "middle"}
    draw(svg, "text", {"class": "axis", **middle}, "H-LR, mean over the others")
    places = [(across.at(p.others), up.at(p.top)) for p in points]
    for point, place in zip(points, places, strict=True):
        ends = (across.at(point.least), across.at(point.largest))
        _dot(svg, point, place, ends)
    _numbers(svg, points, places)
    return text_of(svg)


def _dot(
    svg: ET.Element, point: Against, place: tuple[float, float], ends: tuple[float, float]
) -> None:
    sign, numbers = "control" if point.control else "method", {"top": point.top}
    numbers |= {"others": point.others, "low": point.least, "high": point.largest}
    facts = {f"data-{name}": repr(float(value)) for name, value in numbers.items()}
    facts |= {"data-number": str(point.number), "data-of": str(point.of)}
    group = draw(svg, "g", {"class": f"point {sign}", **facts})
    draw(group, "title", {}, f"{point.number} {point.name}: {_told(point)}")
    reach: Attributes = {"x1": ends[0], "x2": ends[1], "y1": place[1], "y2": place[1]}
    draw(group, "line", {"class": "reach", **reach})
    marker(group, SIGNS[sign], *place, {})


def _numbers(
    svg: ET.Element, points: Sequence[Against], places: Sequence[tuple[float, float]]
) -> None:
    """Each number at the nearest place that is free, with a line to its dot where that is far."""
    taken: list[Box] = [(x - 5, y - 5, x + 5, y + 5) for x, y in places]
    for point, (x, y) in zip(points, places, strict=True):
        boxes = list(_around(x, y, 5.0 + 7.0 * len(str(point.number))))
        box = min(boxes, key=lambda b: sum(overlap(b, other) for other in taken))
        taken.append(box)
        middle = (box[0] + box[2]) / 2
        far = math.hypot(middle - x, box[3] - 7 - y)
        if far > 16:
            keep = (far - 8) / far
            to: Attributes = {"x2": x + keep * (middle - x), "y2": y + keep * (box[3] - 7 - y)}
            draw(svg, "line", {"class": "leader", "x1": x, "y1": y, **to})
        spot: Attributes = {"x": middle, "y": box[3] - 3, "text-anchor": "middle"}
        facts = {"class": "over", "data-label": str(point.number), **spot}
        draw(svg, "text", facts, str(point.number))


def _around(x: float, y: float, width: float) -> Iterator[Box]:
    """Boxes around a dot and inside the axes, the nearest first."""
    for far in (13.0, 21.0, 30.0, 40.0, 52.0, 66.0, 82.0, 100.0, 120.0):
        for turn in range(16):
            angle = math.pi * (2 * turn - 4) / 16
            cx, cy = x + far * math.cos(angle), y + far * math.sin(angle)
            if cx - width / 2 > LEFT and cx + width / 2 < WIDTH and cy - 7 > 4 and cy + 7 < BOTTOM:
                yield cx - width / 2, cy - 7, cx + width / 2, cy + 7
