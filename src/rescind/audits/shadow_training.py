"""Train shadow models of one recipe, each on half of the records: one by one, or many in a stack.

LiRA (arXiv 2112.03570) asks how a record's margin is spread over models with and without it. A
stack is one set of weights with the models as first dimension, trained by ``torch.func`` with one
step of the optimiser for all. By ``benchmarks/shadow_training.py``, on one thread, stacks of 16
take 0.75 of the loop's time for a small ResNet without batch norm, 0.88 with it, and for a small
network of convolutions neither is faster. The loop trains all that a recipe can: it is the default.

Batch norm may be stacked: each model keeps running statistics of its own. Dropout may not, since
its draws could not be those of the loop; nor may adapters on an encoder. A bias in front of a batch
norm has no gradient but rounding, which Adam makes steps of: there the two ways drift apart.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, cast

from rescind.audits.shadow_draw import ShadowDraw
from rescind.audits.shadows import Shadows, trained_shadows
from rescind.core.canonical import digest, plain
from rescind.core.dataset import Row
from rescind.core.errors import BadData, BadParameter, InsufficientEvidence, UnsupportedModel
from rescind.core.run import Order, Recipe

if TYPE_CHECKING:
    from torch import Tensor, nn

    from rescind.core.task import Task
    from rescind.training.models import TrainedModel
    from rescind.training.stages import CellData

    State = dict[str, Tensor]
Have = Callable[[int], bytes | None]
Save = Callable[[int, bytes], None]
PIECE = 512  # records that are scored at a time


def train_shadows(
    recipe: Recipe, rows: Sequence[Row], draw: ShadowDraw, have: Have, save: Save, stack: int = 1
) -> Shadows:
    """Train what is missing, as ``train_part`` in one process, and score all rows.

    Raises:
        BadData, BadParameter, UnsupportedModel, InsufficientEvidence: as ``train_part`` and
            ``shadow_margins``.
    """
    train_part(recipe, rows, draw, have, save, stack)
    return shadow_margins(recipe, rows, draw, have)


def train_part(
    recipe: Recipe,
    rows: Sequence[Row],
    draw: ShadowDraw,
    have: Have,
    save: Save,
    stack: int = 1,
    part: tuple[int, int] = (0, 1),
) -> None:
    """Train the shadow models that are not there yet.

    Stacked or not, a model starts from the same weights and takes the same batches; the ways differ
    by rounding. The bytes of a stacked model depend on how many it is stacked with, so a stack that
    lacks a model is trained again as a whole, and only what was missing is saved.

    Args:
        recipe: how each is trained, plainly, its own seed apart.
        rows: all the records (n) that shadow models draw from, in a fixed order.
        draw: who sees what.
        have: the safetensors bytes that ``save`` was given for a model of the same ``set_name``,
            or None: what another recipe, draw or stack made would be scored as if this one had.
        save: called with the bytes of each new model.
        stack: how many are trained together; 1 is the loop, and the draw must hold a multiple.
        part: (which, of how many) processes that share the work is this one.

    Raises:
        BadData: rows of another number than the draw's.
        BadParameter: a task without classes, models that fill no whole number of stacks, no part.
        UnsupportedModel: a module that cannot be stacked.
    """
    from rescind.training.models import trained_model
    from rescind.training.stages import cell_data

    _refuse(recipe, rows, draw, stack, part)
    base = trained_model(recipe)
    data = cell_data(base, rows)
    made = _looped if stack == 1 else _stacked
    for start in range(part[0] * stack, draw.models, part[1] * stack):
        members = range(start, start + stack)
        missing = [m for m in members if have(m) is None]
        for model, saved in made(base, recipe, data, draw, members) if missing else ():
            if model in missing:
                save(model, saved)


def set_name(recipe: Recipe, rows: Sequence[Row], draw: ShadowDraw, stack: int = 1) -> str:
    """What all that decides a set of shadow models has as its digest: keep their bytes under it."""
    import torch

    made_from = [plain(recipe), [digest(row) for row in rows], plain(draw), stack]
    return digest(["shadows", version("rescind"), torch.__version__, *made_from])


def shadow_margins(recipe: Recipe, rows: Sequence[Row], draw: ShadowDraw, have: Have) -> Shadows:
    """Margins of all rows in all shadow models, and which model has seen which row.

    Raises:
        BadData: a margin that is not finite.
        InsufficientEvidence: a model is not there.
    """
    import torch

    from rescind.training.models import trained_model
    from rescind.training.snapshots import from_bytes
    from rescind.training.stages import cell_data

    base, margins = trained_model(recipe), []
    data = cell_data(base, rows)
    for model in range(draw.models):
        if (saved := have(model)) is None:
            raise InsufficientEvidence(
                f"Shadow model {model} of {draw.models} is not there.", do="Train it first."
            )
        base.load(from_bytes(saved))
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
        # what fails for a single model too is no matter of stacks, and is raised here as it is
        one({n: t[0] for n, t in stacked.items()}, {n: t[0] for n, t in batch.items()}, y[0])
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


def _not_stackable(why: str) -> UnsupportedModel:
    return UnsupportedModel("The module cannot be stacked.", why, "Use a stack of 1.")


def _refuse(
    recipe: Recipe, rows: Sequence[Row], draw: ShadowDraw, stack: int, part: tuple[int, int]
) -> None:
    if len(rows) != draw.records:
        raise BadData(
            f"There are {len(rows)} rows, and the draw is of {draw.records}.",
            do="Draw from as many records as there are rows.",
        )
    if recipe.task.target != "classes":
        raise BadParameter(
            f"The task answers with {recipe.task.target}.",
            "A margin is that of a class among others.",
            "Use a task that answers with classes.",
        )
    if stack < 1 or draw.models % stack or not 0 <= part[0] < part[1]:
        raise BadParameter(
            f"Part {part} of {draw.models} models is to be trained in stacks of {stack}.",
            "A stack that is not full would give its models other bytes later.",
            "Draw a multiple of the stack; of two processes the parts are (0, 2) and (1, 2).",
        )
