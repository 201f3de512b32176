"""The workspace as a whole from the command line: make, train, predict, copy, look into."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from running import Place, frozen, ok, parsed, rescind

from rescind.methods_of import METHODS
from rescind.workspace import open_workspace


def test_init_and_once_more(tmp_path: Path) -> None:
    at = ("--workspace", tmp_path / "new")
    assert parsed("init", *at) == {"workspace": str(tmp_path / "new")}
    again = rescind("init", *at)
    assert again.exit_code == 1
    assert "already holds a workspace" in again.stderr


def test_the_variable_names_the_workspace(
    closed: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert rescind("request", "list").exit_code == 1
    monkeypatch.setenv("RESCIND_WORKSPACE", str(closed.folder))
    assert closed.request in ok("request", "list")


def test_train_again_changes_nothing(fresh: Place) -> None:
    before = frozen(fresh.folder)
    assert parsed("train", fresh.recipe, *fresh.at)["version"]["id"] == "v1"
    assert frozen(fresh.folder) == before


def test_options_go_before_the_source_table(fresh: Place, tmp_path: Path) -> None:
    other = rescind("train", fresh.recipe, "--data", tmp_path / "none.csv", *fresh.at)
    assert other.exit_code == 1
    assert "There is nothing at" in other.stderr
    other = rescind("train", fresh.recipe, "--subject", "id", *fresh.at)
    assert other.exit_code == 1
    assert "This workspace holds run" in other.stderr


def test_predict(fresh: Place, tmp_path: Path) -> None:
    answers = parsed("predict", "goal team", "browser software", *fresh.at)["answers"]
    assert [set(a) for a in answers] == [{"text", "label", "probability"}] * 2
    file = tmp_path / "texts.jsonl"
    file.write_text('{"text": "goal team", "id": 1}\n{"text": "browser software"}\n')
    assert parsed("predict", "--from", file, *fresh.at)["answers"] == answers
    assert ok("predict", "goal team", *fresh.at).split()[:3] == ["label", "probability", "text"]


def test_export_is_noted(fresh: Place, tmp_path: Path) -> None:
    found = parsed("export", tmp_path / "out", "--to", "the archive", *fresh.at)
    assert (tmp_path / "out" / "selection.json").exists()
    assert found["weights"] == parsed("list", "models", *fresh.at)["versions"][0]["weights"]


def test_outage_and_rebuild(fresh: Place, tmp_path: Path) -> None:
    everything = tmp_path / "all.csv"
    everything.write_text("key\n" + "\n".join(f"r{i}" for i in range(20)))
    options = ("--near", "keep", "--yes", "--accept-outage")
    plan = parsed("request", "add", "--from", everything, *options, *fresh.at)["plan"]
    assert plan["outage"]
    out = rescind("predict", "goal", *fresh.at)
    assert out.exit_code == 1
    assert "`rescind rebuild`" in out.stderr
    assert parsed("rebuild", "--shard", "0", "--orders", "1", *fresh.at) == {"orders": 1}
    assert rescind("predict", "goal", *fresh.at).exit_code == 0


def test_list(done: Place) -> None:
    assert parsed("list", "methods") == {"methods": METHODS.names()}
    assert ok("list", "methods").split() == METHODS.names()
    models = parsed("list", "models", *done.at)
    assert (models["serves"], [v["id"] for v in models["versions"]]) == ("v2", ["v1", "v2"])
    assert "exact" in ok("list", "models", *done.at)


def test_ledger(done: Place, tmp_path: Path) -> None:
    entry, head = open_workspace(done.folder).head()
    said = ok("db", "head", *done.at).splitlines()
    assert said[0] == f"{entry} {head}" and said[1].startswith("root ")
    assert parsed("db", "verify", *done.at) == {"entries": entry, "head": head}
    ok("db", "suppressed", "--out", tmp_path / "list.json", *done.at)
    assert len(json.loads((tmp_path / "list.json").read_text())) == 2


def test_a_changed_ledger_ends_with_three(done: Place) -> None:
    import sqlite3

    with sqlite3.connect(done.folder / "rescind.db") as database:
        database.execute("update entries set body = replace(body, 'closed', 'c1osed')")
    broken = rescind("db", "verify", *done.at)
    assert broken.exit_code == 3
    assert broken.stderr.count("Error:") == 1


def test_backup_and_restore(fresh: Place, tmp_path: Path) -> None:
    archive, later = tmp_path / "backup.tar", tmp_path / "list.json"
    ok("backup", archive, *fresh.at)
    ok("request", "add", "--key", "r7", "--yes", *fresh.at)
    ok("db", "suppressed", "--out", later, *fresh.at)
    into = tmp_path / "restored"
    found = parsed("restore", archive, "--into", into, "--suppressed", later)
    assert found["request"]
    assert f"{found['request']}  withdrawn" in ok("request", "list", "--workspace", into)
    plain = ok("restore", archive, "--into", tmp_path / "as-it-was", "--nothing-forgotten-since")
    assert plain == f"Restored into {tmp_path / 'as-it-was'}.\n"


LIGHT = """
import json, sys
from typer.testing import CliRunner
from rescind.cli.main import app
for command in json.loads(sys.argv[1]):
    done = CliRunner().invoke(app, command)
    print(command, done.exit_code, sorted({"torch", "transformers", "numpy"} & set(sys.modules)))
"""


def test_what_needs_no_torch_loads_none(done: Place, tmp_path: Path) -> None:
    file = str(tmp_path / "c.json")
    commands = [
        ["request", "list", *done.at],
        ["request", "show", done.request, *done.at],
        ["report", done.request, "--out", str(tmp_path / "r.html"), *done.at],
        ["certificate", "show", done.request, *done.at],
        ["certificate", "export", done.request, "--out", file, *done.at],
        ["certificate", "verify", file],
        ["list", "methods"],
        ["list", "models", *done.at],
        ["db", "verify", *done.at],
        ["erase", *done.at],
        ["plan", "--key", "r7", *done.at],
        ["request", "add", "--key", "r7", "--yes", *done.at],
    ]
    ran = subprocess.run(
        [sys.executable, "-c", LIGHT, json.dumps(commands)], capture_output=True, text=True
    )
    assert ran.stdout.splitlines() == [f"{command} 0 []" for command in commands]
