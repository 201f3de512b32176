"""What a user hands in, how it is read again, and what is said when it has changed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest

from rescind.core.dataset import ManifestEntry, Record, Source
from rescind.core.errors import BadData, BadParameter, MissingExtra, MissingSource
from rescind.core.partition import Partition
from rescind.data.manifest import entries_of
from rescind.data.records import records_from
from rescind.data.source import check_rows, rows_of, source_of

LOADER = """
from rescind.core.errors import BadParameter, MissingExtra, MissingSource
def load(n, start=0):
    return [{"x": i} for i in range(start, start + n)]

def pairs():
    return (("text %d" % i, i % 2) for i in range(3))

def lost():
    return open("no such file anywhere")

def number():
    return 3

def offline():
    raise ConnectionError("no route")

def forbidden():
    raise PermissionError(13, "Permission denied")

def strict():
    raise ValueError("not a number: 'x'")

def foreign():
    import no_such_package_at_all

def half():
    yield {"x": 1}
    yield 1 + "1"

def leaves():
    raise SystemExit(0)

def ours():
    raise BadParameter("The archive knows no such year.")

def extra():
    raise MissingExtra("The archive needs a package.", do="pip install it")

without_signature = type("Rows", (), {"__call__": [].__iter__, "__signature__": 3})()

def moved():
    raise MissingSource("The archive has moved.")

