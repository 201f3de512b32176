"""The one training loop: some parameters, fixed batches, AdamW with linear decay."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from rescind.core.errors import NotDeterministic
from rescind.core.run import Recipe
from rescind.training.batches import batches, steps
from rescind.training.extra_term import ExtraTerm, Moment
from rescind.training.models import TrainedModel

WARM_UP = 0.1  # share of the steps in which the learning rate rises from zero


@dataclass(frozen=True, slots=True)
class Fit:
    """What one stage trains: these blocks and the head, on activations entering the lowest.

    ``extra`` may add to the loss of some steps.
    """

    blocks: tuple[int, ...]
    activations: Mapping[str, Tensor]
    labels: Tensor
    batch_seed: int
    dropout_seed: int
    extra: ExtraTerm | None = None

    @property
    def lowest(self) -> int:
        return min(self.blocks)


def fit(
    model: TrainedModel, recipe: Recipe, work: Fit, advance: Callable[[int, int], None]
) -> None:
    """Train to the last epoch; there is no selection of a model.

    Args:
        model: its adapters and head are changed in place, those of ``work.blocks`` only.
        recipe: epochs, batch size and optimiser, which starts afresh.
        work: the data and the seeds.
        advance: called after each step with (steps done, of how many).

    Raises:
        NotDeterministic: a frozen tensor changed.
    """
    before = model.frozen(work.blocks)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(work.dropout_seed)
        model.set_training(work.blocks, on=True)
        _steps(model, recipe, work, _optimizer(recipe, model, work.blocks), advance)
        model.set_training(work.blocks, on=False)
    _check_frozen(before, model.frozen(work.blocks))


def _steps(
    model: TrainedModel,
    recipe: Recipe,
    work: Fit,
    optimizer: torch.optim.AdamW,
    advance: Callable[[int, int], None],
) -> None:
    rows = len(work.labels)
    total = steps(rows, recipe.batch_size, recipe.epochs)
    for step, index in enumerate(batches(rows, recipe.batch_size, recipe.epochs, work.batch_seed)):
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * decay(step, total)
        loss = _loss(model, work, step, index)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        advance(step + 1, total)


def _loss(model: TrainedModel, work: Fit, step: int, index: Tensor) -> Tensor:
    """The mean loss of a batch, and the extra term where one is due."""
    extra = work.extra if work.extra is not None and work.extra.due(step) else None
    batch = {name: tensor[index] for name, tensor in work.activations.items()}
    with nullcontext({}) if extra is None else extra.listen(model.module, batch) as heard:
        outputs = model.forward_from(batch, work.lowest)
    loss = model.task.loss(outputs, {"labels": work.labels[index].to(outputs.device)}).mean()
    if extra is None:
        return loss
    forward = partial(model.forward_from, block=work.lowest)
    return loss + extra.loss(Moment(step, index, work.activations, model.module, forward), heard)


def decay(step: int, total: int) -> float:
    """Factor of the learning rate: up over the first tenth of the steps, then down to zero."""
    warm = max(1, round(WARM_UP * total))
    return min((step + 1) / warm, (total - step) / max(1, total - warm + 1))


def _optimizer(recipe: Recipe, model: TrainedModel, blocks: Sequence[int]) -> torch.optim.AdamW:
    chosen = recipe.optimizer
    rated = zip(model.groups(blocks), (chosen.lr, chosen.head_lr), strict=True)
    groups = [{"params": found, "lr": lr, "initial_lr": lr} for found, lr in rated if found]
    return torch.optim.AdamW(groups, weight_decay=chosen.weight_decay, foreach=False)


def _check_frozen(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> None:
    changed = [n for n, t in before.items() if not torch.equal(_bits(t), _bits(after[n]))]
    if changed:
        raise NotDeterministic(
            f"{len(changed)} frozen tensors changed in a stage, first {changed[0]}.",
            "The snapshot would carry data of a slice outside its prefix.",
            "Report the encoder and the versions of torch and PEFT as a bug of rescind.",
        )


def _bits(tensor: Tensor) -> Tensor:
    return tensor.contiguous().view(-1).view(torch.uint8) if tensor.dim() else tensor
