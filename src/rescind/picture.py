"""Pictures of a report as inline SVG, and the same numbers as tables.

Every drawn number carries its unrounded value in a ``data-`` attribute. Colours, dashes and fonts
are classes of ``templates/report.css``; what a colour says, a shape or a pattern says too.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal, NamedTuple

from markupsafe import Markup

from rescind.core.errors import BadParameter
from rescind.core.evidence import Measurement
from rescind.core.plan import ShardPlan
from rescind.core.report import StageMark
from rescind.drawing import (
    MARKERS,
    Attributes,
    Scale,
    canvas,
    data,
    draw,
    marker,
    number,
    path,
    text_of,
    whisker,
    with_unit,
)

WIDTH = 440.0  # units of every chart; near the pixels of a telephone, so that text stays readable
ROW = 26.0
STATES: dict[str, str] = {
    "served": "Served: part of the model that answers now",
    "kept": "Kept, not served: has not seen the records",
    "hit": "Cut: held a record of this request",
    "cut": "Cut: trained on top of such a stage",
    "gone": "Cut by an earlier request",
}
COLOURS = 6
Point = tuple[float, float] | tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under column heads.

    Raises:
        BadParameter: a row has more or fewer cells than there are columns.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    kind: Literal["table"] = "table"

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise BadParameter(
                    f"A table row has {len(row)} cells and the table {len(self.columns)} columns.",
                    "A reader could not tell which number belongs where.",
                    "Give each row one text per column.",
                )

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Which columns after the first hold numbers only; those are set flush right."""
        return tuple(
            i > 0 and all(str(row[i])[:1] in "0123456789-+" for row in self.rows)
            for i in range(len(self.columns))
        )


