"""Train from a recipe file, whose table [source] says where the rows are."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from rescind.cli.opening import opened_or_new
from rescind.cli.options import HERE, AsJson, KeyColumn, SubjectColumn, WorkspaceFolder
from rescind.cli.output import emit
from rescind.core.canonical import build
from rescind.core.errors import BadParameter

SOURCE = "source"
Seeds = Annotated[
    list[Path] | None,
    typer.Option(
        "--seeds", metavar="FILE", help="Codes of a user, of `rescind seeds make`; repeatable."
    ),
]

Learned = Annotated[
    str,
    typer.Option(
        "--seeding",
        metavar="every=N,batch=N,weight=X,negatives=X,smoothing=X",
        help="How codes are learned: at which steps, how many records of a user each time, the"
        " weights of the term and of unmarked records in it, and how far codes are drawn to the"
        " middle, at which less accuracy is lost; each can be left out.",
    ),
]


@dataclass(frozen=True, slots=True)
class SourceTable:
    """The table [source] of a recipe file; an option of the command goes before its line.

    ``data`` is a path, relative to where the command runs, or ``module:function`` called with
    ``arguments``; ``key`` and ``subject`` name columns.
    """

    data: str | None = None
    key: str | None = None
    subject: str | None = None
    encoding: str = "utf-8"
    arguments: Mapping[str, Any] = field(default_factory=dict)


def train(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.toml", help="The recipe.")],
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="PATH|MODULE:FUNCTION",
            help="A CSV, a JSONL, a folder of label/*.txt, or a function that returns rows.",
        ),
    ] = None,
    key: KeyColumn = None,
    subject: SubjectColumn = None,
    encoding: Annotated[
        str | None,
        typer.Option("--encoding", metavar="NAME", help="The encoding of the data; else utf-8."),
    ] = None,
    seeds: Seeds = None,
    seeding: Learned = "",
    workspace: WorkspaceFolder = HERE,
    as_json: AsJson = False,
) -> None:
    """Train a model so that data can be deleted from it; interrupted, it goes on.

    The workspace is made where there is none, and not for a recipe or data that are refused. The
    recipe file may have a table [source] with data, key, subject, encoding and arguments, which the
    options here replace. Paths are relative to the folder in which the command runs.
    """
    body, written = read_recipe_file(recipe)
    given: dict[str, Any] = {"data": data, "key": key, "subject": subject, "encoding": encoding}
    source = replace(written, **{name: value for name, value in given.items() if value is not None})
    if source.data is None:
        raise BadParameter(
            f"Nothing says where the rows for {recipe} are.",
            "A recipe fixes how to train; the rows come from --data or its table [source].",
            "Add --data PATH, or data = ... under [source] in the recipe.",
        )
    from rescind.progress import Bars
    from rescind.users_seeds import learned_by, read_codes

    learned, handed = learned_by(seeding), [read_codes(path) for path in seeds or ()]
    with Bars() as progress, opened_or_new(workspace) as ws:
        version = ws.train(
            body,
            source.data,
            key=source.key,
            subject=source.subject,
            encoding=source.encoding,
            arguments=source.arguments,
            seeds=handed,
            seeding=learned,
            progress=progress,
        )
    line = f"Trained version {version.id} of run {version.run}; weights {version.weights}."
    emit(as_json, {"version": version}, lambda: [line])


def read_recipe_file(path: Path) -> tuple[dict[str, Any], SourceTable]:
    """The recipe as plain values, without its table [source], and that table.

    Raises:
        BadParameter: the file is missing, is not TOML, or its table [source] cannot be.
    """
    try:
        body = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadParameter(f"There is no recipe {path}.", do="Check the path.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadParameter(
            f"{path} is not TOML.", f"{error}.", "Correct the line and try again."
        ) from error
    table = body.pop(SOURCE, {})
    if not isinstance(table, dict):
        raise BadParameter(f"{SOURCE} in {path} is no table.", do=f"Write it as [{SOURCE}].")
    try:
        return body, build(SourceTable, table)
    except BadParameter as error:
        raise BadParameter(f"[{SOURCE}] in {path}: {error.what}", error.why, error.do) from error
