"""The seams: plug-ins have at most three methods, backends at most twelve."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from rescind.core.audit import AuditResult, Case, Need, Sizes
from rescind.core.canonical import digest, plain
from rescind.core.certificate import Signature
from rescind.core.dataset import Record, Row, Split
from rescind.core.guarantee import Guarantee
from rescind.core.lineage import Artifact, ArtifactKind
from rescind.core.partition import Cell
from rescind.core.run import Order, Recipe, Run, Snapshot
from rescind.core.task import Task

if TYPE_CHECKING:
    from torch import Tensor, nn

Progress = Callable[[str, int, int], None]  # what, done, of how many


@dataclass(frozen=True, slots=True)
class Write:
    """One change of a projection: ``value`` None removes the key."""

    table: str
    key: str
    value: Any


@dataclass(frozen=True, slots=True)
class Entry:
    """One step, with the projections it changes. ``seq``, ``previous`` and ``digest`` are the
    ledger's: digest = SHA-256 of the canonical JSON of all other fields.
    """

    kind: str
    request: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    writes: tuple[Write, ...] = ()
    at: str = ""
    seq: int = 0
    previous: str = ""
    digest: str = ""


def chain_digest(entry: Entry) -> str:
    """SHA-256 in hex of the canonical JSON of all fields of the entry but ``digest``."""
    fields = plain(entry)
    del fields["digest"]
    return digest(fields)


class Ledger(Protocol):
    """Append-only and hash-chained. ``append`` is one durable transaction: entry and projections
    are both there or neither. Readers of any process see an entry as soon as append returns.
    """

    def append(self, entry: Entry) -> Entry: ...
    def head(self) -> tuple[int, str]: ...
    def entries(self, request: str | None = None) -> Iterator[Entry]: ...
    def get(self, table: str, key: str) -> Any: ...
    def items(self, table: str) -> dict[str, Any]: ...
    def verify(self) -> None: ...
    def checkpoint(self) -> None: ...
    def claim(self, request: str) -> AbstractContextManager[None]: ...
    def close(self) -> None: ...


class Artifacts(Protocol):
    """Named, content-addressed, encrypted bytes that know their cells.

    A name is listed before its bytes are written and until after they are destroyed, so that a
    crash leaves nothing unlisted. ``put`` of a known name replaces it. ``destroy`` deletes key and
    bytes when no other name shares the address. ``get`` raises ``DamagedArtifact``.
    """

    def put(
        self, name: str, kind: ArtifactKind, data: bytes, cells: frozenset[str]
    ) -> Artifact: ...
    def get(self, name: str) -> bytes: ...
    def find(self, name: str) -> Artifact | None: ...
    def list(self, cells: frozenset[str] | None = None) -> tuple[Artifact, ...]: ...
    def seal(self, names: Sequence[str]) -> None: ...
    def destroy(self, names: Sequence[str]) -> None: ...
    def sweep(self) -> tuple[str, ...]: ...


class Job(Protocol):
    """Work for an executor: a frozen dataclass of plain values (digests, names, numbers)."""

    def run(self, progress: Progress) -> Any: ...


class Executor(Protocol):
    """Runs jobs, in any order, and yields (index, plain result) as each ends."""

    def run(self, jobs: Sequence[Job], progress: Progress) -> Iterator[tuple[int, Any]]: ...


class Signer(Protocol):
    """Holds a signing key. ``key_id`` is the SHA-256 of the raw public key."""

    @property
    def key_id(self) -> str: ...
    def sign(self, message: bytes) -> Signature: ...


class Editable(Protocol):
    """A copy of one part that a method may change: its module, and how rows enter and leave it.

    ``inputs`` gives tensors with ``labels``, first dimension the rows; ``outputs`` takes them, or a
    batch of them. Parameters that may change require gradients; the module is in evaluation mode.
    """

    @property
    def task(self) -> Task: ...
    @property
    def module(self) -> nn.Module: ...
    def inputs(self, rows: Sequence[Row]) -> dict[str, Tensor]: ...
    def outputs(self, batch: Mapping[str, Tensor]) -> Tensor: ...


class ModelHandle(Protocol):
    """What a method receives: the model as served now, and the means to train or edit it.

    ``train`` trains whole orders on the retain set, or on ``records`` where a method wants others,
    and returns their snapshots; the lineage is written for it. ``load`` gives a copy of a part to
    edit, ``save`` makes an edited copy a part. None of them changes ``parts``.
    """

    @property
    def digest(self) -> str: ...
    @property
    def parts(self) -> tuple[Snapshot, ...]: ...
    def train(
        self, orders: Sequence[Order], records: Sequence[Record] | None = None
    ) -> tuple[Snapshot, ...]: ...
    def load(self, part: Snapshot) -> Editable: ...
    def save(self, part: Snapshot, edited: Editable) -> Snapshot: ...


@dataclass(frozen=True, slots=True)
class Unlearned:
    """What a method *claims*: all live parts after it, and its guarantee. The pipeline lowers the
    claim to what the evidence carries.
    """

    parts: tuple[Snapshot, ...]
    guarantee: Guarantee
    from_scratch: bool


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """Which parts may go on serving and which may not."""

    kept: tuple[Snapshot, ...]
    cut: tuple[Snapshot, ...]


@runtime_checkable
class Unlearner(Protocol):
    """An unlearning method: a frozen dataclass whose fields are its parameters."""

    def unlearn(self, model: ModelHandle, split: Split, run: Run) -> Unlearned: ...


@runtime_checkable
class Withdrawer(Protocol):
    """Takes parts away at once: index work, no torch."""

    def withdraw(self, parts: Sequence[Snapshot], cells: frozenset[Cell]) -> Withdrawal: ...


@runtime_checkable
class Planner(Protocol):
    """A method that lays out its own training; others train one shard, one slice, one order."""

    def orders(self, recipe: Recipe, n_blocks: int) -> tuple[Order, ...]: ...


@runtime_checkable
class Auditor(Protocol):
    """An audit: a frozen dataclass whose fields are its parameters. It sees two models through one
    ``Case`` and says what it saw; ``tests`` is how many audits are read together. ``needs`` names
    what it reads besides answers of both models, and so what access it takes (``audit.beyond``).
    """

    @property
    def needs(self) -> frozenset[Need]: ...

    def refuses(self, sizes: Sizes) -> str: ...
    def seconds(self, sizes: Sizes) -> float: ...
    def audit(self, case: Case, *, level: float, tests: int, seed: int) -> AuditResult: ...


@runtime_checkable
class Escalation(Protocol):
    """A method that is a list of others, the cheapest first. What stands above the plug-ins tries
    them in turn, with ``seeds`` seeds each, and judges; its ``unlearn`` is what comes last.
    """

    @property
    def methods(self) -> tuple[str, ...]: ...
    @property
    def seeds(self) -> int: ...
    @property
    def parameters(self) -> str: ...
    def unlearn(self, model: ModelHandle, split: Split, run: Run) -> Unlearned: ...
