"""The allow-list: no names in it, leaves that cannot be guessed, bytes that read back."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import pytest

from rescind.core.dataset import ManifestEntry
from rescind.core.errors import DamagedArtifact
from rescind.core.partition import Partition
from rescind.data.manifest import (
    entries_from,
    entries_of,
    leaves,
    manifest_bytes,
    subject_hash,
)
from rescind.data.records import records_from

ROWS = [{"id": i, "who": f"person {i % 4}", "text": f"row {i}"} for i in range(30)]
RECORDS = records_from(ROWS + ROWS[:1], key="id", subject="who")
ENTRIES = entries_of(RECORDS, Partition(), b"partition", b"subjects")


def cell_key(cell: str) -> bytes:
    return b"secret of " + cell.encode()


def test_entries_hold_key_digest_cell_and_copies_of_each_record() -> None:
    assert [(e.key, e.digest, e.multiplicity) for e in ENTRIES] == [
        (r.key, r.digest, r.multiplicity) for r in RECORDS
    ]
    cells = [str(Partition().cell(r.placement, b"partition")) for r in RECORDS]
    assert [e.cell for e in ENTRIES] == cells
    assert sum(e.multiplicity for e in ENTRIES) == 31


def test_no_subject_is_named_and_each_is_found_by_its_hash() -> None:
    data = manifest_bytes(ENTRIES)
    assert b"person" not in data and b"row " not in data
    wanted = subject_hash("person 2", b"subjects")
    found = {e.key for e in ENTRIES if e.subject == wanted}
    assert found == {r.key for r in RECORDS if r.subject == "person 2"}
    assert wanted != subject_hash("person 2", b"another key")
    assert subject_hash(None, b"subjects") is None


def test_a_leaf_is_the_hmac_over_key_digest_and_multiplicity_by_the_cells_secret() -> None:
    entry = ENTRIES[0]
    message = b"".join(
        len(part).to_bytes(8, "big") + part
        for part in (entry.key.encode(), entry.digest.encode(), str(entry.multiplicity).encode())
    )
    expected = hmac.new(cell_key(entry.cell), message, hashlib.sha256).hexdigest()
    assert leaves(ENTRIES, cell_key)[0] == expected


@pytest.mark.parametrize(
    "changed",
    [
        ManifestEntry("other", "d", "0.0", 1),
        ManifestEntry("k", "other", "0.0", 1),
        ManifestEntry("k", "d", "0.1", 1),
        ManifestEntry("k", "d", "0.0", 2),
        ManifestEntry("kd", "", "0.0", 1),
    ],
)
def test_a_leaf_changes_with_each_part_and_with_the_cell(changed: ManifestEntry) -> None:
    assert leaves([ManifestEntry("k", "d", "0.0", 1)], cell_key) != leaves([changed], cell_key)


def test_the_secret_of_a_cell_is_asked_for_once() -> None:
    asked: list[str] = []

    def ask(cell: str) -> bytes:
        asked.append(cell)
        return b"k"

    assert len(leaves(ENTRIES, ask)) == 30
    assert sorted(asked) == sorted({e.cell for e in ENTRIES})


def test_bytes_read_back_to_the_same_entries_and_the_same_bytes() -> None:
    data = manifest_bytes(ENTRIES)
    assert entries_from(data) == ENTRIES
    assert manifest_bytes(entries_from(data)) == data


def item(**changes: Any) -> dict[str, Any]:
    plain = {"key": "k", "digest": "d", "cell": "0.0", "multiplicity": 1, "subject": None}
    return plain | changes


DAMAGED = {
    "not json": b"{",
    "not utf-8": b"\xff\xfe",
    "not a list": b"{}",
    "not an entry": b"[3]",
    "field missing": json.dumps([{"key": "k"}]).encode(),
    "field too many": json.dumps([item(name="ann")]).encode(),
    "count as text": json.dumps([item(multiplicity="1")]).encode(),
    "count as bool": json.dumps([item(multiplicity=True)]).encode(),
    "key null": json.dumps([item(key=None)]).encode(),
    "key twice": json.dumps([item(), item(digest="e")]).encode(),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_bytes_are_refused(name: str) -> None:
    with pytest.raises(DamagedArtifact):
        entries_from(DAMAGED[name])
