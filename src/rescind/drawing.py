"""How a picture is drawn: an SVG tree, straight scales with their ticks, dots and whiskers."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

MARKERS = ("circle", "square", "triangle", "diamond")
Attributes = Mapping[str, str | float]


@dataclass(frozen=True, slots=True)
class Scale:
    """A straight map from numbers to places, with its ticks."""

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]

    @classmethod
    def over(
        cls,
        values: Sequence[float],
        start: float,
        end: float,
        *,
        pad: float = 0.0,
        within: tuple[float, float] | None = None,
    ) -> Scale:
        """A scale that shows all values, widened to whole ticks and cut to ``within``."""
        low, high = min(values, default=0.0), max(values, default=1.0)
        extra = pad * (high - low) or (0.0 if high > low else max(abs(high) * 0.1, 0.01))
        step = _step(high - low + 2 * extra)
        low, high = math.floor((low - extra) / step), math.ceil((high + extra) / step)
        if within:
            low, high = max(low, round(within[0] / step)), min(high, round(within[1] / step))
        ticks = tuple(i * step for i in range(int(low), int(high) + 1))
        return cls(ticks[0], ticks[-1], start, end, ticks)

    def at(self, value: float) -> float:
        """Where a number is drawn."""
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def draw(
        self, svg: ET.Element, y: float, unit: str = "", *, percent: bool = False, grid: float = 0.0
    ) -> None:
        """The axis from left to right, at height ``y``, with grid lines ``grid`` high."""
        ends: Attributes = {"x1": self.start, "x2": self.end, "y1": y, "y2": y}
        draw(svg, "line", {"class": "axis-line", **ends})
        for tick in self.ticks:
            group = draw(svg, "g", {"class": "tick", "data-tick": repr(tick)})
            x = self.at(tick)
            top = y - grid if grid else y
            draw(group, "line", {"x1": x, "x2": x, "y1": top, "y2": y + 4})
            text = f"{number(tick * 100)} %" if percent else with_unit(number(tick), unit)
            draw(group, "text", {"x": x, "y": y + 17, "text-anchor": "middle"}, text)

    def draw_up(self, svg: ET.Element, left: float, right: float) -> None:
        """The axis from bottom to top, with grid lines from ``left`` to ``right``."""
        for tick in self.ticks:
            group = draw(svg, "g", {"class": "tick", "data-tick": repr(tick)})
            y = self.at(tick)
            draw(group, "line", {"x1": left, "x2": right, "y1": y, "y2": y})
            draw(group, "text", {"x": left - 6, "y": y + 4, "text-anchor": "end"}, number(tick))


def number(value: float) -> str:
    """A number for a reader: four figures, thousands apart, no exponent for what is common."""
    if float(value).is_integer() or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def with_unit(text: str, unit: str) -> str:
    """The text with its unit, where there is one."""
    return f"{text} {unit}" if unit else text


def canvas(label: str, width: float, height: float, sign: str = "chart") -> ET.Element:
    """An empty picture in its own units, named for those who do not see it."""
    box = f"0 0 {width:g} {height:g}"
    return ET.Element("svg", {"viewBox": box, "class": sign, "role": "img", "aria-label": label})


def draw(parent: ET.Element, tag: str, attributes: Attributes, text: str = "") -> ET.Element:
    """Add a shape; places are rounded to a thousandth of a unit."""
    plain = {k: v if isinstance(v, str) else f"{round(v, 3):g}" for k, v in attributes.items()}
    child = ET.SubElement(parent, tag, plain)
    child.text = text or None
    return child


def text_of(svg: ET.Element) -> Markup:
    """The picture as text to put into a page; names and labels are escaped."""
    return Markup(ET.tostring(svg, encoding="unicode"))  # noqa: S704 - ElementTree escapes it


def data(value: float, low: float | None, high: float | None) -> dict[str, str]:
    """The attributes that carry a number and its interval unrounded."""
    ends = {"data-low": low, "data-high": high} if low is not None and high is not None else {}
    return {name: repr(float(n)) for name, n in {"data-value": value, **ends}.items()}


def whisker(parent: ET.Element, low: float, high: float, y: float) -> None:
    """An interval: a line with a cap at each end."""
    draw(parent, "line", {"class": "whisker", "x1": low, "x2": high, "y1": y, "y2": y})
    for x in (low, high):
        draw(parent, "line", {"class": "cap", "x1": x, "x2": x, "y1": y - 5, "y2": y + 5})


def marker(parent: ET.Element, shape: str, x: float, y: float, data: Attributes) -> None:
    """A point of a curve in one of ``MARKERS``."""
    if shape == "circle":
        draw(parent, "circle", {"class": "marker", "cx": x, "cy": y, "r": 3.5, **data})
        return
    corners = {
        "square": ((-3, -3), (3, -3), (3, 3), (-3, 3)),
        "triangle": ((0, -4.5), (4, 3), (-4, 3)),
        "diamond": ((0, -4.5), (4.5, 0), (0, 4.5), (-4.5, 0)),
    }[shape]
    points = path((x + dx, y + dy) for dx, dy in corners)
    draw(parent, "polygon", {"class": "marker", "points": points, **data})


def path(points: Iterable[tuple[float, float]]) -> str:
    """Points as SVG writes them."""
    return " ".join(f"{x:.2f},{y:.2f}" for x, y in points)


def _step(span: float) -> float:
    """About five ticks, at 1, 2 or 5 times a power of ten."""
    power: float = 10.0 ** math.floor(math.log10(span / 5))
    return min((f * power for f in (1, 2, 5, 10)), key=lambda step: abs(span / step - 5))
