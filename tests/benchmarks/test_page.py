"""The page says what the JSON says, and no more. All numbers here are made up."""

from __future__ import annotations

import functools
import itertools
import json
import re
from collections.abc import Callable
from dataclasses import replace
from math import hypot
from typing import Any

import made_up
import pytest

from fixtures_report import Page
from rescind.benchmarks.depth import depths
from rescind.benchmarks.details import details
from rescind.benchmarks.order import distance, ordered, verdict, worst
from rescind.benchmarks.page import summary, to_html
from rescind.benchmarks.panels import drifts, layer_names, profiles
from rescind.benchmarks.plots import Bent, costs, dots, ends, gaps, labels, overlap
from rescind.benchmarks.result import Line, Part, Result
from rescind.benchmarks.stored import rounded, to_json
from rescind.core.errors import BadData

HOSTILE = '<script>alert("x")</script> & ]]> </style>'
NAMES = {*made_up.METHODS, *made_up.CONTROLS, "influence"}


@functools.cache
def page() -> Page:
    return Page(to_html(made_up.result()))


@functools.cache
def stored() -> Any:
    return json.loads(to_json(made_up.result()))


def only(part: Part) -> Result:
    return replace(made_up.result(), parts=(part,), sequence=())


def with_line(part: Part, name: str, change: Callable[[Line], Line]) -> Part:
    return replace(part, lines=tuple(change(ln) if ln.name == name else ln for ln in part.lines))


def section(at: Page, number: int) -> dict[str, Any]:
    found: dict[str, Any]
    (found,) = at.find("section", id=f"part-{number}")
    return found


@pytest.mark.parametrize("make", [made_up.result, made_up.bare])
def test_the_page_is_well_formed_and_refers_to_nothing_outside(make: Any) -> None:
    text = to_html(make())
    at = Page(text)
    assert "://" not in text and "url(" not in text and "@import" not in text
    assert not at.find("script") and not at.find("link") and not at.find("img")
    names = {key for e in at.elements for key in e if key not in ("tag", "text", "up")}
    assert not names & {"src", "srcset", "action", "style"}
    ids = {e["id"] for e in at.elements if "id" in e}
    links = [e["href"] for e in at.find("a")]
    assert all(link.startswith("#") and link[1:] in ids for link in links)
    assert len(links) == len(make().parts)


def test_no_name_or_reason_becomes_markup() -> None:
    part = made_up.part()
    first, *rest = part.lines
    bad = replace(rest[0], name=HOSTILE, parameters={HOSTILE: HOSTILE})
    hostile = replace(
        part,
        model=HOSTILE,
        forget_set=HOSTILE,
        notes=(HOSTILE,),
        lines=(replace(first, refused=HOSTILE), bad, *rest[1:]),
    )
    text = to_html(replace(only(hostile), what=HOSTILE, command=HOSTILE, not_applicable=(HOSTILE,)))
    Page(text)
    assert "<script" not in text and text.count("&lt;script&gt;") > 10


def test_it_says_what_was_run_and_where() -> None:
    (head,) = page().find("header")
    result = made_up.result()
    for said in (result.what, result.command, result.system, "Threads", "4.8 h"):
        assert said in head["text"]
    assert "are no figures" not in head["text"]
    assert "are no figures" in Page(to_html(made_up.bare())).find("header")[0]["text"]


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_every_line_has_its_row_in_both_tables(number: int) -> None:
    at = page()
    for table in at.inside(section(at, number), "table")[:2]:
        rows = [e["data-row"] for e in at.inside(table, "tr") if "data-row" in e]
        assert sorted(rows[:-1]) == sorted(NAMES)
        assert rows[-1].startswith("Retrain")


def test_rows_are_ranked_then_not_admissible_then_controls_then_refused() -> None:
    names = [ln.name for ln in ordered(made_up.part())]
    assert names[:2] == ["salun", "scrub"]
    assert set(names[2:9]) == set(made_up.METHODS) - {"salun", "scrub"}
    assert set(names[9:-1]) == set(made_up.CONTROLS) and names[-1] == "influence"
    shuffled = replace(made_up.part(), lines=tuple(reversed(made_up.part().lines)))
    assert [ln.name for ln in ordered(shuffled)] == names


