"""Cheats that are small edits of the original's weights; others are in ``imitations``.

Each takes the original, the world and a seed, and leaves the original as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rescind.core.errors import UnsupportedModel
from rescind.methods.base import LossUnlearner, Work
from rescind.methods.eu_k import EUk
from rescind.methods.finetune import FineTune
from rescind.testing.cheats.networks import HEAD, HIDDEN, NORM
from rescind.testing.cheats.world import World, copied, still

if TYPE_CHECKING:
    from torch import Tensor

    from rescind.testing.cheats.world import Tensors
    from rescind.training.models import TrainedModel

NOISE = 1e-2  # of a tensor's standard deviation
HALVINGS = 20


def noisy(original: TrainedModel, world: World, seed: int) -> TrainedModel:
    """Each weight moved by a hundredth of its tensor's standard deviation."""
    import torch

    model, generator = copied(original), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.module.parameters():
            scale = float(p.std()) if p.numel() > 1 else float(p.abs().sum())
            p.add_(NOISE * scale * torch.randn(p.shape, generator=generator))
    return still(model)


def last_layer(original: TrainedModel, world: World, seed: int) -> TrainedModel:
    """The last layer drawn anew and trained on the retain set."""
    return _edited(EUk(k=1, seed=seed), original, world, ~world.requested)


def stripped(original: TrainedModel, world: World, seed: int) -> TrainedModel:
    """The read-out thrown away, a new one trained on all records; what it reads is untouched."""
    return _edited(EUk(k=1, seed=seed), original, world, world.everything)


def finetuned(original: TrainedModel, world: World, seed: int) -> TrainedModel:
    """One epoch on the retain set."""
    return _edited(FineTune(epochs=1, seed=seed), original, world, ~world.requested)


def first_order(original: TrainedModel, world: World, seed: int) -> TrainedModel:
    """One step up the gradient of the request's loss, as long as brings it to that of outsiders.

    The step of TAPE's shadow models (arXiv 2502.19770), with its length searched.
    """
    import torch

    model, forget = copied(original), world.kept(world.requested)
    moving = list(model.module.parameters())
    step = torch.autograd.grad(_loss(model, forget), moving)
    with torch.no_grad():
        start, wanted = [p.clone() for p in moving], float(_loss(model, world.public_inputs))

        def reached(length: float) -> bool:
            for p, s, g in zip(moving, start, step, strict=True):
                p.copy_(s + length * g)
            return float(_loss(model, forget)) >= wanted

        low, high = 0.0, 1e-3
        while not reached(high) and high < 1e3:
            low, high = high, 2 * high
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            low, high = (low, middle) if reached(middle) else (middle, high)
        reached(high)
    return still(model)


def permuted(original: TrainedModel, world: World, seed: int) -> TrainedModel:
    """The hidden units in another order: the same function.

    Raises:
        UnsupportedModel: no network of ``networks``.
    """
    import torch

    model = copied(original)
    parts = dict(model.module.named_children())
    if HIDDEN not in parts or HEAD not in parts:
        raise UnsupportedModel(
            "The network has no layers named hidden and head.",
            "Not yet: units are put in another order between these two.",
            "Use a network of rescind.testing.cheats.networks.",
        )
    state = model.module.state_dict()
    width = len(state[f"{HIDDEN}.weight"])
    order = torch.randperm(width, generator=torch.Generator().manual_seed(seed))
    for name, tensor in state.items():
        layer = name.split(".")[0]
        if layer in (HIDDEN, NORM) and tensor.dim():
            tensor.copy_(tensor[order].clone())
    state[f"{HEAD}.weight"].copy_(state[f"{HEAD}.weight"][:, order].clone())
    return still(model)


def _edited(
    method: LossUnlearner, original: TrainedModel, world: World, trained_on: Tensor
) -> TrainedModel:
    work = Work(
        copied(original),
        still(copied(original)),
        world.kept(world.requested),
        world.kept(trained_on),
    )
    method.change(work)
    return still(work.model)  # type: ignore[arg-type]


def _loss(model: TrainedModel, batch: Tensors) -> Tensor:
    return model.task.loss(model.outputs(batch), batch).mean()
