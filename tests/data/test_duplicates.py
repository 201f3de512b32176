"""What would stay behind of a forget set, against a brute-force comparison of all pairs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescind.core.dataset import Record
from rescind.core.errors import BadParameter
from rescind.data.duplicates import NearDuplicate, exact_duplicates, near_duplicates
from rescind.data.records import records_from

LONG = "the quick brown fox jumps over the lazy dog and runs away into the deep dark wood"


def keyed(rows: dict[str, dict[str, Any]]) -> dict[str, Record]:
    records = records_from([{"id": k, **row} for k, row in rows.items()], key="id", subject=None)
    return {record.key: record for record in records}


def brute_force(
    forget: Sequence[Record], retain: Sequence[Record], threshold: float
) -> set[NearDuplicate]:
    """The definition, pair by pair, without an index or a bound."""

    def shingles(record: Record) -> set[tuple[str, ...]]:
        split = [re.findall(r"\w+", text.casefold()) for text in record.row.values()]
        return {tuple(w[i : i + 3]) for w in split if len(w) >= 6 for i in range(len(w) - 2)}

    found = set()
    for f in forget:
        for r in retain:
            one, two = shingles(f), shingles(r)
            shared = len(one & two)
            if f.digest != r.digest and shared and shared >= threshold * min(len(one), len(two)):
                found.add(NearDuplicate(f.key, r.key, shared / min(len(one), len(two))))
    return found


texts = st.lists(st.sampled_from("abcd"), max_size=14).map(" ".join)
two_texts = st.lists(st.fixed_dictionaries({"one": texts, "two": texts}), min_size=1, max_size=8)


@given(two_texts, two_texts, st.sampled_from([0.1, 0.3, 0.5, 0.8, 1.0]))
def test_the_index_finds_just_what_brute_force_finds(
    first: list[dict[str, str]], second: list[dict[str, str]], threshold: float
) -> None:
    forget = list(keyed({f"f{i}": row for i, row in enumerate(first)}).values())
    retain = list(keyed({f"r{i}": row for i, row in enumerate(second)}).values())
    found = near_duplicates(forget, retain, threshold)
    assert set(found) == brute_force(forget, retain, threshold)
    assert len(set(found)) == len(found)


def test_an_edited_copy_and_a_copy_inside_a_longer_text_are_found_closest_first() -> None:
    records = keyed(
        {
            "f": {"text": LONG, "label": "a"},
            "edited": {"text": LONG.replace("deep dark", "cold"), "label": "b"},
            "inside": {"text": "Once more with feeling: " + LONG + ". " + "And so on. " * 30},
            "other": {"text": "nothing of the kind is said in this one at all, by no one"},
        }
    )
    found = near_duplicates([records["f"]], [r for k, r in records.items() if k != "f"])
    assert [pair.retain_key for pair in found] == ["inside", "edited"]
    # "into the deep", "the deep dark", "deep dark wood" are gone; two new ones; 15 words make 12
    assert [pair.similarity for pair in found] == [1.0, 12 / 14]


def test_a_pair_just_at_the_threshold_is_kept() -> None:
    # distinct words throughout, where the bound on the number of shingles is tight
    records = keyed({"f": {"t": "a b c d e f g h i"}, "r": {"t": "a b c d x y"}})
    assert near_duplicates([records["f"]], [records["r"]], 0.5) == (NearDuplicate("f", "r", 0.5),)
    assert near_duplicates([records["f"]], [records["r"]], 0.51) == ()


def test_case_and_punctuation_do_not_hide_a_copy_but_equal_content_is_left_to_exact() -> None:
    records = keyed({"f": {"t": LONG}, "g": {"t": LONG.upper() + "!"}, "h": {"t": LONG}})
    retain = [records["g"], records["h"]]
    assert near_duplicates([records["f"]], retain) == (NearDuplicate("f", "g", 1.0),)
    assert exact_duplicates([records["f"]], retain) == (records["h"],)


def test_labels_categories_and_numbers_make_no_near_duplicates() -> None:
    rows = [
        {"work": "Private", "state": "Married-civ-spouse", "age": 39, "home": "United-States"},
        {"work": "Private", "state": "Married-civ-spouse", "age": 40, "home": "United-States"},
        {"x": [0.5, 1.5], "y": 1},
        {"x": [0.5, 1.5], "y": 0},
    ]
    records = list(keyed({str(i): row for i, row in enumerate(rows)}).values())
    assert near_duplicates(records, records, 0.01) == ()


def test_equal_content_of_another_subject_or_under_another_key_would_stay() -> None:
    rows = [{"who": w, "x": [1, 2]} for w in ("ann", "bob")] + [{"who": "ann", "x": [3]}]
    records = records_from(rows, key=None, subject="who")
    ann = [r for r in records if r.subject == "ann"]
    other = [r for r in records if r.subject == "bob"]
    assert exact_duplicates(ann, other) == tuple(other)
    assert exact_duplicates(ann, ann) == ()
    assert exact_duplicates([r for r in ann if r.row["x"] == [3]], other) == ()


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.01, float("nan")])
def test_a_threshold_that_means_nothing_is_refused(threshold: float) -> None:
    with pytest.raises(BadParameter):
        near_duplicates((), (), threshold)
