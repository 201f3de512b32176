"""Simple negative preference optimisation (Fan et al., 2024, arXiv 2410.07163)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rescind.core.search import Range
from rescind.core.task import Target
from rescind.methods.base import Work
from rescind.methods.language import (
    PROBABILITIES,
    LanguageUnlearner,
    check_above_zero,
    losses,
    mean_loss,
)

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class SimNPO(LanguageUnlearner):
    """min -(2 / beta) E_forget log sigmoid(-(beta / |y|) log p - gamma) + alpha E_retain loss
    (2410.07163, equation 4).

    log p / |y| is the mean log-probability of a byte of the text, or that of the label, for which
    |y| is 1: both are minus the task's loss. A task that answers with numbers has none. Without a
    reference, what the model hardly knows is left alone, and texts of all lengths count alike.
    """

    beta: float = 2.5
    gamma: float = 0.0

    serves: ClassVar[frozenset[Target]] = PROBABILITIES
    # ours; gamma moves the same threshold as beta does, and stays
    searched: ClassVar[Mapping[str, Range]] = {
        **LanguageUnlearner.searched,
        "beta": Range(1.0, 5.0),
    }

    def __post_init__(self) -> None:
        LanguageUnlearner.__post_init__(self)
        check_above_zero("beta", self.beta)

    def loss(self, work: Work, forget: dict[str, Tensor], retain: dict[str, Tensor]) -> Tensor:
        """The preference against the forget batch, and what keeps the retain batch."""
        from torch.nn.functional import logsigmoid

        margin = self.beta * losses(work.model, forget) - self.gamma
        gone = -2.0 / self.beta * logsigmoid(margin).mean()
        return gone + self.alpha * mean_loss(work.model, retain)