def test_figures_of_the_page_are_those_of_the_json() -> None:
    at = page()
    for i, part in enumerate(stored()["parts"], 1):
        first, second = at.inside(section(at, i), "table")[:2]
        lines = {ln["name"]: ln for ln in part["lines"]}
        for row in (e for e in at.inside(first, "tr") if e.get("data-row") in lines):
            line = lines[row["data-row"]]
            told = [
                tuple(float(c[f"data-{k}"]) for k in ("value", "low", "high", "margin"))
                for c in at.inside(row, "td")
                if "data-margin" in c
            ]
            found = (line["judgement"] or {"gaps": []})["gaps"]
            assert told == [(g["gap"], *g["interval"], g["margin"]) for g in found]
            ranks = [float(c["data-rank"]) for c in at.inside(row, "td") if "data-rank" in c]
            names = ("balanced", "fast", "small")
            given = [line["ranks"].get(name) for name in names]
            assert ranks == [rank for rank in given if rank is not None]
        for row in (e for e in at.inside(second, "tr") if e.get("data-row") in lines):
            line = lines[row["data-row"]]
            cells = {k: float(v) for c in at.inside(row, "td") for k, v in c.items() if "data" in k}
            cost, score = line["cost"] or {}, line["scores"] or {}
            for name in (*cost, "agl", "agr", "h_lr"):
                value = {**cost, **score}.get(name)
                assert cells.get(f"data-{name.replace('_', '-')}") == value, name
            if line["damage"]:
                changes = [c for d in line["damage"].values() for c in d["changes"]]
                beyond = [
                    c["change"] - c["retrained_change"] for c in changes if c["of"] == "worst"
                ]
                assert cells["data-beyond"] == pytest.approx(min(beyond), abs=1e-8)


def test_what_retraining_took_and_spreads_stand_below_the_methods() -> None:
    at = page()
    first, second = at.inside(section(at, 1), "table")[:2]
    (row,) = [e for e in at.inside(first, "tr") if e.get("data-row") == "Retrained models"]
    spreads = [float(c["data-spread"]) for c in at.inside(row, "td") if "data-spread" in c]
    assert spreads == pytest.approx([0.1 * m.width for m in made_up.MARGINS])
    assert "12.5 % rejected" in row["text"]
    (row,) = [e for e in at.inside(second, "tr") if e.get("data-row") == "Retraining"]
    assert "100 %" in row["text"] and "4,690" in row["text"] and "13.5 min" in row["text"]


def test_facts_of_a_part_are_told() -> None:
    text = section(page(), 1)["text"]
    for said in (
        "remove the influence of the records",
        "12.5 %",
        "7.12 % of one retraining",
        "biased 0.4120, unbiased -0.0013",
        "A note on this part.",
        "Search for parameters: all trials",
        "failed: the loss is not finite after step 12",
        "Not yet: the Fisher matrix is too large here.",
    ):
        assert said in text


def test_margins_are_not_said_to_be_older_than_every_run() -> None:
    text = page().find("main")[0]["text"]
    assert "before anything was run" not in text
    assert "Margins stand in the recipe." in text
    assert "runs had been made under older margins" in text


def test_what_a_shallow_edit_passes_stands_beside_the_floor_of_cka() -> None:
    for number, part in enumerate(made_up.result().parts, 1):
        (found,) = depths(part)
        terms = [e["text"] for e in page().inside(section(page(), number), "dt")]
        assert terms[terms.index(f"Shallow edit: {found.name}") - 1].startswith("CKA of unrelated")
        assert found.told in section(page(), number)["text"]
    assert "features have no power on this forget set" in section(page(), 2)["text"]


def test_the_time_of_a_search_is_told_where_it_is_known() -> None:
    assert "search for parameters, shared" not in section(page(), 1)["text"]
    searched = replace(made_up.part(), search_cpu_seconds=7200.0)
    text = section(Page(to_html(only(searched))), 1)["text"]
    assert "The search for parameters, shared by all parts of the model2 h of processor" in text


INFLUENCE = "remove the influence of the records"


def test_every_section_and_every_table_behind_it_names_its_goal() -> None:
    at = page()
    (table,) = at.find("table", **{"class": "overview"})
    told = [at.inside(row, "td")[-1]["text"] for row in at.inside(table, "tr")[1:]]
    assert told == [INFLUENCE] * 4
    for number in range(1, 5):
        behind = at.inside(section(at, number), "details")
        captions = [at.inside(each, "caption")[0]["text"] for each in behind]
        assert len(captions) == 7 and set(captions) == {f"Goal: {INFLUENCE}."}
    (sequence,) = [e for e in at.find("section") if "Request after request" in e["text"]]
    assert f"Goal: {INFLUENCE}. The gap to models retrained" in sequence["text"]
    (numbers,) = at.inside(sequence, "table")
    cells = [at.inside(row, "td")[-1]["text"] for row in at.inside(numbers, "tr")[1:]]
    assert cells == [INFLUENCE] * len(made_up.sequence())
    classes = Page(to_html(made_up.classes("resnet")))
    (found,) = classes.find("section", id="by-class")
    assert f"Goal: {INFLUENCE}." in found["text"]


