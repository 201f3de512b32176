"""NegGrad+: descend on the retain set, ascend on the forget set (Kurmanji et al., 2302.09880)."""

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
class NegativeGradient(LossUnlearner):
    """min alpha E_retain loss - (1 - alpha) E_forget loss; gradient ascent is alpha = 0.

    Ascent alone has no floor: the model breaks before it forgets (Golatkar et al., 1911.04933).
    """

    alpha: float = 0.95

    # ours: the ascent has no floor, so that the descent keeps most of the weight
    searched: ClassVar[Mapping[str, Range]] = {
        **LossUnlearner.searched,
        "alpha": Range(0.8, 0.99),
    }

    def __post_init__(self) -> None:
        LossUnlearner.__post_init__(self)
        if not 0.0 <= self.alpha < 1.0:
            raise BadParameter(f"alpha is {self.alpha}.", "It must lie in [0, 1).")

    def loss(self, work: Work, forget: dict[str, Tensor], retain: dict[str, Tensor]) -> Tensor:
        """The weighted difference of the two mean losses."""
        task, model = work.model.task, work.model
        kept = task.loss(model.outputs(retain), retain).mean()
        gone = task.loss(model.outputs(forget), forget).mean()
        return self.alpha * kept - (1.0 - self.alpha) * gone
