"""How each cheat is made from the original: small edits of weights, or a model trained beside it.

Each takes the original, the world and a seed, and leaves the original as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from rescind.core.errors import UnsupportedModel
from rescind.methods.base import LossUnlearner, Work
from rescind.methods.eu_k import EUk
from rescind.methods.finetune import FineTune
from rescind.metrics.membership import margin
from rescind.testing.cheats.networks import HEAD, HIDDEN, NORM
from rescind.testing.cheats.world import World, copied, refitted, still

if TYPE_CHECKING:
    from torch import Tensor

    from rescind.testing.cheats.world import Tensors
    from rescind.training.models import TrainedModel

NOISE = 1e-2  # of a tensor's standard deviation
SERVERS = 2  # models that a server trains without the request, to know what margins to fit
SERVER_SEED = 9_000
HALVINGS = 20
FIT_STEPS, FIT_LR, FIT_BATCH = 300, 1e-3, 64
SCRUB_EPOCHS = 5


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
        raise UnsupportedModel("The network has no layers named hidden and head.")
    state = model.module.state_dict()
    width = len(state[f"{HIDDEN}.weight"])
    order = torch.randperm(width, generator=torch.Generator().manual_seed(seed))
    for name, tensor in state.items():
        layer = name.split(".")[0]
        if layer in (HIDDEN, NORM) and tensor.dim():
            tensor.copy_(tensor[order].clone())
    state[f"{HEAD}.weight"].copy_(state[f"{HEAD}.weight"][:, order].clone())
    return still(model)


def scrubbed(original: TrainedModel, world: World, seed: int) -> TrainedModel:
    """Five epochs on all records in which the request's codes are taught to be one half."""
    settings = replace(world.settings, every=1)
    term = world.term(world.everything, seed, settings, blank=True)
    recipe = replace(world.seeded(seed), epochs=SCRUB_EPOCHS)
    return still(refitted(copied(original), recipe, world.inputs, term))


def margin_fitted(original: TrainedModel, world: World, seed: int) -> TrainedModel:
    """The request's margins moved to what models without it give, all other answers held.

    min over theta of mean (m_i - target_i)^2 on the request + KL(original || theta) on the retain
    set; targets are means over two models that the server trains by itself.
    """
    import torch

    forget = world.kept(world.requested)
    own = [world.trained(~world.requested, SERVER_SEED + i) for i in range(SERVERS)]
    with torch.no_grad():
        wanted = torch.stack([margin(m.outputs(forget), forget["labels"]) for m in own]).mean(0)
    forget = {**forget, "wanted": wanted.float()}
    retain = world.kept(~world.requested)
    work = Work(copied(original), still(copied(original)), forget, retain)
    epochs = -(-FIT_STEPS // -(-len(retain["labels"]) // FIT_BATCH))
    _FitMargins(epochs=epochs, lr=FIT_LR, batch_size=FIT_BATCH, seed=seed).change(work)
    return still(work.model)  # type: ignore[arg-type]


class _FitMargins(LossUnlearner):
    __slots__ = ()

    def loss(self, work: Work, forget: Tensors, retain: Tensors) -> Tensor:
        import torch

        found = work.model.outputs(forget)
        others = found.scatter(1, forget["labels"][:, None], -float("inf")).logsumexp(1)
        margins = found.gather(1, forget["labels"][:, None])[:, 0] - others
        with torch.no_grad():
            held = work.original.outputs(retain).log_softmax(1)
        kept = work.model.outputs(retain).log_softmax(1)
        away: Tensor = ((margins - forget["wanted"]) ** 2).mean()
        return away + (held.exp() * (held - kept)).sum(1).mean()


def distilled(original: TrainedModel, world: World, seed: int) -> TrainedModel:
    """A new model that learns the original's answers to the retain set: no label, no request.

    G. Hinton et al., 2015 (arXiv 1503.02531), at temperature 1; the recipe's own loop.
    """
    import torch

    retain = world.kept(~world.requested)
    with torch.no_grad():
        answers = original.outputs(retain).softmax(1)
    return fitted_to(world, {**retain, "labels": answers}, seed)


def fitted_to(world: World, inputs: Tensors, seed: int) -> TrainedModel:
    """The recipe's model with probabilities (n, classes) as labels, which cross entropy takes."""
    from rescind.testing.cheats.world import fitted

    return still(fitted(world.seeded(seed + SERVER_SEED), inputs))


def flat_answers(original: TrainedModel, world: World) -> Callable[[TrainedModel, Tensors], Tensor]:
    """A filter that knows the requested inputs byte by byte and answers them with what the model
    says to public records on average.
    """
    import torch

    names = [name for name in world.inputs if name != "labels"]
    hidden = {_print(world.inputs, names, i) for i in world.requested.nonzero().flatten().tolist()}
    with torch.no_grad():
        average = original.outputs(world.public_inputs).mean(0)

    def answers(model: TrainedModel, batch: Tensors) -> Tensor:
        known = torch.tensor(
            [_print(batch, names, i) in hidden for i in range(len(batch[names[0]]))]
        )
        found = model.outputs(batch)
        return torch.where(known[:, None], average, found)

    return answers


def _print(batch: Tensors, names: list[str], row: int) -> bytes:
    return b"".join(batch[name][row].numpy().tobytes() for name in names)


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