class Bar(NamedTuple):
    """One bar, with the ends of its interval where there is one."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Bars:
    """Horizontal bars that start at zero; rows are ``Bar`` or (label, value, low, high).

    Raises:
        BadParameter: a number is not finite.
    """

    title: str
    rows: Sequence[tuple[str, float, float | None, float | None]]
    unit: str = ""
    kind: Literal["bars"] = "bars"

    def __post_init__(self) -> None:
        _check_finite(self.title, (n for row in self.rows for n in row[1:] if n is not None))

    def svg(self) -> Markup:
        """The bars, each under its label, with a line for its interval."""
        ends = [n for row in self.rows for n in row[1:] if n is not None]
        scale = Scale.over([0.0, *ends], 8, WIDTH - 84)
        svg = canvas(self.title, WIDTH, ROW * 1.5 * len(self.rows) + 28)
        for i, row in enumerate(self.rows):
            self._bar(svg, Bar(*row), ROW * 1.5 * i, scale)
        scale.draw(svg, ROW * 1.5 * len(self.rows) + 4, self.unit)
        return text_of(svg)

    def _bar(self, svg: ET.Element, row: Bar, top: float, scale: Scale) -> None:
        start, end = sorted((scale.at(0.0), scale.at(row.value)))
        group = draw(svg, "g", data(row.value, row.low, row.high))
        draw(group, "text", {"x": 8, "y": top + 13}, row.label)
        box: Attributes = {"x": start, "y": top + 18, "width": end - start, "height": 14}
        draw(group, "rect", {"class": "bar", **box})
        if row.low is not None and row.high is not None:
            end = max(end, scale.at(row.high))
            whisker(group, scale.at(row.low), scale.at(row.high), top + 25)
        label: Attributes = {"class": "value", "x": end + 6, "y": top + 29}
        draw(group, "text", label, with_unit(number(row.value), self.unit))

    def table(self) -> Table:
        """The same numbers as text."""
        head = f"Value ({self.unit})" if self.unit else "Value"
        rows = [
            (b.label, number(b.value), _range(b.low, b.high)) for b in (Bar(*r) for r in self.rows)
        ]
        return Table(("", head, "Interval"), rows, self.title)


@dataclass(frozen=True, slots=True)
class Lines:
    """Curves; ``series`` are (name, points) and points (x, y) or (x, y, low, high).

    Raises:
        BadParameter: a number is not finite, or there is no point.
    """

    title: str
    x: str
    y: str
    series: Sequence[tuple[str, Sequence[Point]]]
    kind: Literal["lines"] = "lines"

    def __post_init__(self) -> None:
        _check_finite(self.title, (n for _, points in self.series for p in points for n in p))
        if not any(points for _, points in self.series):
            raise BadParameter(f"The picture {self.title!r} has no point.", do="Leave it out.")

    def svg(self) -> Markup:
        """The curves over both axes; a band is the interval."""
        points = [p for _, line in self.series for p in line]
        top = 20.0 * len(self.series) + 26
        svg = canvas(self.title, WIDTH, top + 210)
        across = Scale.over([p[0] for p in points], 52, WIDTH - 14)
        up = Scale.over([n for p in points for n in p[1:]], top + 160, top)
        draw(svg, "text", {"class": "axis", "x": 4, "y": top - 12}, self.y)
        up.draw_up(svg, 52, WIDTH - 14)
        across.draw(svg, top + 166)
        middle: Attributes = {"class": "axis", "x": (52 + WIDTH) / 2, "y": top + 204}
        draw(svg, "text", {"text-anchor": "middle", **middle}, self.x)
        for i, (name, line) in enumerate(self.series):
            self._curve(svg, i, name, [(across.at(p[0]), up, p) for p in line])
        return text_of(svg)

    def _curve(
        self, svg: ET.Element, i: int, name: str, points: list[tuple[float, Scale, Point]]
    ) -> None:
        group = draw(svg, "g", {"class": f"series series{i % COLOURS}", "data-name": name})
        shape = MARKERS[i % len(MARKERS)]
        draw(
            group,
            "line",
            {"class": "curve", "x1": 8, "y1": 20 * i + 12, "x2": 36, "y2": 20 * i + 12},
        )
        marker(group, shape, 22, 20 * i + 12, {})
        draw(group, "text", {"x": 44, "y": 20 * i + 16}, name)
        band = [(x, up.at(p[2]), up.at(p[3])) for x, up, p in points if len(p) == 4]
        edge = [(x, low) for x, low, _ in band] + [(x, high) for x, _, high in reversed(band)]
        draw(group, "polygon", {"class": "band", "points": path(edge)})
        draw(
            group,
            "polyline",
            {"class": "curve", "points": path((x, up.at(p[1])) for x, up, p in points)},
        )
        for x, up, p in points:
            ends = (p[2], p[3]) if len(p) == 4 else (None, None)
            marker(group, shape, x, up.at(p[1]), {"data-x": repr(float(p[0])), **data(p[1], *ends)})

    def table(self) -> Table:
        """The same numbers as text, one column a curve."""
        lines = [{p[0]: p for p in points} for _, points in self.series]
        places = sorted({x for line in lines for x in line})
        rows = [
            (number(x), *(_point(line[x]) if x in line else "none" for line in lines))
            for x in places
        ]
        return Table((self.x, *(name for name, _ in self.series)), rows, f"{self.title}: {self.y}")


@dataclass(frozen=True, slots=True)
class Intervals:
    """One measurement before and after, as two dots with 95 % intervals on one axis."""

    name: str
    before: Measurement | None
    after: Measurement | None
    kind: Literal["intervals"] = "intervals"

    @property
    def title(self) -> str:
        """The measurement's name with a capital, and the unit of its axis."""
        return f"{words(self.name)}, points" if in_points(self.name) else words(self.name)

    def svg(self) -> Markup:
        """An open dot for before, a filled one for after; says so where one is not measured."""
        ends = [n for m in (self.before, self.after) if m for n in self._places(m)]
        share, points = is_share(self.name), in_points(self.name)
        bounds = (-100.0, 100.0) if points else (0.0, 1.0)  # a change may be a loss
        scale = Scale.over(ends, 60, WIDTH - 70, pad=0.15, within=bounds if share else None)
        svg = canvas(f"{self.title}, before and after", WIDTH, 2 * ROW + 34)
        scale.draw(svg, 2 * ROW + 8, percent=share and not points, grid=2 * ROW + 4)
        self._row(svg, "before", self.before, ROW * 0.5 + 4, scale)
        self._row(svg, "after", self.after, ROW * 1.5 + 4, scale)
        return text_of(svg)

    def _row(self, svg: ET.Element, when: str, m: Measurement | None, y: float, to: Scale) -> None:
        draw(svg, "text", {"x": 4, "y": y + 4}, when.capitalize())
        if m is None:
            draw(svg, "text", {"class": "missing", "x": 64, "y": y + 4}, "not measured")
            return
        group = draw(svg, "g", {"class": when, "data-row": when, **data(m.value, *m.interval)})
        low, high, dot = (to.at(place) for place in self._places(m))
        whisker(group, low, high, y)
        draw(group, "circle", {"class": "dot", "cx": dot, "cy": y, "r": 5})
        value: Attributes = {"class": "value", "x": WIDTH - 4, "y": y + 4, "text-anchor": "end"}
        draw(group, "text", value, shown(self.name, m.value))

    def _places(self, m: Measurement) -> tuple[float, ...]:
        """Both ends and the value as the axis counts them."""
        unit = 100.0 if in_points(self.name) else 1.0
        return tuple(unit * n for n in (*m.interval, m.value))


