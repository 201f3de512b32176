"""What methods for language models share: low-rank edits, and log-probabilities of examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rescind.core.errors import BadParameter
from rescind.core.search import Range
from rescind.core.task import Target
from rescind.methods.base import LossUnlearner, Work

if TYPE_CHECKING:
    from torch import Tensor

    from rescind.core.protocols import Editable

PROBABILITIES: frozenset[Target] = frozenset({"classes", "tokens"})


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageUnlearner(LossUnlearner):
    """A loss, minimised over all weights or over low-rank adapters that are merged afterwards.

    An epoch goes through the forget set, each batch beside one of the retain set. ``alpha`` weighs
    what keeps the retain set. ``lora_rank`` 0 changes all weights; above, gradients and Adam's
    moments are those of the adapters alone: with rank 8 an edit of 43 million weights held .54 to
    .78 times the memory (benchmarks/lora_memory.py).
    """

    epochs: int = 10
    alpha: float = 1.0
    lora_rank: int = 0

    over: ClassVar[str] = "forget"
    # ours, round the ten epochs and the alpha of 1 of github.com/locuslab/open-unlearning
    # (docs/repro.md); lora_rank says how much memory there is and is not searched
    searched: ClassVar[Mapping[str, Range]] = {
        **LossUnlearner.searched,
        "epochs": Range(3, 15, "whole"),
        "alpha": Range(0.1, 10.0, "log"),
    }

    def __post_init__(self) -> None:
        LossUnlearner.__post_init__(self)
        if not self.alpha >= 0.0 or self.lora_rank < 0:
            raise BadParameter(
                f"alpha is {self.alpha}, lora_rank {self.lora_rank}.", "Both must be at least 0."
            )

    def change(self, work: Work) -> None:
        """All epochs. Raises ``UnsupportedModel`` where ``lora_rank`` finds nothing to adapt."""
        from rescind.training.low_rank import low_rank

        with low_rank(work.model.module, self.lora_rank, self.seed):
            LossUnlearner.change(self, work)


def mean_loss(model: Editable, batch: dict[str, Tensor]) -> Tensor:
    """The task's own loss, its mean over the batch."""
    return losses(model, batch).mean()


def losses(model: Editable, batch: dict[str, Tensor]) -> Tensor:
    """The task's own loss, shape (n,): -log p of the label, or its mean over the tokens."""
    return model.task.loss(model.outputs(batch), batch)


def lengths(batch: dict[str, Tensor]) -> Tensor:
    """How many log-probabilities the loss is the mean of, shape (n,): tokens after the first that
    count; 1 for a class.
    """
    from rescind.training.modules import IGNORED

    labels = batch["labels"]
    if labels.dim() == 1:
        return labels.new_ones(len(labels))
    return (labels[:, 1:] != IGNORED).sum(dim=1).clamp(min=1)


def check_above_zero(name: str, value: float) -> None:
    """Raise ``BadParameter`` unless the value of the field is above 0."""
    if not value > 0.0:
        raise BadParameter(
            f"{name} is {value}.", "It must be above 0.", f"Correct it with --set {name}=value."
        )
