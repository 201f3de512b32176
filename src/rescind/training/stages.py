"""Train one order, stage by stage: the machine that S3T, SISA and plain LoRA have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from rescind.core.dataset import Row
from rescind.core.errors import BadData
from rescind.core.partition import Cell
from rescind.core.protocols import Progress
from rescind.core.run import Order, Recipe
from rescind.training.determinism import stage_seed
from rescind.training.extra_term import ExtraTerms
from rescind.training.loop import Fit, fit
from rescind.training.models import TrainedModel
from rescind.training.snapshots import from_bytes, to_bytes


@dataclass(frozen=True, slots=True)
class CellData:
    """The records of one cell, sorted by key: activations entering the first block, and labels.

    ``activations`` are those of ``TrainedModel.activations``; ``labels`` has shape (n,).
    """

    activations: Mapping[str, Tensor]
    labels: Tensor


def cell_data(model: TrainedModel, rows: Sequence[Row], cached: bytes | None = None) -> CellData:
    """The data of a cell from its rows, sorted by key, and cached activations where there are any.

    Raises:
        BadData: no rows, or a cache of other rows.
    """
    if not rows:
        return CellData({}, torch.zeros(0, dtype=torch.long))
    activations = model.activations(rows) if cached is None else from_bytes(cached)
    held = len(next(iter(activations.values())))
    if held != len(rows):
        raise BadData(
            f"The cached activations hold {held} rows, the cell {len(rows)}.",
            "They were made from other records.",
            "Destroy the cache of this cell and try again.",
        )
    return CellData(activations, model.task.batch(rows)["labels"])


def train_order(
    model: TrainedModel,
    recipe: Recipe,
    order: Order,
    cells: Callable[[Cell], CellData],
    have: Mapping[int, bytes],
    save: Callable[[int, bytes], None],
    progress: Progress,
    extra: ExtraTerms | None = None,
) -> None:
    """Train the stages of an order that are not there yet.

    Stage i trains ``order.blocks[i]`` and the head on the union of the slices up to i. A block is
    initialised when it is first trained, the head at stage 0; both go on from the stage before.
    Optimiser, schedule and seeds are fresh in each stage, so a snapshot is a function of the
    recipe and the cells of its prefix only. What the model held before has no influence.

    Deletions may empty a cell. It then adds nothing, and a stage that has no record at all is left
    out: the next one begins where it would have begun.

    Codes of seeded records are held by the stage that first trains on their cell and by all later
    stages of the order, whose slices include it; no earlier stage has seen them. A stage is handed
    those of its own cells alone. So the prefix that is left when a cell is cut is the bytes of a
    training that never had the cell or its codes, and a stage without any is trained as if no
    record had been seeded.

    Args:
        model: its adapters and head are changed in place.
        recipe: how to train.
        order: what to train.
        cells: the data of a cell, perhaps none; called once a cell and order.
        have: snapshots of finished stages; they are not trained again.
        save: called after each new stage with (stage, snapshot bytes); not for those left out.
        progress: called after each step with (what is trained, steps done, of how many).
        extra: what is added to the loss, such as the codes of seeded records by cell.

    Raises:
        NotDeterministic: a frozen tensor changed.
    """
    done, loaded = dict(have), dict[Cell, CellData]()
    for stage in range(len(order.slices)):
        if stage in done:
            continue
        for cell in order.cells(stage):
            if cell not in loaded:
                loaded[cell] = cells(cell)
        data = {c: loaded[c] for c in order.cells(stage) if len(loaded[c].labels)}
        if not data:
            continue
        _prepare(model, recipe, order, stage, done.get(stage - 1))
        what = f"shard {order.shard}, order {order.index}, stage {stage + 1}/{len(order.slices)}"
        work = _work(model, recipe, order, stage, data, extra)
        fit(model, recipe, work, partial(progress, what))
        done[stage] = to_bytes(model.state(_blocks_until(order, stage)))
        save(stage, done[stage])


def _prepare(
    model: TrainedModel, recipe: Recipe, order: Order, stage: int, previous: bytes | None
) -> None:
    model.load({} if previous is None else from_bytes(previous))
    prefix = order.slices[: stage + 1]
    trained = set[int]() if previous is None else _blocks_until(order, stage - 1)
    for block in sorted(set(order.blocks[stage]) - trained):
        seed = stage_seed(recipe.seed, order.shard, prefix, f"block {block}")
        model.initialise(block, seed)
    if previous is None:
        model.initialise_head(stage_seed(recipe.seed, order.shard, prefix, "head"))


def _work(
    model: TrainedModel,
    recipe: Recipe,
    order: Order,
    stage: int,
    data: Mapping[Cell, CellData],
    extra: ExtraTerms | None,
) -> Fit:
    prefix = order.slices[: stage + 1]
    parts = list(data.values())
    names = parts[0].activations
    joined = {name: torch.cat([part.activations[name] for part in parts]) for name in names}
    sizes = {cell: len(part.labels) for cell, part in data.items()}
    seed = stage_seed(recipe.seed, order.shard, prefix, "extra term")
    return Fit(
        blocks=order.blocks[stage],
        # below the lowest trained block nothing changes in a stage: computed once, not each epoch
        activations=model.lift(joined, min(order.blocks[stage])),
        labels=torch.cat([part.labels for part in parts]),
        batch_seed=stage_seed(recipe.seed, order.shard, prefix, "batches"),
        dropout_seed=stage_seed(recipe.seed, order.shard, prefix, "dropout"),
        extra=None if extra is None else extra.of_stage(sizes, seed),
    )


def _blocks_until(order: Order, stage: int) -> set[int]:
    return {block for blocks in order.blocks[: stage + 1] for block in blocks}
