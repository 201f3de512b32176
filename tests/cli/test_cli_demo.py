"""The demo around its training: a second run, JSON, what to type next, and what a kill leaves."""

from __future__ import annotations

import json
import resource
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from running import Place, ok, parsed, rescind

from rescind import state
from rescind.cli.reference import commands
from rescind.data.bbc_news import load
from rescind.data.duplicates import near_duplicates
from rescind.data.records import records_from
from rescind.data.words import naming
from rescind.demo import requests, setting, story
from rescind.demo.tell import started_as, suggestions
from rescind.progress import Bars
from rescind.workspace import open_workspace

PLAN = {"cells": ["0.1"], "snapshots_cut": 1, "retained_share": 0.5, "passes": 9}


def outcome(request: str) -> dict[str, Any]:
    """What a played demo notes, as far as its second run reads it."""
    answers = ["sport 1.00"] * len(setting.QUESTIONS)
    person = {
        "row": ["2", "a person's articles, by name", "exact, 8 snapshots replayed"],
        "request": request,
        "milliseconds": 2.0,
        "answers": [answers, answers],
        "plans": [{**PLAN, "expected_accuracy": None}] * 2,
        "guarantee": "exact",
        "compared": 8,
        "records": 1,
        "remaining": 0,
    }
    rows = {n: {"row": ["1", n, "told"]} for n in ("article", "stream", "unknown", "repeated")}
    return {**rows, "person": person, "seconds": 265.0}


@pytest.fixture
def played(closed: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder a/demo as a first run leaves it, with a tiny workspace in place of the news."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "a" / "demo"
    shutil.copytree(closed.folder, folder / "fork-person")
    found = outcome(closed.request)
    story._write(folder, found, story.RESULTS)
    story._note(folder / story.DONE, found)
    return folder


def test_a_second_run_does_nothing_again(played: Path) -> None:
    before = {p: p.read_bytes() for p in played.iterdir() if p.is_file()}
    said = ok("demo", "--workspace", "a/demo")
    assert "nothing is done again" in said
    assert "1 article, those that name" in said
    assert {p: p.read_bytes() for p in played.iterdir() if p.is_file()} == before


@pytest.mark.parametrize("gone", [("report.html",), ("signer.pem", "report.md"), story.RESULTS])
def test_results_that_were_taken_away_are_written_again(
    played: Path, gone: tuple[str, ...]
) -> None:
    before = {name: (played / name).read_bytes() for name in story.RESULTS}
    ok("key", "rotate", "--workspace", played / "fork-person")  # the certificate has the older key
    for name in gone:
        (played / name).unlink()
    said = ok("demo", "--workspace", "a/demo")
    assert f"written again: {', '.join(n for n in story.RESULTS if n in gone)}." in said
    for name in {*story.RESULTS} - {"report.html", "report.md"}:
        assert (played / name).read_bytes() == before[name]
    assert (played / "report.html").stat().st_mode & 0o777 == 0o644


def test_json_is_one_document_and_the_story_goes_elsewhere(played: Path) -> None:
    done = rescind("demo", "--workspace", "a/demo", "--json")
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert found == parsed("demo", "--workspace", "a/demo")
    assert found["outcome"]["person"]["guarantee"] == "exact"
    assert {Path(path).name for path in found["files"].values()} == {*story.RESULTS}
    assert all(Path(path).exists() for path in found["files"].values())
    assert "What to try next" in done.stderr


class Parent:
    """A trained workspace in whose fork nothing is done."""

    def fork(self, place: Path) -> None:
        place.mkdir()


def told(ws: Any, bars: Any) -> dict[str, Any]:
    return {"row": ["1", "x" * 500, "told"]}


def play(folder: Path) -> Any:
    return story._played(Parent(), folder, "article", told, Bars())  # type: ignore[arg-type]


def test_what_happened_is_noted_wholly_or_not_at_all(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))  # the disk ends in the middle of it
    try:
        with pytest.raises(OSError, match=r"article\.json"):
            play(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [p.name for p in tmp_path.iterdir()] == ["fork-article"]
    assert play(tmp_path) == told(None, None) == story._noted(tmp_path / "article.json")


def test_a_half_note_counts_as_none(tmp_path: Path) -> None:
    play(tmp_path)
    note = tmp_path / "article.json"
    for damaged in (note.read_bytes()[:100], b"", b"[]", b"\xff"):
        note.write_bytes(damaged)
        assert story._noted(note) is None


@pytest.mark.parametrize(
    ("folder", "shown"),
    [("demo", "demo"), ("a/b", "a/b"), ("/data/x", "/data/x"), ("my demo", "'my demo")],
)
def test_what_to_try_next_can_be_typed(folder: str, shown: str) -> None:
    names = dict(commands())
    for line in suggestions(".venv/bin/rescind", Path(folder)):
        assert line.startswith(".venv/bin/rescind ")
        assert f"{shown}/" in line
        words = shlex.split(line)[1:]
        path = " ".join(words[:2]) if " ".join(words[:2]) in names else words[0]
        known = {name for p in names[path].params for name in p.opts}
        assert {w for w in words if w.startswith("--")} <= known


def test_the_command_is_shown_as_it_can_be_typed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "rescind"
    program.parent.mkdir()
    program.touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")
    assert started_as("bin/rescind") == "bin/rescind"  # as `make demo` starts it
    assert started_as(str(program)) == str(program)
    assert started_as("/x y/rescind") == "'/x y/rescind'"
    assert started_as("/usr/bin/pytest") == "rescind"
    assert started_as("/x/rescind/__main__.py") == f"{shlex.quote(sys.executable)} -m rescind"
    monkeypatch.setenv("PATH", str(program.parent))
    assert started_as(str(program)) == started_as("bin/rescind") == "rescind"


@pytest.mark.filterwarnings("ignore:sports/199.txt:UserWarning")
def test_whom_to_forget_next_is_named_in_few_articles_that_nothing_is_near_to() -> None:
    records = records_from(load(), key=None, subject=None)
    found, person = naming(records, setting.NEXT), naming(records, setting.PERSON)
    assert 3 <= len(found) <= 6
    assert not {r.key for r in found} & {r.key for r in person}
    keys = {r.key for r in found}
    assert near_duplicates(found, [r for r in records if r.key not in keys], 0.4) == ()
    partition = setting.recipe().partition
    assert len(found) + 1 < partition.shards * partition.slices  # with request 1: not all cells


def test_which_shards_answer_and_from_how_much(fresh: Place, tmp_path: Path) -> None:
    ws = open_workspace(fresh.folder)
    assert requests.serving(ws) == {"0": 2, "1": 2}
    first = [e.key for e in state.allowed(ws.backends) if e.cell.startswith("0.")]
    (tmp_path / "shard.csv").write_text("\n".join(["key", *first]))
    ok("request", "add", "--from", tmp_path / "shard.csv", "--near", "keep", "--yes", *fresh.at)
    assert requests.serving(ws) == {"1": 2}
