"""Shares as shaded cells, and a stored image: what a report shows of measurements on other data."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from rescind.core.errors import BadParameter
from rescind.picture import Table

SHADES = 4  # of what is not nothing; the darkest is all


class Share(NamedTuple):
    """``hits`` of ``asked``; ``beyond`` chance gets a star."""

    hits: int
    asked: int
    beyond: bool = False

    @property
    def text(self) -> str:
        """As a reader sees it."""
        return f"{self.hits}/{self.asked}{'*' if self.beyond else ''}"

    @property
    def shade(self) -> int:
        """0 for none, 4 for all."""
        if not self.hits:
            return 0
        return 1 + (SHADES - 1) * self.hits // self.asked


@dataclass(frozen=True, slots=True)
class Matrix:
    """Shares under column heads, each row under its name; a darker cell is a larger share.

    Raises:
        BadParameter: a row has more or fewer cells than there are columns.
    """

    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Share]]]
    caption: str
    kind: Literal["matrix"] = "matrix"

    def __post_init__(self) -> None:
        for name, cells in self.rows:
            if len(cells) != len(self.columns):
                raise BadParameter(
                    f"The row {name!r} has {len(cells)} cells for {len(self.columns)} columns.",
                    "A reader could not tell which share belongs where.",
                    "Give each row one share per column.",
                )

    def table(self) -> Table:
        """The same shares as text."""
        rows = [(name, *(cell.text for cell in cells)) for name, cells in self.rows]
        return Table(("", *self.columns), rows, self.caption)


@dataclass(frozen=True, slots=True)
class Image:
    """A stored PNG; ``told`` stands below it, and says what is seen to whoever does not see it."""

    title: str
    png: bytes
    told: str
    kind: Literal["image"] = "image"

    @property
    def inside(self) -> str:
        """The image as an address that holds it, so that the page refers to nothing outside."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"
