"""How the demo speaks: plain lines on the terminal, and its sections of the report."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from rescind.core.dataset import Record
from rescind.core.plan import Plan
from rescind.demo import setting
from rescind.demo.stored import stored_sections
from rescind.render import Paragraph, Section, Table
from rescind.resolve import Draft
from rescind.sections import counted


def title(text: str) -> None:
    """A heading on the terminal."""
    typer.echo()
    typer.secho(text, bold=True)


def say(text: str) -> None:
    """One line on the terminal."""
    typer.echo(text)


def show_draft(draft: Draft) -> None:
    """What was resolved: shown here, in memory, and stored nowhere."""
    for record in draft.shown:
        say(f"  - {first_words(record)}")
    target, cells = draft.target, counted(len(draft.cells), "cell")
    copies = counted(target.copies, "copy", "copies")
    say(
        f"{counted(target.records, 'record')} ({copies}, {target.test_records} in the test set)"
        f" in {cells}; duplicates that would stay: {len(draft.near) + len(draft.exact)}."
    )
    alike = {n.retain_key: f"{n.similarity:.2f} alike" for n in draft.near}
    for record in draft.stays:
        say(f"  - {first_words(record)} ({alike.get(record.key, 'equal')})")


def first_words(record: Record, length: int = 72) -> str:
    """The beginning of a record's text."""
    text = " ".join(str(record.row["text"]).split())
    return text if len(text) <= length else text[: length - 3] + "..."


def show_plan(plan: Plan) -> None:
    """Before and after of each shard, cost and warnings."""
    shards = ", ".join(f"{s.slices_before} -> {s.slices_after}" for s in plan.shards)
    accuracy = "" if plan.expected_accuracy is None else f" accuracy ~{plan.expected_accuracy:.3f};"
    say(
        f"Plan: cut {counted(plan.snapshots_cut, 'snapshot')} in"
        f" {counted(len(plan.cells), 'cell')}; slices served a shard: {shards}; retained"
        f" {plan.retained_share:.0%};{accuracy} replay of {plan.passes} record-epochs."
    )
    for warning in plan.warnings:
        say(f"  Warning: {warning}")


def sections(results: Mapping[str, Any]) -> tuple[Section, ...]:
    """What the demo adds to the report of request 2."""
    return (_six(results), _plans(results), _answers(results), *stored_sections())


def _six(results: Mapping[str, Any]) -> Section:
    order = ("article", "person", "stream", "unknown", "repeated")
    rows = [list(results[name]["row"]) for name in order]
    rows.insert(2, ["3", "the same, records placed by owner", _owner(results["person"]["plans"])])
    return Section(
        "The six requests of this demo",
        (
            Paragraph(
                "Each was made on a copy of the trained workspace under its own keys, so that one"
                " does not spoil the next. This report is about request 2."
            ),
            Table(("request", "what was asked", "what happened"), rows),
        ),
    )


def _owner(plans: Sequence[Mapping[str, Any]]) -> str:
    cut = [p["snapshots_cut"] for p in plans]
    return f"plan only: {counted(cut[1], 'snapshot')} would be cut instead of {cut[0]}"


def _plans(results: Mapping[str, Any]) -> Section:
    rows = []
    for name, plan in zip(
        ("placed by record", "placed by owner"), results["person"]["plans"], strict=True
    ):
        expected = plan["expected_accuracy"]
        rows.append(
            (
                name,
                str(len(plan["cells"])),
                str(plan["snapshots_cut"]),
                f"{plan['retained_share']:.0%}",
                "unknown" if expected is None else f"{expected:.3f}",
                str(plan["passes"]),
            )
        )
    columns = ("placement", "cells", "snapshots cut", "retained", "accuracy ~", "replay")
    caption = "Expected accuracy is the estimate of the plan; replay in record-epochs."
    return Section("What placement by owner would save", (Table(columns, rows, caption),))


def _answers(results: Mapping[str, Any]) -> Section:
    before, after = results["person"]["answers"]
    rows = list(zip(setting.QUESTIONS, before, after, strict=True))
    note = "Sentences of ours, not of the data; answers right before and right after withdrawal."
    table = Table(("sentence", "before", "after"), rows)
    return Section("Answers before and after", (Paragraph(note), table))


def closing_words(folder: Path, results: Mapping[str, Any]) -> None:
    """What happened, where the report is, what to try next."""
    person = results["person"]
    title("What happened")
    say(
        f"{counted(person['records'], 'article')}, those that name {setting.PERSON} and their"
        f" near duplicates, left the served model {person['milliseconds']:.1f} ms after the request"
        " was accepted, and it went on answering."
    )
    say(
        f"Claim: {person['guarantee']}. Stored snapshots that a replay from raw rows without these"
        f" articles met byte for byte: {person['compared']}."
    )
    say(f"Artifacts made from them that are still stored in this fork: {person['remaining']}.")
    say(f"The parent workspace {folder / 'news'} was not asked and still holds them.")
    say(f"The demo took {results['seconds']:.0f} s.")
    title("Where to look")
    say(f"  report       {folder / 'report.html'}")
    say(f"  certificate  {folder / 'certificate.json'}")
    title("What to try next")
    for line in suggestions(started_as(sys.argv[0]), folder):
        say(f"  {line}")
    say("The third asks before it forgets; the last makes the certificates of that fork.")


def suggestions(command: str, folder: Path) -> tuple[str, ...]:
    """Commands to type after the demo, in the folder in which it was started."""
    news, fork = (shlex.quote(str(folder / name)) for name in ("news", "fork-article"))
    file, key = (shlex.quote(str(folder / name)) for name in ("certificate.json", "signer.pem"))
    return (
        f"{command} certificate verify {file} --key {key}",
        f"{command} predict --workspace {news} 'The band plays in London tonight.'",
        f"{command} request add --workspace {fork} --words {shlex.quote(setting.NEXT)}",
        f"{command} process --workspace {fork}",
    )


def started_as(program: str) -> str:
    """The command as it can be typed again: by its name if the shell finds it, else by its path."""
    path = Path(program)
    if path.parts[-2:] == ("rescind", "__main__.py"):
        return shlex.join([sys.executable, "-m", "rescind"])
    found = shutil.which("rescind")
    known = found is not None and Path(found).resolve() == path.resolve()
    return "rescind" if known or path.name != "rescind" else shlex.quote(program)
