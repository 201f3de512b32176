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

import pytest
from PIL import Image as Pixels

import fixtures_report as reports
from fixtures_report import Page
from rescind.audit_case import AUDITS
from rescind.audited_before import TESTS, cheat_matrix, pictures, power_lines, reconstruction, told
from rescind.core.audit import AuditResult
from rescind.core.errors import BadParameter
from rescind.render import to_html, to_markdown
from rescind.shading import Matrix, Share

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


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


def test_the_matrix_is_that_of_the_bench_of_cheats_for_the_audits_run() -> None:
    stored = json.loads((BENCHMARKS / "results" / "cheats.json").read_text())
    found = cheat_matrix(["margins", "seeds"])
    assert found.columns == [
        "margins", "seeds: bits", "seeds: kernel", "release digest", "manifest", "replay",
    ]  # fmt: skip
    assert {name for name, _ in found.rows} == {*stored["matrix"]}
    tests = [
        "margin difference", "seeding: bits", "seeding: kernel", "release digest", "manifest",
        "replay",
    ]  # fmt: skip
    for name, cells in found.rows:
        for test, cell in zip(tests, cells, strict=True):
            wanted = stored["matrix"][name][test]
            assert cell == (wanted["flagged"], wanted["asked"], wanted["catches"])
    assert [name.startswith("retrained") for name, _ in found.rows] == [False] * 13 + [True] * 2


def test_what_no_audit_run_here_caught_is_said() -> None:
    rows = results("membership", "quantisation")
    said = told(rows)
    assert "first-order step only" in said and "last layer only" not in said
    assert "Not in the table of dishonest servers: quantisation." in said
    caught = told(results(*TESTS))
    assert caught.endswith("Caught by none of the audits run here: model swapped.")


def test_every_audit_of_the_matrix_is_one_that_a_request_can_have() -> None:
    assert {*TESTS} <= {*AUDITS.names()}
    assert {line.title.split(":")[0] for line in power_lines([*TESTS])} == {
        "Audit margins", "Audit shadows", "Audit seeds",
    }  # fmt: skip


def test_power_is_drawn_over_the_records_with_its_interval() -> None:
    [margins] = power_lines(["margins", "membership"])
    assert margins.title.endswith("at the level 0.05")
    gone = dict(margins.series)["Records gone, models of another seed"]
    assert [point[0] for point in gone] == [1, 5, 20, 50, 100]
    assert all(len(point) == 4 and point[2] <= point[1] <= point[3] for point in gone)
    kept = dict(margins.series)["Records kept"]
    assert kept[2][1] < gone[2][1]


def test_nothing_is_shown_where_no_audit_was_run_and_one_added_again_is_shown_once() -> None:
    rows = results("margins")
    assert pictures([replace(rows[0], refused="too few records")]) == []
    again = pictures([*rows, replace(rows[0], exploratory=True)])
    assert again == pictures(rows) and len(again) == 3


def test_a_page_shows_the_matrix_in_shades_and_the_grid_with_its_controls() -> None:
    page = Page(to_html(reports.audited("membership")))
    cells = {e["text"]: e["class"] for e in page.find("td") if "shade" in e.get("class", "")}
    assert cells["28/28 *"] == "shade4 beyond" and cells["0/28"] == "shade0"
    assert cells["12/28 *"] == "shade2 beyond" and cells["3/28"] == "shade1"
    [image] = page.find("img")
    png = b64decode(image["src"].partition(",")[2])
    assert Pixels.open(io.BytesIO(png)).size == (760, 540)
    assert "controls" in image["alt"] and "none of a requester" in image["alt"]
    assert not Page(to_html(reports.full())).find("img")


def test_markdown_has_the_same_shares_and_says_what_the_picture_shows() -> None:
    text = to_markdown(reports.audited("membership"))
    assert "| untouched model | 12/28 \\* |" in text and "base64" not in text
    assert reconstruction().told.split(":")[0] in text


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(BadParameter, match="1 cells for 2 columns"):
        Matrix(("a", "b"), (("row", (Share(1, 2),)),), "")
