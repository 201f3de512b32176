"""Pictures of one part as inline SVG: forget gap against utility gap, and cost.

Rows have the numbers of the table. What a colour says, a shape says too.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from rescind.benchmarks.order import distance, ordered, percent, share, verdict, worst
from rescind.benchmarks.result import Line, Part
from rescind.core.judgement import Gap
from rescind.drawing import Attributes, canvas, draw, marker, number, text_of
from rescind.picture import words

WIDTH, HEIGHT = 440.0, 400.0
LEFT, TOP, RIGHT, BOTTOM = 46.0, 24.0, 428.0, 352.0
ROW = 34.0
SHAPES = {"admissible": "circle", "not_admissible": "diamond", "control": "square"}
OTHER = "triangle"  # no power, display only: nothing was decided
SIGNS = {
    "admissible": "admissible",
    "not_admissible": "not admissible",
    "undecided": "no power or display only",
    "control": "control",
}
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Bent:
    """A scale of distances in margins: straight up to one margin, logarithmic beyond."""

    top: float
    start: float
    end: float

    @classmethod
    def over(cls, values: Sequence[float], start: float, end: float) -> Bent:
        """A scale that shows all values and at least two margins."""
        return cls(max([2.0, *values]) * 1.1, start, end)

    def at(self, value: float) -> float:
        """Where a distance, at least 0, is drawn."""
        return self.start + _bent(value) / _bent(self.top) * (self.end - self.start)

    @property
    def ticks(self) -> tuple[float, ...]:
        """0, a half, 1 and then 2 and 5 of each power of ten while there is room for them."""
        steps = (1.0, 2.0, 5.0) if self.top < 500 else (1.0,)
        powers = range(int(_bent(self.top)) + 1)
        beyond = [s * 10.0**p for p in powers for s in steps]
        return (0.0, 0.5, *(tick for tick in beyond if tick <= self.top))


@dataclass(frozen=True, slots=True)
class Dot:
    """A row of the table with its worst forgetting and its worst utility gap."""

    number: int
    line: Line
    forget: Gap
    utility: Gap

    @property
    def sign(self) -> str:
        """A key of ``SIGNS``."""
        if self.line.control:
            return "control"
        found = verdict(self.line)
        return found if found in SHAPES else "undecided"


def dots(part: Part) -> tuple[Dot, ...]:
    """Rows that have a gap of both roles, in the order of the table."""
    found = []
    for i, line in enumerate(ordered(part), 1):
        forget, utility = worst(line, "forgetting"), worst(line, "utility")
        if forget is not None and utility is not None:
            found.append(Dot(i, line, forget, utility))
    return tuple(found)


def gaps(part: Part) -> Markup:
    """Worst forgetting gap across, worst utility gap up, both in margins; the box is one margin.

    Whiskers are 95 % intervals. Numbers stand where they meet no other, with a line to their dot.
    """
    points = dots(part)
    across = Bent.over([n for d in points for n in ends(d.forget)], LEFT, RIGHT)
    up = Bent.over([n for d in points for n in ends(d.utility)], BOTTOM, TOP)
    svg = canvas(f"Forget gap against utility gap, {part.forget_set}", WIDTH, HEIGHT)
    _axes(svg, across, up)
    places = [(across.at(distance(d.forget)), up.at(distance(d.utility))) for d in points]
    for dot, place in zip(points, places, strict=True):
        _dot(svg, dot, place, across, up)
    boxes = labels(points, places)
    for place, box in zip(places, boxes, strict=True):
        _leader(svg, place, box)
    for dot, box in zip(points, boxes, strict=True):
        spot: Attributes = {"x": (box[0] + box[2]) / 2, "y": box[3] - 3, "text-anchor": "middle"}
        facts = {"class": "over", "data-label": str(dot.number), **spot}
        draw(svg, "text", facts, str(dot.number))
    return text_of(svg)


def ends(gap: Gap) -> tuple[float, float]:
    """The interval of a gap as distances in margins; it starts at 0 where it holds 0."""
    low, high = (end / gap.margin for end in gap.interval)
    return (0.0 if low <= 0.0 <= high else min(abs(low), abs(high))), max(abs(low), abs(high))


def labels(points: Sequence[Dot], places: Sequence[tuple[float, float]]) -> list[Box]:
    """A box (left, top, right, bottom) for each number: the nearest that is free."""
    taken: list[Box] = [(x - 5, y - 5, x + 5, y + 5) for x, y in places]
    boxes = []
    for dot, place in zip(points, places, strict=True):
        around = list(_around(place, 5.0 + 7.0 * len(str(dot.number))))
        inside = [b for b in around if b[0] > LEFT and b[2] < WIDTH and b[1] > 4 and b[3] < BOTTOM]
        box = min(inside, key=lambda b: sum(overlap(b, other) for other in taken))
        taken.append(box)
        boxes.append(box)
    return boxes


def overlap(a: Box, b: Box) -> bool:
    """Whether two boxes have a common inside."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def costs(part: Part) -> Markup | None:
    """Processor time as a share of retraining on a logarithmic scale; None without any.

    A bar reaches from retraining to the method: to the left of the line is cheaper.
    """
    rows = [(i, ln, share(ln, part)) for i, ln in enumerate(ordered(part), 1)]
    shares = [(i, ln, s) for i, ln, s in rows if s is not None]
    drawn = [s for _, _, s in shares if s > 0]
    if not drawn:
        return None
    low, high = math.floor(math.log10(min(drawn))), math.ceil(math.log10(max([1.0, *drawn])))
    low = min(low, high - 1)
    svg = canvas(f"Processor time, {part.forget_set}", WIDTH, ROW * len(shares) + 26)
    bottom = ROW * len(shares) + 4

    def at(value: float) -> float:
        return 12 + (math.log10(value) - low) / (high - low) * (WIDTH - 48)

    for power in range(low, high + 1):
        tick = draw(svg, "g", {"class": "tick", "data-tick": repr(10.0**power)})
        x = at(10.0**power)
        draw(tick, "line", {"x1": x, "x2": x, "y1": 0, "y2": bottom})
        label: Attributes = {"x": x, "y": bottom + 16, "text-anchor": "middle"}
        draw(tick, "text", label, percent(10.0**power))
    for row, (i, line, value) in enumerate(shares):
        _bar(svg, f"{i} {line.name}", value, ROW * row, (at(value) if value else None, at(1.0)))
    draw(svg, "line", {"class": "due", "x1": at(1.0), "x2": at(1.0), "y1": 0, "y2": bottom})
    return text_of(svg)


