"""Files are read as they are, or refused with the file and the line."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from rescind.core.errors import BadData, BadParameter, MissingSource
from rescind.data.files import read


def written(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refusal(path: Path, encoding: str = "utf-8") -> str:
    with pytest.raises(BadData) as caught:
        read(path, encoding)
    return str(caught.value)


def test_csv_cells_are_text_and_may_hold_quotes_lines_and_long_passages(tmp_path: Path) -> None:
    long = "word " * 40_000
    path = written(tmp_path / "a.csv", f'id,text\r\n1,"say ""hi"",\nyou"\r\n\r\n2,{long}\r\n')
    limit = csv.field_size_limit()
    assert read(path, "utf-8") == [{"id": "1", "text": 'say "hi",\nyou'}, {"id": "2", "text": long}]
    assert csv.field_size_limit() == limit


def test_jsonl_keeps_types_skips_blank_lines_and_splits_at_line_feeds_only(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"x": 1, "y": [None, 2.5]}, {"t": "a\u2028b\x85c"}]
    lines = "\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    assert read(written(tmp_path / "a.JSONL", lines + "\r\n"), "utf-8") == rows


def test_a_folder_of_labels_is_read_by_label_and_name(tmp_path: Path) -> None:
    for name in ("b/2.txt", "b/10.txt", "a/x.txt", "a/notes.md"):
        written(tmp_path / name, f"{name}\r\n")
    assert [(r["label"], r["text"]) for r in read(tmp_path, "utf-8")] == [
        ("a", "a/x.txt\r\n"),
        ("b", "b/10.txt\r\n"),
        ("b", "b/2.txt\r\n"),
    ]


def test_a_byte_order_mark_is_not_part_of_the_first_column(tmp_path: Path) -> None:
    assert read(written(tmp_path / "a.csv", b"\xef\xbb\xbfid\n1\n"), "utf-8") == [{"id": "1"}]


def test_an_encoding_is_used_when_given_and_never_guessed(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "t\nx\ncaf\u00e9\n".encode("cp1252"))
    text = refusal(path)
    assert "a.csv:3 is not utf-8 (byte 0xe9)" in text and "pass encoding=..." in text
    assert read(path, "cp1252") == [{"t": "x"}, {"t": "caf\u00e9"}]


def test_all_files_of_a_folder_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    for i in range(7):
        written(tmp_path / "a" / f"{i}.txt", b"one\ntwo \xff")
    written(tmp_path / "stray.txt", "no label")
    text = refusal(tmp_path)
    assert text.startswith(
        "The data has 8 problems: stray.txt lies in no label's folder; a/0.txt:2"
    )
    assert "and 3 more" in text


BAD_FILES = {
    "short.csv": ("a,b\n1,2\n3\n", "short.csv:3 has 1 cells, its header 2"),
    "long.csv": ("a,b\n1,2,3\n", "long.csv:2 has 3 cells, its header 2"),
    "twice.csv": ("a,b,a\n1,2,3\n", "twice.csv:1 has columns without a name or named twice: ['a']"),
    "unnamed.csv": (",b\n1,2\n", "unnamed.csv:1 has columns without a name"),
    "open.csv": ('a,b\n1,"2\n3,4\n', "open.csv:3 is not CSV"),
    "quote.csv": ('a,b\n1,"2"3\n', "quote.csv:2 is not CSV"),
    "broken.jsonl": ('{"a":1}\n{"a":\n', "broken.jsonl:2 is not JSON"),
    "list.jsonl": ('{"a":1}\n\n[1]\n', "list.jsonl:3 is no mapping"),
    "nan.jsonl": ('{"a":NaN}\n', "nan.jsonl:1 is not JSON (NaN is not a JSON value)"),
    "twice.jsonl": ('{"a":1,"a":2}\n', "twice.jsonl:1 is not JSON (a name stands in it twice)"),
    "empty.csv": ("a,b\n", "holds no rows"),
    "empty.jsonl": ("\n", "holds no rows"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_refused_with_its_line(name: str, tmp_path: Path) -> None:
    content, expected = BAD_FILES[name]
    assert expected in refusal(written(tmp_path / name, content))


def test_an_empty_folder_an_unknown_kind_and_an_unknown_encoding_are_refused(
    tmp_path: Path,
) -> None:
    assert "holds no rows" in refusal(tmp_path)
    parquet = written(tmp_path / "a.parquet", b"PAR1")
    with pytest.raises(BadParameter, match=r"a\.parquet is of no kind"):
        read(parquet, "utf-8")
    for encoding in ("utf-9", "base64"):
        with pytest.raises(BadParameter, match="is not known"):
            read(tmp_path, encoding)


def test_a_missing_path_is_a_missing_source(tmp_path: Path) -> None:
    with pytest.raises(MissingSource, match="nothing at"):
        read(tmp_path / "gone.csv", "utf-8")


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")]
)
def test_a_file_that_cannot_be_read_is_a_missing_source(
    tmp_path: Path, error: OSError, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "a.csv", "t\nx\n")

    def fails(self: Path) -> bytes:
        raise error

    monkeypatch.setattr(Path, "read_bytes", fails)
    with pytest.raises(
        MissingSource, match=rf"Reading .*a\.csv failed: {type(error).__name__}"
    ) as e:
        read(path, "utf-8")
    assert e.value.__cause__ is error


def test_lines_nested_too_deep_are_a_missing_source(tmp_path: Path) -> None:
    with pytest.raises(MissingSource, match="RecursionError"):
        read(written(tmp_path / "a.jsonl", "[" * 100_000), "utf-8")
