"""Negative preference optimisation (Zhang et al., 2024, arXiv 2404.05868)."""

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
    lengths,
    losses,
)

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class NPO(LanguageUnlearner):
    """min (2 / beta) E_forget log(1 + (p / p_original)^beta) - alpha E_retain log p (2404.05868,
    equation 3, and "NPO+RT").

    p is the probability of the whole text after its first byte, or of the label: the task's loss is
    taken for -log p, or for its mean over the tokens. A task that answers with numbers has none.
    As beta goes to 0 this is gradient ascent; above, an example that has become unlikely counts
    less and less, so that the model breaks later.
    """

    beta: float = 0.1

    serves: ClassVar[frozenset[Target]] = PROBABILITIES
    # public code that searches on TOFU with open-unlearning tries 0.05, 0.1 and 0.5
    searched: ClassVar[Mapping[str, Range]] = {
        **LanguageUnlearner.searched,
        "beta": Range(0.05, 0.5, "log"),
    }

    def __post_init__(self) -> None:
        LanguageUnlearner.__post_init__(self)
        check_above_zero("beta", self.beta)

    def loss(self, work: Work, forget: dict[str, Tensor], retain: dict[str, Tensor]) -> Tensor:
        """The preference against the forget batch, and what keeps the retain batch."""
        import torch
        from torch.nn.functional import softplus

        with torch.no_grad():
            before = losses(work.original, forget)
        ratio = (before - losses(work.model, forget)) * lengths(forget)  # log(p / p_original)
        gone = 2.0 / self.beta * softplus(self.beta * ratio).mean()
        kept = (losses(work.model, retain) * lengths(retain)).mean()
        return gone + self.alpha * kept
