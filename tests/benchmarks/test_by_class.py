"""Top classes beside the others: figures of the JSON, means that leave out what is undefined."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import made_up
import pytest

from fixtures_report import Page
from rescind.benchmarks.by_class import Against, against, by_class, columns
from rescind.benchmarks.fashion import TRAINED, Fashion
from rescind.benchmarks.order import ordered
from rescind.benchmarks.page import to_html
from rescind.benchmarks.plots import overlap
from rescind.benchmarks.result import Line, Part, Result
from rescind.benchmarks.stored import rounded, to_json

TITLES = (
    "top 1 class",
    "top 2 classes",
    "class sneaker",
    "class dress",
    "class boot",
    "class bag",
)


@functools.cache
def result() -> Result:
    return rounded(made_up.classes("resnet", "vit"))


@functools.cache
def whole() -> Page:
    return Page(to_html(result()))


def section(given: Result | None = None) -> tuple[Page, dict[str, Any]]:
    at = Page(to_html(given)) if given else whole()
    (found,) = at.find("section", id="by-class")
    return at, found


def grids(at: Page, found: dict[str, Any]) -> list[dict[str, Any]]:
    return [e for e in at.inside(found, "table") if e.get("class") == "grid"]


def of_model(model: str, given: Result | None = None) -> list[Part]:
    return [p for p in (given or result()).parts if p.model == model]


def points(given: Sequence[Part]) -> dict[str, Against]:
    return {p.name: p for p in against(columns(given, result().rankings[0]))}


def changed(given: Result, forget_set: str, change: Callable[[Line], Line]) -> Result:
    parts = tuple(
        replace(p, lines=tuple(map(change, p.lines))) if p.forget_set == forget_set else p
        for p in given.parts
    )
    return replace(given, parts=parts)


def without_scores(name: str) -> Callable[[Line], Line]:
    return lambda ln: replace(ln, scores=None) if ln.name == name else ln


def test_every_cell_carries_the_stored_scores_and_never_a_zero_for_undefined() -> None:
    at, here = section()
    stored = json.loads(to_json(result()))["parts"]
    assert len(grids(at, here)) == 2
    for model, grid in zip(("resnet", "vit"), grids(at, here), strict=True):
        assert grid["aria-label"].startswith(f"{model}:")
        head, *rows = at.inside(grid, "tr")
        heads = [e["text"] for e in at.inside(head, "th")]
        assert len(heads) == 1 + len(TITLES) + 1
        assert all(text.startswith(t) for text, t in zip(heads[1:], TITLES, strict=False))
        lines = {
            (p["forget_set"], ln["name"]): ln
            for p in stored
            if p["model"] == model
            for ln in p["lines"]
        }
        assert len(rows) == len({name for _, name in lines})
        for row, title in itertools.product(rows, TITLES):
            cell = at.inside(row, "td")[TITLES.index(title)]
            line = lines[title, row["data-row"]]
            scores, seeds = line["scores"], line["seed_scores"].get("H-LR")
            told = {k: float(v) for k, v in cell.items() if k.startswith("data-")}
            if scores is None:
                assert not told and cell["text"] == "–"  # noqa: RUF001 - a dash, as in the table
                continue
            values = {"data-agl": scores["agl"], "data-agr": scores["agr"]}
            values["data-h-lr"] = scores["h_lr"]
            if scores["h_lr"] is not None and seeds is not None:
                low, high = seeds["interval"] or (None, None)
                values |= {"data-seeds": seeds["value"], "data-low": low, "data-high": high}
            assert told == {k: v for k, v in values.items() if v is not None}
            assert ("undefined" in cell["text"]) == (scores["h_lr"] is None)
            assert (title == "class boot") == (scores["h_lr"] is None)


def test_the_mean_is_over_other_classes_whose_score_is_defined() -> None:
    at, here = section()
    scores = {
        (p.forget_set, ln.name): ln.scores.h_lr
        for p in of_model("resnet")
        for ln in p.lines
        if ln.scores
    }
    found = points(of_model("resnet"))
    (row,) = [e for e in at.inside(grids(at, here)[0], "tr") if e.get("data-row") == "ssd"]
    defined = [scores[f"class {c}", "ssd"] for c in ("sneaker", "dress", "bag")]
    numbers = [value for value in defined if value is not None]
    mean = sum(numbers) / 3
    cell = at.inside(row, "td")[-1]
    assert float(cell["data-others"]) == pytest.approx(mean, abs=1e-8)
    assert float(cell["data-of"]) == 3 and "over 3" in cell["text"]
    assert scores["class boot", "ssd"] is None and mean > 0.5
    ssd = found["ssd"]
    assert (ssd.top, ssd.of) == (scores["top 1 class", "ssd"], 3)
    assert ssd.others == pytest.approx(mean, abs=1e-8)
    assert (ssd.least, ssd.largest) == (min(numbers), max(numbers))


def test_classes_are_in_the_order_by_predictions_whatever_the_order_of_parts() -> None:
    parts, ranking = of_model("resnet"), result().rankings[0]
    for some in (parts, parts[::-1]):
        assert tuple(c.title for c in columns(some, ranking)) == TITLES
    turned = replace(ranking, predictions=ranking.predictions[::-1])
    titles = [c.title for c in columns(parts, turned)]
    assert titles[2:] == ["class bag", "class boot", "class dress", "class sneaker"]
    odd = replace(parts[0], forget_set="random 5 classes")
    assert columns([odd, *parts], ranking)[-1].title == "random 5 classes"


def test_a_set_of_one_class_is_named_after_it() -> None:
    parts, ranking = of_model("resnet"), result().rankings[0]
    assert [c.name for c in columns(parts, ranking)[:3]] == ["pullover", "", "sneaker"]
    at, here = section()
    heads = [e["text"] for e in at.inside(at.inside(grids(at, here)[0], "tr")[0], "th")]
    assert "pullover, place 2, by names 1" in heads[1]
    assert "place 1, by names 3" in heads[3] and "place" not in heads[2]


def test_the_orders_and_their_agreement_stand_in_the_section_once() -> None:
    at, here = section()
    assert "sneaker, pullover, dress, boot, bag" in here["text"] and "+0.12" in here["text"]
    assert "pullover, dress, sneaker, bag, boot" in here["text"]
    body = at.find("body")[0]["text"]
    assert body.count("top 1 class was declared as pullover") == 1
    assert "declared as pullover" in here["text"]
    assert "Another thing" not in here["text"] and "Another thing: there is none." in body


def test_what_is_undefined_is_told_with_its_reason() -> None:
    _, here = section()
    said = "Undefined on class boot for 14 of 14 rows. The normalised CKA is undefined."
    assert here["text"].count(said) == 2
    missing = changed(result(), "class bag", without_scores("ssd"))
    told = "Undefined on class bag for 1 of 14 rows. No score was computed."
    assert all(told in view.notes for view in by_class(missing).models)
    assert points(of_model("resnet", missing))["ssd"].of == 2


def test_a_row_without_a_defined_score_of_the_top_set_is_not_drawn() -> None:
    found = changed(result(), "top 1 class", without_scores("ssd"))
    assert "ssd" in points(of_model("resnet"))
    assert "ssd" not in points(of_model("resnet", found))
    view = by_class(found).models[0]
    told = "Not in the picture, for want of a defined score: ssd, influence."
    assert told in view.notes
    assert "ssd" not in [name for _, name, _ in view.points]


def test_without_any_defined_score_of_the_others_there_is_no_picture() -> None:
    parts = [p for p in of_model("resnet") if p.forget_set in ("top 1 class", "class boot")]
    assert points(parts) == {}
    view = by_class(replace(result(), parts=tuple(parts))).models[0]
    assert view.picture is None
    assert "class boot" in view.notes[0] and "random re-init" in view.notes[-1]
    means = [row.cells[-1] for row in view.grid.rows]
    assert {(c.text, len(c.numbers)) for c in means} == {("–", 0)}  # noqa: RUF001 - a dash


@pytest.mark.parametrize(
    ("kept", "said"),
    [("class bag", "No top class has been"), ("top 1 class", "No other class has been")],
)
def test_one_class_alone_has_a_table_and_nothing_to_be_set_against(kept: str, said: str) -> None:
    parts = tuple(p for p in of_model("vit") if p.forget_set == kept)
    at, here = section(replace(result(), parts=parts))
    (grid,) = grids(at, here)
    assert [len(at.inside(row, "td")) for row in at.inside(grid, "tr")[1:]] == [1] * 15
    assert said in here["text"] and not at.inside(here, "svg")
    assert "measured last" not in here["text"]


@pytest.mark.parametrize(
    ("rankings", "parts", "lines", "said"),
    [
        (False, True, ("Top classes: no class is left for it.",), "no class is left for it"),
        (False, True, (), "No order of classes by likeness to a downstream set was measured."),
        (False, False, ("Classes and top classes: it has none.",), "it has none"),
        (True, False, (), "No part that forgets a whole class has been computed yet."),
    ],
)
def test_where_there_is_no_such_structure_the_reason_is_told(
    rankings: bool, parts: bool, lines: tuple[str, ...], said: str
) -> None:
    given = replace(
        result(),
        rankings=result().rankings if rankings else (),
        parts=result().parts[:1] if parts else (),
        not_applicable=lines,
    )
    at, here = section(given)
    assert said in here["text"] and not grids(at, here)
    assert at.find("body")[0]["text"].count(said) == 1


def test_models_have_tables_of_their_own() -> None:
    some = tuple(
        p for p in result().parts if p.model == "resnet" or p.forget_set in ("top 1 class",)
    )
    views = by_class(replace(result(), parts=some)).models
    assert [v.model for v in views] == ["resnet", "vit"]
    assert [len(v.grid.heads) for v in views] == [7, 1]
    assert [v.picture is None for v in views] == [False, True]


def test_dots_stand_below_the_diagonal_where_the_top_class_scores_less() -> None:
    (view, _) = by_class(result()).models
    at = Page(str(view.picture))
    (even,) = at.find("line", **{"class": "even"})
    corner = {k: float(even[k]) for k in ("x1", "x2", "y1", "y2")}
    assert corner["x2"] - corner["x1"] == corner["y1"] - corner["y2"]
    groups = {g["data-number"]: g for g in at.find("g") if "data-number" in g}
    expected = points(of_model("resnet"))
    assert {int(n) for n in groups} == {p.number for p in expected.values()}
    below = 0
    for point in expected.values():
        group = groups[str(point.number)]
        told = [float(group[f"data-{k}"]) for k in ("top", "others", "low", "high", "of")]
        assert told == [point.top, point.others, point.least, point.largest, point.of]
        (reach,) = at.inside(group, "line")
        share = (corner["y1"] - float(reach["y1"])) / (corner["y1"] - corner["y2"])
        ends = [
            (float(reach[k]) - corner["x1"]) / (corner["x2"] - corner["x1"]) for k in ("x1", "x2")
        ]
        assert (share, *ends) == pytest.approx((point.top, point.least, point.largest), abs=1e-4)
        assert ("control" in group["class"]) == point.control
        below += point.top < point.others
    assert below == len(expected) - 1  # random weights are 0 everywhere
    rows = {ln.name for ln in ordered(of_model("resnet")[0])}
    assert rows - set(expected) == {"influence"}


def test_numbers_of_dots_do_not_overlap() -> None:
    (view, _) = by_class(result()).models
    labels = [e for e in Page(str(view.picture)).find("text") if "data-label" in e]
    assert len(labels) == 14
    boxes = []
    for e in labels:
        half = (5 + 7 * len(e["data-label"])) / 2
        x, y = float(e["x"]), float(e["y"])
        boxes.append((x - half, y - 11, x + half, y + 3))
    assert not [pair for pair in itertools.combinations(boxes, 2) if overlap(*pair)]


def test_names_do_not_become_markup() -> None:
    bad = "<script>x</script>"
    first, *rest = of_model("resnet")
    bad_part = replace(first, forget_set=f"class {bad}", model=bad)
    text = to_html(replace(result(), parts=(bad_part, *rest)))
    assert "<script" not in text and "&lt;script&gt;" in text


def test_fashion_forgets_every_other_class_by_itself() -> None:
    # fewer records are read faster; the sets are the same
    sizes = Fashion(images=600, validation=50, test=50)
    sets = sizes.setting(quick=False).forget_sets
    names = [f.name for f in sets]
    assert {"random tenth", "top 1 class", "top 2 classes", "one record"} < {*names}
    singles = [f for f in sets if f.kind == "class"]
    assert [f.classes for f in singles] == [(name,) for name in sizes.top[1:]]
    assert not [f for f in singles if f.decides]
    assert {name for f in singles for name in f.classes} == {*TRAINED} - {sizes.top[0]}
    assert all({r.row["label"] for r in f.records} == {*f.classes} for f in singles)
    assert [f.kind for f in sets if f.decides] == ["random", "top class"]
    other = replace(sizes, top=("bag", "boot")).setting(quick=False)
    more = {f.classes for f in other.forget_sets if f.kind == "class"}
    assert more == {(name,) for name in TRAINED if name != "bag"}


def test_the_quick_size_has_the_two_sets_it_had() -> None:
    assert [f.name for f in Fashion(quick_images=300).setting(quick=True).forget_sets] == [
        "random tenth",
        "top 1 class",
    ]
