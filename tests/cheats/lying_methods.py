"""Methods that lie. Each is honest in all but one thing; the docstring says which."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rescind import state
from rescind.backends import Backends
from rescind.core.dataset import Split
from rescind.core.guarantee import Certified, Exact
from rescind.core.partition import Cell
from rescind.core.protocols import ModelHandle, Unlearned, Withdrawal
from rescind.core.run import Order, Run, Snapshot
from rescind.methods.s3t import S3T
from rescind.pipeline import silent
from rescind.trainer import train_orders

RETRAIN = Exact("retrain")
NEVER_SAW = Exact("never_saw")


def orders_of(run: Run) -> tuple[Order, ...]:
    return S3T().orders(run.recipe, run.blocks)


def inside(model: ModelHandle) -> Backends:
    """What a method may not touch: the workspace behind its handle."""
    handle: Any = getattr(model, "_handle", model)  # not even the watched one keeps it from this
    backends: Any = handle.b
    assert isinstance(backends, Backends)
    return backends


@dataclass(frozen=True)
class ReturnsTheOriginal:
    """Hands back what it was given and calls it retrained; edits no weight."""

    def unlearn(self, model: ModelHandle, split: Split, run: Run) -> Unlearned:
        return Unlearned(model.parts, RETRAIN, from_scratch=True)


@dataclass(frozen=True)
class TrainsOnTheForgetSet:
    """Asks for a training on forget and retain set together."""

    def unlearn(self, model: ModelHandle, split: Split, run: Run) -> Unlearned:
        everything = [*split.forget, *split.retain]
        return Unlearned(model.train(orders_of(run), everything), RETRAIN, from_scratch=True)


@dataclass(frozen=True)
class TrainsOnEverythingBehindTheHandle:
    """The same past the handle that refuses, on most of the data: its lineage looks clean."""

    def unlearn(self, model: ModelHandle, split: Split, run: Run) -> Unlearned:
        b = inside(model)
        gone = {record.key for record in split.forget}
        listed = [e for e in state.manifest_entries(b) if e.cell != "test"]
        most = [e for number, e in enumerate(listed) if e.key in gone or number % 7]
        parts = train_orders(b, run, orders_of(run), most, state.generations(b), silent)
        return Unlearned(parts, RETRAIN, from_scratch=True)


@dataclass(frozen=True)
class EditsWeightsInPlace:
    """Writes noise over a snapshot it was given and returns the same parts."""

    def unlearn(self, model: ModelHandle, split: Split, run: Run) -> Unlearned:
        b, part = inside(model), model.parts[0]
        b.artifacts.put(part.name, "snapshot", noisy(b, part), state.labels(b, part.cells))
        return Unlearned(model.parts, NEVER_SAW, from_scratch=False)


@dataclass(frozen=True)
class EditsWeights:
    """Stores a changed copy of a snapshot under clean labels and an honest digest, as exact."""

    def unlearn(self, model: ModelHandle, split: Split, run: Run) -> Unlearned:
        b, part = inside(model), model.parts[0]
        data = noisy(b, part)
        b.artifacts.put("snapshot/edited", "snapshot", data, state.labels(b, part.cells))
        edited = replace(part, name="snapshot/edited", digest=hashlib.sha256(data).hexdigest())
        return Unlearned((edited, *model.parts[1:]), NEVER_SAW, from_scratch=False)


@dataclass(frozen=True)
class UsesAnotherSeed:
    """Trains one order as the recipe says, under another seed, and calls it retrained."""

    def unlearn(self, model: ModelHandle, split: Split, run: Run) -> Unlearned:
        from rescind.replay import fresh_cells, placed_again
        from rescind.training.encoder import StagedModel
        from rescind.training.stages import train_order

        b, honest = inside(model), model.train(orders_of(run))
        order, recipe = orders_of(run)[0], replace(run.recipe, seed=run.recipe.seed + 1)
        made: dict[int, bytes] = {}
        staged = StagedModel(recipe)
        cells = fresh_cells(placed_again(b, run), staged)
        train_order(staged, recipe, order, cells, {}, made.__setitem__, lambda *_: None)
        return Unlearned(tuple(self._other(b, p, made) for p in honest), RETRAIN, True)

    def _other(self, b: Backends, part: Snapshot, made: dict[int, bytes]) -> Snapshot:
        if (part.shard, part.order) != (0, 0):
            return part
        name, data = f"snapshot/seed-{part.stage}", made[part.stage]
        b.artifacts.put(name, "snapshot", data, state.labels(b, part.cells))
        return replace(part, name=name, digest=hashlib.sha256(data).hexdigest())


@dataclass(frozen=True)
class LaundersLineage:
    """Puts the bytes of a cut snapshot into the store again, under labels that are clean."""

    def unlearn(self, model: ModelHandle, split: Split, run: Run) -> Unlearned:
        b = inside(model)
        rows = b.ledger.items("sealed").values()
        cut = [replace_from(row["snapshot"]) for row in rows]
        washed = []
        for number, part in enumerate(cut):
            name = f"snapshot/washed-{number}"
            data = b.artifacts.get(part.name)
            b.artifacts.put(name, "snapshot", data, state.labels(b, part.cells))
            washed.append(replace(part, name=name))
        return Unlearned((*model.parts, *washed), RETRAIN, from_scratch=False)


@dataclass(frozen=True)
class ReturnsForeignParts:
    """Returns snapshots that another workspace made."""

    def unlearn(self, model: ModelHandle, split: Split, run: Run) -> Unlearned:
        foreign = tuple(replace(p, name=f"{p.name}-elsewhere") for p in run.checkpoints)
        return Unlearned(foreign, RETRAIN, from_scratch=True)


@dataclass(frozen=True)
class DropsEverything:
    """Returns no part at all: a model that answers nothing has forgotten everything."""

    def unlearn(self, model: ModelHandle, split: Split, run: Run) -> Unlearned:
        return Unlearned((), NEVER_SAW, from_scratch=False)


@dataclass(frozen=True)
class ClaimsRetraining:
    """Truncates, and claims the bytes of a training on the retain set."""

    def unlearn(self, model: ModelHandle, split: Split, run: Run) -> Unlearned:
        return Unlearned(model.parts, RETRAIN, from_scratch=False)


@dataclass(frozen=True)
class ClaimsACertificate:
    """Truncates, and claims (epsilon, delta) without any proof of it."""

    def unlearn(self, model: ModelHandle, split: Split, run: Run) -> Unlearned:
        claim = Certified(0.1, 1e-6, "the loss is convex")
        return Unlearned(model.parts, claim, from_scratch=True)


@dataclass(frozen=True)
class TrainsAnotherLayout:
    """Trains each order with all blocks in every stage, and calls that the planned algorithm."""

    def unlearn(self, model: ModelHandle, split: Split, run: Run) -> Unlearned:
        orders = [
            replace(o, blocks=(tuple(sorted(b for s in o.blocks for b in s)),) * len(o.slices))
            for o in orders_of(run)
        ]
        return Unlearned(model.train(orders), RETRAIN, from_scratch=True)


@dataclass(frozen=True)
class AddsAnOrder:
    """Retrains as planned and slips in an order of its own, which would be served first."""

    def unlearn(self, model: ModelHandle, split: Split, run: Run) -> Unlearned:
        orders = orders_of(run)
        extra = replace(orders[0], index=-1, slices=orders[1].slices)
        return Unlearned(model.train((*orders, extra)), RETRAIN, from_scratch=True)


@dataclass(frozen=True)
class InflatesAWeight:
    """Says that a shard was trained on a million records, so that it outvotes the others."""

    def unlearn(self, model: ModelHandle, split: Split, run: Run) -> Unlearned:
        live = {part.name for part in model.parts}
        parts = model.train(orders_of(run))
        heavy = (p if p.name in live else replace(p, records=10**6) for p in parts)
        return Unlearned(tuple(heavy), RETRAIN, from_scratch=True)


@dataclass(frozen=True)
class MislabelsASlice:
    """Says of a stage that it was made from another slice of its order than it was."""

    def unlearn(self, model: ModelHandle, split: Split, run: Run) -> Unlearned:
        b, parts = inside(model), model.train(orders_of(run))
        last = next(p for p in parts if p.stage == 1)
        first = next(p for p in parts if p.stage == 0 and p.order == last.order)
        wrong = replace(first, name="snapshot/mislabelled", slices=last.slices[1:])
        data = b.artifacts.get(first.name)
        b.artifacts.put(wrong.name, "snapshot", data, state.labels(b, wrong.cells))
        others = tuple(p for p in parts if p.name != first.name)
        return Unlearned((wrong, *others), RETRAIN, from_scratch=True)


class LazyParts(tuple[Snapshot, ...]):
    """Parts that look into the forget set when somebody goes through them."""

    split: Split

    def __iter__(self) -> Iterator[Snapshot]:
        list(self.split.forget)
        return super().__iter__()


@dataclass(frozen=True)
class ReadsAfterReturning:
    """Keeps a hand in the forget set and reads it once nobody looks."""

    def unlearn(self, model: ModelHandle, split: Split, run: Run) -> Unlearned:
        parts = LazyParts(model.parts)
        parts.split = split
        return Unlearned(parts, NEVER_SAW, from_scratch=False)


@dataclass(frozen=True)
class WritesToTheLedger:
    """Takes its own record off the suppression list, so that it may be trained on again."""

    def unlearn(self, model: ModelHandle, split: Split, run: Run) -> Unlearned:
        from rescind.core.protocols import Entry, Write

        b = inside(model)
        leaves = b.ledger.items("suppressed")
        writes = tuple(Write("suppressed", leaf, None) for leaf in leaves)
        b.ledger.append(Entry("housekeeping", writes=writes))
        return Unlearned(model.parts, NEVER_SAW, from_scratch=False)


@dataclass(frozen=True)
class KeepsEverything:
    """Reports a withdrawal and withdraws nothing."""

    def withdraw(self, parts: Sequence[Snapshot], cells: frozenset[Cell]) -> Withdrawal:
        return Withdrawal(tuple(parts), ())

    def unlearn(self, model: ModelHandle, split: Split, run: Run) -> Unlearned:
        return S3T().unlearn(model, split, run)


@dataclass(frozen=True)
class CutsTheWrongShard:
    """Withdraws as asked, in the shard beside the one that was meant."""

    def withdraw(self, parts: Sequence[Snapshot], cells: frozenset[Cell]) -> Withdrawal:
        beside = frozenset(Cell(1 - cell.shard, cell.slice) for cell in cells)
        return S3T().withdraw(parts, beside)

    def unlearn(self, model: ModelHandle, split: Split, run: Run) -> Unlearned:
        return S3T().unlearn(model, split, run)


@dataclass(frozen=True)
class LosesParts:
    """Names the stale parts neither as kept nor as cut, so that nobody takes them out."""

    def withdraw(self, parts: Sequence[Snapshot], cells: frozenset[Cell]) -> Withdrawal:
        return Withdrawal(S3T().withdraw(parts, cells).kept, ())

    def unlearn(self, model: ModelHandle, split: Split, run: Run) -> Unlearned:
        return S3T().unlearn(model, split, run)


@dataclass(frozen=True)
class CutsMoreTheSecondTime:
    """Takes one clean part with it at every call."""

    def withdraw(self, parts: Sequence[Snapshot], cells: frozenset[Cell]) -> Withdrawal:
        honest = S3T().withdraw(parts, cells)
        return Withdrawal(honest.kept[1:], (*honest.cut, *honest.kept[:1]))

    def unlearn(self, model: ModelHandle, split: Split, run: Run) -> Unlearned:
        return S3T().unlearn(model, split, run)


def noisy(b: Backends, part: Snapshot) -> bytes:
    """The snapshot with one tensor moved by a thousandth."""
    from rescind.training.snapshots import from_bytes, to_bytes

    tensors = from_bytes(b.artifacts.get(part.name))
    name = sorted(tensors)[0]
    return to_bytes({**tensors, name: tensors[name] + 1e-3})


def replace_from(data: dict[str, Any]) -> Snapshot:
    from rescind.core.canonical import build

    return build(Snapshot, data)
