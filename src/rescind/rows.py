"""Read the training content again from where it came: its source, or encrypted rows a cell."""

from __future__ import annotations

import json
import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from rescind import state
from rescind.backends import Backends
from rescind.core.canonical import build, digest, dumps
from rescind.core.dataset import ManifestEntry, Record, Source
from rescind.core.lineage import label
from rescind.data.records import records_from
from rescind.data.source import check_rows, rows_of


def read(
    b: Backends, entries: Sequence[ManifestEntry], source: Source | None = None
) -> tuple[Record, ...]:
    """The records of these entries, by key, their digests checked against the allow-list.

    Rows that are not on the list are never used, even when the source has them.

    Raises:
        MissingSource: the rows cannot be read again.
        BadData: a row has changed or vanished.
    """
    return read_with_others(b, entries, source)[0]


def read_with_others(
    b: Backends, entries: Sequence[ManifestEntry], source: Source | None = None
) -> tuple[tuple[Record, ...], tuple[Record, ...]]:
    """As ``read``, and the rows that are not on the list: new ones, and those that are forgotten.

    The second are for answering who asks again; nothing may be made from them.
    """
    source = source or state.run(b).source
    records = _stored(b, entries) if source.kind == "stored" else _from_source(source)
    listed = {entry.key for entry in entries}
    others = tuple(r for r in records if r.key not in listed)
    return check_rows(records, entries, b.keys.get("workspace")).records, others


def _from_source(source: Source) -> tuple[Record, ...]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a loader said what it had to at ingestion
        found = rows_of(source)
    return records_from(found, key=source.key, subject=source.subject)


def _stored(b: Backends, entries: Iterable[ManifestEntry]) -> tuple[Record, ...]:
    found: list[Record] = []
    for cell in sorted({e.cell for e in entries}):
        found += read_cell(b, cell)
    return tuple(sorted(found, key=lambda r: r.key))


def read_cell(b: Backends, cell: str) -> list[Record]:
    """The stored rows of one cell, as they were last written."""
    for generation in range(state.generation(b, cell), -1, -1):
        name = f"rows/{label(cell, generation)}"
        if b.artifacts.find(name) is not None:
            found = [build(Record, data) for data in json.loads(b.artifacts.get(name))]
            # worked out again, so that it is the content that is compared with the allow-list
            return [replace(record, digest=digest(record.row)) for record in found]
    return []


def write_cells(
    b: Backends, records: Iterable[Record], cell_of: dict[str, str], cells: Iterable[str]
) -> None:
    """Store the rows of these cells, one encrypted artifact each, under their present label."""
    by_cell: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_cell[cell_of[record.key]].append(record)
    for cell in sorted(cells):
        now = label(cell, state.generation(b, cell))
        b.artifacts.put(f"rows/{now}", "rows", dumps(by_cell[cell]), frozenset({now}))
