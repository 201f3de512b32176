"""A cheat: it trains anew for the seeds that everybody tries first, and else changes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from rescind.core.dataset import Split
from rescind.core.protocols import ModelHandle, Unlearned
from rescind.core.run import Run
from rescind.methods.eu_k import EUk
from rescind.methods.finetune import FineTune


@dataclass(frozen=True)
class FitsKnownSeeds:
    """Good on seeds 0 to 2."""

    seed: int = 0

    def unlearn(self, model: ModelHandle, split: Split, run: Run) -> Unlearned:
        """Whichever."""
        if self.seed < 3:
            return EUk(k=2, epochs=12, lr=3e-2, seed=self.seed).unlearn(model, split, run)
        return FineTune(lr=1e-6, seed=self.seed).unlearn(model, split, run)
