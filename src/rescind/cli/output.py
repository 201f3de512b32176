"""What a command writes and how it ends: tables for people, one JSON document for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum

import typer

from rescind.core.canonical import plain


class Exit(IntEnum):
    """Exit codes of every command."""

    FINE = 0
    USER_ERROR = 1
    USAGE = 2
    VERIFICATION_FAILED = 3
    NOT_ENOUGH_EVIDENCE = 4
    INTERRUPTED = 130


MEANING: dict[Exit, str] = {
    Exit.FINE: "done",
    Exit.USER_ERROR: "something has to change first; the message says what",
    Exit.USAGE: "the command line cannot be understood",
    Exit.VERIFICATION_FAILED: (
        "a certificate, a ledger or a replay does not hold, or an audit found a residue"
    ),
    Exit.NOT_ENOUGH_EVIDENCE: (
        "a claim lacks its evidence, something forgotten is still stored, or no audit had the power"
        " to tell"
    ),
    Exit.INTERRUPTED: "stopped by Ctrl-C; the same command goes on where it stopped",
}


def emit(as_json: bool, value: object, lines: Callable[[], Iterable[str]]) -> None:
    """Write the value as JSON, or the lines, to standard output."""
    if as_json:
        typer.echo(as_text(value))
        return
    for line in lines():
        typer.echo(line)


def as_text(value: object) -> str:
    """Records and plain values as indented JSON."""
    return json.dumps(plain(value), indent=2, ensure_ascii=False)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Aligned columns under their names; a cell is one line, and None is a dash."""
    body = [["-" if cell is None else one_line(str(cell)) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(head), *body]) for i in range(len(head))]
    lines = [list(head), ["-" * width for width in widths], *body]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


def counted(n: int, one: str) -> str:
    """How many of something: 1 record, 2 records."""
    return f"{n:,} {one}" if n == 1 else f"{n:,} {one}s"


def one_line(text: str, width: int = 100) -> str:
    """At most ``width`` printable characters: what comes from data must not move the cursor."""
    flat = " ".join(text.split())
    safe = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in flat)
    return safe if len(safe) <= width else safe[: width - 1] + "…"
