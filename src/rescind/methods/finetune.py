"""Fine-tuning on the retain set alone (Warnecke et al., 2021, arXiv 2108.11577)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rescind.methods.base import LossUnlearner, Work

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTune(LossUnlearner):
    """min E_retain loss. The forget set is never looked at: it may fade, and often does not."""

    def loss(self, work: Work, forget: dict[str, Tensor], retain: dict[str, Tensor]) -> Tensor:
        """The task's own loss on the retain batch."""
        return work.model.task.loss(work.model.outputs(retain), retain).mean()
