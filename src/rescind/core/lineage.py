"""What each stored thing was made from, and so what a forget set makes stale."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

ArtifactKind = Literal["snapshot", "activations", "rows", "manifest", "predictions", "reference"]


@dataclass(frozen=True, slots=True)
class Artifact:
    """A stored thing: a unique ``name``, a keyed content ``address``, and the cells it came from.

    Two names may share an address; the bytes go when the last name goes. ``sealed`` artifacts are
    kept for evidence and never served.
    """

    name: str
    kind: ArtifactKind
    address: str
    size: int
    cells: frozenset[str]
    sealed: bool = False


class Lineage:
    """An index from cell to artifacts: a look-up costs what it finds, not what is stored."""

    def __init__(self, artifacts: Iterable[Artifact]) -> None:
        self._by_cell: dict[str, set[Artifact]] = defaultdict(set)
        for artifact in artifacts:
            for cell in artifact.cells:
                self._by_cell[cell].add(artifact)

    def stale(self, cells: Iterable[str]) -> tuple[Artifact, ...]:
        """Artifacts made from any of these cells, by name."""
        found = {a for cell in cells for a in self._by_cell.get(cell, ())}
        return tuple(sorted(found, key=lambda a: a.name))
