"""l1-sparse: fine-tune on the retain set under a penalty (Jia et al., 2023, arXiv 2304.04934)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rescind.core.errors import BadParameter
from rescind.core.search import Range
from rescind.methods.base import LossUnlearner, Work

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class L1Sparse(LossUnlearner):
    """min E_retain loss + gamma ||theta||_1 over the weights that may change.

    The paper's sparsity-aware unlearning, with gamma the same throughout. Adam brings weights near
    0, not to it.
    """

    gamma: float = 5e-4

    # ours: round 5e-4, the value of public code for this method
    searched: ClassVar[Mapping[str, Range]] = {
        **LossUnlearner.searched,
        "gamma": Range(1e-5, 5e-3, "log"),
    }

    def __post_init__(self) -> None:
        LossUnlearner.__post_init__(self)
        if not self.gamma >= 0.0:
            raise BadParameter(f"gamma is {self.gamma}.", "It must be at least 0.")

    def loss(self, work: Work, forget: dict[str, Tensor], retain: dict[str, Tensor]) -> Tensor:
        """The retain batch's mean loss and the weighted sum of all magnitudes."""
        import torch

        from rescind.training.descent import parameters

        kept = work.model.task.loss(work.model.outputs(retain), retain).mean()
        norms = [p.abs().sum() for p in parameters(work.model)]
        return kept + self.gamma * torch.stack(norms).sum()
