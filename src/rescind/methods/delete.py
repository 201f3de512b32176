"""DELETE: distil the original without the label it must forget (Zhou et al., 2503.23751)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rescind.core.search import Range
from rescind.core.task import Target
from rescind.methods.base import CLASSES, LossUnlearner, Work
from rescind.methods.divergence import divergence

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete(LossUnlearner):
    """min E_forget KL(q || p), q = softmax of the original's logits with the label's at -infinity.

    The label is cut out and the original's opinion of all other classes is kept ("decoupled
    distillation with mask"). The retain set is never looked at.
    """

    serves: ClassVar[frozenset[Target]] = CLASSES
    over: ClassVar[str] = "forget"
    # ours: an epoch goes over the forget set alone, so that more of them are cheap
    searched: ClassVar[Mapping[str, Range]] = {
        **LossUnlearner.searched,
        "epochs": Range(1, 10, "whole"),
    }

    def loss(self, work: Work, forget: dict[str, Tensor], retain: dict[str, Tensor]) -> Tensor:
        """The mean divergence on the forget batch."""
        wanted = masked(work.original.outputs(forget).detach(), forget["labels"])
        return divergence(wanted, work.model.outputs(forget), forget).mean()


def masked(logits: Tensor, labels: Tensor) -> Tensor:
    """The logits (n, classes) with each row's label at minus infinity."""
    return logits.scatter(1, labels.unsqueeze(1), float("-inf"))
