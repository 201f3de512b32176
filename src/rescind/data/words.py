"""Records that name a person, and the text of a row of any shape."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from rescind.core.dataset import Record
from rescind.core.errors import BadParameter

# Thai, Lao, Myanmar, Khmer, kana and Han set no blanks between words: each sign is a word there
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")
_UNSPACED = re.compile(f"[{UNSPACED}]")
# what may stand between two words of a name: O'Driscoll, O\u2019Driscoll, Jean-Paul, Jean Paul
_GAP = r"[\s'\u2018\u2019\u2010-\u2015-]+"


def strings(value: object) -> Iterator[str]:
    """All texts of a row at any depth, in order; column names are not among them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from strings(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from strings(item)


def fold(text: str) -> str:
    """One spelling for all that differ in case or in how Unicode writes the same signs (NFKC)."""
    return unicodedata.normalize("NFKC", text).casefold()


def naming(records: Sequence[Record], words: str) -> tuple[Record, ...]:
    """The records with a text in which ``words`` stand as whole words next to one another.

    Case, kind of blank, hyphen and apostrophe make no difference, nor does the point after an
    initial; a full stop or comma between the words does. Only values are searched, not keys or
    subjects. Nothing found is an empty tuple: the caller says what that means.

    Raises:
        BadParameter: ``words`` holds no word.
    """
    pattern = _pattern(words)
    return tuple(
        record
        for record in records
        if any(pattern.search(fold(text)) for text in strings(record.row))
    )


def _pattern(words: str) -> re.Pattern[str]:
    parts = WORD.findall(fold(words))
    if not parts:
        raise BadParameter(
            f"{words!r} holds no word.",
            "It would match every record or none.",
            "Give a name, for example the first and last name of a person.",
        )
    text = re.escape(parts[0])
    for before, part in pairwise(parts):
        text += _between(before, part) + re.escape(part)
    start = "" if _UNSPACED.match(parts[0]) else r"(?<!\w)"
    end = "" if _UNSPACED.match(parts[-1]) else r"(?!\w)"
    return re.compile(start + text + end)


def _between(before: str, after: str) -> str:
    if _UNSPACED.match(before) or _UNSPACED.match(after):
        return r"\s*"
    return (r"\.?" if len(before) == 1 else "") + _GAP
