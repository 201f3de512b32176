"""S3T: forget by switching off adapter blocks (Chowdhury et al., 2024, arXiv 2406.16257)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rescind.core.dataset import Split
from rescind.core.guarantee import Exact
from rescind.core.partition import Cell
from rescind.core.protocols import ModelHandle, Unlearned, Withdrawal
from rescind.core.run import Order, Recipe, Run, Snapshot
from rescind.methods.s3t.inventory import rebuild_orders, withdraw
from rescind.methods.s3t.stages import lay_out

__all__ = ["S3T", "rebuild_orders"]


@dataclass(frozen=True, slots=True)
class S3T:
    """A deletion leaves the longest prefix of an order that never saw the slice; nothing trains."""

    def orders(self, recipe: Recipe, n_blocks: int) -> tuple[Order, ...]:
        """``recipe.orders`` orders of each shard; stage i trains blocks of its own, downwards.

        Raises:
            BadParameter: more slices than blocks, or not one probability a slice.
        """
        return lay_out(recipe, n_blocks)

    def withdraw(self, parts: Sequence[Snapshot], cells: frozenset[Cell]) -> Withdrawal:
        """Cut every part whose prefix holds one of the cells."""
        return withdraw(parts, cells)

    def unlearn(self, model: ModelHandle, split: Split, run: Run) -> Unlearned:
        """The parts that the withdrawal left: none of them saw a cut slice."""
        return Unlearned(model.parts, Exact("never_saw"), from_scratch=False)
