from __future__ import annotations

import base64
import dataclasses
import hashlib
import re
import subprocess
import sys
import typing
from collections import Counter
from dataclasses import replace
from html import unescape
from typing import Any

import pytest

import fixtures_report as reports
from fixtures_report import Page
from rescind.core.errors import BadParameter
from rescind.core.evidence import Measurement, Unmeasured
from rescind.core.guarantee import SENSES, Certified, Exact
from rescind.core.plan import ShardPlan
from rescind.core.report import Report, StageMark
from rescind.picture import STATES, Intervals, Stages
from rescind.render import (
    Bar,
    Bars,
    Command,
    Facts,
    Items,
    Lines,
    Notice,
    Paragraph,
    Section,
    Table,
    headline,
    to_html,
    to_markdown,
)
from rescind.sections import duration, when
from rescind.shading import Image, Matrix, Share

ALL = {
    "full": reports.full,
    "minimal": reports.minimal,
    "failed": reports.failed,
    "held": reports.held,
    "cancelled": reports.cancelled,
    "lowered": reports.lowered,
    "big": reports.big,
    "audited": reports.audited,
}
HOSTILE = '<script>alert("x")</script> & ]]> | `a` *b* [c](d) </style>\n# e'


def section(page: Page, title: str) -> dict[str, Any]:
    (head,) = [e for e in page.find("h2") if e["text"].endswith(title)]
    return typing.cast(dict[str, Any], head["up"][-1])


def places(page: Page, svg: dict[str, Any], axis: str = "x1") -> Any:
    """Where a number must be drawn, by the first and the last labelled tick of the axis."""
    ticks = []
    for group in page.inside(svg, "g"):
        if "data-tick" in group:
            line = next(e for e in page.inside(group, "line"))
            across = line["y1"] != line["y2"]  # ticks of a horizontal axis are vertical lines
            if across == (axis == "x1"):
                ticks.append((float(group["data-tick"]), float(line[axis])))
    (a, at_a), (b, at_b) = ticks[0], ticks[-1]
    return lambda value: at_a + (value - a) / (b - a) * (at_b - at_a)


@pytest.mark.parametrize("name", ALL)
def test_the_page_is_well_formed_and_refers_to_nothing_outside(name: str) -> None:
    text = to_html(ALL[name](), reports.appendix())
    page = Page(text)
    assert page.find("h1")[0]["text"] == headline(ALL[name]())
    assert "://" not in text and "url(" not in text and "@import" not in text
    names = {key for e in page.elements for key in e if key not in ("tag", "text", "up")}
    assert not names & {"href", "xlink:href", "srcset", "action", "style"}
    images = [e for e in page.elements if "src" in e]
    assert [e["tag"] for e in images] == ["img"] * (name == "audited")
    assert all(e["src"].startswith("data:image/png;base64,") for e in images)
    assert not [key for key in names if key.startswith("on")]
    assert not page.find("script") and not page.find("link")


def test_the_content_policy_allows_the_one_style_sheet_and_nothing_else() -> None:
    text = to_html(reports.full())
    style = text[text.index("<style>") + 7 : text.index("</style>")]
    page = Page(text)
    (policy,) = page.find("meta", http_equiv="Content-Security-Policy")
    sha = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy["content"].split("; ")[:2] == ["default-src 'none'", f"style-src 'sha256-{sha}'"]
    assert "img-src data:;" in policy["content"]
    assert "unsafe" not in policy["content"]


