"""Train shadow models of one recipe, each on half of the records: one by one, or many in a stack.

LiRA (arXiv 2112.03570) asks how a record's margin is spread over models with and without it. A
stack is one set of weights with the models as first dimension, trained by ``torch.func`` with one
step of the optimiser for all. On a processor the loop is the faster of the two
(``benchmarks/shadow_training.py`` measures both), and it is the default.

Batch norm may be stacked: each model keeps running statistics of its own. Dropout may not, since
its draws could not be those of the loop; nor may adapters on an encoder. A bias in front of a batch
norm has no gradient but rounding, which Adam makes steps of: there the two ways drift apart.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, cast

from rescind.audits.shadows import Shadows, trained_shadows
from rescind.core.canonical import digest
from rescind.core.dataset import Row
from rescind.core.errors import BadData, BadParameter, UnsupportedModel
from rescind.core.run import Order, Recipe

if TYPE_CHECKING:
    from torch import Tensor, nn

    from rescind.core.task import Task
    from rescind.training.models import TrainedModel
    from rescind.training.stages import CellData

    State = dict[str, Tensor]
Have = Callable[[int], bytes | None]
Save = Callable[[int, bytes], None]
Way = Literal["loop", "stacked"]
STACK = 8
PIECE = 512  # records that are scored at a time


@dataclass(frozen=True, slots=True)
class ShadowDraw:
    """Which of ``records`` rows each of ``models`` shadow models is trained on: a random half.

    The half of model i follows from ``seed`` and i alone, so that more models later change none of
    the earlier ones. Halves are independent: a record is inside in half of the models on average.
    Pairs of complementary halves would make that exact, and they would be wrong: the partner of a
    model that is held out tells what it saw. The rows of ``group`` stay together: models 0, 2, 4
    and so on see all of them and the others none, which are at least ``without``.

    Where half as many records as the audited model saw move margins, more records are needed.

    Raises:
        BadParameter: too few records or models, or a group that is half of the records or names a
            row twice.
    """

    records: int
    models: int
    seed: int = 0
    group: tuple[int, ...] = ()
    without: int = 0

    def __post_init__(self) -> None:
        problems, never = [], self.models // 2 if self.group else 0
        if self.models < 1:
            problems.append(f"models is {self.models}; there must be one")
        if self.records < 4:
            problems.append(f"records is {self.records}; two halves need four or more")
        known = set(self.group) <= set(range(self.records))
        if len(set(self.group)) < len(self.group) or not known:
            problems.append("group must name rows, each once")
        if 2 * len(self.group) >= max(1, self.records - 1):
            problems.append(f"group has {len(self.group)} rows; it must be less than half")
        if self.without > never:
            problems.append(f"without is {self.without}, and {never} models see none of the group")
        if problems:
            raise BadParameter(
                f"No shadow models can be drawn: {'; '.join(problems)}.",
                do="Use more records, and twice as many models as must not see the group.",
            )

    def rows(self, model: int) -> Tensor:
        """Sorted row numbers (records // 2,) of one model."""
        import torch

        generator = torch.Generator().manual_seed(_key("half", self.seed, model))
        order = torch.randperm(self.records, generator=generator)
        group = torch.tensor(self.group, dtype=torch.long)
        others, own = order[~torch.isin(order, group)], group[: 0 if model % 2 else None]
        return torch.cat([own, others[: self.records // 2 - len(own)]]).sort().values

    def seen(self) -> Tensor:
        """Which model is trained on which record, boolean (models, records)."""
        import torch

        found = torch.zeros(self.models, self.records, dtype=torch.bool)
        for model in range(self.models):
            found[model, self.rows(model)] = True
        return found

    def recipe(self, recipe: Recipe, model: int) -> Recipe:
        """The recipe with a training seed of that model's own."""
        return replace(recipe, seed=_key("training", self.seed, model))


def train_shadows(
    recipe: Recipe,
    rows: Sequence[Row],
    draw: ShadowDraw,
    have: Have,
    save: Save,
    way: Way = "loop",
    stack: int = STACK,
) -> Shadows:
    """Margins of all rows in all shadow models, which are trained where there are none yet.

    Both ways start from the same weights and take the same batches; they differ by rounding. The
    bytes of a stacked model depend on how many it is stacked with, so a stack that lacks a model is
    trained again as a whole, and only what was missing is saved.

    Args:
        recipe: how each is trained, plainly, its own seed apart.
        rows: all the records (n) that shadow models draw from, in a fixed order.
        draw: who sees what.
        have: the safetensors bytes of a model that is there already, or None.
        save: called with the bytes of each new model.
        way: one by one, or ``stack`` at a time.
        stack: models in a stack; the number of models must be a multiple.

    Raises:
        BadData: rows of another number than the draw's, or a margin that is not finite.
        BadParameter: a task without classes, or models that fill no whole number of stacks.
        UnsupportedModel: a module that cannot be stacked.
    """
    import torch

    from rescind.training.models import trained_model
    from rescind.training.snapshots import from_bytes
    from rescind.training.stages import cell_data

    _refuse(recipe, rows, draw, way, stack)
    base = trained_model(recipe)
    data = cell_data(base, rows)
    made, size = (_looped, 1) if way == "loop" else (_stacked, stack)
    margins = []
    for start in range(0, draw.models, size):
        members = range(start, start + size)
        kept = {m: found for m in members if (found := have(m)) is not None}
        if len(kept) < size:
            for model, saved in made(base, recipe, data, draw, members):
                if model not in kept:
                    save(model, saved)
                    kept[model] = saved
        for model in members:
            base.load(from_bytes(kept[model]))
            margins.append(_margins(base, data))
    return trained_shadows(torch.stack(margins), draw.seen())


def _looped(
    base: TrainedModel, recipe: Recipe, data: CellData, draw: ShadowDraw, members: Sequence[int]
) -> Iterator[tuple[int, bytes]]:
    """Each trained as ``training.plain.train_whole`` trains it on its rows."""
    from rescind.training.stages import CellData, train_order

    order = Order(0, 0, (0,), (base.adapted,))
    for model in members:
        index, saved = draw.rows(model), list[bytes]()
        own = CellData({n: t[index] for n, t in data.activations.items()}, data.labels[index])
        train_order(
            base,
            draw.recipe(recipe, model),
            order,
            lambda cell, own=own: own,  # type: ignore[misc]
            {},
            lambda stage, found, saved=saved: saved.append(found),  # type: ignore[misc]
            lambda what, done, total: None,
        )
        yield model, saved[0]


def _stacked(
    base: TrainedModel, recipe: Recipe, data: CellData, draw: ShadowDraw, members: Sequence[int]
) -> Iterator[tuple[int, bytes]]:
    import torch

    from rescind.training.loop import decay
    from rescind.training.snapshots import to_bytes

    skeleton, weights, buffers = _initial(base, recipe, draw, members)
    chosen, plan = recipe.optimizer, _plan(recipe, draw, members)
    optimizer = torch.optim.AdamW(
        list(weights.values()), lr=chosen.lr, weight_decay=chosen.weight_decay, foreach=False
    )
    for step, index in enumerate(plan):
        optimizer.param_groups[0]["lr"] = chosen.lr * decay(step, len(plan))
        batch = {name: tensor[index] for name, tensor in data.activations.items()}
        losses = _losses(base.task, skeleton, weights | buffers, batch, data.labels[index])
        optimizer.zero_grad(set_to_none=True)
        losses.sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    for place, model in enumerate(members):
        yield model, to_bytes({n: (weights | buffers)[n][place] for n in base.state(())})


def _initial(
    base: TrainedModel, recipe: Recipe, draw: ShadowDraw, members: Sequence[int]
) -> tuple[nn.Module, State, State]:
    """A module in training mode, and weights and buffers, first dimension the models."""
    from torch.func import stack_module_state

    from rescind.training.determinism import stage_seed
    from rescind.training.whole import WholeModel

    if not isinstance(base, WholeModel):
        raise _not_stackable("Adapters on an encoder are trained block by block.")
    drawn = []
    for model in members:
        base.initialise(0, stage_seed(draw.recipe(recipe, model).seed, 0, (0,), "block 0"))
        drawn.append(copy.deepcopy(base.module).train().requires_grad_(True))
    weights, buffers = stack_module_state(drawn)
    lacking = set(base.module.state_dict()) - set(weights) - set(buffers)
    if lacking:
        raise _not_stackable(f"It shares weights under two names, {sorted(lacking)[0]} for one.")
    return drawn[0], weights, buffers


def _plan(recipe: Recipe, draw: ShadowDraw, members: Sequence[int]) -> list[Tensor]:
    """Rows (models, batch) of each step: those that the loop takes."""
    import torch

    from rescind.training.batches import batches
    from rescind.training.determinism import stage_seed

    each = []
    for model in members:
        rows = draw.rows(model)
        seed = stage_seed(draw.recipe(recipe, model).seed, 0, (0,), "batches")
        steps = batches(len(rows), recipe.batch_size, recipe.epochs, seed)
        each.append([rows[index] for index in steps])
    return [torch.stack(step) for step in zip(*each, strict=True)]


def _losses(task: Task, skeleton: nn.Module, stacked: State, batch: State, y: Tensor) -> Tensor:
    """The mean loss (models,) of each model on its batch (models, rows, ...), labels ``y``."""
    import torch
    from torch.func import functional_call

    def one(own: State, inputs: State, wanted: Tensor) -> Tensor:
        def module(*given: Tensor) -> Any:
            return functional_call(skeleton, own, given)

        outputs = task.outputs(cast("nn.Module", module), inputs)
        return task.loss(outputs, {"labels": wanted}).mean()

    try:
        found: Tensor = torch.vmap(one)(stacked, batch, y)
    except RuntimeError as error:
        raise _not_stackable(str(error).splitlines()[0]) from error
    return found


def _margins(model: TrainedModel, data: CellData) -> Tensor:
    """Margins (n,) of all records, in evaluation mode."""
    import torch

    from rescind.metrics.membership import margin
    from rescind.training.batches import pieces

    with torch.no_grad():
        logits = [model.outputs(piece) for piece in pieces(data.activations, PIECE)]
    return margin(torch.cat(logits), data.labels)


def _key(what: str, seed: int, number: int) -> int:
    """A seed below 2**60 for one draw, as ``training.determinism.stage_seed``."""
    return int(digest(["rescind shadows", what, seed, number])[:15], 16)


def _not_stackable(why: str) -> UnsupportedModel:
    return UnsupportedModel("The module cannot be stacked.", why, 'Train it with way="loop".')


def _refuse(recipe: Recipe, rows: Sequence[Row], draw: ShadowDraw, way: str, stack: int) -> None:
    if len(rows) != draw.records:
        raise BadData(
            f"There are {len(rows)} rows, and the draw is of {draw.records}.",
            do="Draw from as many records as there are rows.",
        )
    if recipe.task.target != "classes":
        raise BadParameter(
            f"The task answers {recipe.task.target}.", "A margin is that of a class among others."
        )
    if way not in ("loop", "stacked") or stack < 1 or (way == "stacked" and draw.models % stack):
        raise BadParameter(
            f"{draw.models} models are to be trained by {way!r} in stacks of {stack}.",
            "A stack that is not full would give its models other bytes later.",
            'Use "loop", or "stacked" with a multiple of the stack.',
        )
