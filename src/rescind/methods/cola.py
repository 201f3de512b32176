"""COLA: collapse the features of the retain set, then align (2503.06991)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rescind.core.errors import BadParameter, UnsupportedModel
from rescind.core.search import Range
from rescind.core.task import Target
from rescind.methods.base import CLASSES, LossUnlearner, Work

if TYPE_CHECKING:
    from torch import Tensor, nn

    from rescind.core.protocols import Editable


@dataclass(frozen=True, slots=True, kw_only=True)
class Cola(LossUnlearner):
    """min E_retain SupCon(features) for ``collapse_epochs``, then min E_retain loss for ``epochs``.

    The features are what enters the last linear layer. Drawing those of each class together, over
    the retain set alone, lets what they still held of the forget set collapse; the second phase
    aligns encoder and head with the task's loss. The contrastive loss is equation 2 (L_out) of
    Khosla et al., 2004.11362. The forget set is never looked at.
    """

    collapse_epochs: int = 1
    temperature: float = 0.1

    serves: ClassVar[frozenset[Target]] = CLASSES
    # ours: round 0.1, the temperature of supervised contrastive learning (2004.11362)
    searched: ClassVar[Mapping[str, Range]] = {
        **LossUnlearner.searched,
        "collapse_epochs": Range(1, 3, "whole"),
        "temperature": Range(0.05, 0.5, "log"),
    }

    def __post_init__(self) -> None:
        LossUnlearner.__post_init__(self)
        if self.collapse_epochs < 1 or not self.temperature > 0.0:
            raise BadParameter(
                f"collapse_epochs is {self.collapse_epochs}, temperature {self.temperature}.",
                "collapse_epochs must be at least 1, temperature above 0.",
                "Correct them with --set name=value.",
            )

    def change(self, work: Work) -> None:
        """Collapse, then align.

        Raises:
            UnsupportedModel: there is no linear layer, or nothing before it may change.
        """
        from rescind.training.descent import descend, pairs

        for epoch in range(self.collapse_epochs):
            seed = 1_000 * self.seed + 500 + epoch  # other batches than those of the alignment
            steps = pairs(work.forget, work.retain, "retain", self.batch_size, seed)
            descend(work.model, steps, lambda f, r: self.collapse(work, r), self.lr)
        LossUnlearner.change(self, work)

    def collapse(self, work: Work, retain: dict[str, Tensor]) -> Tensor:
        """The contrastive loss of the batch's features."""
        found = features(work.model, retain)
        if not found.requires_grad:
            raise UnsupportedModel(
                "Nothing before the last linear layer may change.",
                "There are no features that could collapse.",
                "Use another method: `rescind list methods` shows them.",
            )
        return contrastive(found, retain["labels"], self.temperature)

    def loss(self, work: Work, forget: dict[str, Tensor], retain: dict[str, Tensor]) -> Tensor:
        """The task's own loss on the retain batch."""
        return work.model.task.loss(work.model.outputs(retain), retain).mean()


def contrastive(features: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Supervised contrastive loss of (n, width) features, mean over rows that have a partner.

    -1/|P(i)| sum_{p in P(i)} log(exp(z_i z_p / t) / sum_{a != i} exp(z_i z_a / t)), z of length 1
    and P(i) the other rows of the same label. Zero where no row has a partner.
    """
    import torch

    z = torch.nn.functional.normalize(features, dim=1)
    itself = torch.eye(len(z), dtype=torch.bool)
    logits = (z @ z.T / temperature).masked_fill(itself, torch.finfo(z.dtype).min)
    partner = ((labels[:, None] == labels[None, :]) & ~itself).to(z.dtype)
    each = (partner * logits.log_softmax(dim=1)).sum(dim=1) / partner.sum(dim=1).clamp(min=1.0)
    return -each.sum() / (partner.sum(dim=1) > 0).sum().clamp(min=1)


def features(model: Editable, batch: dict[str, Tensor]) -> Tensor:
    """What enters the last linear layer in a forward pass, shape (n, width).

    Raises:
        UnsupportedModel: the module has no such layer, or did not use it.
    """
    seen: list[Tensor] = []
    handle = _last_linear(model.module).register_forward_pre_hook(
        lambda layer, arguments: seen.append(arguments[0])
    )
    try:
        model.outputs(batch)
    finally:
        handle.remove()
    if not seen:
        raise _without_features()
    return seen[-1].flatten(1)


def _last_linear(module: nn.Module) -> nn.Module:
    from torch import nn

    layers = [m for m in module.modules() if isinstance(m, nn.Linear)]
    if not layers:
        raise _without_features()
    return layers[-1]


def _without_features() -> UnsupportedModel:
    return UnsupportedModel(
        "The module has no linear layer that it ends with.",
        "Never: the features of this method are what enters that layer.",
        "Use another method: `rescind list methods` shows them.",
    )
