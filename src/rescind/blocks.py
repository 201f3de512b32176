"""What a report is made of: typed blocks under headings; both formats print the same ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rescind.core.report import Moment
from rescind.picture import Bars, Intervals, Lines, Stages, Table
from rescind.shading import Image, Matrix


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Plain text."""

    text: str
    kind: Literal["paragraph"] = "paragraph"


@dataclass(frozen=True, slots=True)
class Notice:
    """Text that a reader must not miss."""

    text: str
    kind: Literal["notice"] = "notice"


@dataclass(frozen=True, slots=True)
class Items:
    """A list of plain texts."""

    items: Sequence[str]
    kind: Literal["items"] = "items"


@dataclass(frozen=True, slots=True)
class Facts:
    """Terms and their values."""

    rows: Sequence[tuple[str, str]]
    kind: Literal["facts"] = "facts"


@dataclass(frozen=True, slots=True)
class Command:
    """What to type, or a digest: set in one width and never broken by a hyphen."""

    text: str
    kind: Literal["command"] = "command"


@dataclass(frozen=True, slots=True)
class Timeline:
    """What happened when."""

    moments: Sequence[Moment]
    kind: Literal["timeline"] = "timeline"


Block = (
    Paragraph
    | Notice
    | Items
    | Facts
    | Command
    | Timeline
    | Table
    | Bars
    | Lines
    | Intervals
    | Stages
    | Matrix
    | Image
)


@dataclass(frozen=True, slots=True)
class Section:
    """A headed part of a report."""

    title: str
    blocks: Sequence[Block]