def _bar(
    svg: ET.Element, name: str, value: float, top: float, across: tuple[float | None, float]
) -> None:
    at, whole = across
    group = draw(svg, "g", {"class": "cost", "data-value": repr(value)})
    told = percent(value) if value else "0 %, not on this scale"
    draw(group, "text", {"class": "over", "x": 12, "y": top + 13}, f"{name}: {told}")
    if at is not None:
        left, width = min(at, whole), max(abs(at - whole), 1.0)
        draw(group, "rect", {"class": "bar", "x": left, "y": top + 18, "width": width, "height": 9})


def _bent(value: float) -> float:
    return value if value <= 1.0 else 1.0 + math.log10(value)


def _axes(svg: ET.Element, across: Bent, up: Bent) -> None:
    corner: Attributes = {"x": LEFT, "y": up.at(1.0)}
    sides: Attributes = {"width": across.at(1.0) - LEFT, "height": BOTTOM - up.at(1.0)}
    draw(svg, "rect", {"class": "box", **corner, **sides})
    draw(svg, "text", {"class": "axis", "x": 4, "y": 12}, "Utility gap, margins")
    middle: Attributes = {"x": (LEFT + RIGHT) / 2, "y": HEIGHT - 8, "text-anchor": "middle"}
    draw(svg, "text", {"class": "axis", **middle}, "Forget gap, margins")
    for tick in across.ticks:
        group = draw(svg, "g", {"class": "tick", "data-tick": repr(tick)})
        x = across.at(tick)
        draw(group, "line", {"x1": x, "x2": x, "y1": TOP, "y2": BOTTOM})
        under: Attributes = {"x": x, "y": BOTTOM + 16, "text-anchor": "middle"}
        draw(group, "text", under, number(tick))
    for tick in up.ticks:
        group = draw(svg, "g", {"class": "tick", "data-tick": repr(tick)})
        y = up.at(tick)
        draw(group, "line", {"x1": LEFT, "x2": RIGHT, "y1": y, "y2": y})
        draw(group, "text", {"x": LEFT - 6, "y": y + 4, "text-anchor": "end"}, number(tick))


def _dot(svg: ET.Element, dot: Dot, place: tuple[float, float], across: Bent, up: Bent) -> None:
    x, y = place
    facts = {
        "data-number": str(dot.number),
        "data-forget": repr(dot.forget.gap),
        "data-utility": repr(dot.utility.gap),
    }
    group = draw(svg, "g", {"class": f"point {dot.sign}", **facts})
    draw(group, "title", {}, f"{dot.number} {dot.line.name}: {told(dot)}")
    low, high = (across.at(end) for end in ends(dot.forget))
    draw(group, "line", {"class": "reach", "x1": low, "x2": high, "y1": y, "y2": y})
    low, high = (up.at(end) for end in ends(dot.utility))
    draw(group, "line", {"class": "reach", "x1": x, "x2": x, "y1": low, "y2": high})
    marker(group, SHAPES.get(dot.sign, OTHER), x, y, {})


def told(dot: Dot) -> str:
    """The two gaps of a dot in words."""
    parts = [
        f"{words(g.metric).lower()} {distance(g):.3g} margins{'' if g.counts else ', no power'}"
        for g in (dot.forget, dot.utility)
    ]
    return "; ".join(parts)


def signs() -> list[tuple[Markup, str]]:
    """The shapes and what they say."""
    found = []
    for name, meaning in SIGNS.items():
        svg = canvas(name, 20, 20, "sign")
        group = draw(svg, "g", {"class": f"point {name}"})
        marker(group, SHAPES.get(name, OTHER), 10, 10, {})
        found.append((text_of(svg), meaning))
    return found


def _leader(svg: ET.Element, place: tuple[float, float], box: Box) -> None:
    """A line from a dot to the edge of its number, where that is not beside it."""
    dx, dy = (box[0] + box[2]) / 2 - place[0], (box[1] + box[3]) / 2 - place[1]
    far = math.hypot(dx, dy)
    if far > 16:
        keep = (far - 8) / far
        to: Attributes = {"x2": place[0] + keep * dx, "y2": place[1] + keep * dy}
        draw(svg, "line", {"class": "leader", "x1": place[0], "y1": place[1], **to})


def _around(place: tuple[float, float], width: float) -> Iterator[Box]:
    """Boxes around a place, the nearest first."""
    x, y = place
    for far in (13.0, 21.0, 30.0, 40.0, 52.0, 66.0, 82.0, 100.0, 120.0):
        for turn in range(16):
            angle = math.pi * (2 * turn - 4) / 16
            cx, cy = x + far * math.cos(angle), y + far * math.sin(angle)
            yield cx - width / 2, cy - 7, cx + width / 2, cy + 7
