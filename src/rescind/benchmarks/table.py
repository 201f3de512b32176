"""The table of one part as cells: which row comes where, what each says, and its exact numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rescind.benchmarks.details import span
from rescind.benchmarks.order import (
    VERDICTS,
    decimals,
    factors,
    ordered,
    percent,
    rejection_rate,
    seconds,
    share,
    size,
    verdict,
    worst_change,
)
from rescind.benchmarks.result import Line, Part
from rescind.core.judgement import Gap, Margin
from rescind.drawing import number
from rescind.metrics.scores import WEIGHTS
from rescind.picture import words

NONE = "–"  # noqa: RUF001 - a dash for a cell that has no number


COSTS = (
    ("AGL", ""),
    ("AGR", ""),
    ("H-LR", ""),
    ("Worst group", "points to retraining"),
    ("Processor time", "of retraining"),
    ("Steps", ""),
    ("Memory", "peak"),
    ("Bytes read", ""),
    ("Bytes stored", ""),
)


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell: its text, a smaller second line, what is told on hover, its class, exact numbers."""

    text: str
    note: str = ""
    hint: str = ""
    sign: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)

    @property
    def data(self) -> dict[str, str]:
        """Attributes that carry the numbers as they are stored."""
        return {f"data-{name}": repr(float(value)) for name, value in self.numbers.items()}


@dataclass(frozen=True, slots=True)
class Row:
    """A row with the number that it also has in the pictures; None for retrained models."""

    number: int | None
    name: str
    note: str
    sign: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """A table: its heads, a row for each method and control, and one for retrained models."""

    caption: str
    heads: tuple[Cell, ...]
    rows: tuple[Row, ...]


def verdict_grid(part: Part) -> Grid:
    """Verdict, the three ranks, and a gap with its interval for each margin."""
    heads = [Cell("Verdict"), *(Cell("Rank", name) for name in WEIGHTS)]
    heads += [Cell(words(m.metric), f"{m.role}, ±\u00a0{m.width:g}") for m in part.margins]
    rows = [
        _row(i, line, (_verdict(line), *_ranks(line), *_gaps(line, part.margins)))
        for i, line in enumerate(ordered(part), 1)
    ]
    foot = (_rejected(part), *(Cell(NONE) for _ in WEIGHTS), *_retrained(part))
    caption = "Gap to retrained models, with its 95 % interval"
    return Grid(caption, tuple(heads), (*rows, Row(None, "Retrained models", "", "", foot)))


def cost_grid(part: Part) -> Grid:
    """Scores, what the worst group pays beyond retraining, and what the method took."""
    heads = [Cell(text, note, "", "number") for text, note in COSTS]
    rows = [
        _row(i, line, (*_scores(line), _damage(line), *_cost(line, part)))
        for i, line in enumerate(ordered(part), 1)
    ]
    retrained = Line(name="", control=True, cost=part.retraining)
    foot = (*(Cell(NONE, sign="number") for _ in range(4)), *_cost(retrained, part))
    return Grid(
        "Scores, damage and cost",
        tuple(heads),
        (*rows, Row(None, "Retraining", f"{seconds(part.retraining.cpu_seconds)}", "", foot)),
    )


def _row(place: int, line: Line, cells: Sequence[Cell]) -> Row:
    notes = ["control"] if line.control else []
    notes += ["unchanged"] if line.unchanged else []
    sign = "control" if line.control else verdict(line)
    return Row(place, line.name, ", ".join(notes), sign, tuple(cells))


def _verdict(line: Line) -> Cell:
    because = line.judgement.because if line.judgement else line.refused
    return Cell(VERDICTS[verdict(line)], hint=because, sign=f"verdict {verdict(line)}")


def _ranks(line: Line) -> list[Cell]:
    cells = []
    for name in WEIGHTS:
        rank, saving = line.ranks.get(name), line.savings.get(name)
        hint = "" if saving is None else f"{saving:.3g} times less than retraining"
        numbers = {} if rank is None else {"rank": float(rank)}
        cells.append(Cell(NONE if rank is None else str(rank), "", hint, "rank", numbers))
    return cells


def _gaps(line: Line, margins: Sequence[Margin]) -> list[Cell]:
    found = {gap.metric: gap for gap in (line.judgement.gaps if line.judgement else ())}
    return [_gap(found[m.metric]) if m.metric in found else Cell(NONE) for m in margins]


