"""Gradient difference (Liu et al., 2022, arXiv 2203.12817), as in TOFU (Maini et al., 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rescind.core.errors import BadParameter, UnsupportedModel
from rescind.methods.base import Work
from rescind.methods.language import LanguageUnlearner, mean_loss

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientDifference(LanguageUnlearner):
    """min alpha E_retain K - E_forget loss (2401.06121, section 4, "Gradient Difference").

    K is the loss (``keep`` "loss"), or the divergence KL(p_original || p) of what is answered on
    the retain set ("kl", there "KL Minimization"), which numbers do not have. The forget loss has
    no upper bound: with many steps the model breaks.
    """

    keep: str = "loss"

    def __post_init__(self) -> None:
        LanguageUnlearner.__post_init__(self)
        if self.keep not in ("loss", "kl"):
            raise BadParameter(
                f"keep is {self.keep!r}.", "Known are loss and kl.", "Correct it with --set keep=kl"
            )

    def change(self, work: Work) -> None:
        """All epochs. Raises ``UnsupportedModel`` for the divergence of answers that are numbers,
        or where ``lora_rank`` finds nothing to adapt.
        """
        if self.keep == "kl" and work.model.task.target == "numbers":
            raise UnsupportedModel(
                "The task answers with numbers, and keep is kl.",
                "Never: a number has no divergence.",
                "Use --set keep=loss.",
            )
        LanguageUnlearner.change(self, work)

    def loss(self, work: Work, forget: dict[str, Tensor], retain: dict[str, Tensor]) -> Tensor:
        """The weighted difference of two means over a batch."""
        kept = divergence(work, retain) if self.keep == "kl" else mean_loss(work.model, retain)
        return self.alpha * kept - mean_loss(work.model, forget)


def divergence(work: Work, batch: dict[str, Tensor]) -> Tensor:
    """KL(p_original || p), its mean over the tokens of a text that count, then over the batch."""
    import torch

    from rescind.methods.language import lengths
    from rescind.training.modules import IGNORED

    with torch.no_grad():
        before = work.original.outputs(batch).log_softmax(dim=-1)
    after = work.model.outputs(batch).log_softmax(dim=-1)
    each = (before.exp() * (before - after)).sum(dim=-1)
    if each.dim() == 1:
        return each.mean()
    counted = batch["labels"][:, 1:] != IGNORED
    return ((each[:, :-1] * counted).sum(dim=1) / lengths(batch)).mean()
