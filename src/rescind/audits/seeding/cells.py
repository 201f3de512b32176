"""Where seeded records lie: indices and codes by the cell of their record.

Codes lie with the cell, so that cutting a cell cuts its codes. The user computes them from a key
that nothing here takes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rescind.core.canonical import digest
from rescind.core.dataset import Row
from rescind.core.errors import BadData
from rescind.core.partition import Cell

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class SeededRows:
    """The seeded rows of one cell: ``index`` (m,) among the rows of the cell as it is trained on
    now, each once, and their ``codes`` (m, bits).
    """

    index: Tensor
    codes: Tensor

    def __post_init__(self) -> None:
        own = self.index.tolist() if self.index.dim() == 1 else []
        distinct = len(own) == len(set(own)) and min(own, default=-1) >= 0
        if not distinct or self.codes.dim() != 2 or len(self.codes) != len(own):
            raise BadData(
                f"Seeded rows of shape {tuple(self.index.shape)} and codes of shape"
                f" {tuple(self.codes.shape)}.",
                "A cell has one seeded row or more, each named once, with one code each.",
                "Make them with seed_cells(...), and leave out cells without seeded rows.",
            )


def seed_cells(
    cells: Mapping[Cell, Sequence[Row]], seeded: Sequence[Row], codes: Tensor
) -> dict[Cell, SeededRows]:
    """Where the seeded records lie among the rows of the cells, with their codes (n, bits).

    Records are found by content. One that a cell holds several times has its code at each place.

    Raises:
        BadData: not one code for each record, a record that is in no cell, or one that is in two:
            cutting one of them would leave its code in the other.
    """
    import torch

    wanted = {digest(row): i for i, row in enumerate(seeded)}
    if not len(wanted) == len(seeded) == len(codes):
        raise BadData(
            f"{len(codes)} codes for {len(seeded)} records, {len(wanted)} of them distinct.",
            "Each record has one code.",
            "Name each record once, and take codes_of(key, rows) for the same rows.",
        )
    found: dict[Cell, dict[int, int]] = {}
    for cell, rows in cells.items():
        held = {at: wanted.get(digest(row), -1) for at, row in enumerate(rows)}
        own = {at: i for at, i in held.items() if i >= 0}
        if own:
            found[cell] = own
    _refuse_misplaced(len(seeded), [set(own.values()) for own in found.values()])
    return {
        cell: SeededRows(torch.tensor(list(own)), codes[list(own.values())])
        for cell, own in found.items()
    }


def _refuse_misplaced(seeded: int, held: Sequence[Collection[int]]) -> None:
    places = [i for own in held for i in own]
    lacking, twice = seeded - len(set(places)), len(places) - len(set(places))
    if lacking or twice:
        raise BadData(
            f"Of {seeded} seeded records {lacking} are in no cell and {twice} in more than one.",
            "A code lies in the one cell of its record, and is cut with it.",
            "Leave such records out; those of the test set are not trained on.",
        )
