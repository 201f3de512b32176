"""Make a workspace, and use and look at the model in it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rescind.cli.opening import opened, rows_in
from rescind.cli.options import HERE, AsJson, WorkspaceFolder
from rescind.cli.output import counted, emit, table
from rescind.core.errors import BadData, UnsupportedModel
from rescind.settings import WORKSPACE

if TYPE_CHECKING:
    from rescind.core.run import Run

listing = typer.Typer(
    no_args_is_help=True, help="What there is: methods, audits, benchmarks, models."
)


def init(workspace: WorkspaceFolder = HERE, as_json: AsJson = False) -> None:
    """Make a workspace; its settings are in rescind.toml, each with a comment."""
    from rescind.workspace import new_workspace

    made = new_workspace(workspace).folder
    lines = [f"Workspace made in {made}.", "Next: `rescind train RECIPE.toml`, or `rescind demo`."]
    emit(as_json, {"workspace": str(made)}, lambda: lines)


def demo(
    workspace: Annotated[
        Path,
        typer.Option(
            "--workspace", envvar=WORKSPACE, metavar="FOLDER", help="A new folder for the demo."
        ),
    ] = Path("demo"),
    as_json: AsJson = False,
) -> None:
    """Train on BBC news, forget some of it, and write a certificate and a report.

    A second run checks the certificate again and changes nothing; results that are missing are
    written again. With --json the story goes to standard error.
    """
    from rescind.demo import run

    with redirect_stdout(sys.stderr) if as_json else nullcontext():
        found = run(workspace)
    emit(as_json, found, lambda: [])


def predict(
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="[TEXT]...", help="Texts to answer.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE", help="A CSV or JSONL with the task's text column."),
    ] = None,
    workspace: WorkspaceFolder = HERE,
    as_json: AsJson = False,
) -> None:
    """Answer texts with the live model; no answer uses a withdrawn record."""
    if bool(texts) == (file is not None):
        raise typer.BadParameter("Give either texts or --from FILE.")
    ws = opened(workspace)
    column = _text_column(ws.run())
    rows = [{column: text} for text in texts or ()] if file is None else _rows(file, column)
    answers = ws.predict(rows)
    found = [{column: row[column], **answer} for row, answer in zip(rows, answers, strict=True)]
    emit(as_json, {"answers": found}, lambda: _answer_lines(answers, rows, column))


def export(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new or empty folder.")],
    to: Annotated[
        str,
        typer.Option("--to", metavar="RECIPIENT", help="Who gets it, to be told of deletions."),
    ],
    workspace: WorkspaceFolder = HERE,
    as_json: AsJson = False,
) -> None:
    """Write the served weights into a folder and note who has them."""
    digest = opened(workspace).export(folder, to)
    lines = [f"Exported to {folder} for {to}.", f"Weights {digest}."]
    emit(as_json, {"folder": str(folder), "recipient": to, "weights": digest}, lambda: lines)


def rebuild(
    shard: Annotated[
        list[int] | None,
        typer.Option("--shard", metavar="N", min=0, help="A shard; else all dead ones."),
    ] = None,
    orders: Annotated[
        int | None,
        typer.Option("--orders", metavar="N", min=1, help="At most so many orders a shard."),
    ] = None,
    workspace: WorkspaceFolder = HERE,
    as_json: AsJson = False,
) -> None:
    """Train missing orders of dead, or of the named, shards again without what was forgotten."""
    from rescind.progress import Bars

    ws = opened(workspace)
    with Bars() as progress:
        count = ws.rebuild(shard or None, orders, progress)
    lines = [f"Trained {counted(count, 'order')} again, without what was forgotten."]
    emit(as_json, {"orders": count}, lambda: lines)


@listing.command()
def methods(as_json: AsJson = False) -> None:
    """List the unlearning methods that are installed; none is imported."""
    from rescind.registry import Registry

    names = Registry("rescind.methods").names()
    emit(as_json, {"methods": names}, lambda: names)


@listing.command()
def audits(as_json: AsJson = False) -> None:
    """List the audits that are installed; none is imported."""
    from rescind.registry import Registry

    names = Registry("rescind.audits", verb="audit").names()
    emit(as_json, {"audits": names}, lambda: names)


@listing.command()
def benchmarks(as_json: AsJson = False) -> None:
    """List the benchmarks that are installed; none is imported."""
    from rescind.registry import Registry

    names = Registry("rescind.benchmarks", verb="setting").names()
    emit(as_json, {"benchmarks": names}, lambda: names)


@listing.command()
def models(workspace: WorkspaceFolder = HERE, as_json: AsJson = False) -> None:
    """List the versions of the model, oldest first, and which of them serves."""
    ws = opened(workspace)
    versions, serving = ws.versions(), ws.version().id
    head = ["version", "serves", "parent", "request", "guarantee", "weights"]
    rows = [
        (v.id, "yes" if v.id == serving else "", v.parent, v.request, v.guarantee.kind, v.weights)
        for v in versions
    ]
    emit(as_json, {"versions": versions, "serves": serving}, lambda: table(head, rows))


def _text_column(run: Run) -> str:
    """The column of the task that holds the text.

    Raises:
        UnsupportedModel: the task has no such column.
    """
    column = getattr(run.recipe.task, "text", None)
    if not isinstance(column, str):
        raise UnsupportedModel(
            f"A task of kind {run.recipe.task.kind!r} does not answer texts.",
            "Not yet: the command line passes texts only.",
            "Use Workspace.predict with rows of your own.",
        )
    return column


def _rows(file: Path, column: str) -> list[Mapping[str, Any]]:
    rows = rows_in(file)
    wrong = [number for number, row in enumerate(rows, 1) if not isinstance(row.get(column), str)]
    if wrong:
        raise BadData(
            f"{file} has no text in the column {column!r} of row {wrong[0]}.",
            "That is the column which the task of this model reads.",
            f"Name the column with the texts {column!r}.",
        )
    return [{column: row[column]} for row in rows]


def _answer_lines(
    answers: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]], column: str
) -> Iterator[str]:
    head = [*answers[0], column]
    cells = ([*answer.values(), row[column]] for answer, row in zip(answers, rows, strict=True))
    yield from table(head, ([_short(c) for c in line] for line in cells))


def _short(cell: object) -> str:
    return f"{cell:.4f}" if isinstance(cell, float) else str(cell)[:60]
