"""Requests from the command line: what is shown, asked, accepted, and ended."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from running import Place, frozen, ok, parsed, rescind

from rescind.core.protocols import Entry, Write
from rescind.testing.tiny import tiny_rows
from rescind.workspace import open_workspace

DROP = """
from dataclasses import dataclass
from rescind.core.protocols import Unlearned
from rescind.methods.retrain import Retrain

@dataclass(frozen=True)
class Drop:
    def unlearn(self, model, split, run):
        return Retrain().unlearn(model, split, run)
"""


def test_add_shows_asks_and_withdraws(fresh: Place) -> None:
    done = rescind("request", "add", "--key", "r7", *fresh.at, answer="y\n")
    assert done.exit_code == 0
    assert "To forget: 1 record in 1 copy, 0 test records among them." in done.stdout
    assert tiny_rows(8)[7]["text"] in done.stdout  # its first words
    assert "slices before" in done.stdout and "record-epochs" in done.stdout
    assert "Forget 1 record?" in done.stderr
    (request,) = open_workspace(fresh.folder).requests()
    assert f"Request {request.id} accepted; it is withdrawn." in done.stdout
    assert f"Withdrawn in {request.milliseconds_to_withdraw:.0f} ms" in done.stdout


@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
def test_without_agreement_nothing_changes(fresh: Place, answer: str) -> None:
    before = frozen(fresh.folder)
    done = rescind("request", "add", "--key", "r7", *fresh.at, answer=answer)
    assert done.exit_code == 1
    assert done.stderr.count("Error:") == 1
    assert frozen(fresh.folder) == before


def test_options_of_a_request_are_kept(fresh: Place) -> None:
    found = parsed(
        *("request", "add", "--key", "r7", "--yes", "--basis", "Art. 17", *fresh.at),
        *("--received", "2026-01-02", "--due", "2026-02-03T04:05:06+01:00"),
    )["request"]
    assert found["basis"] == "Art. 17"
    assert found["received_at"] == "2026-01-02T00:00:00+00:00"
    assert found["due_at"] == "2026-02-03T04:05:06+01:00"
    assert "sealed_keys" not in found
    assert "r7" not in json.dumps(found["target"])


def test_a_day_on_which_it_is_due_counts_to_its_end(fresh: Place) -> None:
    today = datetime.now(UTC).date()
    options = ("--key", "r7", "--yes", "--due", today.isoformat())
    found = parsed("request", "add", *options, *fresh.at)["request"]
    assert found["due_at"] == f"{today}T23:59:59.999999+00:00"


def test_a_method_in_a_file_is_found_from_any_folder(
    fresh: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "drop.py").write_text(DROP)
    monkeypatch.chdir(tmp_path)
    options = ("--key", "r7", "--method", "drop.py:Drop", "--yes")
    request = parsed("request", "add", *options, *fresh.at)["request"]
    assert request["method"] == f"{tmp_path / 'drop.py'}:Drop"
    monkeypatch.chdir(fresh.folder)
    said = ok("process", request["id"], "--no-replay", "--yes", *fresh.at)
    assert f"Request {request['id']} is closed." in said


def test_keys_from_a_file(fresh: Place, keys_file: Callable[..., Path]) -> None:
    found = parsed("request", "add", "--from", keys_file("r7", "r8"), "--yes", *fresh.at)
    assert [r["key"] for r in found["resolved"]["records"]] == ["r7", "r8"]


def test_words_and_subject(fresh: Place) -> None:
    by_words = parsed("plan", "--words", tiny_rows(8)[7]["text"], *fresh.at)
    assert {r["key"] for r in by_words["resolved"]["records"]} >= {"r7"}
    by_subject = parsed("plan", "--subject", "s7", *fresh.at)
    assert {r["key"] for r in by_subject["resolved"]["records"]} == {"r7", "r27"}
    assert by_subject["resolved"]["target"]["kind"] == "subject"


def test_a_label_is_asked_for_as_a_concept(fresh: Place) -> None:
    label = str(tiny_rows(8)[7]["label"])
    found = parsed(
        *("request", "add", "--concept", label, "--near", "keep", "--accept-outage", "--yes"),
        *fresh.at,
    )
    assert found["request"]["goal"] == found["request"]["target"]["kind"] == "concept"
    assert found["request"]["target"]["test_records"] == 0
    assert len(found["resolved"]["records"]) == found["request"]["target"]["records"] > 1
    assert label not in json.dumps(found["request"])
    assert parsed("plan", "--key", "near-1", *fresh.at)["plan"]["records"] == 1


@pytest.mark.parametrize(
    ("option", "goal", "words"),
    [
        ("--key", "influence", "Goal: remove the influence of the records."),
        ("--concept", "concept", "Goal: remove a concept."),
    ],
)
def test_the_goal_is_named_wherever_a_request_is(
    fresh: Place, option: str, goal: str, words: str
) -> None:
    named = (option, "r7" if option == "--key" else str(tiny_rows(8)[7]["label"]))
    planned = ok("plan", *named, *fresh.at).splitlines()
    assert planned[0] == words
    assert parsed("plan", *named, *fresh.at)["resolved"]["goal"] == goal
    added = ok(*("request", "add", *named, "--near", "keep", "--accept-outage", "--yes"), *fresh.at)
    assert added.splitlines()[0] == words
    [request] = open_workspace(fresh.folder).requests()
    assert request.goal == goal
    assert words in ok("request", "show", request.id, *fresh.at).splitlines()
    head, _, row = ok("request", "list", *fresh.at).splitlines()
    assert dict(zip(head.split(), row.split(), strict=False))["goal"] == goal


def test_plan_changes_nothing(fresh: Place) -> None:
    before = frozen(fresh.folder)
    assert "Near duplicates that would stay: 1." in ok("plan", "--key", "near-1", *fresh.at)
    assert frozen(fresh.folder) == before


def test_a_forgotten_key_names_the_earlier_request(done: Place) -> None:
    before = frozen(done.folder)
    said = ok("request", "add", "--key", "r3", "--yes", *done.at).splitlines()
    assert said[0] == f"Already forgotten, by request {done.request}."
    assert said[1] == f"Certificate: `rescind certificate show {done.request}`."
    assert done.request in ok(*said[1].split("`")[1].split()[1:], *done.at)
    told = parsed("request", "add", "--key", "r3", *done.at)
    assert told["already"] == {"r3": done.request}
    (certificate,) = told["certificates"].values()
    assert certificate == parsed("report", done.request, *done.at)["certificate"] is not None
    assert parsed("plan", "--key", "r3", *done.at) == told
    assert frozen(done.folder) == before


def test_who_asks_again_before_the_certificate_is_told_how_to_get_it(fresh: Place) -> None:
    request = parsed("request", "add", "--key", "r7", "--yes", *fresh.at)["request"]["id"]
    said = ok("request", "add", "--key", "r7", *fresh.at)
    assert f"No certificate yet: `rescind process {request}` makes it." in said


def test_what_a_lost_workspace_forgot_names_no_request(done: Place) -> None:
    b = open_workspace(done.folder).backends
    marks = [Write("suppressed", m, "restored") for m in b.ledger.items("suppressed")]
    b.ledger.append(Entry("workspace.restored", writes=tuple(marks)))
    said = ok("request", "add", "--key", "r3", *done.at)
    assert said.startswith("Already forgotten.\nSome of it before a restore")
    assert parsed("plan", "--key", "r3", *done.at)["certificates"] == {}


def test_a_key_beside_a_forgotten_one(done: Place) -> None:
    said = ok("plan", "--key", "r3", "--key", "r7", *done.at)
    assert f"Another part was forgotten already, by request {done.request}." in said


@pytest.mark.parametrize(("answer", "records"), [("include", 2), ("keep", 1)])
def test_duplicates_are_asked_about(fresh: Place, answer: str, records: int) -> None:
    done = rescind("request", "add", "--key", "near-1", *fresh.at, answer=f"what\n{answer}\ny\n")
    assert done.exit_code == 0
    shown = done.stdout.partition("Plan by")[0]
    assert re.search(r"1\.00 +near-2 +the coach of the league", shown)  # what would stay, in words
    assert ("Included: 1 record." in shown) == (answer == "include")
    again = shown.partition("Included: 1 record.")[2]
    assert ("near-2" in again and "To forget: 2 records" in again) == (answer == "include")
    assert done.stderr.count("include, keep or refuse?") == 2  # "what" is no answer
    (request,) = open_workspace(fresh.folder).requests()
    assert request.target.records == records
    assert request.target.near_kept == 2 - records


def test_equal_rows_of_others_are_shown(fresh: Place) -> None:
    done = rescind("request", "add", "--key", "twin-1", *fresh.at, answer="refuse\n")
    assert done.exit_code == 1
    assert "Equal records of others that would stay: 1." in done.stdout
    assert re.search(r"twin-2 +felix greta hugo", done.stdout)
    assert open_workspace(fresh.folder).requests() == ()


def test_json_keeps_questions_off_standard_output(fresh: Place) -> None:
    done = rescind("request", "add", "--key", "r7", "--json", *fresh.at, answer="y\n")
    assert json.loads(done.stdout)["request"]["status"] == "withdrawn"
    assert "To forget: 1 record " in done.stderr


def test_list_and_show(done: Place) -> None:
    listed = ok("request", "list", *done.at).splitlines()
    assert listed[0].split()[:4] == ["id", "status", "goal", "records"]
    assert listed[2].split()[:4] == [done.request, "closed", "influence", "2"]
    assert parsed("request", "list", *done.at)["requests"][0]["id"] == done.request
    shown = ok("request", "show", done.request, *done.at)
    assert f"Request {done.request} is closed." in shown
    assert "certificate signed" in shown
    assert parsed("request", "show", done.request, *done.at)["plan"]["method"] == "s3t"


def test_hold_and_lift(fresh: Place) -> None:
    request = parsed("request", "add", "--key", "r7", "--yes", *fresh.at)["request"]["id"]
    held = ok("request", "reject", request, "--reason", "court order 7", *fresh.at)
    assert held == f"Request {request} is held.\n"
    assert "Reason: court order 7." in ok("request", "show", request, *fresh.at)
    assert parsed("process", *fresh.at) == {"processed": [], "held": [request]}
    assert rescind("erase", *fresh.at).exit_code == 4
    assert parsed("request", "lift", request, *fresh.at)["request"]["status"] == "withdrawn"


def test_cancel_ends_what_is_not_withdrawn(fresh: Place) -> None:
    added = parsed("request", "add", "--key", "r7", "--method", "retrain", "--yes", *fresh.at)
    request = added["request"]
    assert (request["status"], request["withdrawn_at"]) == ("planned", None)
    assert "edits weights" in added["plan"]["warnings"][0]
    assert ok("request", "cancel", request["id"], *fresh.at).endswith("is cancelled.\n")


def test_cancel_refuses_what_is_withdrawn(fresh: Place) -> None:
    request = parsed("request", "add", "--key", "r7", "--yes", *fresh.at)["request"]["id"]
    before = frozen(fresh.folder)
    done = rescind("request", "cancel", request, *fresh.at)
    assert done.exit_code == 1
    assert "never undone." in done.stderr
    assert frozen(fresh.folder) == before
