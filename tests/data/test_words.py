"""Names as whole words, in rows of any shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from rescind.core.errors import BadParameter
from rescind.data.records import records_from
from rescind.data.words import naming, strings


def names(row: Mapping[str, Any], words: str) -> bool:
    return bool(naming(records_from([row], key=None, subject=None), words))


FOUND = [
    ("Stan Lee drew it.", "stan lee"),
    ("STAN\n  LEE's heroes", "Stan Lee"),
    ("(Stan\u00a0Lee)", "Stan Lee"),
    ("\uff33\uff54\uff41\uff4e \uff2c\uff45\uff45", "Stan Lee"),
    ("by O\u2019Driscoll", "O'Driscoll"),
    ("by O'Driscoll", "o\u2019driscoll"),
    ("Jean-Paul Gaultier", "jean paul gaultier"),
    ("George W. Bush said", "George W Bush"),
    ("George W Bush said", "George W. Bush"),
    ("Frau Gro\u00dfmann", "GROSSMANN"),
    ("Jose\u0301 Mourinho", "Jos\u00e9 Mourinho"),
    ("\u674e\u96f7\u6628\u5929\u53bb\u4e86\u5317\u4eac", "\u674e\u96f7"),
    ("\u4eca\u5929\u674e \u96f7\u6765", "\u674e\u96f7"),
]
NOT_FOUND = [
    ("Stanley Lee drew it.", "Stan Lee"),
    ("Stan Leeds", "Stan Lee"),
    ("Constan Lee", "Stan Lee"),
    ("Lee Stan", "Stan Lee"),
    ("It was drawn by Stan. Lee paid.", "Stan Lee"),
    ("Ann, Stan, Lee and Bob", "Stan Lee"),
    ("Stan B Lee", "Stan Lee"),
    ("Jose Mourinho", "Jos\u00e9 Mourinho"),
]


@pytest.mark.parametrize(("text", "words"), FOUND)
def test_a_name_is_found(text: str, words: str) -> None:
    assert names({"text": text}, words)


@pytest.mark.parametrize(("text", "words"), NOT_FOUND)
def test_other_words_are_not(text: str, words: str) -> None:
    assert not names({"text": text}, words)


def test_a_name_is_found_in_any_field_at_any_depth_but_not_across_fields() -> None:
    assert names({"chat": [{"role": "user", "content": ["I am Stan Lee"]}], "n": 3}, "Stan Lee")
    assert not names({"first": "Stan", "second": "Lee"}, "Stan Lee")
    assert not names({"Stan Lee": "a column is no content"}, "Stan Lee")
    assert not names({"n": 12, "x": None}, "12")


def test_signs_that_mean_something_in_a_pattern_are_taken_as_they_are() -> None:
    assert not names({"text": "Stan Lee"}, "S.*n")


def test_records_come_back_in_order_and_none_is_an_empty_tuple() -> None:
    records = records_from(
        [{"id": i, "t": "Stan Lee" if i % 2 else "Ann"} for i in range(9)], key="id", subject=None
    )
    assert [r.key for r in naming(records, "Stan Lee")] == ["1", "3", "5", "7"]
    assert naming(records, "Nobody Atall") == ()


@pytest.mark.parametrize("words", ["", "  ", "?!", "..."])
def test_no_word_is_refused(words: str) -> None:
    with pytest.raises(BadParameter, match="holds no word"):
        naming((), words)


def test_strings_keep_the_order_of_the_row() -> None:
    assert list(strings({"a": "x", "b": ["y", {"c": "z"}], "d": 1})) == ["x", "y", "z"]