TABLE = 3
"""


MODULES = {
    "needs_more": "import no_such_package_at_all\n",
    "does_not_parse": "def load(:\n",
    "fails_at_once": "raise ValueError('no licence')\n",
    "leaves_at_once": "import sys; sys.exit(3)\n",
}


@pytest.fixture
def loader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "rows_for_test.py").write_text(LOADER)
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield "rows_for_test"
    for name in ("rows_for_test", *MODULES):
        sys.modules.pop(name, None)


def test_a_loader_is_recorded_with_its_arguments_and_read_again(loader: str) -> None:
    source, rows = source_of(f"{loader}:load", key="x", arguments={"n": 2, "start": 5})
    assert source == Source("loader", f"{loader}:load", {"n": 2, "start": 5}, "x")
    assert rows == rows_of(source) == [{"x": 5}, {"x": 6}]
    assert source_of(f"{loader}:pairs")[1][2] == {"text": "text 2", "label": 0}


def test_a_path_is_recorded_as_absolute_and_read_again_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.csv").write_bytes("t\ncaf\u00e9\n".encode("cp1252"))
    monkeypatch.chdir(tmp_path)
    source, rows = source_of("a.csv", subject="t", encoding="cp1252")
    assert (source.kind, source.where) == ("path", str(tmp_path / "a.csv"))
    assert source.subject == "t"
    monkeypatch.chdir(os.sep)
    assert rows == rows_of(source) == [{"t": "caf\u00e9"}]


def test_a_path_object_is_a_file_even_if_it_looks_like_a_loader(tmp_path: Path) -> None:
    with pytest.raises(MissingSource, match="nothing at"):
        source_of(tmp_path / "module:function")


class Dataset:
    """Like datasets.Dataset: features and iteration."""

    features = ("x",)

    def __iter__(self) -> Iterator[dict[str, int]]:
        return iter([{"x": 1}, {"x": 2}])


class Frame:
    """Like pandas.DataFrame: iterates its columns."""

    columns = ("x",)

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def to_dict(self, orient: str) -> list[dict[str, int]]:
        return [{"x": 1}, {"x": 2}] if orient == "records" else []


@pytest.mark.parametrize("data", [[{"x": 1}, {"x": 2}], Dataset(), Frame()])
def test_rows_in_memory_are_stored(data: object) -> None:
    source, rows = source_of(data, key="x")
    assert source == Source("stored", key="x")
    assert rows == [{"x": 1}, {"x": 2}]


def test_the_real_datasets_and_pandas_are_taken_too() -> None:
    columns = {"text": ["a", "b"], "label": [0, 1]}
    expected = [{"text": "a", "label": 0}, {"text": "b", "label": 1}]
    dataset = datasets.Dataset.from_dict(columns)
    for data in (dataset, dataset.to_pandas()):
        _, rows = source_of(data)
        assert rows == expected
        assert len(records_from(rows, key=None, subject=None)) == 2
    with pytest.raises(BadData, match=r"several data sets.*data\['train'\]"):
        source_of(datasets.DatasetDict({"train": dataset}))


def test_pairs_of_text_and_label_become_rows() -> None:
    assert source_of([("a", 0), ("b", "sport")])[1] == [
        {"text": "a", "label": 0},
        {"text": "b", "label": "sport"},
    ]


def test_columns_or_a_single_value_are_not_rows() -> None:
    with pytest.raises(BadData, match="columns or one row"):
        source_of({"text": ["a"], "label": [0]})
    with pytest.raises(BadData, match="The data is a int"):
        source_of(3)


def test_stored_rows_have_no_source_outside_the_workspace() -> None:
    with pytest.raises(MissingSource, match="came from memory"):
        rows_of(Source("stored"))


def test_a_loader_that_is_gone_says_what_to_type(loader: str) -> None:
    with pytest.raises(MissingSource, match="PYTHONPATH"):
        rows_of(Source("loader", "no_such_module_at_all:load"))
    with pytest.raises(MissingSource, match="no_such_package_at_all"):
        rows_of(Source("loader", "needs_more:load"))
    with pytest.raises(MissingSource, match=f"Did you mean {loader}:load"):
        rows_of(Source("loader", f"{loader}:laod"))
    with pytest.raises(MissingSource, match="has no function 'TABLE'"):
        rows_of(Source("loader", f"{loader}:TABLE"))
    with pytest.raises(MissingSource, match=r"^The archive has moved\.$"):
        rows_of(Source("loader", f"{loader}:moved"))


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("lost", FileNotFoundError),
        ("offline", ConnectionError),
        ("forbidden", PermissionError),
        ("strict", ValueError),
        ("foreign", ModuleNotFoundError),
        ("half", TypeError),
        ("leaves", SystemExit),
        ("ours", BadParameter),
    ],
)
def test_whatever_a_loader_raises_is_a_source_that_cannot_be_read(
    loader: str, name: str, cause: type[BaseException]
) -> None:
    with pytest.raises(MissingSource) as caught:
        rows_of(Source("loader", f"{loader}:{name}"))
    assert isinstance(caught.value.__cause__, cause)
    if cause is not BadParameter:
        assert f"The loader {loader}:{name} failed: {cause.__name__}" in str(caught.value)


def test_a_missing_extra_of_ours_stays_one(loader: str) -> None:
    with pytest.raises(MissingExtra, match="pip install"):
        rows_of(Source("loader", f"{loader}:extra"))


@pytest.mark.parametrize("name", ["does_not_parse", "fails_at_once", "leaves_at_once"])
def test_a_module_that_cannot_be_imported_is_a_source_that_cannot_be_read(
    loader: str, name: str
) -> None:
    with pytest.raises(MissingSource, match=f"Importing the loader {name}:load failed: "):
        rows_of(Source("loader", f"{name}:load"))


def test_a_loader_with_another_signature_than_recorded_cannot_be_read(loader: str) -> None:
    with pytest.raises(MissingSource, match="cannot be called with"):
        rows_of(Source("loader", f"{loader}:load", {"m": 2}))


def test_a_source_of_another_kind_than_recorded_cannot_be_read(tmp_path: Path) -> None:
    """A folder of texts, and now a file of that name."""
    (tmp_path / "texts").write_text("a")
    with pytest.raises(MissingSource, match="of no kind that can be read"):
        rows_of(Source("path", str(tmp_path / "texts")))


@pytest.mark.parametrize(
    "where",
    ["subprocess:check_output", "os:remove", "shutil:rmtree", "builtins:eval", "os.path:exists"],
)
def test_a_function_of_pythons_own_library_is_not_called(where: str, tmp_path: Path) -> None:
    arguments = {"args": ["touch", str(tmp_path / "called")]}
    with pytest.raises(BadParameter, match="Python's own library"):
        source_of(where, arguments=arguments)
    with pytest.raises(MissingSource, match="Python's own library"):
        rows_of(Source("loader", where, arguments))
    assert list(tmp_path.iterdir()) == []


def test_a_loader_that_shows_no_signature_is_called(loader: str) -> None:
    with pytest.raises(MissingSource, match="TypeError"):
        rows_of(Source("loader", f"{loader}:without_signature", {"x": 1}))
    assert rows_of(Source("loader", f"{loader}:without_signature")) == []


def test_a_loader_that_gives_no_rows_is_refused(loader: str) -> None:
    with pytest.raises(BadData, match="The data is a int"):
        rows_of(Source("loader", f"{loader}:number"))


@pytest.mark.parametrize("arguments", [{}, {"n": 1, "m": 2}])
def test_wrong_arguments_of_a_loader_are_refused(loader: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(BadParameter, match=r"Its signature is \(n, start=0\)"):
        source_of(f"{loader}:load", arguments=arguments)


def test_arguments_must_be_json_and_belong_to_a_loader(loader: str) -> None:
    with pytest.raises(BadParameter, match="not JSON"):
        source_of(f"{loader}:load", arguments={"n": b"2"})
    with pytest.raises(BadParameter, match="not a loader"):
        source_of([{"x": 1}], arguments={"n": 2})


ROWS = [{"id": f"key-{i:020}", "who": f"person {i % 3}", "x": i} for i in range(10)]
KEY = b"subjects"


def records(rows: list[dict[str, Any]]) -> tuple[Record, ...]:
    return records_from(rows, key="id", subject="who")


def entries() -> tuple[ManifestEntry, ...]:
    return entries_of(records(ROWS), Partition(), b"secret", KEY)


def test_the_same_rows_pass_in_any_order() -> None:
    checked = check_rows(tuple(reversed(records(ROWS))), entries(), KEY)
    assert (checked.records, checked.new) == (records(ROWS), 0)


def test_rows_that_are_not_on_the_allow_list_are_counted_and_never_used() -> None:
    gone = records(ROWS)[4].key
    more = [*ROWS, {"id": "new", "who": "", "x": 99}]
    checked = check_rows(records(more), [e for e in entries() if e.key != gone], KEY)
    assert checked.records == tuple(r for r in records(ROWS) if r.key != gone)
    assert checked.new == 2


def test_a_changed_row_a_lost_row_and_a_moved_row_are_refused_by_short_prefix() -> None:
    rows = [dict(row) for row in ROWS[:-1]]
    rows[0]["x"] = 99
    rows[1]["who"] = "someone else"
    with pytest.raises(BadData) as caught:
        check_rows(records(rows), entries(), KEY)
    text = str(caught.value)
    assert "1 gone (keys starting with key-00000000)" in text
    assert "1 with other content" in text and "1 with another subject" in text
    assert "key-00000000000000000000" not in text
    assert "rescind request add" in text


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"x": 99}, "1 with other content"),
        ({"who": "x"}, "1 with another subject"),
        (None, "1 gone"),
    ],
)
def test_each_change_alone_is_refused(changes: dict[str, Any] | None, expected: str) -> None:
    rows = ROWS[1:] if changes is None else [ROWS[0] | changes, *ROWS[1:]]
    with pytest.raises(BadData, match=expected):
        check_rows(records(rows), entries(), KEY)


def test_reading_data_imports_no_torch() -> None:
    code = (
        "import sys; from rescind.data import bbc_news, duplicates, files, manifest, records, "
        "source, words; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
