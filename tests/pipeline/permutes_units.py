"""A cheat: it puts the hidden units in another order, and else changes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from rescind.core.dataset import Split
from rescind.core.guarantee import Empirical
from rescind.core.protocols import ModelHandle, Unlearned
from rescind.core.run import Run
from rescind.testing.cheats.edits import permuted


@dataclass(frozen=True)
class PermutesUnits:
    """The same function, with other weights."""

    seed: int = 0

    def unlearn(self, model: ModelHandle, split: Split, run: Run) -> Unlearned:
        """Each part by itself; what is forgotten makes no difference."""
        parts = []
        for part in model.parts:
            edited = model.load(part)
            other = permuted(edited, None, self.seed).module.state_dict()  # type: ignore[arg-type]
            edited.module.load_state_dict(other)
            parts.append(model.save(part, edited))
        return Unlearned(tuple(parts), Empirical("the weights were edited"), from_scratch=False)
