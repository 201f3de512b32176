"""How the demo speaks: plain lines on the terminal, and its sections of the report."""

from __future__ import annotations

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
    target, closest = draft.target, max((n.similarity for n in draft.near), default=0.0)
    stay = f" (closest {closest:.2f})" if draft.near else ""
    say(
        f"{target.records} records ({target.copies} copies, {target.test_records} in the test"
        f" set) in {len(draft.cells)} cells; duplicates that would stay:"
        f" {len(draft.near) + len(draft.exact)}{stay}."
    )


def first_words(record: Record, length: int = 72) -> str:
    """The beginning of a record's text."""
    text = " ".join(str(record.row["text"]).split())
    return text if len(text) <= length else text[: length - 3] + "..."


def show_plan(plan: Plan) -> None:
    """Before and after of each shard, cost and warnings."""
    shards = ", ".join(f"{s.slices_before} -> {s.slices_after}" for s in plan.shards)
    accuracy = "" if plan.expected_accuracy is None else f" accuracy ~{plan.expected_accuracy:.3f};"
    say(
        f"Plan: cut {plan.snapshots_cut} snapshots in {len(plan.cells)} cells; slices served a"
        f" shard: {shards}; retained {plan.retained_share:.0%};{accuracy} replay of"
        f" {plan.passes} record-epochs."
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
    return f"plan only: {cut[1]} snapshots would be cut instead of {cut[0]}"


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
        f"{person['records']} articles, those that name {setting.PERSON} and their near"
        f" duplicates, left the served model {person['milliseconds']:.1f} ms after the request was"
        " accepted, and it went on answering."
    )
    say(
        f"Claim: {person['guarantee']}. {person['compared']} stored snapshots were met byte for"
        " byte by a replay from raw rows without these articles."
    )
    say(f"Still stored of what was made from them: {person['remaining']} artifacts in this fork.")
    say(f"The parent workspace {folder.name}/news was not asked and still holds them.")
    say(f"The demo took {results['seconds']:.0f} s.")
    title("Where to look")
    say(f"  report       {folder / 'report.html'}")
    say(f"  certificate  {folder / 'certificate.json'}")
    title("What to try next")
    place = folder.name
    say(f"  rescind certificate verify {place}/certificate.json --key {place}/signer.pem")
    say(f"  rescind predict --workspace {place}/news 'The band plays in London tonight.'")
    say(f"  rescind request add --workspace {place}/fork-article --words 'Tony Blair'")
