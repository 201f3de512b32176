"""Options that several commands share, and how their text is read."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rescind.cli.failures import JSON
from rescind.core.errors import BadParameter
from rescind.settings import WORKSPACE

HERE = Path()
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


class Policy(StrEnum):
    """What happens to duplicates of the forget set: the values of ``resolve.NearPolicy``."""

    ASK = "ask"
    INCLUDE = "include"
    KEEP = "keep"
    REFUSE = "refuse"


class AccessTo(StrEnum):
    """What audits may use: the keys of ``core.audit.ACCESS``."""

    ANSWERS = "answers"
    WEIGHTS = "weights"
    DATA = "data"


def _remember(ctx: typer.Context, value: bool) -> bool:
    ctx.meta[JSON] = value
    return value


def moment(value: str | None) -> str | None:
    """An ISO 8601 date or time as text with a zone; without one it is UTC."""
    if value is None:
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        raise typer.BadParameter(f"{value!r} is no date; write it as 2027-01-31.") from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).isoformat()


def until(value: str | None) -> str | None:
    """As ``moment``, but a date alone is the last moment of that day."""
    if value is None:
        return None
    try:
        day = date.fromisoformat(value)
    except ValueError:
        return moment(value)
    return datetime.combine(day, time.max, UTC).isoformat()


def method_named(value: str | None) -> str | None:
    """The name of a method; a file in it as it is found from any folder."""
    path, _, attribute = (value or "").rpartition(":")
    if not path.endswith(".py"):
        return value
    return f"{Path(path).expanduser().absolute()}:{attribute}"


def seconds(value: str | None) -> float | None:
    """A length of time such as 90s, 10m or 1.5h in seconds; a number alone is seconds."""
    if value is None:
        return None
    number, unit = (value[:-1], value[-1]) if value[-1:] in UNITS else (value, "s")
    try:
        found = float(number) * UNITS[unit]
    except ValueError:
        found = 0.0
    if not 0.0 < found < float("inf"):
        raise typer.BadParameter(f"{value!r} is no length of time; write it as 90s, 10m or 2h.")
    return found


def settings_in(given: Sequence[str]) -> dict[str, str]:
    """NAME=VALUE pairs as names and texts; another form is a mistake of usage."""
    pairs = [item.partition("=") for item in given]
    wrong = [name for name, equals, _ in pairs if not equals or not name]
    if wrong:
        raise typer.BadParameter(f"--set takes NAME=VALUE, not {wrong[0]!r}.")
    return {name: value for name, _, value in pairs}


WorkspaceFolder = Annotated[
    Path,
    typer.Option(
        "--workspace", envvar=WORKSPACE, metavar="FOLDER", help="The folder of the workspace."
    ),
]
AsJson = Annotated[
    bool,
    typer.Option("--json", callback=_remember, is_eager=True, help="Write JSON, errors included."),
]
KeyColumn = Annotated[
    str | None,
    typer.Option("--key", metavar="COLUMN", help="The column with the key of each record."),
]
SubjectColumn = Annotated[
    str | None,
    typer.Option("--subject", metavar="COLUMN", help="The column that says whose a record is."),
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask before going on.")]
RequestId = Annotated[str, typer.Argument(metavar="ID", help="The id of the request.")]
Out = Annotated[Path, typer.Option("--out", metavar="FILE", help="The file to write.")]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is recorded.")]

Keys = Annotated[
    list[str] | None,
    typer.Option("--key", metavar="KEY", help="Key of a record to forget; may be repeated."),
]
KeyFile = Annotated[
    Path | None,
    typer.Option("--from", metavar="FILE.csv", help="A CSV with the keys in a column 'key'."),
]
Subject = Annotated[
    str | None, typer.Option("--subject", metavar="NAME", help="All records of this subject.")
]
Words = Annotated[
    str | None,
    typer.Option("--words", metavar="TEXT", help="All records that contain these whole words."),
]
Concept = Annotated[
    str | None,
    typer.Option(
        "--concept",
        metavar="LABEL",
        help="The ability to recognise a label: its training records; test records stay as probes.",
    ),
]
Near = Annotated[
    Policy,
    typer.Option(
        "--near",
        metavar="ask|include|keep|refuse",
        help="Duplicates that would stay: ask, forget them too, keep and count them, or refuse.",
    ),
]
Due = Annotated[
    str | None,
    typer.Option(
        "--due",
        metavar="DATE",
        callback=until,
        help="Until when it must be done, a date alone to its end (UTC); else by the settings.",
    ),
]
Received = Annotated[
    str | None,
    typer.Option(
        "--received",
        metavar="DATE",
        callback=moment,
        help="When the request came in, if not now; a date alone is midnight UTC.",
    ),
]
Basis = Annotated[
    str,
    typer.Option(
        "--basis", metavar="TEXT", help="The legal or other basis; stored, so name nobody in it."
    ),
]
Method = Annotated[
    str | None,
    typer.Option(
        "--method",
        metavar="NAME|FILE.py:CLASS",
        callback=method_named,
        help="An unlearning method other than that of the recipe.",
    ),
]
AuditBudget = Annotated[
    str | None,
    typer.Option(
        "--audit-budget",
        metavar="TIME",
        help="Choose and record audits that take this long at most: 90s, 10m, 2h of one core.",
    ),
]
AuditAccess = Annotated[
    AccessTo,
    typer.Option(
        "--audit-access",
        metavar="answers|weights|data",
        help="With --audit-budget: the most that an audit may use, answers of the models, their"
        " weights, or data to train models on.",
    ),
]
Outage = Annotated[
    bool,
    typer.Option("--accept-outage", help="Agree that no shard is left to answer with."),
]


def write(path: Path, data: bytes) -> Path:
    """Write a file that the user named, in place of what is there.

    Raises:
        BadParameter: the path is a folder, or its folder is not there.
    """
    if path.is_dir():
        raise BadParameter(f"{path} is a folder.", do=f"Name a file, such as {path / 'file'}.")
    if not path.parent.is_dir():
        raise BadParameter(f"There is no folder {path.parent}.", do="Make it, or name another.")
    path.write_bytes(data)
    return path
