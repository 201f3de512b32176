"""Random labels for the forget set (Graves et al., 2020, arXiv 2010.10981)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rescind.methods.base import Work
from rescind.methods.relabel import Relabel

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomLabel(Relabel):
    """min E_forget loss(f(x), y') + E_retain loss, y' uniform over the classes that are not y.

    The paper's unlearning, which relabels and trains on; y' is drawn again in every epoch.
    """

    def labels(self, work: Work, epoch: int) -> Tensor:
        """Another class for each forget row, from a generator of this seed and epoch alone."""
        import torch

        true = work.forget["labels"]
        with torch.no_grad():
            classes = work.original.outputs({n: t[:1] for n, t in work.forget.items()}).shape[1]
        generator = torch.Generator().manual_seed(1_000 * self.seed + epoch)
        steps = torch.randint(1, classes, true.shape, generator=generator)
        return (true + steps.to(true.device)) % classes
