"""What can be true is not refused: counts, claims and measurements at the ends of their ranges."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from make_vectors import HERE, golden

from rescind.core.certificate import Statement
from rescind.core.evidence import Measurement
from rescind.core.request import Target
from rescind.metrics.accuracy import accuracy, change
from rescind.metrics.agreement import agreement
from rescind.proofs.coherence import RANGES, contradictions
from rescind.proofs.export_digest import read_export

EXACT = golden(read_export(HERE / "export").weights)


def with_measurement(one: Measurement) -> Statement:
    return replace(EXACT, measurements=(one,))


@pytest.mark.parametrize(
    "target",
    [
        Target("records", 1, 1),
        Target("records", 1, 1, test_records=1),
        Target("words", 3, 7, test_records=2, near_kept=9, exact_kept=9),
    ],
)
def test_targets_that_can_be(target: Target) -> None:
    assert contradictions(replace(EXACT, target=target)) == []


def test_every_impossible_count_is_told() -> None:
    told = contradictions(replace(EXACT, target=Target("records", 0, 0, test_records=1)))
    assert told == ["the request is for no record", "1 of 0 records are test records"]
    told = contradictions(replace(EXACT, target=Target("records", 5, 0)))
    assert told == ["5 records have only 0 copies"]


def test_a_list_that_is_turned_off_is_not_an_empty_one() -> None:
    assert contradictions(replace(EXACT, forgotten=None)) == []


@pytest.mark.parametrize(("name", "ends"), RANGES.items())
def test_a_range_holds_its_ends_and_nothing_beyond(name: str, ends: tuple[float, float]) -> None:
    low, high = ends
    for value in ends:
        assert contradictions(with_measurement(Measurement(name, "v", value, ends, 9))) == []
    for interval in ((low - 1e-9, high), (low, high + 1e-9)):
        told = contradictions(with_measurement(Measurement(name, "v", high, interval, 9)))
        assert told == [f"the measurement {name} leaves the range from {low:g} to {high:g}"]


def test_an_unknown_measurement_has_no_range() -> None:
    wide = Measurement("log_loss", "v", 7.0, (-3.0, 40.0), 9)
    assert contradictions(with_measurement(wide)) == []


def tables(n: int) -> Iterator[tuple[list[bool], list[bool]]]:
    """Every pair of results on n records, before and after, up to the order of the records."""
    for both in range(n + 1):
        for lost in range(n + 1 - both):
            for won in range(n + 1 - both - lost):
                rest = n - both - lost - won
                before = [True] * (both + lost) + [False] * (won + rest)
                after = [True] * both + [False] * lost + [True] * won + [False] * rest
                yield before, after


OF_A_CONCEPT = ("concept", "utility")


@pytest.mark.parametrize("n", [1, 2, 5, 12])
def test_no_honest_measurement_leaves_its_range(n: int) -> None:
    for before, after in tables(n):
        told = [str(x) for x in before], [str(x) for x in after]
        measured = (
            accuracy("test_accuracy", "v", after, "original"),
            change("accuracy_change", "v", before, after),
            agreement("agreement", "v", *told),
            *(accuracy(f"{what}_accuracy", "v", after, "original") for what in OF_A_CONCEPT),
            *(change(f"{what}_accuracy_change", "v", before, after) for what in OF_A_CONCEPT),
        )
        assert {one.name for one in measured} == set(RANGES)
        assert contradictions(replace(EXACT, measurements=measured)) == []
