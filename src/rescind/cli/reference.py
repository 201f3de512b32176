"""The reference of the command line as Markdown, made from the commands themselves.

``python -m rescind.cli.reference docs/reference/cli.md`` writes it; a test compares it.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import typer

from rescind.cli.main import app
from rescind.cli.output import MEANING
from rescind.cli.training import SourceTable

HEAD = """# The command line

This page is made from the commands themselves: `python -m rescind.cli.reference FILE` writes it.

Every command takes `--json`: then standard output holds one JSON document, and an error is
`{"error": {"type", "what", "why", "do"}}` on standard error. Commands on a workspace take
`--workspace FOLDER`, by default the variable `RESCIND_WORKSPACE`, else the folder they run in.
A command line that cannot be understood (exit code 2) is answered in text even then. Questions and
progress bars go to standard error. Dates are ISO 8601; without a zone they are UTC. A date alone
is the end of that day for `--due` and `--at`, and its beginning for `--received`.
"""
RECIPE = """## The table [source] of a recipe

`rescind train` takes a recipe in TOML. A table `[source]` in it says where the rows are; it is no
part of the recipe, so moving the data changes no weight. An option of the command goes before its
line.

```toml
method = "s3t"
epochs = 2

[task]
kind = "text_classification"
encoder = "sentence_encoder"
labels = ["sport", "tech"]

[source]
data = "articles.csv"   # or module:function, called with [source.arguments]
key = "id"
subject = "author"
encoding = "utf-8"
```
"""


def reference() -> str:
    """All commands with their arguments and options, exit codes, and the table [source]."""
    parts = [HEAD, *_exit_codes(), RECIPE, *_source_table()]
    for path, command in commands():
        parts += _section(path, command)
    return "\n".join(parts).rstrip() + "\n"


def commands() -> list[tuple[str, Any]]:
    """Every command that does something, by its path such as ``request add``, in help order."""
    return list(_walk(typer.main.get_command(app), ""))


def _walk(group: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        path = f"{prefix}{name}"
        if hasattr(command, "commands"):
            yield from _walk(command, f"{path} ")
        else:
            yield path, command


def _exit_codes() -> list[str]:
    rows = [f"| {int(code)} | {meaning} |" for code, meaning in MEANING.items()]
    return ["## Exit codes", "", "| code | meaning |", "|---|---|", *rows, ""]


def _source_table() -> list[str]:
    lines = inspect.cleandoc(SourceTable.__doc__ or "").replace("``", "`").splitlines()
    names = ", ".join(f"`{f.name}`" for f in fields(SourceTable))
    return [f"Its lines are {names}.", *lines[2:], ""]


def _section(path: str, command: Any) -> list[str]:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and not _is_help(p)]
    usage = " ".join(["rescind", path, *(p.metavar or p.name.upper() for p in arguments)])
    rows = [_row(p) for p in (*arguments, *options)]
    return [
        f"## rescind {path}",
        "",
        f"`{usage} [OPTIONS]`",
        "",
        inspect.cleandoc(command.help or ""),
        "",
        "| | |",
        "|---|---|",
        *rows,
        "",
    ]


def _is_help(param: Any) -> bool:
    return "--help" in param.opts


def _row(param: Any) -> str:
    if param.param_type_name == "argument":
        name = param.metavar or param.name.upper()
    else:
        name = _option(param)
    notes = " Required." if param.required else ""
    return f"| `{name.replace('|', chr(92) + '|')}` | {param.help}{notes} |"


def _option(param: Any) -> str:
    names = "/".join([*param.opts, *param.secondary_opts])
    return names if param.is_flag else f"{names} {param.metavar or param.name.upper()}"


def main() -> None:
    """Write the reference to the file that is named, else to standard output."""
    text = reference()
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(text, encoding="utf-8")
    else:
        typer.echo(text, nl=False)


if __name__ == "__main__":
    main()
