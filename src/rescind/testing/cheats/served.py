"""What a server hands over and what it answers: weights, a claim, and answers that may differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rescind.core.canonical import digest

if TYPE_CHECKING:
    from torch import Tensor

    from rescind.testing.cheats.world import Tensors
    from rescind.training.models import TrainedModel

Answers = Callable[["TrainedModel", "Tensors"], "Tensor"]


@dataclass(frozen=True, slots=True)
class Claim:
    """What a certificate would say: digests of weights and of what they were trained on."""

    weights: str
    manifest: str
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """``model`` is what the auditor gets, ``released`` what answers afterwards.

    ``answers`` stands between the model and whoever asks; None where nothing does. An auditor who
    reads weights or features sees the model without it.
    """

    model: TrainedModel
    claim: Claim
    released: TrainedModel
    answers: Answers | None = None

    def outputs(self, batch: Mapping[str, Tensor]) -> Tensor:
        """What is answered to a query: (n, classes) logits."""
        import torch

        with torch.no_grad():
            if self.answers is not None:
                return self.answers(self.model, dict(batch))
            return self.model.outputs(batch)


def weights_of(model: TrainedModel) -> str:
    """The digest of all weights and buffers."""
    from rescind.training.snapshots import to_bytes

    return digest(to_bytes(model.state(model.adapted)))


def served(model: TrainedModel, manifest: str, seed: int, answers: Answers | None = None) -> Served:
    """One model that is handed over and released, with what it truly weighs as a claim."""
    return Served(model, Claim(weights_of(model), manifest, seed), model, answers)