def poisoned(value: Any, hint: Any = None) -> Any:
    """The same record with every free text replaced by a hostile one."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        hints = typing.get_type_hints(type(value))
        fields = dataclasses.fields(value)
        return replace(
            value, **{f.name: poisoned(getattr(value, f.name), hints[f.name]) for f in fields}
        )
    if isinstance(value, tuple):
        return tuple(poisoned(item) for item in value)
    if isinstance(value, frozenset):
        return frozenset({HOSTILE})
    if isinstance(value, dict):
        return dict.fromkeys([HOSTILE], 1)
    literal = "Literal" in str(hint) or value in STATES
    return HOSTILE if isinstance(value, str) and not literal else value


@pytest.mark.parametrize("make", [reports.full, reports.lowered, reports.failed, reports.audited])
def test_no_text_of_a_report_becomes_markup(make: Any) -> None:
    report = poisoned(make())
    report = replace(report, request=replace(report.request, status=make().request.status))
    extra = Section(
        HOSTILE,
        (
            Paragraph(HOSTILE),
            Notice(HOSTILE),
            Items((HOSTILE,)),
            Facts(((HOSTILE, HOSTILE),)),
            Command(HOSTILE),
            Table((HOSTILE,), ((HOSTILE,),), HOSTILE),
            Bars(HOSTILE, ((HOSTILE, 1.0, None, None),), HOSTILE),
            Lines(HOSTILE, HOSTILE, HOSTILE, ((HOSTILE, ((0.0, 1.0),)),)),
            Matrix((HOSTILE,), ((HOSTILE, (Share(1, 1),)),), HOSTILE),
            Image(HOSTILE, b"", HOSTILE),
        ),
    )
    page, markdown = to_html(report, (extra,)), to_markdown(report, (extra,))
    Page(page)
    assert report.request.basis == HOSTILE  # the poison reached the records
    assert page.count("&lt;script&gt;") > 50 and "<script" not in page
    fences = re.findall(r"^(`{3,})\n(.*)\n\1$", markdown, re.M)
    assert fences[-1] == ("`" * (3 + HOSTILE.count("`")), " ".join(HOSTILE.split()))
    rest = re.sub(r"^(`{3,})\n.*\n\1$", "", markdown, flags=re.M)
    assert "<script" not in rest and "&lt;script&gt;" in rest
    assert not re.search(r"^# e", markdown, re.M) and "[c](" not in rest
    check_tables(markdown)


@pytest.mark.parametrize("name", ALL)
def test_sealed_keys_are_never_shown(name: str) -> None:
    report = ALL[name]()
    assert report.request.sealed_keys
    for text in (to_html(report), to_markdown(report)):
        assert report.request.sealed_keys not in text


def test_each_state_has_its_own_sign_in_legend_and_picture() -> None:
    report = reports.full()
    page = Page(to_html(report))
    signs = [e["data-legend"] for e in page.find("g") if "data-legend" in e]
    assert signs == list(STATES)
    drawn = [e for e in page.find("g") if "data-state" in e]
    keys = ("shard", "order", "slice", "position", "state")
    told = {tuple(str(getattr(m, k)) for k in keys) for m in report.marks}
    assert {tuple(e[f"data-{k}"] for k in keys) for e in drawn} == told
    assert {m.state for m in report.marks} == set(STATES)
    assert Counter(e["class"] for e in drawn) == Counter(m.state for m in report.marks)


def test_states_can_be_told_apart_without_colour() -> None:
    """By the shapes drawn, by a dashed edge, or by filled against pale."""
    style = to_html(reports.minimal())
    page = Page(to_html(reports.full()))
    shapes = {}
    for state in STATES:
        group = page.find("g", data_legend=state)[0]
        tags = tuple(e["tag"] for e in page.inside(group, "path") + page.inside(group, "polygon"))
        rule = re.search(rf"\.{state} rect {{([^}}]*)}}", style)
        assert rule
        fill = re.search(r"fill: (\S+);", rule[1])
        assert fill
        shapes[state] = (tags, "dasharray" in rule[1], fill[1])
    plain = {state: sign[:2] for state, sign in shapes.items()}
    assert plain["cut"] == (("path",), False) and plain["hit"] == (("polygon",), False)
    assert plain["gone"] == ((), True)
    light = re.search(r":root {(.*?)}", style, re.S)
    assert light
    colours = dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", light[1]))
    bright = {n: sum(int(c[i : i + 2], 16) for i in (1, 3, 5)) for n, c in colours.items()}
    assert bright["kept"] - bright["served"] > 300


@pytest.mark.parametrize("make", [reports.full, reports.big])
def test_the_picture_stays_in_its_frame_and_squares_do_not_overlap(make: Any) -> None:
    page = Page(to_html(make()))
    pictures = page.find("svg", **{"class": "shard"})
    assert len(pictures) == len({m.shard for m in make().marks})
    for svg in pictures:
        width, height = (float(n) for n in svg["viewbox"].split()[2:])
        seen = set()
        for box in page.inside(svg, "rect"):
            x, y, side = float(box["x"]), float(box["y"]), float(box["width"])
            assert x >= 0 and x + side <= width and y >= 0 and y + side <= height
            seen.add((x, y))
            assert not any(0 < abs(x - a) < side and abs(y - b) < side for a, b in seen)
        assert len(seen) == len(page.inside(svg, "rect"))


def test_numbers_of_the_picture_are_those_of_the_report() -> None:
    report = reports.full()
    page = Page(to_html(report))
    rows = [e for e in page.find("g") if "data-row" in e]
    drawn = [
        (e["data-row"], *(float(e[f"data-{k}"]) for k in ("value", "low", "high"))) for e in rows
    ]
    told = [("before", m.value, *m.interval) for m in report.before]
    both = {m.name for m in report.before}
    assert both < {m.name for m in report.after}  # an agreement has no before: only the table
    told += [("after", m.value, *m.interval) for m in report.after if m.name in both]
    assert sorted(drawn) == sorted(told)


@pytest.mark.parametrize(
    ("name", "value", "interval"),
    [
        ("accuracy", 0.9338624338624338, (0.9041, 0.9561)),
        ("accuracy", 1.0, (1.0, 1.0)),
        ("accuracy", 0.0, (0.0, 0.012)),
        ("accuracy", 0.999, (0.985, 1.0)),
        ("accuracy_change", -0.01, (-0.035, 0.015)),
        ("log_loss", 12.5, (-3.0, 4400.0)),
        ("log_loss", 0.0, (0.0, 0.0)),
    ],
)
def test_dots_and_whiskers_stand_where_the_axis_says(
    name: str, value: float, interval: tuple[float, float]
) -> None:
    m = Measurement(name, "v", value, interval, 10)
    page = Page(str(Intervals(name, None, m).svg()))
    (svg,) = page.find("svg")
    at = places(page, svg)
    (dot,) = page.find("circle")
    (line,) = page.find("line", **{"class": "whisker"})
    unit = 100.0 if name == "accuracy_change" else 1.0  # its axis counts points
    assert float(dot["cx"]) == pytest.approx(at(unit * value), abs=0.01)
    assert float(line["x1"]) == pytest.approx(at(unit * interval[0]), abs=0.01)
    assert float(line["x2"]) == pytest.approx(at(unit * interval[1]), abs=0.01)
    assert at(unit * interval[0]) >= 60 and at(unit * interval[1]) <= 440 - 70
    assert "not measured" in svg["text"]
    assert ("%" in svg["text"]) == (name == "accuracy")


@pytest.mark.parametrize("render", [to_html, to_markdown])
def test_a_change_of_accuracy_is_in_points_and_not_in_percent(render: Any) -> None:
    change = Measurement("accuracy_change", "news-2", -0.018, (-0.041, 0.004), 378, "original")
    report = reports.full()
    text = render(replace(report, after=(*report.after, change)))
    assert "-1.8 points" in text and "-4.1 points to 0.4 points" in text
    assert "-1.8 %" not in text
    alone = render(replace(report, before=(), after=(change,)))  # then it is drawn as well
    assert "-1.8 points" in alone and "-1.8 %" not in alone


def test_one_slice_is_no_plural() -> None:
    shards = (ShardPlan(0, 1, 0, 0), ShardPlan(1, 1, 1, 1), ShardPlan(2, 3, 1, 1))
    report = reports.full()
    text = to_html(replace(report, plan=replace(report.plan, shards=shards)))
    assert "served 1 slice, now none" in text
    assert "serves 1 slice, unchanged" in text
    assert "1 slices" not in text


def test_bars_start_at_zero_and_end_at_their_value() -> None:
    bars = Bars("Time", (Bar("a", 41.2, 38.0, 45.1), Bar("b", -7.0), Bar("c", 0.0)), "s")
    page = Page(str(bars.svg()))
    (svg,) = page.find("svg")
    at = places(page, svg)
    for group, row in zip([e for e in page.find("g") if "data-value" in e], bars.rows, strict=True):
        (box,) = page.inside(group, "rect")
        left, width = float(box["x"]), float(box["width"])
        ends = sorted((at(0.0), at(row[1])))
        assert [left, left + width] == pytest.approx(ends, abs=0.01)
        assert float(group["data-value"]) == row[1]
    (line,) = page.find("line", **{"class": "whisker"})
    assert float(line["x2"]) == pytest.approx(at(45.1), abs=0.01)
    assert to_table(to_markdown(reports.full(), (Section("B", (bars,)),)), "Value (s)")[0] == [
        "a",
        "41.2",
        "38 to 45.1",
    ]


def test_points_of_curves_stand_where_both_axes_say() -> None:
    (_, section_) = reports.appendix()
    lines = section_.blocks[0]
    assert isinstance(lines, Lines)
    page = Page(str(lines.svg()))
    (svg,) = page.find("svg")
    across, up = places(page, svg), places(page, svg, "y1")
    dots = [e for e in page.find("circle") if "data-x" in e]
    first = lines.series[0][1]
    assert [(float(e["data-x"]), float(e["data-value"])) for e in dots] == [p[:2] for p in first]
    for dot, point in zip(dots, first, strict=True):
        assert float(dot["cx"]) == pytest.approx(across(point[0]), abs=0.01)
        assert float(dot["cy"]) == pytest.approx(up(point[1]), abs=0.01)
    rows = to_table(to_markdown(reports.full(), (section_,)), "Requests")
    assert rows[0] == ["0", "0.95 (0.93 to 0.97)", "0.95 (0.925 to 0.968)", "0.951"]
    assert rows[1][3] == "none"


def check_tables(markdown: str) -> list[list[list[str]]]:
    """All tables, as lists of rows; each row must have as many cells as its head."""
    tables: list[list[list[str]]] = []
    for block in re.findall(r"(?:^\|.*\n?)+", markdown, re.M):
        rows = [
            [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            for line in block.strip().splitlines()
        ]
        assert all(len(row) == len(rows[0]) for row in rows), block
        assert len(rows) > 2 and set(rows[1]) == {"---"}
        tables.append(rows)
    return tables


def to_table(markdown: str, head: str) -> list[list[str]]:
    (found,) = [t for t in check_tables(markdown) if head in t[0]]
    return found[2:]


@pytest.mark.parametrize("name", ALL)
def test_markdown_says_the_same_in_tables(name: str) -> None:
    report = ALL[name]()
    markdown = to_markdown(report)
    assert markdown.startswith(f"# {headline(report)}\n")
    tables = check_tables(markdown)
    values = [row[2] for t in tables if "Measurement" in t[0] for row in t[2:]]
    assert len(values) == len(report.before) + len(report.after)
    stages = [cell for t in tables if "Order" in t[0] for row in t[2:] for cell in row[2:]]
    assert sorted(stages) == sorted(f"{m.slice} {m.state}" for m in report.marks)
    titles = re.findall(r"^## \d+\. (.*)$", markdown, re.M)
    page = Page(to_html(report))
    assert [f"{i} {t}" for i, t in enumerate(titles, 1)] == [e["text"] for e in page.find("h2")]


def test_what_is_missing_is_said() -> None:
    text = Page(to_html(reports.minimal())).find("body")[0]["text"]
    for said in (
        "Not measured: the report holds no evaluation",
        "The report holds no entry of the ledger",
        "no picture of the trained stages",
        "There is no replay in this report",
        "Nothing has been erased yet",
        "No certificate has been issued",
        "no estimate",
        "not withdrawn",
        "none given",
        "not known",
    ):
        assert said in text
    assert "None" not in text and "rescind certificate verify" not in text


def test_a_missing_evaluation_after_is_said_and_not_drawn() -> None:
    page = Page(to_html(reports.failed()))
    part = section(page, "Accuracy before and after")
    assert "no evaluation from after this request" in part["text"]
    assert not [e for e in page.find("g") if e.get("data-row") == "after"]
    assert part["text"].count("not measured") == len(reports.BEFORE)


@pytest.mark.parametrize(
    ("reason", "told"),
    [("no_test_record", "no test record is left"), ("nothing_served", "nothing to measure")],
)
def test_why_nothing_was_measured_is_said(reason: Unmeasured, told: str) -> None:
    report = replace(reports.full(), after=(), unmeasured=reason)
    for before in (report.before, ()):
        page = Page(to_html(replace(report, before=before)))
        assert told in section(page, "Accuracy before and after")["text"]


def test_why_a_claim_was_lowered_stands_at_the_top() -> None:
    page = Page(to_html(reports.lowered()))
    (head,) = page.find("header")
    assert "the source data cannot be read again" in head["text"]
    assert "Erasure is incomplete: 1 artifact left" in head["text"]
    assert "no shard to answer with" in head["text"]
    receipt = section(page, "Erasure receipt")["text"]
    assert "Encryption at rest was off" in receipt and "features/0.1" in receipt
    assert "Nothing made from the records is left" not in receipt


def test_the_full_report_tells_all_its_parts() -> None:
    report = reports.full()
    page = Page(to_html(report))
    assert SENSES["never_saw"] in section(page, "Evidence")["text"]
    assert report.proof and report.proof.weights in section(page, "Evidence")["text"]
    assert str(report.certificate) in section(page, "Certificate")["text"]
    assert "rescind certificate verify" in section(page, "Certificate")["text"]
    copies = section(page, "Copies outside the workspace")["text"]
    assert copies.count("partner-bank") == 1 and "backup of 2026-03-01" in copies
    assert all(line in section(page, "What is not claimed")["text"] for line in report.not_claimed)
    assert [e["datetime"] for e in page.find("time")] == [m.at for m in report.timeline]
    facts = {e["text"]: d["text"] for e, d in zip(page.find("dt"), page.find("dd"), strict=True)}
    assert facts["From acceptance to withdrawal"] == "8.42 ms"
    assert facts["Records"] == "4" and facts["Rows, copies included"] == "5"
    assert facts["Near duplicates kept"] == "2" and facts["Test records"] == "1"
    assert facts["Expected accuracy"] == "93.1 %, estimate"
    assert facts["Withdrawn"] == "2026-03-02 09:14:07.131 UTC"


HEADS = [
    (reports.full, "4 records forgotten; exact (never saw), replayed bit for bit."),
    (reports.minimal, "4 records not yet withdrawn; nothing is claimed."),
    (reports.failed, "Failed after withdrawal: 4 records no longer used; nothing is claimed."),
    (reports.held, "Held after withdrawal: 4 records no longer used; nothing is claimed."),
    (reports.cancelled, "Request cancelled; nothing is claimed for 4 records."),
    (
        reports.lowered,
        "4 records withdrawn from the served model, not yet erased; empirical only, no proof.",
    ),
]


@pytest.mark.parametrize(("make", "said"), HEADS)
def test_the_head_line_says_what_happened_and_what_is_claimed(make: Any, said: str) -> None:
    assert headline(make()) == said


def test_only_an_identical_replay_is_called_replayed() -> None:
    report = replace(reports.full(), proof=None)
    assert headline(report) == "4 records forgotten; exact (never saw)."
    assert "holds no replay that carries it" in to_html(report)
    assert "holds no replay that carries it" not in to_html(reports.full())
    certified = replace(reports.full(), guarantee=Certified(1.0, 1e-5, "convex loss"))
    assert headline(certified) == "4 records forgotten; certified (epsilon 1, delta 1e-05)."
    assert "convex loss" in to_html(certified)


def test_without_a_clean_receipt_nothing_is_called_forgotten() -> None:
    assert "forgotten" not in headline(replace(reports.full(), erasure=None))
    kept = replace(reports.ERASED, left=("features/0.1",))
    assert "forgotten" not in headline(replace(reports.full(), erasure=kept))
    one = replace(reports.REQUEST, target=replace(reports.REQUEST.target, records=1))
    assert headline(replace(reports.full(), request=one)).startswith("1 record forgotten")


def test_before_the_withdrawal_the_picture_is_called_a_plan() -> None:
    early = replace(reports.minimal(), marks=reports.full().marks)
    assert "this is what would be cut" in to_html(early)
    assert "this is what would be cut" not in to_html(reports.full())


def test_the_other_sense_is_explained_too() -> None:
    text = to_html(replace(reports.full(), guarantee=Exact("retrain")))
    assert SENSES["retrain"] in unescape(text) and SENSES["never_saw"] not in unescape(text)


@pytest.mark.parametrize("make", [reports.full, reports.big])
def test_the_same_report_gives_the_same_bytes(make: Any) -> None:
    assert to_html(make()) == to_html(make())
    assert to_markdown(make()) == to_markdown(make())


def test_pages_need_no_torch_and_no_numpy() -> None:
    code = "import sys, rescind.render; print([m for m in ('torch', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_blocks_refuse_what_they_cannot_show() -> None:
    with pytest.raises(BadParameter, match="3 cells"):
        Table(("a", "b"), (("1", "2", "3"),))
    with pytest.raises(BadParameter, match="not finite"):
        Bars("t", (("a", float("nan"), None, None),))
    with pytest.raises(BadParameter, match="not finite"):
        Lines("t", "x", "y", (("a", ((0.0, float("inf")),)),))
    with pytest.raises(BadParameter, match="no point"):
        Lines("t", "x", "y", ())
    with pytest.raises(BadParameter, match="'lost'"):
        Stages((StageMark(0, 0, 0, 0, "lost"),))


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.0113, "11.3 ms"),
        (59.5, "59.5 s"),
        (60, "1 min 0 s"),
        (3599, "59 min 59 s"),
        (7500, "2 h 5 min"),
        (86400, "1 d 0 h"),
        (400000, "4 d 15 h"),
        (9e7, "1041 d 16 h"),
    ],
)
def test_durations_read_as_spans(seconds: float, said: str) -> None:
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2026-03-02T10:14:07+01:00", "2026-03-02 09:14:07 UTC"),
        ("2026-03-02T09:14:07.120Z", "2026-03-02 09:14:07.120 UTC"),
        ("2026-03-02T09:14:07", "2026-03-02 09:14:07"),
        ("2026-03-02", "2026-03-02"),
        ("soon", "soon"),
    ],
)
def test_times_are_shown_in_utc_and_never_made_up(text: str, said: str) -> None:
    assert when(text) == said


def test_a_report_of_a_thousand_stages_is_one_page_of_moderate_size() -> None:
    report: Report = reports.big()
    text = to_html(report)
    assert len(report.marks) == 1000 and text.count("data-state=") == 1000
    assert len(text) < 400_000
