"""Users' codes in a workspace: where they lie, what a job hears of them, how they are erased.

Codes are stored encrypted, one artifact a cell, with the lineage of that cell, so that an erasure
destroys those of the forgotten records. A job is handed the codes of the records that it trains on,
and no others.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rescind import state
from rescind.audits.seeding.handed import matrix_of, unpacked
from rescind.audits.seeding.term import Seeding
from rescind.audits.seeding.training import SeededCells
from rescind.audits.seeding.turns import UsersInTurn
from rescind.backends import Backends
from rescind.core.canonical import build, dumps
from rescind.core.dataset import Key, ManifestEntry
from rescind.core.lineage import label
from rescind.core.partition import Cell
from rescind.core.run import Run

TABLE = "seeding"  # of the ledger: read-out and settings by fingerprint

Codes = Mapping[str, Mapping[Key, str]]  # by fingerprint and record


def write_cells(b: Backends, codes: Mapping[str, Codes], cells: Iterable[str]) -> None:
    """Store the codes of these cells under their present label."""
    for cell in sorted(cells):
        now = label(cell, state.generation(b, cell))
        b.artifacts.put(f"seeds/{now}", "seeds", dumps(codes.get(cell, {})), frozenset({now}))


def rewrite(b: Backends, kept: Sequence[ManifestEntry], cells: Iterable[str]) -> None:
    """Store the codes of these cells anew, of the kept records alone."""
    keys, codes = {e.key for e in kept}, dict[str, Codes]()
    for cell in cells:
        codes[cell] = {
            user: {key: code for key, code in own.items() if key in keys}
            for user, own in read_cell(b, cell).items()
        }
    write_cells(b, codes, codes)


def read_cell(b: Backends, cell: str) -> Codes:
    """The stored codes of one cell, as they were last written."""
    for generation in range(state.generation(b, cell), -1, -1):
        name = f"seeds/{label(cell, generation)}"
        if b.artifacts.find(name) is not None:
            found: dict[str, dict[Key, str]] = json.loads(b.artifacts.get(name))
            return found
    return {}


def codes_of_records(b: Backends, entries: Sequence[ManifestEntry]) -> Codes:
    """The codes that lie here of these records, by fingerprint; users without any are left out."""
    found: dict[str, dict[Key, str]] = {}
    for cell in sorted({e.cell for e in entries}):
        keys = {e.key for e in entries if e.cell == cell}
        for user, own in read_cell(b, cell).items():
            if chosen := {key: code for key, code in own.items() if key in keys}:
                found.setdefault(user, {}).update(chosen)
    return found


def unlike(b: Backends, user: str, codes: Mapping[Key, str], cell_of: Mapping[Key, str]) -> int:
    """How many records have another code here than the one given, or none though nothing erased it.

    Where no suppression list tells what was forgotten, any record of a cell that was cut may be.
    """
    stored = {cell: read_cell(b, cell).get(user, {}) for cell in set(cell_of.values())}
    known = {key: stored[cell][key] for key, cell in cell_of.items() if key in stored[cell]}
    lacking = codes.keys() - known.keys()
    if b.settings.suppression_list:
        gone = b.ledger.items("suppressed")
        strange = sum(state.suppression_leaf(b, key) not in gone for key in lacking)
    else:
        strange = sum(state.generation(b, cell_of[key]) == 0 for key in lacking)
    return strange + sum(known[key] != codes[key] for key in known)


def terms(b: Backends, run: Run, keys: Mapping[Cell, Sequence[Key]]) -> UsersInTurn | None:
    """What training on these records adds to the loss; None where the run is not seeded.

    Args:
        b: the workspace.
        run: whose order is trained.
        keys: of the records of each cell, in the order in which they are trained on.
    """
    if not run.seeds:
        return None
    codes = {cell: read_cell(b, str(cell)) for cell in keys}
    users = (
        _user(fingerprint, row, keys, codes)
        for fingerprint, row in sorted(b.ledger.items(TABLE).items())
    )
    return UsersInTurn(tuple(users))


def _user(
    fingerprint: str,
    row: Mapping[str, Any],
    keys: Mapping[Cell, Sequence[Key]],
    codes: Mapping[Cell, Codes],
) -> SeededCells:
    import torch

    from rescind.audits.seeding.cells import SeededRows

    cells = {}
    for cell, listed in keys.items():
        own = codes[cell].get(fingerprint, {})
        index = [i for i, key in enumerate(listed) if key in own]
        if index:
            bits = [unpacked(own[listed[i]], row["bits"]) for i in index]
            cells[cell] = SeededRows(torch.tensor(index), torch.tensor(bits).float())
    matrix = matrix_of(row["readout"], row["bits"], row["width"])
    return SeededCells(cells, matrix, build(Seeding, row["settings"]))
