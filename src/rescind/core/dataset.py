"""Records with stable keys, where their rows come from, and what is kept of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Key = str
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Record:
    """One distinct row: its key, its content, whose it is, and how often the source holds it.

    ``digest`` is the SHA-256 of the row's canonical JSON. Equal content of one subject is one
    record with a ``multiplicity``; it is trained on once and deleted as a whole.
    """

    key: Key
    row: Row
    digest: str
    subject: str | None = None
    multiplicity: int = 1

    @property
    def placement(self) -> str:
        """What decides the cell: the subject where there is one, else the record key."""
        return self.key if self.subject is None else f"subject:{self.subject}"


@dataclass(frozen=True, slots=True)
class Source:
    """How to read the rows again.

    ``loader`` is ``module:function`` called with ``arguments``; ``path`` a CSV, JSONL or folder of
    ``label/*.txt``; ``stored`` means the workspace itself keeps them, encrypted, one artifact a
    cell. ``key`` and ``subject`` name columns; without ``key`` the content is the key.
    """

    kind: Literal["loader", "path", "stored"]
    where: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    key: str | None = None
    subject: str | None = None
    encoding: str = "utf-8"


@dataclass(frozen=True, slots=True)
class Manifest:
    """An allow-list of records. Keys and row digests live in the encrypted artifact ``name``.

    ``digest`` is the Merkle root over leaves keyed by the secret of each record's cell.
    """

    name: str
    version: int
    digest: str
    count: int
    copies: int


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """What the manifest keeps of a record; ``subject`` is a keyed hash, never the name."""

    key: Key
    digest: str
    cell: str
    multiplicity: int
    subject: str | None = None


@dataclass(frozen=True, slots=True)
class Split:
    """Forget set and retain set; retain = manifest - everything ever forgotten - this request."""

    forget: tuple[Record, ...]
    retain: tuple[Record, ...]