def test_the_goal_told_is_that_of_the_record() -> None:
    part = replace(made_up.class_part("class bag", "class", 900, 1.0, True), goal="concept")
    point = replace(made_up.sequence()[0], goal="concept")
    at = Page(to_html(replace(only(part), sequence=(point,))))
    (found,) = at.find("section", id="by-class")
    (sequence,) = [e for e in at.find("section") if "Request after request" in e["text"]]
    assert "Goal: remove a concept." in found["text"]
    assert "Goal: remove a concept." in sequence["text"]
    assert INFLUENCE not in at.find("body")[0]["text"]


def behind(title: str, name: str) -> list[dict[str, str]]:
    """The rows of a method in a table behind the first part, by column; equal heads are counted."""
    (table,) = [t for told, t in details(rounded(made_up.result()).parts[0]) if told == title]
    heads = [f"{h} {table.columns[: i + 1].count(h)}" for i, h in enumerate(table.columns)]
    return [dict(zip(heads, row, strict=True)) for row in table.rows if row[0] == name]


def test_what_decides_nothing_is_a_gap_with_an_interval_too() -> None:
    found = {row["Measure 1"]: row for row in behind("Measures that decide nothing", "scrub")}
    agreement = found["Agreement"]
    assert agreement["Gap 1"] == "-0.0031"
    assert agreement["95 % interval 1"] == "-0.0231 to +0.0169"
    assert found["Klom"]["95 % interval 1"] == "none"
    layer = behind("Layer profiles", "scrub")[1]
    assert layer["Gap to ceiling 1"] == "-0.0062"
    assert layer["95 % interval 1"] == "-0.0362 to +0.0238"


def test_scores_and_damage_have_an_interval_over_seeds() -> None:
    rows = behind("Scores and their parts", "scrub")
    (seeds,) = [
        r for r in rows if (r["Score 1"], r["Part 1"]) == ("H-LR", "mean of each seed's own")
    ]
    line = next(ln for ln in made_up.part().lines if ln.name == "scrub")
    assert line.scores and line.scores.h_lr
    mean, low, high = (f"{share * line.scores.h_lr:.4f}" for share in (0.9, 0.8, 0.95))
    assert (seeds["Factor 1"], seeds["95 % interval 1"]) == (mean, f"{low} to {high}")
    worst = behind("Who pays: accuracy by subgroup", "scrub")[-2]
    change = next(c for c in line.damage["corrupted"].changes if c.of == "worst")
    assert worst["Group 1"] == "Worst" and change.interval and change.beyond_interval
    for column, expected in (("1", change.interval), ("3", change.beyond_interval)):
        told = [float(n) for n in worst[f"95 % interval {column}"].split(" to ")]
        assert told == pytest.approx(expected, rel=1e-3, abs=1e-6)


def test_cells_of_scores_and_of_the_worst_group_carry_their_intervals() -> None:
    at = page()
    rows = at.inside(at.inside(section(at, 1), "table")[1], "tr")
    (row,) = [e for e in rows if e.get("data-row") == "scrub"]
    (line,) = [ln for ln in stored()["parts"][0]["lines"] if ln["name"] == "scrub"]
    for name, of in (("agl", "AGL"), ("agr", "AGR"), ("h-lr", "H-LR")):
        (cell,) = [c for c in at.inside(row, "td") if f"data-{name}" in c]
        found = [float(cell[f"data-{key}"]) for key in ("seeds", "low", "high")]
        assert found == [line["seed_scores"][of]["value"], *line["seed_scores"][of]["interval"]]
        assert f"seeds {found[1]:.3f} to {found[2]:.3f}" in cell["text"]
    (cell,) = [c for c in at.inside(row, "td") if "data-beyond" in c]
    changes = [c for c in line["damage"]["clean"]["changes"] if c["of"] == "worst"]
    assert [float(cell["data-low"]), float(cell["data-high"])] == changes[0]["beyond_interval"]


