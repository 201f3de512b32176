"""Rows of a CSV file, a JSONL file, or a folder of ``label/*.txt``; nothing in them is guessed."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from rescind.core.dataset import Row
from rescind.core.errors import BadData, BadParameter, MissingSource
from rescind.data.problems import NO_ROWS, as_missing, bad_data

_WHY = "Rows are keyed by what they hold, so they are read as they are or not at all."
_KINDS = "Use a .csv or .jsonl file, a folder of label/*.txt, or a loader 'module:function'."

Found = Iterator[Row | str]  # rows, and problems as text


def read(path: Path, encoding: str) -> list[Row]:
    """The rows of a file or folder; a byte order mark is dropped, line ends stay as they are.

    CSV cells are all text. A folder gives ``{"text", "label"}``, by label and then by file name;
    files other than ``label/*.txt`` are left out.

    Raises:
        BadData: all problems at once, each with its file and line.
        BadParameter: the encoding or the kind of file is not known.
        MissingSource: nothing is there, or it cannot be read.
    """
    with as_missing(f"Reading {path}", "Let this user read the file, and check the disk."):
        return _read(path, encoding)


def _read(path: Path, encoding: str) -> list[Row]:
    if not path.exists():
        raise MissingSource(
            f"There is nothing at {path}.",
            "Without its rows a model can neither be trained nor replayed.",
            "Put it back, or pass the path where it is now.",
        )
    _check_encoding(encoding)
    found = list(_folder(path, encoding) if path.is_dir() else _file(path, encoding))
    problems = [item for item in found if isinstance(item, str)]
    if problems:
        raise bad_data(
            problems,
            _WHY,
            "Mend these lines, or pass encoding=... if the text is not what it says.",
        )
    rows = [item for item in found if not isinstance(item, str)]
    if not rows:
        raise BadData(f"{path} holds no rows.", NO_ROWS, _KINDS)
    return rows


def _check_encoding(encoding: str) -> None:
    try:
        "a".encode(encoding)  # refuses codecs that are not of text, too
    except LookupError:
        raise BadParameter(
            f"The encoding {encoding!r} is not known.",
            "The text cannot be read with it.",
            "Pass one that Python knows, such as encoding='utf-8' or encoding='cp1252'.",
        ) from None


def _file(path: Path, encoding: str) -> Found:
    readers: dict[str, Callable[[str, str], Found]] = {".csv": _csv, ".jsonl": _jsonl}
    if path.suffix.lower() not in readers:
        raise BadParameter(f"{path.name} is of no kind that can be read.", _WHY, _KINDS)
    text, problem = _text(path, path.name, encoding)
    yield from [problem] if problem else readers[path.suffix.lower()](path.name, text)


def _folder(path: Path, encoding: str) -> Found:
    for file in sorted(path.glob("*.txt")):
        yield f"{file.name} lies in no label's folder"
    for file in sorted(path.glob("*/*.txt"), key=lambda f: (f.parent.name, f.name)):
        label = file.parent.name
        text, problem = _text(file, f"{label}/{file.name}", encoding)
        yield problem or {"text": text, "label": label}


def _text(path: Path, name: str, encoding: str) -> tuple[str, str]:
    """The text of a file and no problem, or no text and the problem."""
    data = path.read_bytes()
    try:
        return data.decode(encoding).removeprefix("\ufeff"), ""
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return "", f"{name}:{line} is not {encoding} (byte 0x{data[error.start]:02x})"


def _csv(name: str, text: str) -> Found:
    # the module's limit of 131,072 signs a cell is one for all readers: put it back at once
    limit = csv.field_size_limit(max(len(text), 1))
    try:
        return iter(list(_csv_rows(name, text)))
    finally:
        csv.field_size_limit(limit)


def _csv_rows(name: str, text: str) -> Found:
    # strict, since a quote that is never closed would swallow the rest of the file in silence
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(reader, [])
        bad = [column for column, n in Counter(header).items() if n > 1 or not column]
        if bad:
            yield f"{name}:1 has columns without a name or named twice: {bad}"
            return
        for cells in reader:
            if cells and len(cells) != len(header):
                yield f"{name}:{reader.line_num} has {len(cells)} cells, its header {len(header)}"
            elif cells:
                yield dict(zip(header, cells, strict=True))
    except csv.Error as error:
        yield f"{name}:{reader.line_num} is not CSV ({error})"


def _jsonl(name: str, text: str) -> Found:
    # not splitlines: JSON texts may hold U+2028 and its like
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, parse_constant=_no_constant, object_pairs_hook=_once)
        except ValueError as error:
            yield f"{name}:{number} is not JSON ({error})"
            continue
        yield row if isinstance(row, dict) else f"{name}:{number} is no mapping"


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a name stands in it twice")
    return dict(pairs)
