"""Methods that break one conformance check each, mostly out of carelessness."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from lying_methods import NEVER_SAW, inside

from rescind import state
from rescind.core.dataset import Split
from rescind.core.guarantee import Exact
from rescind.core.partition import Cell
from rescind.core.protocols import Entry, ModelHandle, Unlearned, Withdrawal
from rescind.core.run import Run, Snapshot
from rescind.methods.s3t import S3T

CALLS: Iterator[int] = itertools.count()


@dataclass(frozen=True)
class Truncates:
    """Honest: what each of the methods below is but for one thing."""

    def withdraw(self, parts: Sequence[Snapshot], cells: frozenset[Cell]) -> Withdrawal:
        return S3T().withdraw(parts, cells)

    def unlearn(self, model: ModelHandle, split: Split, run: Run) -> Unlearned:
        return S3T().unlearn(model, split, run)


@dataclass(frozen=True)
class RoundsItsParameter(Truncates):
    """Does more in its constructor than store."""

    share: float = 0.25

    def __post_init__(self) -> None:
        object.__setattr__(self, "share", round(self.share, 1))


@dataclass(frozen=True)
class HoldsAFunction(Truncates):
    """Has a parameter that nobody can write down."""

    score: Callable[[int], float] = field(default=float)


@dataclass(frozen=True)
class DropsAnotherPartEachTime(Truncates):
    """Its result depends on how often it was called."""

    def unlearn(self, model: ModelHandle, split: Split, run: Run) -> Unlearned:
        left_out = next(CALLS) % len(model.parts)
        kept = tuple(p for i, p in enumerate(model.parts) if i != left_out)
        return Unlearned(kept, NEVER_SAW, from_scratch=False)


@dataclass(frozen=True)
class KeepsADiary(Truncates):
    """Writes a harmless entry into the ledger."""

    def unlearn(self, model: ModelHandle, split: Split, run: Run) -> Unlearned:
        inside(model).ledger.append(Entry("dear.diary"))
        return S3T().unlearn(model, split, run)


@dataclass(frozen=True)
class TakesTwoThreads(Truncates):
    """Sets torch to two threads and leaves it there."""

    def unlearn(self, model: ModelHandle, split: Split, run: Run) -> Unlearned:
        import torch

        torch.set_num_threads(2)
        return S3T().unlearn(model, split, run)


@dataclass(frozen=True)
class FailsOnMany(Truncates):
    """Divides by what is left of the forget set beyond one record."""

    def unlearn(self, model: ModelHandle, split: Split, run: Run) -> Unlearned:
        1 // (len(split.forget) == 1)
        return S3T().unlearn(model, split, run)


@dataclass(frozen=True)
class RuinsTheModel:
    """Forgets by turning the sign of every weight."""

    def unlearn(self, model: ModelHandle, split: Split, run: Run) -> Unlearned:
        from rescind.training.snapshots import from_bytes, to_bytes

        b, ruined = inside(model), []
        for number, part in enumerate(model.parts):
            tensors = from_bytes(b.artifacts.get(part.name))
            data = to_bytes({name: -tensor for name, tensor in tensors.items()})
            name = f"snapshot/ruined-{number}"
            b.artifacts.put(name, "snapshot", data, state.labels(b, part.cells))
            ruined.append(replace(part, name=name, digest=hashlib.sha256(data).hexdigest()))
        return Unlearned(tuple(ruined), NEVER_SAW, from_scratch=False)


@dataclass(frozen=True)
class CutsOneMoreAtFirst(Truncates):
    """Takes a clean part with it, the first time only: what is left depends on who asked first."""

    def withdraw(self, parts: Sequence[Snapshot], cells: frozenset[Cell]) -> Withdrawal:
        honest = S3T().withdraw(parts, cells)
        if len(parts) < 8:
            return honest
        return Withdrawal(honest.kept[1:], (*honest.cut, *honest.kept[:1]))


@dataclass(frozen=True)
class ClaimsTooMuch(Truncates):
    """Calls a truncation a retraining."""

    def unlearn(self, model: ModelHandle, split: Split, run: Run) -> Unlearned:
        return Unlearned(model.parts, Exact("retrain"), from_scratch=False)