@dataclass(frozen=True, slots=True)
class Stages:
    """Which trained stages serve, wait or were cut: a row an order, a square a slice.

    Raises:
        BadParameter: a mark has a state that has no sign in the legend.
    """

    marks: Sequence[StageMark]
    shards: Sequence[ShardPlan] = ()
    kind: Literal["stages"] = "stages"

    def __post_init__(self) -> None:
        for mark in self.marks:
            if mark.state not in STATES:
                raise BadParameter(
                    f"A stage is marked {mark.state!r}.",
                    "The picture has no sign for that.",
                    f"Use one of {', '.join(STATES)}.",
                )

    def legend(self) -> list[tuple[Markup, str]]:
        """A sign and its meaning, for each state."""
        return [(_sign(state), meaning) for state, meaning in STATES.items()]

    def groups(self) -> list[tuple[str, str, Markup]]:
        """Per shard its name, what it serves as planned, and its picture."""
        plans = {plan.shard: plan for plan in self.shards}
        size = _square(1 + max((m.position for m in self.marks), default=0))
        ordered = sorted(self.marks, key=lambda m: (m.shard, m.order, m.position))
        return [
            (f"Shard {shard}", _serves(plans.get(shard)), _shard(shard, list(marks), size))
            for shard, marks in groupby(ordered, key=lambda m: m.shard)
        ]

    def table(self) -> Table:
        """The same marks as text: a row an order, in the order of training."""
        length = 1 + max((m.position for m in self.marks), default=0)
        cells = {(m.shard, m.order, m.position): f"{m.slice} {m.state}" for m in self.marks}
        orders = sorted({(m.shard, m.order) for m in self.marks})
        rows = [
            (str(s), str(o), *(cells.get((s, o, i), "none") for i in range(length)))
            for s, o in orders
        ]
        return Table(("Shard", "Order", *(f"Stage {i + 1}" for i in range(length))), rows)


def is_share(name: str) -> bool:
    """Whether a measurement is a share of examples and so is shown in percent."""
    return any(word in name for word in ("accuracy", "agreement"))


def in_points(name: str) -> bool:
    """Whether a measurement is the difference of two shares, which is no share of anything."""
    return is_share(name) and name.endswith("_change")


def shown(name: str, value: float) -> str:
    """A measured value as text: a share in percent, the change of one in percentage points."""
    if not is_share(name):
        return number(value)
    return f"{100 * value:.1f} {'points' if in_points(name) else '%'}"


def words(name: str) -> str:
    """A name with blanks for underscores and a capital."""
    text = name.replace("_", " ")
    return text[:1].upper() + text[1:]


