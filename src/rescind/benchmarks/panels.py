"""Small pictures side by side, one a method, on one scale: layer profiles and drift."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from rescind.benchmarks.order import ordered
from rescind.benchmarks.result import Layer, Part, Point
from rescind.drawing import Attributes, Scale, canvas, data, draw, marker, path, text_of
from rescind.picture import words

WIDTH, HEIGHT = 184.0, 146.0
TOP, BOTTOM, RIGHT = 22.0, 122.0, 176.0


@dataclass(frozen=True, slots=True)
class Panel:
    """One method's picture under its name."""

    name: str
    picture: Markup


@dataclass(frozen=True, slots=True)
class Drift:
    """All methods' gaps in one metric, request after request."""

    metric: str
    margin: float
    panels: tuple[Panel, ...]


def profiles(part: Part) -> tuple[Panel, ...]:
    """CKA to retrained models layer by layer; the band reaches from floor to ceiling."""
    rows = [(i, ln) for i, ln in enumerate(ordered(part), 1) if ln.layers]
    seen = [n for _, ln in rows for la in ln.layers for n in (la.value, la.floor, la.ceiling)]
    up = Scale(min([0.0, *seen]), max([1.0, *seen]), BOTTOM, TOP, (0.0, 0.5, 1.0))
    return tuple(Panel(f"{i} {ln.name}", _profile(ln.name, ln.layers, up)) for i, ln in rows)


def layer_names(part: Part) -> tuple[str, ...]:
    """Names of the layers in the order of the profiles, those of the longest one."""
    return max((tuple(la.name for la in ln.layers) for ln in part.lines), key=len, default=())


def drifts(points: Sequence[Point]) -> tuple[Drift, ...]:
    """A row of panels for each metric, the methods in their order, the band one margin wide."""
    found = []
    for metric in dict.fromkeys(p.metric for p in points):
        mine = [p for p in points if p.metric == metric]
        numbers = [n for p in mine for n in (*p.interval, p.margin, -p.margin)]
        up = Scale.over(numbers, BOTTOM, TOP)
        requests = sorted({p.requests for p in mine})
        panels = [
            Panel(name, _drift(name, [p for p in mine if _ran(p) == name], requests, up))
            for name in dict.fromkeys(map(_ran, mine))
        ]
        found.append(Drift(metric, max(p.margin for p in mine), tuple(panels)))
    return tuple(found)


def _ran(point: Point) -> str:
    return f"{point.method} on {point.model}"


def _profile(name: str, layers: Sequence[Layer], up: Scale) -> Markup:
    svg = canvas(f"Layer profile of {name}", WIDTH, HEIGHT, "panel")
    xs = _across([str(i) for i in range(1, len(layers) + 1)], svg, 34.0)
    upper = [(x, up.at(la.ceiling)) for x, la in zip(xs, layers, strict=True)]
    lower = [(x, up.at(la.floor)) for x, la in zip(xs, layers, strict=True)]
    draw(svg, "polygon", {"class": "between", "points": path([*upper, *reversed(lower)])})
    up.draw_up(svg, 34.0, RIGHT)
    group = draw(svg, "g", {"class": "series0"})
    places = [(x, up.at(la.value)) for x, la in zip(xs, layers, strict=True)]
    draw(group, "polyline", {"class": "curve", "points": path(places)})
    for (x, y), la in zip(places, layers, strict=True):
        facts = {"data-layer": la.name, **data(la.value, la.floor, la.ceiling)}
        if la.normalised is not None:
            facts["data-normalised"] = repr(la.normalised)
        marker(group, "circle", x, y, facts)
    return text_of(svg)


def _drift(name: str, points: Sequence[Point], requests: Sequence[int], up: Scale) -> Markup:
    metric = words(points[0].metric)
    svg = canvas(f"{metric} of {name}, request after request", WIDTH, HEIGHT, "panel")
    left = 48.0
    xs = dict(zip(requests, _across([str(r) for r in requests], svg, left), strict=True))
    margin = points[0].margin
    band: Attributes = {"y": up.at(margin), "height": up.at(-margin) - up.at(margin)}
    draw(svg, "rect", {"class": "box", "x": left, "width": RIGHT - left, **band})
    up.draw_up(svg, left, RIGHT)
    _due(svg, points, xs)
    group = draw(svg, "g", {"class": "series0"})
    ordered_ = sorted(points, key=lambda p: p.requests)
    places = [(xs[p.requests], up.at(p.value - p.retrained)) for p in ordered_]
    draw(group, "polyline", {"class": "curve", "points": path(places)})
    for (x, y), p in zip(places, ordered_, strict=True):
        low, high = (up.at(end) for end in p.interval)
        draw(group, "line", {"class": "reach", "x1": x, "x2": x, "y1": low, "y2": high})
        facts = {"data-requests": str(p.requests), "data-due": str(p.retraining_due).lower()}
        gap = round(p.value - p.retrained, 9)
        shape = "diamond" if p.retraining_due else "circle"
        marker(group, shape, x, y, {**facts, **data(gap, *p.interval)})
    return text_of(svg)


def _due(svg: ET.Element, points: Sequence[Point], xs: dict[int, float]) -> None:
    """A line at the first number of requests at which retraining is due; its name on top."""
    first = min((p.requests for p in points if p.retraining_due), default=None)
    if first is None:
        return
    x = xs[first]
    draw(svg, "line", {"class": "due", "x1": x, "x2": x, "y1": 16, "y2": BOTTOM})
    anchor = "start" if x < (48.0 + RIGHT) / 2 else "end"
    draw(svg, "text", {"class": "axis", "x": x, "y": 12, "text-anchor": anchor}, "retraining due")


def _across(names: Sequence[str], svg: ET.Element, left: float) -> list[float]:
    """Places at equal distances, each with its name under the axis where there is room."""
    gap = (RIGHT - left - 16) / max(1, len(names) - 1)
    xs = [left + 8 + gap * i for i in range(len(names))]
    every = max(1, round(18 / gap + 0.49))
    for i in range(0, len(names), every):
        group = draw(svg, "g", {"class": "tick"})
        under: Attributes = {"x": xs[i], "y": BOTTOM + 16, "text-anchor": "middle"}
        draw(group, "text", under, names[i])
    return xs
