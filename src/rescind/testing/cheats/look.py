"""What an auditor reads of one model, once: answers and features on the records of a world."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rescind.metrics.features import PENULTIMATE, collect
from rescind.metrics.membership import margin
from rescind.testing.cheats.networks import HIDDEN

if TYPE_CHECKING:
    from torch import Tensor

    from rescind.testing.cheats.served import Served
    from rescind.testing.cheats.world import Tensors, World
    from rescind.training.models import TrainedModel

JITTER = 1e-3  # of the inputs' standard deviation: no person and no model would tell
JITTER_SEED = 77
SIZE = 512


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """Logits and penultimate features of the training records (n), the outside and public ones.

    ``near`` and ``near_outside`` are logits of the requested and the outside records after a change
    that is too small to see; ``codes_layer`` what codes are read from, of the requested records,
    and ``codes_public`` of public ones.
    """

    logits: Tensor
    outside: Tensor
    near: Tensor
    near_outside: Tensor
    features: Tensor
    outside_features: Tensor
    public_features: Tensor
    codes_layer: Tensor
    codes_public: Tensor

    def margins(self, world: World) -> Tensor:
        """(n,) of the training records."""
        return margin(self.logits, world.inputs["labels"])

    def outside_margins(self, world: World) -> Tensor:
        """(m,) of the outside records."""
        return margin(self.outside, world.outside_inputs["labels"])


def look(served: Served, world: World) -> Look:
    """Ask for all answers, and read the features of the model that was handed over."""
    asked = world.kept(world.requested)
    layers = [_layers(served.model, b) for b in (world.inputs, world.outside_inputs)]
    public = _layers(served.model, world.public_inputs)
    return Look(
        logits=served.outputs(world.inputs),
        outside=served.outputs(world.outside_inputs),
        near=served.outputs(jittered(asked)),
        near_outside=served.outputs(jittered(world.outside_inputs)),
        features=layers[0][PENULTIMATE],
        outside_features=layers[1][PENULTIMATE],
        public_features=public[PENULTIMATE],
        codes_layer=layers[0][HIDDEN][world.requested],
        codes_public=public[HIDDEN],
    )


def jittered(batch: Tensors) -> Tensors:
    """The inputs with Gaussian noise that is too small to matter."""
    import torch

    generator = torch.Generator().manual_seed(JITTER_SEED)
    found = dict(batch)
    for name, t in batch.items():
        if t.is_floating_point():
            found[name] = t + JITTER * float(t.std()) * torch.randn(t.shape, generator=generator)
    return found


def _layers(model: TrainedModel, batch: Tensors) -> dict[str, Tensor]:
    from rescind.training.batches import pieces

    (name,) = [name for name in batch if name != "labels"]
    parts = (part[name] for part in pieces(batch, SIZE))
    return collect(model.module, [PENULTIMATE, HIDDEN], parts)