def _check_finite(title: str, numbers: Iterable[float]) -> None:
    if not all(math.isfinite(n) for n in numbers):
        raise BadParameter(
            f"The picture {title!r} holds a number that is not finite.",
            "It has no place on an axis.",
            "Leave the row out and say in a Paragraph why.",
        )


def _range(low: float | None, high: float | None) -> str:
    return "none" if low is None or high is None else f"{number(low)} to {number(high)}"


def _point(point: Point) -> str:
    ends = f" ({_range(point[2], point[3])})" if len(point) == 4 else ""
    return number(point[1]) + ends


def _square(length: int) -> float:
    """The side of a square, smaller where there are many slices."""
    return 32.0 if length <= 4 else 24.0 if length <= 7 else 15.0


def _serves(plan: ShardPlan | None) -> str:
    if plan is None:
        return ""
    if plan.slices_after == 0:
        return f"served {_slices(plan.slices_before)}, now none"
    if plan.slices_after == plan.slices_before:
        return f"serves {_slices(plan.slices_after)}, unchanged"
    return f"served {_slices(plan.slices_before)}, now {plan.slices_after}"


def _slices(n: int) -> str:
    return f"{n} slice" if n == 1 else f"{n} slices"


def _shard(shard: int, marks: list[StageMark], size: float) -> Markup:
    orders = sorted({m.order for m in marks})
    left, gap = 22.0, size + 4
    width = left + gap * (1 + max(m.position for m in marks))
    svg = canvas(f"Stages of shard {shard}", width, gap * len(orders), "shard")
    svg.set("width", f"{width:g}")
    svg.set("height", f"{gap * len(orders):g}")
    for row, order in enumerate(orders):
        label: Attributes = {"x": left - 8, "y": row * gap + size / 2 + 5, "text-anchor": "end"}
        draw(svg, "text", {"class": "axis", **label}, str(order))
    for m in marks:
        place = (left + m.position * gap, orders.index(m.order) * gap + 1)
        _stage(svg, m, place, size)
    return text_of(svg)


def _stage(svg: ET.Element, m: StageMark, place: tuple[float, float], size: float) -> None:
    keys = ("shard", "order", "slice", "position", "state")
    facts = {f"data-{key}": str(getattr(m, key)) for key in keys}
    group = draw(svg, "g", {"class": m.state, **facts})
    where = f"Shard {m.shard}, order {m.order}, stage {m.position + 1}, slice {m.slice}"
    draw(group, "title", {}, f"{where}. {STATES[m.state]}.")
    _shape(group, m.state, place, size)
    if size > 20:
        middle: Attributes = {"x": place[0] + size / 2, "y": place[1] + size / 2 + 4}
        draw(group, "text", {"text-anchor": "middle", **middle}, str(m.slice))


def _shape(group: ET.Element, state: str, place: tuple[float, float], size: float) -> None:
    """The sign of a state: each has its own pattern, so that it reads in black and white."""
    x, y = place
    draw(group, "rect", {"x": x, "y": y, "width": size, "height": size})
    if state == "cut":
        steps = [size * i / 3 for i in (1, 2, 3)]
        ends = [f"M{x:g} {y + s:g}L{x + s:g} {y:g}" for s in steps]
        ends += [f"M{x + s:g} {y + size:g}L{x + size:g} {y + s:g}" for s in steps[:-1]]
        draw(group, "path", {"class": "hatch", "d": "".join(ends)})
    if state == "hit":
        half = size / 2
        corners = ((half, 1), (size - 1, half), (half, size - 1), (1, half))
        points = path((x + dx, y + dy) for dx, dy in corners)
        draw(group, "polygon", {"class": "diamond", "points": points})


def _sign(state: str) -> Markup:
    svg = canvas(state, 20, 20, "sign")
    group = draw(svg, "g", {"class": state, "data-legend": state})
    _shape(group, state, (1.5, 1.5), 17)
    return text_of(svg)
