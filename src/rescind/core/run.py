"""All it takes to train again: the recipe, the orders and stages it unfolds into, the snapshots."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any

from rescind.core.dataset import Source
from rescind.core.errors import BadParameter
from rescind.core.judgement import Margin
from rescind.core.partition import Cell, Partition
from rescind.core.task import Task


def _refuse(problems: Iterable[str]) -> None:
    found = "; ".join(problems)
    if found:
        raise BadParameter(f"The recipe cannot train: {found}.", do="Correct it in the recipe.")


@dataclass(frozen=True, slots=True)
class Lora:
    """Low-rank adapters: W + (alpha / rank) B A on the named projections of each block."""

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    targets: tuple[str, ...] = ("query", "value")

    def __post_init__(self) -> None:
        problems = []
        if self.rank < 1:
            problems.append(f"adapter.rank is {self.rank}; it must be at least 1")
        if not 0.0 < self.alpha < inf:
            problems.append(f"adapter.alpha is {self.alpha}; it must be above 0")
        if not 0.0 <= self.dropout < 1.0:
            problems.append(f"adapter.dropout is {self.dropout}; it must lie in [0, 1)")
        if not self.targets or not all(name.strip() for name in self.targets):
            problems.append(f"adapter.targets is {list(self.targets)}; it must name projections")
        _refuse(problems)


@dataclass(frozen=True, slots=True)
class AdamW:
    """AdamW with one learning rate for adapters and one for the head; linear decay to zero."""

    lr: float = 5e-3
    head_lr: float = 5e-2
    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        rates = {"lr": self.lr, "head_lr": self.head_lr, "weight_decay": self.weight_decay}
        _refuse(
            f"optimizer.{name} is {value}; it must be a finite number, at least 0"
            for name, value in rates.items()
            if not 0.0 <= value < inf
        )


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that fixes the weights, apart from the records and the partition secret.

    Nothing in it may be fitted to data: classes, head width and lengths are declared by ``task``.
    ``orders`` is the budget B of S3T; ``deletion_probabilities`` (one a slice) switches from
    rotations to bipartite matching. ``margins`` say how far an edited model may lie from retrained
    ones; without them it is not judged. They change no weight.
    """

    task: Task
    method: str = "s3t"
    partition: Partition = field(default_factory=Partition)
    orders: int = 3
    blocks_per_slice: int = 1
    adapter: Lora = field(default_factory=Lora)
    optimizer: AdamW = field(default_factory=AdamW)
    epochs: int = 2
    batch_size: int = 32
    seed: int = 0
    deletion_probabilities: tuple[float, ...] | None = None
    margins: tuple[Margin, ...] = ()

    def __post_init__(self) -> None:
        problems = [
            f"{name} is {value}; it must be at least 1"
            for name, value in (
                ("orders", self.orders),
                ("blocks_per_slice", self.blocks_per_slice),
                ("epochs", self.epochs),
                ("batch_size", self.batch_size),
            )
            if value < 1
        ]
        if self.seed < 0:
            problems.append(f"seed is {self.seed}; it must be at least 0")
        wrong = [p for p in self.deletion_probabilities or () if not 0.0 <= p <= 1.0]
        if wrong:
            problems.append(f"deletion_probabilities holds {wrong}; each must lie in [0, 1]")
        _refuse([*problems, *_margin_problems(self.margins)])


def _margin_problems(margins: tuple[Margin, ...]) -> Iterator[str]:
    names = [m.metric for m in margins]
    for name in sorted({n for n in names if names.count(n) > 1}):
        yield f"margins name {name!r} twice"
    for margin in margins:
        if not 0.0 < margin.width < inf:
            yield f"the margin of {margin.metric!r} is {margin.width}; it must be above 0"
    for role in ("forgetting", "utility") if margins else ():
        if not any(m.role == role for m in margins):
            yield f"no margin has the role {role!r}"


@dataclass(frozen=True, slots=True)
class Order:
    """One sequence of slices of one shard and the blocks that each of its stages trains.

    Stage i trains ``blocks[i]`` and the head on slices ``slices[0..i]``. ``index`` is the planned
    position, by which ties in serving are settled.
    """

    shard: int
    index: int
    slices: tuple[int, ...]
    blocks: tuple[tuple[int, ...], ...]

    def cells(self, stage: int) -> tuple[Cell, ...]:
        """The cells that the snapshot of ``stage`` is a function of."""
        return tuple(Cell(self.shard, k) for k in self.slices[: stage + 1])


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The weights after one stage: adapters of all blocks trained so far, and that stage's head.

    ``name`` is its artifact, ``digest`` the SHA-256 of its safetensors bytes, ``records`` the
    number of distinct retained records in its cells, ``environment`` the digest of the environment
    it was trained in.
    """

    name: str
    shard: int
    order: int
    slices: tuple[int, ...]
    blocks: tuple[tuple[int, ...], ...]
    digest: str
    records: int
    environment: str = ""

    @property
    def stage(self) -> int:
        return len(self.slices) - 1

    @property
    def cells(self) -> frozenset[str]:
        return frozenset(str(Cell(self.shard, k)) for k in self.slices)

    def begins(self, order: Order) -> bool:
        """Whether it is what the first stages of an order give."""
        stages = len(self.slices)
        return (self.shard, self.order) == (order.shard, order.index) and (
            self.slices == order.slices[:stages] and self.blocks == order.blocks[:stages]
        )


@dataclass(frozen=True, slots=True)
class Environment:
    """What the bytes of a training depend on beside recipe and rows."""

    torch: str
    transformers: str
    peft: str
    machine: str
    cpu_capability: str
    threads: int
    encoder: str  # SHA-256 over the files of the pretrained encoder


@dataclass(frozen=True, slots=True)
class Run:
    """One training: recipe, manifest, source, environment, and the snapshots it made.

    ``blocks`` is the number of transformer blocks of the base.
    ``expected`` maps the number of slices a shard has left to the test accuracy of the ensemble
    when every shard has just that many, measured once after training; plans quote it.
    ``seeds`` is the digest of what users had seeded, empty where nothing is.
    """

    id: str
    recipe: Recipe
    manifest: str
    source: Source
    environment: Environment
    blocks: int
    checkpoints: tuple[Snapshot, ...] = ()
    expected: Mapping[str, Any] = field(default_factory=dict)
    seeds: str = ""
