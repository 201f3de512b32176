"""Keys, digests and multiplicities of rows of any kind."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import math
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescind.core.dataset import Row
from rescind.core.errors import BadData
from rescind.data.records import records_from

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner),
    max_leaves=4,
)
small_rows = st.fixed_dictionaries(
    {"x": st.integers(0, 3), "who": st.sampled_from(["ann", "bob", "", None])}
)


def refusal(rows: list[Any], key: str | None = None, subject: str | None = None) -> str:
    with pytest.raises(BadData) as caught:
        records_from(rows, key=key, subject=subject)
    return str(caught.value)


def test_the_digest_is_sha256_of_canonical_json_without_key_and_subject() -> None:
    (record,) = records_from(
        [{"id": "a7", "who": "ann", "text": "caf\u00e9", "age": 3}], key="id", subject="who"
    )
    content = '{"age":3,"text":"caf\u00e9"}'.encode()
    assert record.digest == hashlib.sha256(content).hexdigest()
    assert (record.key, record.subject, record.row) == (
        "a7",
        "ann",
        {"text": "caf\u00e9", "age": 3},
    )


def test_without_a_key_column_the_content_is_the_key() -> None:
    (record,) = records_from([{"a": 1}], key=None, subject=None)
    content = hashlib.sha256(b'{"a":1}').hexdigest()
    expected = f'["{content}",null]'
    assert record.key == hashlib.sha256(expected.encode()).hexdigest()


def test_equal_content_of_one_subject_is_one_record_and_of_two_subjects_two() -> None:
    rows: list[Row] = [{"who": w, "x": 1} for w in ("ann", "bob", "ann", None, "", None)]
    records = records_from(rows, key=None, subject="who")
    assert Counter({r.subject: r.multiplicity for r in records}) == {"ann": 2, "bob": 1, None: 3}
    assert len({r.key for r in records}) == 3
    assert len({r.digest for r in records}) == 1


def test_column_order_and_tuples_do_not_change_a_row() -> None:
    rows: list[Row] = [{"a": (1, 2), "b": 0}, {"b": 0, "a": [1, 2]}]
    (record,) = records_from(rows, key=None, subject=None)
    assert record.multiplicity == 2


def test_one_and_true_and_one_point_zero_are_different_rows() -> None:
    rows: list[Row] = [{"x": 1}, {"x": True}, {"x": 1.0}, {"x": "1"}]
    assert len(records_from(rows, key=None, subject=None)) == 4


def test_a_record_does_not_follow_later_changes_of_the_row() -> None:
    row = {"x": [1]}
    (record,) = records_from([row], key=None, subject=None)
    row["x"].append(2)
    assert record.row == {"x": [1]}


def test_user_keys_may_be_text_or_integers_and_equal_rows_add_up() -> None:
    rows: list[Row] = [{"id": 7, "x": 1}, {"id": "b", "x": 2}, {"id": 7, "x": 1}]
    records = records_from(rows, key="id", subject=None)
    assert [(r.key, r.multiplicity) for r in records] == [("7", 2), ("b", 1)]


def test_equal_content_under_two_user_keys_stays_two_records_of_one_digest() -> None:
    first, second = records_from([{"id": 1, "x": 1}, {"id": 2, "x": 1}], key="id", subject=None)
    assert first.key != second.key
    assert first.digest == second.digest


def test_one_key_with_two_contents_or_two_subjects_is_refused() -> None:
    rows = [{"id": "k", "x": 1, "who": "ann"}, {"id": "k", "x": 2, "who": "ann"}]
    assert "row 2 has the key 'k' of row 1 but other content" in refusal(rows, key="id")
    rows = [{"id": "k", "x": 1, "who": "ann"}, {"id": "k", "x": 1, "who": "bob"}]
    text = refusal(rows, key="id", subject="who")
    assert "row 2 has the key 'k' of row 1 but another subject" in text


def test_an_empty_data_set_is_refused() -> None:
    assert "The data set is empty" in refusal([])


BAD_ROWS: dict[str, tuple[Any, str]] = {
    "not a mapping": (["a", 1], "row 1 is a list, not a mapping"),
    "no key column": ({"x": 1, "who": "ann"}, "row 1 has no column 'id'"),
    "no subject column": ({"x": 1, "id": 1}, "row 1 has no column 'who'"),
    "float key": ({"x": 1, "id": 1.0, "who": "a"}, "column 'id' holds a float"),
    "bool key": ({"x": 1, "id": True, "who": "a"}, "column 'id' holds a bool"),
    "empty key": ({"x": 1, "id": "", "who": "a"}, "column 'id' is empty"),
    "null key": ({"x": 1, "id": None, "who": "a"}, "column 'id' is empty"),
    "NaN subject": ({"x": 1, "id": 1, "who": math.nan}, "column 'who' holds a float"),
    "half key": ({"x": 1, "id": "\ud800", "who": "a"}, "column 'id' holds half a surrogate"),
    "no content": ({"id": 1, "who": "a"}, "row 1 has no content"),
    "NaN": ({"x": math.nan, "id": 1, "who": "a"}, "column 'x' holds NaN"),
    "infinity, deep": ({"x": [{"y": -math.inf}], "id": 1, "who": "a"}, "column 'x' holds NaN or"),
    "bytes": ({"x": b"a", "id": 1, "who": "a"}, "column 'x' holds a bytes"),
    "date": ({"x": datetime.date(2005, 1, 2), "id": 1, "who": "a"}, "column 'x' holds a date"),
    "set": ({"x": {1}, "id": 1, "who": "a"}, "column 'x' holds a set"),
    "half text": ({"x": "\udcff", "id": 1, "who": "a"}, "column 'x' holds half a surrogate"),
    "named by 3": ({3: 1, "id": 1, "who": "a"}, "column 3 is named by no text"),
    "deep 3": ({"x": {3: 1}, "id": 1, "who": "a"}, "a mapping with a name that is not text"),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_a_bad_row_is_refused_with_its_number(name: str) -> None:
    row, expected = BAD_ROWS[name]
    assert expected in refusal([row], key="id", subject="who")


def test_all_problems_are_counted_and_the_first_five_shown() -> None:
    rows = [{"x": 1}] + [{"x": b"secret"}] * 7
    text = refusal(rows)
    assert text.startswith("The data has 7 problems: row 2 column 'x'")
    assert "row 6" in text and "row 7" not in text and "and 2 more" in text
    assert "secret" not in text


@given(st.lists(small_rows, min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_keys_do_not_depend_on_row_order(rows: list[Row], random: Any) -> None:
    shuffled = rows[:]
    random.shuffle(shuffled)
    one = records_from(rows, key=None, subject="who")
    assert one == records_from(shuffled, key=None, subject="who")
    assert [r.key for r in one] == sorted(r.key for r in one)


@given(st.lists(small_rows, min_size=1, max_size=12))
def test_multiplicities_add_up_and_each_content_and_subject_is_one_record(rows: list[Row]) -> None:
    records = records_from(rows, key=None, subject="who")
    counted = Counter((row["x"], row["who"] or None) for row in rows)
    assert {(r.row["x"], r.subject): r.multiplicity for r in records} == counted
    assert sum(r.multiplicity for r in records) == len(rows)


@given(st.lists(small_rows, min_size=1, max_size=12), st.lists(small_rows, max_size=5))
def test_a_key_does_not_depend_on_the_other_rows(rows: list[Row], others: list[Row]) -> None:
    alone = {r.key for r in records_from(rows, key=None, subject="who")}
    assert alone <= {r.key for r in records_from(rows + others, key=None, subject="who")}


@given(
    st.lists(
        st.dictionaries(st.sampled_from("xyz"), json_values, min_size=1), min_size=1, max_size=4
    )
)
def test_a_record_read_again_from_its_own_row_is_the_same(rows: list[Row]) -> None:
    records = records_from(rows, key=None, subject=None)
    again = records_from([r.row for r in records], key=None, subject=None)
    assert again == tuple(dataclasses.replace(r, multiplicity=1) for r in records)