def _gap(gap: Gap) -> Cell:
    low, high = gap.interval
    places = decimals(gap.margin)
    state = "within" if gap.equivalent else "outside" if gap.counts else "powerless"
    sign = {"within": "✓ ", "outside": "✗ ", "powerless": "no power "}[state]
    p = "does not count" if gap.p_corrected is None else f"p {gap.p_corrected:.2g} after Holm"
    hint = f"{number(gap.value)}, retrained {number(gap.retrained_mean)}; {p}"
    numbers = {"value": gap.gap, "low": low, "high": high, "margin": gap.margin}
    interval = f"{low:.{places}f} to {high:.{places}f}"
    return Cell(f"{sign}{gap.gap:+.{places}f}", interval, hint, f"gap {state}", numbers)


def _rejected(part: Part) -> Cell:
    rate = rejection_rate(part)
    if rate is None:
        return Cell(NONE, "no metric counts")
    return Cell(f"{percent(rate)} rejected", numbers={"rejected": rate})


def _retrained(part: Part) -> list[Cell]:
    found = {g.metric: g for ln in part.lines if ln.judgement for g in ln.judgement.gaps}
    cells = []
    for margin in part.margins:
        if (gap := found.get(margin.metric)) is None:
            cells.append(Cell(NONE))
            continue
        places = decimals(margin.width)
        mean, spread = f"{gap.retrained_mean:.{places}f}", f"{gap.natural_spread:.{places}f}"
        numbers = {"value": gap.retrained_mean, "spread": gap.natural_spread}
        cells.append(Cell(mean, f"SD {spread}", "between retrained models", "gap", numbers))
    return cells


def _scores(line: Line) -> list[Cell]:
    """The scores of the means; below each the interval of the seeds' own."""
    if (scores := line.scores) is None:
        return [Cell(NONE, sign="number") for _ in range(3)]
    agl = factors(scores.logit_parts)
    agr = factors(scores.representation_parts)
    why = scores.undefined
    return [
        score_cell("AGL", scores.agl, agl, line),
        score_cell("AGR", scores.agr, "; ".join(t for t in (why, agr) if t), line),
        score_cell("H-LR", scores.h_lr, why, line),
    ]


def score_cell(name: str, value: float | None, hint: str, line: Line) -> Cell:
    """A score of the means over seeds, with the interval of each seed's own below it."""
    if value is None:
        return Cell("undefined", "", hint, "number")
    numbers, note = {name.lower(): value}, ""
    if (seeds := line.seed_scores.get(name)) is not None:
        numbers["seeds"] = seeds.value
        hint = "; ".join(t for t in (hint, f"mean of each seed's own {seeds.value:.3f}") if t)
        if seeds.interval is not None:
            numbers |= {"low": seeds.interval[0], "high": seeds.interval[1]}
            note = f"seeds {span(seeds.interval, 3)}"
    return Cell(f"{value:.3f}", note, hint, "number", numbers)


def _damage(line: Line) -> Cell:
    if (found := worst_change(line)) is None:
        return Cell(NONE, sign="number")
    name, change = found
    hint = f"{change.change:+.4f}, retraining {change.retrained_change:+.4f}, on {name} inputs"
    numbers, note = {"beyond": round(change.beyond, 9)}, name
    if change.beyond_interval is not None:
        low, high = change.beyond_interval
        numbers |= {"low": low, "high": high}
        note = f"{100 * low:.1f} to {100 * high:.1f}, {name}"
    return Cell(f"{100 * change.beyond:+.1f}", note, hint, "number", numbers)


def _cost(line: Line, part: Part) -> list[Cell]:
    if (cost := line.cost) is None:
        return [Cell(NONE, sign="number") for _ in range(5)]
    part_of = share(line, part)
    spent = {"cpu-seconds": cost.cpu_seconds}
    told = NONE if part_of is None else percent(part_of)
    return [
        Cell(told, "", seconds(cost.cpu_seconds), "number", spent),
        Cell(number(cost.steps), "", "", "number", {"steps": cost.steps}),
        *(
            Cell(size(getattr(cost, name)), "", "", "number", {name.replace("_", "-"): n})
            for name in ("peak_bytes", "bytes_read", "bytes_stored")
            for n in (float(getattr(cost, name)),)
        ),
    ]
