"""The loop of methods that edit weights: batches by a seed, Adam, and a stop at the first NaN."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from rescind.core.errors import BadData, Diverged
from rescind.core.protocols import Editable

Batch = dict[str, Tensor]
NORMS = (nn.modules.batchnorm._BatchNorm,)


def frozen_copy(model: Editable) -> Editable:
    """The model as it is now, in evaluation mode, without gradients: the reference of a loss."""
    found = copy.deepcopy(model)
    found.module.eval().requires_grad_(False)
    return found


def parameters(model: Editable) -> list[nn.Parameter]:
    """What may change."""
    return [p for p in model.module.parameters() if p.requires_grad]


def rows(tensors: Mapping[str, Tensor]) -> int:
    """How many rows the tensors have."""
    return len(next(iter(tensors.values())))


def take(tensors: Mapping[str, Tensor], index: Tensor) -> Batch:
    """These rows of all tensors."""
    return {name: tensor[index] for name, tensor in tensors.items()}


def pairs(
    forget: Mapping[str, Tensor], retain: Mapping[str, Tensor], over: str, size: int, seed: int
) -> Iterator[tuple[Batch, Batch]]:
    """One epoch over ``"forget"`` or ``"retain"``, each batch beside one of the other set.

    The other set is gone through again, in a new order, as often as it takes.

    Raises:
        BadData: one of the sets is empty.
    """
    if not rows(forget) or not rows(retain):
        raise BadData(
            f"There are {rows(forget)} rows to forget and {rows(retain)} to retain.",
            "Each step takes a batch of both.",
            "Give at least one row of each.",
        )
    generator = torch.Generator().manual_seed(seed)
    lead, other = (forget, retain) if over == "forget" else (retain, forget)
    beside = _forever(other, size, generator)
    order = torch.randperm(rows(lead), generator=generator)
    for start in range(0, len(order), size):
        first, second = take(lead, order[start : start + size]), next(beside)
        yield (first, second) if over == "forget" else (second, first)


def _forever(
    tensors: Mapping[str, Tensor], size: int, generator: torch.Generator
) -> Iterator[Batch]:
    while True:
        order = torch.randperm(rows(tensors), generator=generator)
        for start in range(0, len(order), size):
            yield take(tensors, order[start : start + size])


def descend(
    model: Editable,
    steps: Sequence[tuple[Batch, Batch]] | Iterator[tuple[Batch, Batch]],
    loss: Callable[[Batch, Batch], Tensor],
    lr: float,
    after: Callable[[], None] | None = None,
) -> int:
    """Adam on the parameters that require gradients, the module in evaluation mode: a forget set of
    one record has no statistics of its own, and an edit draws nothing but its batches.

    ``after`` is called after each step, as to undo part of it.

    Returns:
        The number of steps.

    Raises:
        Diverged: a loss or a gradient is no finite number; the weights are those before the step.
    """
    trained = parameters(model)
    optimizer = torch.optim.Adam(trained, lr=lr, foreach=False)
    done = 0
    try:
        for forget, retain in steps:
            value = loss(forget, retain)
            optimizer.zero_grad(set_to_none=True)
            value.backward()  # type: ignore[no-untyped-call]
            _check_finite(value, trained, done)
            optimizer.step()
            if after is not None:
                after()
            done += 1
    finally:
        optimizer.zero_grad(set_to_none=True)
    return done


def _check_finite(loss: Tensor, trained: Sequence[nn.Parameter], step: int) -> None:
    gradients = [p.grad for p in trained if p.grad is not None]
    total = sum((g.abs().sum() for g in gradients), start=loss.detach().abs().sum())
    if not bool(torch.isfinite(total)):
        raise Diverged(
            f"Step {step + 1} of the method gave a loss or a gradient that is no finite number.",
            "Its weights are thrown away; the model that was served before serves on.",
            "Use a smaller lr, fewer epochs, or another method.",
        )


def require_finite(weights: Mapping[str, Tensor]) -> None:
    """Refuse weights that are no finite numbers: a last step can give them after its gradient was
    looked at, and a method of somebody else's may not look.

    Raises:
        Diverged: some are not; their tensor is named.
    """
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise Diverged(
                f"After the edit {name} holds values that are no finite numbers.",
                "The edited weights are thrown away; the model that was served before serves on.",
                "Use a smaller lr, fewer epochs, or another method.",
            )


def renew_statistics(model: Editable, retain: Mapping[str, Tensor], size: int = 256) -> None:
    """Running means and variances anew from the retain set: the old ones hold the forget set too.

    Nothing is done where no normalisation layer keeps them, or none of them may change.
    """
    layers = [m for m in model.module.modules() if isinstance(m, NORMS) and m.track_running_stats]
    layers = [m for m in layers if m.weight is None or m.weight.requires_grad]
    if not layers or rows(retain) < 2:
        return
    kept = [m.momentum for m in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain average over the batches
        layer.train()
    with torch.no_grad():
        for start in range(0, rows(retain) - 1, size):
            model.outputs({name: t[start : start + size] for name, t in retain.items()})
    for layer, momentum in zip(layers, kept, strict=True):
        layer.momentum = momentum
        layer.eval()
