"""Give rows stable keys: the user's own where there is a column of them, else the content."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from rescind.core import canonical
from rescind.core.dataset import Key, Record, Row
from rescind.core.errors import BadData
from rescind.data.problems import NO_ROWS, bad_data

_WHY = "A record's key and digest are hashes of its JSON, so every row must have exactly one."
_DO = (
    "Mend these rows and run the command again: a row is a mapping of column names to JSON values; "
    "write dates as text with .isoformat(), bytes as text or as a file name, numpy values with "
    ".item() or .tolist(), and a missing value as None."
)


def records_from(
    rows: Iterable[Row], *, key: str | None, subject: str | None
) -> tuple[Record, ...]:
    """Key the rows and merge equal ones; the result is sorted by key and blind to row order.

    ``Record.row`` and its digest leave out the columns ``key`` and ``subject``. Without a key
    column the key is the SHA-256 of the canonical JSON of [digest, subject]: equal content of one
    subject, or of none, is one record with a multiplicity. Two keys of the user's own stay two
    records even where their content is equal; ``duplicates.exact_duplicates`` finds such pairs.
    An empty or null subject means that the row has none.

    Raises:
        BadData: all problems at once; row numbers start at 1.
    """
    problems: list[str] = []
    found: dict[Key, tuple[Record, int]] = {}
    number = 0
    for number, row in enumerate(rows, 1):
        wrong = list(_problems(row, key, subject))
        if not wrong:
            record = _record(row, key, subject)
            first, at = found.setdefault(record.key, (replace(record, multiplicity=0), number))
            wrong = _conflict(first, record, at)
            copies = first.multiplicity + 1
            found[record.key] = (replace(first, multiplicity=copies), at)
        problems += [f"row {number} {text}" for text in wrong]
    if number == 0:
        raise BadData("The data set is empty.", NO_ROWS, "Pass some rows.")
    if problems:
        raise bad_data(problems, _WHY, _DO)
    return tuple(found[name][0] for name in sorted(found))


def _record(row: Row, key: str | None, subject: str | None) -> Record:
    content = {name: value for name, value in row.items() if name not in (key, subject)}
    data = canonical.dumps(content)
    digest = canonical.digest(data)
    owner = None if subject is None else _owner(row[subject])
    name = canonical.digest([digest, owner]) if key is None else str(row[key])
    # read back, so that a caller who changes a list in the row later does not change the record
    return Record(name, json.loads(data), digest, owner)


def _owner(value: Any) -> str | None:
    return None if value is None or value == "" else str(value)


def _conflict(first: Record, record: Record, at: int) -> list[str]:
    if first.digest != record.digest:
        return [f"has the key {record.key!r} of row {at} but other content"]
    if first.subject != record.subject:
        return [f"has the key {record.key!r} of row {at} but another subject"]
    return []


def _problems(row: object, key: str | None, subject: str | None) -> Iterator[str]:
    if not isinstance(row, Mapping):
        yield f"is a {type(row).__name__}, not a mapping of column names to values"
        return
    if key is not None:
        yield from _name_problems(row, key, may_be_empty=False)
    if subject is not None:
        yield from _name_problems(row, subject, may_be_empty=True)
    if not any(name not in (key, subject) for name in row):
        yield "has no content"
    for name, value in row.items():
        wrong = _wrong(value) if isinstance(name, str) else "is named by no text"
        if wrong and name not in (key, subject):
            yield f"column {name!r} {wrong}"


def _name_problems(row: Mapping[Any, Any], column: str, *, may_be_empty: bool) -> Iterator[str]:
    if column not in row:
        yield f"has no column {column!r}"
        return
    value = row[column]
    if value is None or value == "":
        if not may_be_empty:
            yield f"column {column!r} is empty, so the row has no key"
    elif isinstance(value, bool) or not isinstance(value, (str, int)):
        yield f"column {column!r} holds a {type(value).__name__}; it must be text or an integer"
    elif wrong := _wrong(value):
        yield f"column {column!r} {wrong}"


def _wrong(value: object) -> str:
    """What keeps a value from being JSON, or nothing."""
    if value is None or isinstance(value, (bool, int)):
        return ""
    if isinstance(value, float):
        return "" if math.isfinite(value) else "holds NaN or an infinity"
    if isinstance(value, str):
        return "" if _is_unicode(value) else "holds half a surrogate pair, which is no Unicode text"
    if isinstance(value, (list, tuple)):
        return next((wrong for wrong in map(_wrong, value) if wrong), "")
    if isinstance(value, Mapping):
        if not all(isinstance(name, str) for name in value):
            return "holds a mapping with a name that is not text"
        return next((wrong for item in value.items() for wrong in map(_wrong, item) if wrong), "")
    return f"holds a {type(value).__name__}, which is not a JSON value"


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
