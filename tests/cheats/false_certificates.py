"""A method that claims (epsilon, delta) and has done nothing for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from rescind.core.dataset import Split
from rescind.core.guarantee import Certified
from rescind.core.protocols import ModelHandle, Unlearned
from rescind.core.run import Run
from rescind.methods.base import ANY, Work, edit


@dataclass(frozen=True)
class AddsNoiseAlone:
    """The original under noise that would hide a step it never took."""

    sigma: float = 0.01
    seed: int | None = None

    linear_only: ClassVar[bool] = True

    def unlearn(self, model: ModelHandle, split: Split, run: Run) -> Unlearned:
        found = edit(model, split, run, ANY, self.change)
        return replace(found, guarantee=Certified(1.0, 1e-5, "it is near"), from_scratch=True)

    def change(self, work: Work) -> None:
        with torch.no_grad():
            for p in work.model.module.parameters():
                p.add_(self.sigma * torch.randn(p.shape))