def test_a_concept_is_not_measured_against_retraining() -> None:
    refused = Line(name="rmu", control=False, refused="Another question.")
    part = replace(made_up.part(), goal="concept", lines=(refused,))
    text = section(Page(to_html(only(part))), 1)["text"]
    assert "remove a concept" in text and "Retraining is no reference" in text
    assert "no picture of gaps" in text and "no metric counts" in text


def test_no_power_and_display_only_are_said_and_never_ranked() -> None:
    at = page()
    for number, said in ((2, "no success of any method"), (3, "3 retrained models show, but")):
        here = section(at, number)
        assert said in here["text"]
        assert not [c for c in at.inside(here, "td") if "data-rank" in c]
    cells = [c for c in at.inside(section(at, 2), "td") if "data-margin" in c]
    powerless = [c for c in cells if "no power" in c["text"]]
    lines = [ln for ln in made_up.part().lines if ln.judgement]
    assert len(powerless) == 4 * len(lines) and len(cells) == 7 * len(lines)
    assert not [c for c in powerless if "✓" in c["text"] or "✗" in c["text"]]


def test_an_undefined_score_is_said_and_has_no_number() -> None:
    at, part = page(), section(page(), 3)
    rows = at.inside(at.inside(part, "table")[1], "tr")
    (row,) = [e for e in rows if e.get("data-row") == "salun"]
    assert row["text"].count("undefined") == 2
    told = {name for c in at.inside(row, "td") for name in c}
    assert "data-agl" in told and not told & {"data-agr", "data-h-lr"}
    assert "The normalised CKA is undefined." in part["text"]


def test_that_no_method_is_admissible_is_said() -> None:
    assert "No method is admissible" in section(page(), 4)["text"]
    assert "No method is admissible" not in section(page(), 1)["text"]


def test_the_overview_names_the_first_of_each_part() -> None:
    at = page()
    (table,) = at.find("table", **{"class": "overview"})
    rows = [[c["text"] for c in at.inside(r, "td")] for r in at.inside(table, "tr")[1:]]
    assert [row[1:3] for row in rows] == [
        ["2 of 10", "salun"],
        ["0 of 10", "none"],
        ["display only", "none"],
        ["0 of 10", "none"],
    ]


RANKED = {"balanced": 1, "fast": 1, "small": 1}


@pytest.mark.parametrize("show", [to_html, summary])
@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("no-op", lambda ln: replace(ln, ranks=RANKED)),
        ("scrub", lambda ln: replace(ln, unchanged=True)),
        ("finetune", lambda ln: replace(ln, ranks=RANKED)),
        ("retrained against retrained", lambda ln: replace(ln, ranks=RANKED)),
        ("influence", lambda ln: replace(ln, ranks={"fast": 2})),
    ],
    ids=["no-op", "unchanged", "not admissible", "control", "refused"],
)
def test_a_rank_for_what_may_not_be_ranked_is_refused(name: str, change: Any, show: Any) -> None:
    part = with_line(made_up.part(), name, change)
    with pytest.raises(BadData, match=rf"'{name}' on 'random 10 %' has a rank and is "):
        show(only(part))


def test_a_no_op_never_has_a_rank_although_it_is_the_cheapest() -> None:
    part = made_up.part()
    noop = next(ln for ln in part.lines if ln.name == "no-op")
    assert noop.savings["balanced"] > max(
        ln.savings["balanced"] for ln in part.lines if ln.name in made_up.METHODS
    )
    at = page()
    rows = [e for e in at.find("tr") if e.get("data-row") in ("no-op", "original")]
    assert len(rows) == 16
    assert not [c for row in rows for c in at.inside(row, "td") if "data-rank" in c]
    assert all("unchanged" in row["text"] for row in rows)


def test_an_interval_that_is_not_of_the_gap_is_refused() -> None:
    result = made_up.result()
    first = result.sequence[0]
    wrong = replace(first, interval=(first.value - 0.008, first.value + 0.008))
    with pytest.raises(BadData, match="not in its interval"):
        to_html(replace(result, sequence=(wrong, *result.sequence[1:])))


def test_dots_stand_at_their_gaps_and_the_box_ends_at_one_margin() -> None:
    part = made_up.part()
    at = Page(str(gaps(part)))
    (box,) = at.find("rect", **{"class": "box"})
    points = {e["data-number"]: e for e in at.find("g") if "data-number" in e}
    assert len(points) == len(dots(part)) == 14
    right, top = float(box["x"]) + float(box["width"]), float(box["y"])
    for dot in dots(part):
        group = points[str(dot.number)]
        assert float(group["data-forget"]) == dot.forget.gap
        across, up = at.inside(group, "line")
        x, y = float(up["x1"]), float(across["y1"])
        assert (x < right) == (distance(dot.forget) < 1) and (y > top) == (
            distance(dot.utility) < 1
        )
        assert float(across["x1"]) <= x <= float(across["x2"])


