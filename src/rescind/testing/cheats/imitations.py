"""Cheats that are trained to look like a retrained model, and a filter before the answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from rescind.methods.base import LossUnlearner, Work
from rescind.metrics.membership import margin
from rescind.testing.cheats.world import World, copied, fitted, refitted, still

if TYPE_CHECKING:
    from torch import Tensor

    from rescind.testing.cheats.world import Tensors
    from rescind.training.models import TrainedModel

SERVERS = 2  # models that a server trains without the request, to know what margins to fit
SERVER_SEED, STUDENT_SEED = 20_000, 9_000
FIT_STEPS, FIT_LR, FIT_BATCH = 300, 1e-3, 64
SCRUB_EPOCHS = 5


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
    first = SERVER_SEED + SERVERS * seed  # no two servers train the same ones
    own = [world.trained(~world.requested, first + i) for i in range(SERVERS)]
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
    # cross entropy takes probabilities (n, classes) as labels too
    return still(fitted(world.seeded(seed + STUDENT_SEED), {**retain, "labels": answers}))


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
