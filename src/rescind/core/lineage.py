"""What each stored thing was made from, and so what a forget set makes stale.

The index from label to artifacts is kept by ``Artifacts.list``: a look-up costs what it finds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

ArtifactKind = Literal[
    "snapshot",
    "activations",
    "rows",
    "manifest",
    "predictions",
    "reference",
    "audit",
    "seeds",
    "mask",
    "absence",
]


@dataclass(frozen=True, slots=True)
class Artifact:
    """A stored thing: a unique ``name``, a keyed content ``address``, and the cells it came from.

    Two names may share an address; the bytes go when the last name goes. ``sealed`` artifacts are
    kept for evidence and never served. Cells are written as labels, with their generation, so that
    what was made after a withdrawal is not mistaken for what was made before it.
    """

    name: str
    kind: ArtifactKind
    address: str
    size: int
    cells: frozenset[str]
    sealed: bool = False


def label(cell: str, generation: int) -> str:
    """A cell's content at one time: ``0.1#2`` is cell 0.1 after two withdrawals from it."""
    return f"{cell}#{generation}"


def is_outdated(label: str, generations: Mapping[str, int]) -> bool:
    """Whether a withdrawal has changed the cell since it had this label."""
    cell, _, generation = label.rpartition("#")
    return int(generation) < generations.get(cell, 0)


def labels_until(cell: str, generation: int) -> frozenset[str]:
    """Every label the cell has had up to a generation: all that a withdrawal makes stale."""
    return frozenset(label(cell, g) for g in range(generation + 1))
