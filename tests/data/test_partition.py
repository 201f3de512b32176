"""Placement: fair, fixed at ingestion, and blind to every other record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescind.core.dataset import Record
from rescind.core.errors import BadParameter
from rescind.core.partition import TEST, Cell, Partition
from rescind.data.manifest import entries_of
from rescind.data.records import records_from

SECRET = bytes(range(32))
N = 9_000
# written down once: another hash or another domain would place every stored record anew
PINNED = ["test", "0.1", "2.1", "0.0", "0.0", "2.2", "1.0", "1.1", "0.0", "1.0", "0.2", "1.0"]
keys = st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=20, unique=True)
secrets = st.binary(min_size=16, max_size=32)


def people(n: int, each: int) -> tuple[Record, ...]:
    rows = [{"who": f"person {i}", "x": j} for i in range(n) for j in range(each)]
    return records_from(rows, key=None, subject="who")


def test_cells_are_filled_evenly() -> None:
    partition = Partition(shards=3, slices=4, test_share=0.0)
    counts = Counter(partition.cell(f"key {i}", SECRET) for i in range(N))
    assert set(counts) == set(partition.cells())
    expected = N / 12
    chi_square = sum((n - expected) ** 2 / expected for n in counts.values())
    # 0.1 % and 99.9 % points of the chi-square distribution with 11 degrees of freedom
    assert 1.834 < chi_square < 31.264


def test_the_test_share_is_what_was_asked_for() -> None:
    partition = Partition(test_share=0.1)
    share = sum(partition.cell(f"key {i}", SECRET) == TEST for i in range(N)) / N
    # four standard deviations of a binomial share
    assert abs(share - 0.1) < 4 * (0.1 * 0.9 / N) ** 0.5


def test_without_a_test_share_nothing_is_tested_on() -> None:
    partition = Partition(test_share=0.0)
    assert all(partition.cell(f"key {i}", SECRET) != TEST for i in range(500))


def test_test_membership_does_not_depend_on_the_number_of_cells() -> None:
    small, large = Partition(1, 1, 0.2), Partition(7, 5, 0.2)
    tested = [small.cell(f"key {i}", SECRET) == TEST for i in range(500)]
    assert tested == [large.cell(f"key {i}", SECRET) == TEST for i in range(500)]
    assert 0 < sum(tested) < 500


def test_test_membership_and_cell_are_independent() -> None:
    # a larger test share takes its records evenly from all cells of the smaller one
    before, after = Partition(3, 3, 0.0), Partition(3, 3, 0.5)
    taken = Counter(
        before.cell(f"key {i}", SECRET) for i in range(N) if after.cell(f"key {i}", SECRET) == TEST
    )
    expected = sum(taken.values()) / 9
    chi_square = sum((taken[cell] - expected) ** 2 / expected for cell in before.cells())
    # 0.1 % and 99.9 % points with 8 degrees of freedom
    assert 0.857 < chi_square < 26.124


def test_a_larger_test_share_moves_no_record_between_cells() -> None:
    before, after = Partition(3, 3, 0.1), Partition(3, 3, 0.3)
    moved = [
        (a, b)
        for a, b in (
            (before.cell(f"key {i}", SECRET), after.cell(f"key {i}", SECRET)) for i in range(2_000)
        )
        if a != b
    ]
    assert moved and all(b == TEST for _, b in moved)


def test_all_records_of_a_subject_lie_in_one_cell_and_subjects_in_many() -> None:
    records = people(60, 5)
    cells: dict[str | None, set[Cell]] = {}
    for record in records:
        cells.setdefault(record.subject, set()).add(Partition().cell(record.placement, SECRET))
    assert all(len(found) == 1 for found in cells.values())
    assert len(set.union(*cells.values())) == 10


def test_another_secret_places_otherwise() -> None:
    partition = Partition(test_share=0.0)
    names = [f"key {i}" for i in range(900)]
    same = sum(partition.cell(n, SECRET) == partition.cell(n, SECRET + b"!") for n in names)
    # one in nine by chance; four standard deviations
    assert abs(same / 900 - 1 / 9) < 4 * (1 / 9 * 8 / 9 / 900) ** 0.5


def test_a_fixed_secret_places_as_it_always_did() -> None:
    cells = [str(Partition().cell(f"key {i}", SECRET)) for i in range(12)]
    assert cells == PINNED


@given(keys, st.data(), secrets)
def test_removing_records_never_moves_another(
    names: Sequence[str], data: st.DataObject, secret: bytes
) -> None:
    records = records_from([{"id": n, "x": 1} for n in names], key="id", subject=None)
    gone = data.draw(st.sets(st.sampled_from([r.key for r in records])))
    entries = entries_of(records, Partition(), secret, b"subject")
    left = tuple(r for r in records if r.key not in gone)
    kept = tuple(e for e in entries if e.key not in gone)
    assert entries_of(left, Partition(), secret, b"subject") == kept


@given(st.integers(1, 9), st.integers(1, 9), st.text(max_size=5), secrets)
def test_every_cell_is_one_of_the_partition_and_survives_its_name(
    shards: int, slices: int, placement: str, secret: bytes
) -> None:
    partition = Partition(shards, slices, 0.3)
    cell = partition.cell(placement, secret)
    assert cell in (*partition.cells(), TEST)
    assert Cell.parse(str(cell)) == cell


@pytest.mark.parametrize(("shards", "slices", "share"), [(0, 1, 0.1), (1, 0, 0.1), (1, 1, 1.0)])
def test_a_partition_without_cells_is_refused(shards: int, slices: int, share: float) -> None:
    with pytest.raises(BadParameter):
        Partition(shards, slices, share)
