"""Records with stable keys, where their rows come from, and what is kept of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, overload

from rescind.core.errors import InsufficientEvidence

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

    ``digest`` is the root of the tree of their keys, with a secret of this version alone, ``depth``
    and ``nonce`` what else its head has (``proofs.key_tree``; an older manifest has a depth of 0
    and a plain tree). ``count`` is the number of records, ``copies`` that of rows, ``cells`` the
    records of each cell.
    """

    name: str
    version: int
    digest: str
    count: int
    copies: int
    cells: Mapping[str, int] = field(default_factory=dict)
    depth: int = 0
    nonce: str = ""


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """What the manifest keeps of a record; ``subject`` is a keyed hash, never the name."""

    key: Key
    digest: str
    cell: str
    multiplicity: int
    subject: str | None = None


class Examples(Sequence[Record]):
    """Records that are read when first looked at, and never after ``close``.

    A method may take the keys for granted and the rows only where it needs them: truncation needs
    none, so a missing source does not stop it.
    """

    def __init__(self, keys: Sequence[Key], load: Callable[[], Sequence[Record]]) -> None:
        self.keys = tuple(keys)
        self._load = load
        self._records: tuple[Record, ...] | None = None
        self._closed = False

    def close(self) -> None:
        """End the loan: reading afterwards raises ``InsufficientEvidence``."""
        self._closed, self._records = True, None

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[Record]:
        return iter(self._read())

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Record, ...]: ...
    def __getitem__(self, index: int | slice) -> Record | tuple[Record, ...]:
        return self._read()[index]

    def _read(self) -> tuple[Record, ...]:
        if self._closed:
            raise InsufficientEvidence(
                "A method read its split after it had returned.",
                "From then on the forget set must be out of its reach.",
            )
        if self._records is None:
            self._records = tuple(self._load())
        return self._records


@dataclass(frozen=True, slots=True)
class Split:
    """Forget set and retain set; retain = manifest - everything ever forgotten - this request."""

    forget: Sequence[Record]
    retain: Sequence[Record]
