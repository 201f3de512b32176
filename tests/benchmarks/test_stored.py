"""A result survives its JSON; parts computed apart become one result. All numbers are made up."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import made_up
import pytest

from rescind.benchmarks.page import summary, to_html
from rescind.benchmarks.result import Result
from rescind.benchmarks.stored import from_json, merge, rounded, to_json
from rescind.core.errors import BadData


@pytest.mark.parametrize("make", [made_up.result, made_up.bare])
def test_a_result_is_read_back_and_written_again_with_the_same_bytes(make: object) -> None:
    result: Result = make()  # type: ignore[operator]
    data = to_json(result)
    again = from_json(data)
    assert to_json(again) == data
    assert again == rounded(again) == rounded(result)


def test_records_in_mappings_come_back_as_records() -> None:
    again = from_json(to_json(made_up.result()))
    line = next(ln for ln in again.parts[0].lines if ln.name == "scrub")
    assert line.shown["klom"].gap == pytest.approx(0.1 * 0.31 - 0.08)
    assert line.damage["clean"].changes[0].beyond != 0
    assert line.search and line.search.trials[2].distance is None
    assert again.parts[0].floor.width == 512 and again.rankings[1].agreement is None


def older(value: Any, at: str = "") -> Any:
    """A stored result as it was written before these fields were there."""
    if isinstance(value, list):
        return [older(item, at) for item in value]
    if not isinstance(value, dict):
        return value
    gone = {"seed_scores", "beyond_interval", "search_cpu_seconds"}
    gone |= {"goal"} if at == "sequence" else set()
    gone |= {"interval"} if at in ("shown", "layers") else set()
    inside = {"shown", "layers", "sequence"}
    return {k: older(v, k if k in inside else at) for k, v in value.items() if k not in gone}


@pytest.mark.slow
def test_a_result_that_was_stored_before_there_were_intervals_is_read_and_drawn() -> None:
    data = json.dumps(older(json.loads(to_json(made_up.result())))).encode()
    assert len(data) < len(to_json(made_up.result()))
    again = from_json(data)
    line = next(ln for ln in again.parts[0].lines if ln.name == "scrub")
    assert line.shown["agreement"].interval is None and line.layers[0].interval is None
    assert line.seed_scores == {} and line.damage["clean"].changes[0].beyond_interval is None
    assert again.sequence[0].goal == "influence" and again.parts[0].search_cpu_seconds == 0.0
    assert "scrub" in to_html(again) and "scrub" in summary(again)
    assert merge([again, made_up.result()]).parts == made_up.result().parts


def test_floats_have_six_digits_and_parameters_all_of_theirs() -> None:
    found = json.loads(to_json(made_up.result()))
    part = found["parts"][0]
    assert part["metrics_share"] == 0.0712346
    assert part["retraining"]["cpu_seconds"] == 812.346
    searched = next(ln["search"] for ln in part["lines"] if ln["search"])
    assert searched["trials"][0]["parameters"]["lr"] == 0.000123456789


def test_the_bytes_do_not_depend_on_the_order_of_mappings() -> None:
    result = made_up.result()
    part = result.parts[0]
    turned = tuple(
        replace(
            ln,
            shown=dict(reversed(list(ln.shown.items()))),
            ranks=dict(reversed(list(ln.ranks.items()))),
        )
        for ln in part.lines
    )
    other = replace(result, parts=(replace(part, lines=turned), *result.parts[1:]))
    assert to_json(other) == to_json(result)
    assert to_json(result).startswith(b'{\n "benchmark": "fashion"')
    assert to_json(result).endswith(b"}\n")


def test_what_is_not_a_number_is_not_stored() -> None:
    part = replace(made_up.part(), metrics_share=float("nan"))
    with pytest.raises(BadData, match=r"'fashion' cannot be stored.*not measured"):
        to_json(replace(made_up.result(), parts=(part,)))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", "no JSON"),
        (b"[]", "no mapping"),
        (b"{}", "Result lacks benchmark"),
        (to_json(made_up.bare()).replace(b'"threads"', b'"thread"'), "no field 'thread'.*threads"),
        (to_json(made_up.bare()).replace(b'"quick": true', b'"quick": 1'), "quick is 1"),
    ],
)
def test_other_files_are_refused_by_name(data: bytes, message: str) -> None:
    with pytest.raises(BadData, match=message):
        from_json(data)


def one(result: Result, i: int) -> Result:
    return replace(result, parts=result.parts[i : i + 1], sequence=result.sequence[i::4])


def test_parts_computed_apart_are_the_whole() -> None:
    whole = made_up.result()
    merged = merge([one(whole, i) for i in range(4)])
    assert replace(merged, sequence=()) == replace(whole, sequence=())
    assert set(merged.sequence) == set(whole.sequence)
    assert merge([whole]) == merge([whole, whole]) == whole


def test_of_a_part_that_is_there_twice_the_later_is_taken() -> None:
    whole = made_up.result()
    later = replace(whole.parts[1], cpu_seconds=1.0)
    point = replace(whole.sequence[0], forgotten=7)
    new = replace(whole, parts=(later,), sequence=(point,), what="Later.")
    merged = merge([whole, new])
    assert [p.cpu_seconds for p in merged.parts] == [4321.0, 1.0, 4321.0, 4321.0]
    assert merged.sequence == (point, *whole.sequence[1:]) and merged.what == "Later."
    assert merge([new, whole]).parts[0] == whole.parts[1]


def test_another_model_on_the_same_forget_set_is_another_part() -> None:
    whole = made_up.result()
    other = replace(whole.parts[0], model="vit")
    assert len(merge([whole, replace(whole, parts=(other,))]).parts) == 5


def test_all_systems_and_commands_are_listed_once() -> None:
    whole = made_up.result()
    other = replace(whole, system="another", command="rescind bench fashion --part 2")
    merged = merge([whole, other, whole])
    assert merged.system == f"{whole.system}; another"
    assert merged.command.splitlines() == [whole.command, other.command]
    assert merge([merged, other]) == merged


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"benchmark": "news"}, "several benchmarks: fashion, news"),
        ({"quick": True}, "several sizes: full, quick"),
        ({"threads": 2}, "several numbers of threads: 1, 2"),
    ],
)
def test_what_cannot_stand_in_one_table_is_not_merged(
    changed: dict[str, object], message: str
) -> None:
    whole = made_up.result()
    with pytest.raises(BadData, match=message):
        merge([whole, replace(whole, **changed)])  # type: ignore[arg-type]


def test_nothing_cannot_be_merged() -> None:
    with pytest.raises(BadData, match="no result"):
        merge([])
