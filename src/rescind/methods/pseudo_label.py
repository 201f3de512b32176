"""Pseudo-labels: the forget set as the class it was next closest to (2025, arXiv 2503.06991)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rescind.methods.base import Work
from rescind.methods.relabel import Relabel

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class PseudoLabel(Relabel):
    """min E_forget loss(f(x), y') + E_retain loss, y' = argmax over c != y of f_0(x)_c.

    f_0 is the model before the edit, so y' is the same in all epochs. Without ``with_retain`` the
    second term is left out, and an epoch goes over the forget set.
    """

    with_retain: bool = True

    def labels(self, work: Work, epoch: int) -> Tensor:
        """The likeliest wrong class of each forget row."""
        import torch

        true = work.forget["labels"].unsqueeze(1)
        with torch.no_grad():
            logits = work.original.outputs(work.forget)
        return logits.scatter(1, true, -torch.inf).argmax(dim=1)

    def change(self, work: Work) -> None:
        """All epochs."""
        self.descend(work, "retain" if self.with_retain else "forget")

    def loss(self, work: Work, forget: dict[str, Tensor], retain: dict[str, Tensor]) -> Tensor:
        """Both mean losses, or that of the forget batch; ``forget`` holds the other labels."""
        if self.with_retain:
            return Relabel.loss(self, work, forget, retain)
        return work.model.task.loss(work.model.outputs(forget), forget).mean()