def test_a_bent_scale_is_straight_to_one_and_logarithmic_beyond() -> None:
    scale = Bent(100.0, 0.0, 300.0)
    assert [scale.at(v) for v in (0.0, 0.5, 1.0, 10.0, 100.0)] == pytest.approx(
        [0.0, 50.0, 100.0, 200.0, 300.0]
    )
    assert scale.ticks == (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
    assert Bent.over([0.1], 0.0, 1.0).top > 2.0
    assert Bent(3000.0, 0.0, 1.0).ticks == (0.0, 0.5, 1.0, 10.0, 100.0, 1000.0)


def test_an_interval_around_zero_begins_at_zero_margins() -> None:
    gap = made_up.gap(made_up.MARGINS[0], 0.2, True)
    assert ends(gap) == pytest.approx((0.0, 0.6))
    assert ends(replace(gap, gap=-0.2, interval=(-0.3, -0.1))) == pytest.approx((2.0, 6.0))


@pytest.mark.parametrize("same", [1, 6, 18])
def test_numbers_of_dots_never_overlap_even_where_dots_do(same: int) -> None:
    part = made_up.part()
    one = next(ln for ln in part.lines if ln.name == "ssd")
    copies = tuple(replace(one, name=f"twin {i}") for i in range(same))
    crowded = replace(part, lines=(*part.lines, *copies))
    points = dots(crowded)
    across = Bent.over([n for d in points for n in ends(d.forget)], 46.0, 428.0)
    up = Bent.over([n for d in points for n in ends(d.utility)], 352.0, 24.0)
    places = [(across.at(distance(d.forget)), up.at(distance(d.utility))) for d in points]
    boxes = labels(points, places)
    assert not [(a, b) for i, a in enumerate(boxes) for b in boxes[:i] if overlap(a, b)]
    marks = [(x - 4, y - 4, x + 4, y + 4) for x, y in places]
    assert not [(a, b) for a in boxes for b in marks if overlap(a, b)]
    assert all(b[0] > 0 and b[2] < 440 and b[1] > 0 and b[3] < 352 for b in boxes)
    near = [
        hypot((b[0] + b[2]) / 2 - x, (b[1] + b[3]) / 2 - y)
        for b, (x, y) in zip(boxes, places, strict=True)
    ]
    assert max(near) < 125


def test_overlapping_boxes_are_seen() -> None:
    assert overlap((0, 0, 2, 2), (1, 1, 3, 3))
    assert not overlap((0, 0, 2, 2), (2, 0, 4, 2)) and not overlap((0, 0, 2, 2), (0, 3, 2, 4))


def test_the_worst_gap_is_one_that_counts_where_any_does() -> None:
    scrub = next(ln for ln in made_up.part().lines if ln.name == "scrub")
    assert scrub.judgement
    wide = tuple(
        replace(g, gap=9 * g.margin) if g.metric == "forget_entropy_membership" else g
        for g in scrub.judgement.gaps
    )
    line = replace(scrub, judgement=replace(scrub.judgement, gaps=wide))
    found = worst(line, "forgetting")
    assert found and found.metric == "forget_accuracy" and found.counts
    powerless = next(ln for ln in made_up.part(power=False).lines if ln.name == "scrub")
    found = worst(powerless, "forgetting")
    assert found and not found.counts


def test_bars_of_cost_are_on_a_logarithmic_scale_from_retraining() -> None:
    drawn = costs(made_up.part())
    at = Page(str(drawn))
    bars = {
        e["text"].partition(":")[0].partition(" ")[2]: e for e in at.find("g", **{"class": "cost"})
    }
    assert set(bars) == NAMES - {"influence"}
    width = {n: float(r[0]["width"]) for n, e in bars.items() if (r := at.inside(e, "rect"))}
    assert width["finetune"] < width["scrub"] < width["ssd"] < width["random re-initialisation"]
    assert "no-op" not in width and "not on this scale" in bars["no-op"]["text"]
    rows = {n: float(e["data-value"]) for n, e in bars.items()}
    assert rows["scrub"] == pytest.approx(0.12)
    ticks = [e for e in at.find("g") if "data-tick" in e]
    xs = [float(at.inside(e, "line")[0]["x1"]) for e in ticks]
    steps = [b - a for a, b in itertools.pairwise(xs)]
    assert steps == pytest.approx([steps[0]] * len(steps)) and len(steps) == 4


def test_there_are_no_bars_without_a_cost() -> None:
    lines = tuple(replace(ln, cost=None) for ln in made_up.part().lines)
    part = replace(made_up.part(), lines=lines)
    assert costs(part) is None
    assert "share of one retraining" not in section(Page(to_html(only(part))), 1)["text"]


def test_layer_profiles_carry_value_floor_and_ceiling() -> None:
    part = made_up.part()
    found = profiles(part)
    assert [p.name.partition(" ")[2] for p in found] == [ln.name for ln in ordered(part)[:-1]]
    assert layer_names(part) == made_up.LAYERS
    for panel, line in zip(found, ordered(part), strict=False):
        dots_ = Page(str(panel.picture)).find("circle")
        told = [
            (e["data-layer"], *(float(e[f"data-{k}"]) for k in ("value", "low", "high")))
            for e in dots_
        ]
        assert told == [(la.name, la.value, la.floor, la.ceiling) for la in line.layers]
        assert "data-normalised" not in dots_[0] and "data-normalised" in dots_[1]


def test_a_sequence_shows_gap_margin_and_where_retraining_is_due() -> None:
    points = made_up.sequence()
    found = {(d.metric, p.name): p.picture for d in drifts(points) for p in d.panels}
    assert len(found) == 4
    for (metric, ran), picture in found.items():
        at = Page(str(picture))
        mine = [p for p in points if (p.metric, f"{p.method} on {p.model}") == (metric, ran)]
        marks = [e for e in at.elements if "data-requests" in e]
        assert [int(e["data-requests"]) for e in marks] == [1, 2, 5, 10]
        gaps_ = [p.value - p.retrained for p in mine]
        assert [float(e["data-value"]) for e in marks] == pytest.approx(gaps_, abs=1e-8)
        (band,) = at.find("rect", **{"class": "box"})
        top, bottom = float(band["y"]), float(band["y"]) + float(band["height"])
        middles = [_middle(e) for e in marks]
        inside = [top < y < bottom for y in middles]
        assert inside == [abs(g) < mine[0].margin for g in gaps_]
        first = [i for i, p in enumerate(mine) if p.retraining_due]
        due = at.find("line", **{"class": "due"})
        assert len(due) == bool(first)
    assert any(p.retraining_due for p in points)


def _middle(mark: dict[str, Any]) -> float:
    if "cy" in mark:
        return float(mark["cy"])
    ys = [float(pair.split(",")[1]) for pair in mark["points"].split()]
    return (min(ys) + max(ys)) / 2


def test_an_empty_result_says_that_it_is_empty() -> None:
    text = Page(to_html(made_up.bare())).find("body")[0]["text"]
    assert "No part has been computed yet" in text
    assert "No sequence of requests was measured" in text
    assert "None" not in re.sub(r"None\b(?= of)", "", text)


def test_rankings_and_what_does_not_apply_are_told() -> None:
    text = page().find("main")[0]["text"]
    assert "pullover, dress, bag" in text and "+0.50" in text and "no text encoder" in text
    assert "Top classes by text: no text encoder is installed." in text


def test_every_picture_has_a_name_for_those_who_do_not_see_it() -> None:
    pictures = page().find("svg")
    assert len(pictures) > 60
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in pictures)


def test_the_terminal_has_a_line_for_each_method() -> None:
    text = summary(made_up.result())
    blocks = text.split("\n\n")
    assert blocks[0] == "fashion: 4 parts" and len(blocks) == 5
    for block, part in zip(blocks[1:], made_up.result().parts, strict=True):
        head, columns, *rows = block.splitlines()
        assert part.forget_set in head and "12.5 % of them not admitted" in head
        assert ("display only" in head) == (not part.decides)
        assert len(rows) == len(part.lines)
        for row, line in zip(rows, ordered(part), strict=True):
            assert line.name in row and verdict(line).replace("_", " ") in row
            start = columns.index("method")
            assert row[start:].startswith(line.name)
            assert bool(re.match(r" +\d", row)) == any(r for r in line.ranks.values())
    assert re.search(r"2/2/2 .* scrub .* admissible .* 0\.31 .* forget_accuracy .* 12 %", text)
    assert "quick: for a look" in summary(made_up.bare())
