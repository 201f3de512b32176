"""What a report says of audits besides their results: what benchmarks stored, of those run."""

from __future__ import annotations

import importlib
import io
import json
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image as Pixels

import fixtures_report as reports
from fixtures_report import Page
from rescind.audit_case import AUDITS
from rescind.audited_before import (
    HONEST,
    SEEN,
    SERVERS,
    TITLE,
    cheat_matrix,
    power_lines,
    section,
    verdict_table,
)
from rescind.blocks import Command, Notice
from rescind.core.audit import AuditResult
from rescind.core.errors import BadParameter
from rescind.picture import Lines
from rescind.render import to_html, to_markdown
from rescind.shading import Matrix, Share
from rescind.testing.cheats.catalogue import CHEATS

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def stored(name: str) -> Any:
    return json.loads((BENCHMARKS / "results" / f"{name}.json").read_text())


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("for_reports")


def results(*audits: str) -> Sequence[AuditResult]:
    verdict = reports.audited(*audits).audit
    assert verdict is not None
    return verdict.results


def test_the_package_holds_what_the_benchmarks_stored(script: ModuleType) -> None:
    assert script.TABLES.read_text() == script.tables(), "python benchmarks/for_reports.py"
    ours, theirs = (Pixels.open(p) for p in (script.PICTURE, script.RESULTS / "reconstructor.png"))
    pairs = zip(ours.convert("L").tobytes(), theirs.convert("L").tobytes(), strict=True)
    assert ours.size == theirs.size
    assert max(abs(a - b) for a, b in pairs) <= 256 / script.GREYS
    assert len(script.picture()) < 64_000


def test_the_matrix_is_the_whole_one_of_the_bench_of_cheats() -> None:
    result, found = stored("cheats"), cheat_matrix()
    assert [*found.columns] == [*result["audits"]]
    assert {name for name, _ in found.rows} == {*result["matrix"]}
    for name, cells in found.rows:
        for test, cell in zip(found.columns, cells, strict=True):
            wanted = result["matrix"][name][test]
            assert cell == (wanted["flagged"], wanted["asked"], wanted["catches"])
    assert [name.startswith(HONEST) for name, _ in found.rows] == [False] * 13 + [True] * 2
    assert result["scale"]["models"]["servers"] == 4  # "four runs"
    assert len({row["world"] for row in result["rows"]}) == 7  # "seven worlds"


def test_the_command_behind_each_figure_is_named() -> None:
    found = section(results("margins"))
    assert found is not None
    named = [block.text for block in found.blocks if isinstance(block, Command)]
    assert {stored(name)["command"] for name in ("margin_null", "cheats", "reconstructor")} <= {
        *named
    }
    assert len(named) == len({*named}) == 7


def test_each_server_is_described() -> None:
    assert {*SERVERS} == {cheat.name for cheat in CHEATS}


def test_verdicts_are_those_of_the_audits_run_in_their_order() -> None:
    found = verdict_table(["shadows", "u_lira", "one_of_my_own"])
    assert [row[0] for row in found.rows] == ["shadows", "u_lira"]
    for row in stored("honest_verdicts")["rows"]:
        for audit, cells in zip(("shadows", "u_lira"), found.rows, strict=True):
            said = row["audits"].get(audit, {}).get("outcomes")
            names = ("residue_found", "removed_supported", "no_power")
            wanted = " / ".join(str(said.get(n, 0)) for n in names) if said else "not asked"
            assert cells[found.columns.index(row["method"])] == wanted


def test_an_audit_without_figures_is_named() -> None:
    found = section(results("membership", "one_of_my_own"))
    assert found is not None
    [notice] = [block for block in found.blocks if isinstance(block, Notice)]
    assert notice.text == "Not among these requests: one_of_my_own."


def test_power_is_drawn_over_the_records_with_its_interval() -> None:
    assert {*SEEN} <= {*AUDITS.names()} and len([*power_lines([*SEEN])]) == len(SEEN)
    [margins] = power_lines(["margins", "membership"])
    gone, kept = (points for _, points in margins.series)
    assert [point[0] for point in gone] == [5, 20, 50, 100] == [point[0] for point in kept]
    for point in (*gone, *kept):
        assert len(point) == 4 and point[2] <= point[1] <= point[3]
    assert kept[1][1] < 0.1 < gone[1][1]


def test_nothing_is_shown_where_no_audit_was_run_and_one_added_again_is_shown_once() -> None:
    rows = results("margins")
    assert section([replace(rows[0], refused="too few records")]) is None
    assert section([*rows, replace(rows[0], exploratory=True)]) == section(rows)
    found = section(rows)
    assert found is not None and len([b for b in found.blocks if isinstance(b, Lines)]) == 1


def test_a_page_shows_the_matrix_in_shades_and_the_grid_with_its_controls() -> None:
    page = Page(to_html(reports.audited("membership")))
    cells = {e["text"]: e["class"] for e in page.find("td") if "shade" in e.get("class", "")}
    assert cells["28/28*"] == "shade4 beyond" and cells["0/28"] == "shade0"
    assert cells["12/28*"] == "shade2 beyond" and cells["3/28"] == "shade1"
    [image] = page.find("img")
    png = b64decode(image["src"].partition(",")[2])
    assert Pixels.open(io.BytesIO(png)).size == (760, 540)
    assert any("No audit of a request reads this" in e["text"] for e in page.find("p"))
    plain = Page(to_html(reports.full()))
    assert not plain.find("img") and TITLE not in {e["text"] for e in plain.find("h2")}


def test_markdown_has_the_same_shares_and_says_what_the_picture_shows() -> None:
    text = to_markdown(reports.audited("membership"))
    assert "| untouched model | 12/28\\* |" in text and "base64" not in text
    assert "no change at all; where others were removed" in text


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(BadParameter, match="1 cells for 2 columns"):
        Matrix(("a", "b"), (("row", (Share(1, 2),)),), "")
