"""From the target options to a draft, and how a draft and its plan are shown before acceptance."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from rescind.cli.opening import rows_in
from rescind.cli.options import Policy
from rescind.cli.output import counted, one_line, table
from rescind.core.errors import BadData, BadParameter, MissingSource, Refused
from rescind.core.request import GOALS, RESTORED

if TYPE_CHECKING:
    from rescind.core.dataset import Record
    from rescind.core.plan import Plan
    from rescind.core.request import Target
    from rescind.workspace import Ask, Draft, Workspace

COLUMN = "key"
SHOWN = 20  # records and duplicates listed; the rest is counted
KEY = 13  # letters of a key that stands beside words
FLAGS = "Add --near include to forget them too, --near keep to leave and count them."


def target(
    keys: list[str] | None,
    file: Path | None,
    subject: str | None,
    words: str | None,
    concept: str | None,
) -> Ask:
    """What the target options name.

    Raises:
        typer.BadParameter: none or several of them are given.
    """
    from rescind.workspace import Ask

    given = {"--key": bool(keys), "--from": file is not None}
    given |= {"--subject": subject is not None, "--words": words is not None}
    given["--concept"] = concept is not None
    if sum(given.values()) != 1:
        named = ", ".join(name for name, there in given.items() if there) or "none of them"
        raise typer.BadParameter(
            f"Give exactly one of --key, --from, --subject, --words and --concept; {named} given."
        )
    found = tuple(keys or ()) if file is None else keys_in(file)
    return Ask(keys=found, subject=subject, words=words, concept=concept)


def keys_in(file: Path) -> tuple[str, ...]:
    """The column ``key`` of a CSV file.

    Raises:
        BadData: the file holds no rows, no such column, or an empty key; or it is not UTF-8.
        MissingSource: there is no such file.
    """
    try:
        rows = rows_in(file)
    except (BadData, MissingSource) as error:
        do = "Give a CSV file in UTF-8 with the keys in a column 'key'."
        raise type(error)(error.what, "The keys to forget are read from it.", do) from error
    if COLUMN not in rows[0]:
        columns = ", ".join(map(str, rows[0]))
        raise BadData(
            f"{file} has no column {COLUMN!r}.",
            f"Its columns are {columns}.",
            "Name the column with the record keys 'key'.",
        )
    keys = tuple(str(row.get(COLUMN) or "") for row in rows)
    empty = [number for number, key in enumerate(keys, 1) if not key]
    if empty:
        raise BadData(f"{file} has no key in row {empty[0]}.", do="Fill it, or remove the row.")
    return keys


def check_dates(received: str | None, due: str | None) -> None:
    """Refuse dates that no request can have.

    Raises:
        BadParameter: received in the future, or due before it was received.
    """
    now = datetime.now(UTC)
    came = datetime.fromisoformat(received) if received else now
    if came > now:
        raise BadParameter(
            f"The request was received at {received}, which is not over yet.",
            "A withdrawal cannot come before its request.",
            "Correct --received.",
        )
    if due and datetime.fromisoformat(due) < came:
        raise BadParameter(
            f"The request is due at {due}, before it was received.", do="Correct --due."
        )


def with_policy(ask: Ask, near: Policy) -> Ask:
    """The ask with what happens to duplicates."""
    return replace(ask, near=near.value)


def decided(ws: Workspace, draft: Draft, yes: bool) -> Draft:
    """The draft after somebody has said what happens to duplicates that would stay.

    Raises:
        Refused: nobody may be asked, or the answer was to refuse.
    """
    if not draft.undecided:
        return draft
    if yes:
        raise Refused(
            f"{counted(draft.undecided, 'duplicate')} of the forget set would stay.",
            "They still carry its content, and --yes says that nobody is asked.",
            FLAGS,
        )
    question = "What about these duplicates: include, keep or refuse?"
    while True:
        answer = answered(question)
        if answer in ("include", "keep", "refuse"):
            return ws.resolve(with_policy(draft.ask, Policy(answer)))


def answered(question: str) -> str:
    """What somebody types, in lower case; the question does not touch standard output.

    Raises:
        typer.Abort: nobody is there.
    """
    typer.echo(f"{question} ", err=True, nl=False)
    line = sys.stdin.readline()
    if not line:
        raise typer.Abort
    return line.strip().lower()


def agree(question: str, otherwise: str) -> None:
    """Go on only after a yes.

    Raises:
        Refused: the answer is another; ``otherwise`` says what to do instead.
    """
    if answered(f"{question} [y/N]") not in ("y", "yes"):
        raise Refused("You did not agree; nothing was changed.", do=otherwise)


def first_words(row: Mapping[str, Any]) -> str:
    """The title of a row, or the beginning of its longest text."""
    texts = [value for value in row.values() if isinstance(value, str)]
    title = row.get("title")
    return one_line(title if isinstance(title, str) else max(texts, key=len, default=""), 60)


def draft_lines(draft: Draft) -> Iterator[str]:
    """The goal and the records in question, then the duplicates that would stay."""
    aim = draft.target
    yield f"Goal: {GOALS[draft.ask.goal]}."
    yield f"To forget: {sizes(aim)}."
    if draft.already:
        yield f"Another part was forgotten already{_by(_earlier(draft))}."
    yield from _indented(table(["key", "first words"], _records(draft.shown[:SHOWN])))
    yield from _more(len(draft.shown))
    if not aim.searched:
        yield "The source cannot be read: nobody could look for duplicates."
    yield from _duplicate_lines(draft)


def included_lines(before: Draft, draft: Draft) -> Iterator[str]:
    """What came in with the answer ``include``, then all that is now to be forgotten.

    A duplicate may have duplicates of its own, so this may be more than was shown as staying.
    """
    known = {record.key for record in before.shown}
    more = [record for record in draft.shown if record.key not in known]
    yield f"Included: {counted(len(more), 'record')}."
    yield from _indented(table(["key", "first words"], _records(more[:SHOWN])))
    yield from _more(len(more))
    yield from draft_lines(draft)


def sizes(aim: Target) -> str:
    """How much a request is about: records, their copies, and test records among them."""
    copies = "1 copy" if aim.copies == 1 else f"{aim.copies:,} copies"
    test = counted(aim.test_records, "test record")
    return f"{counted(aim.records, 'record')} in {copies}, {test} among them"


def _duplicate_lines(draft: Draft) -> Iterator[str]:
    """What would stay, by its first words: nobody decides by a key."""
    words = {r.key: one_line(first_words(r.row), 40) for r in (*draft.stays, *draft.shown)}
    if draft.near:
        yield f"Near duplicates that would stay: {len(draft.near)}."
        head = ["similarity", "key", "would stay", "is like, to forget"]
        rows = [
            (
                f"{n.similarity:.2f}",
                one_line(n.retain_key, KEY),
                words.get(n.retain_key),
                words.get(n.forget_key),
            )
            for n in draft.near[:SHOWN]
        ]
        yield from _indented(table(head, rows))
        yield from _more(len(draft.near))
    if draft.exact:
        yield f"Equal records of others that would stay: {len(draft.exact)}."
        same = [(one_line(key, KEY), words.get(key)) for key in draft.exact[:SHOWN]]
        yield from _indented(table(["key", "first words"], same))
        yield from _more(len(draft.exact))


def plan_lines(plan: Plan) -> Iterator[str]:
    """What would be done and what it costs, shard by shard."""
    cut = counted(plan.snapshots_cut, "snapshot")
    yield f"Plan by {plan.method}: {cut} cut, due {plan.due_at}."
    shards = [
        (s.shard, s.slices_before, s.slices_after or "0 (dead)", s.orders_after)
        for s in plan.shards
    ]
    yield from _indented(table(["shard", "slices before", "after", "orders left"], shards))
    accuracy = plan.expected_accuracy
    said = "not known" if accuracy is None else f"about {accuracy:.1%}"
    yield f"Served after it: {plan.retained_share:.0%} of all slices; accuracy {said}."
    yield (
        f"Cost: {counted(plan.passes, 'record-epoch')} for the replay,"
        f" {plan.rebuild_passes:,} to rebuild dead shards."
    )
    for warning in plan.warnings:
        yield f"Warning: {warning}"


def draft_plain(draft: Draft) -> dict[str, Any]:
    """The draft as JSON has it: keys and first words, never whole rows."""
    return {
        "goal": draft.ask.goal,
        "target": draft.target,
        "records": [{"key": r.key, "first_words": first_words(r.row)} for r in draft.shown],
        "near": draft.near,
        "exact": draft.exact,
        "stays": [{"key": r.key, "first_words": first_words(r.row)} for r in draft.stays],
        "already": dict(draft.already),
        "received_at": draft.received_at,
        "due_at": draft.due_at,
    }


def already_found(ws: Workspace, draft: Draft) -> dict[str, Any]:
    """What a repeated request is told as JSON has it: who forgot, and by which certificate."""
    certificates = {request: ws.report(request).certificate for request in _earlier(draft)}
    return {"already": dict(draft.already), "certificates": certificates}


def already_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """What a repeated request is told, with the command that shows the evidence."""
    certificates = found["certificates"]
    yield f"Already forgotten{_by(certificates)}."
    if RESTORED in found["already"].values():
        yield "Some of it before a restore: whoever asked then was given the certificate."
    for request, certificate in certificates.items():
        if certificate is None:
            yield f"No certificate yet: `rescind process {request}` makes it."
        else:
            yield f"Certificate: `rescind certificate show {request}`."


def _earlier(draft: Draft) -> list[str]:
    return sorted({request for _, request in draft.already} - {RESTORED})


def _by(requests: Iterable[str]) -> str:
    named = ", ".join(requests)
    return f", by request {named}" if named else ""


def _records(records: Sequence[Record]) -> list[tuple[str, str]]:
    return [(record.key, first_words(record.row)) for record in records]


def _indented(lines: Sequence[str]) -> Iterator[str]:
    return (f"  {line}" for line in lines)


def _more(count: int) -> Iterator[str]:
    if count > SHOWN:
        yield f"  and {count - SHOWN:,} more"
