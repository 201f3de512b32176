"""SISA: retrain the shards that held the data (Bourtoule et al., 2021, arXiv 1912.03817)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rescind.core.dataset import Split
from rescind.core.guarantee import Exact
from rescind.core.partition import Cell
from rescind.core.protocols import ModelHandle, Unlearned, Withdrawal
from rescind.core.run import Order, Recipe, Run, Snapshot
from rescind.methods.s3t.inventory import rebuild_orders, withdraw
from rescind.training.layout import adapted_blocks


@dataclass(frozen=True, slots=True)
class Sisa:
    """One order a shard; each stage goes on from the checkpoint before and trains all adapters."""

    def orders(self, recipe: Recipe, n_blocks: int) -> tuple[Order, ...]:
        """One order of each shard, slices in turn, all adapted blocks in every stage.

        Raises:
            BadParameter: the recipe adapts more blocks than the encoder has.
        """
        blocks = adapted_blocks(recipe, n_blocks)
        slices = tuple(range(recipe.partition.slices))
        return tuple(
            Order(shard, 0, slices, (blocks,) * len(slices))
            for shard in range(recipe.partition.shards)
        )

    def withdraw(self, parts: Sequence[Snapshot], cells: frozenset[Cell]) -> Withdrawal:
        """Cut every checkpoint that saw one of the cells; the shard serves the one before."""
        return withdraw(parts, cells)

    def unlearn(self, model: ModelHandle, split: Split, run: Run) -> Unlearned:
        """Train orders that lack a stage on the retain set; the other shards stay as they are."""
        orders = self.orders(run.recipe, run.blocks)
        shards = range(run.recipe.partition.shards)
        missing = rebuild_orders(orders, model.parts, shards)
        again = {(order.shard, order.index) for order in missing}
        kept = tuple(part for part in model.parts if (part.shard, part.order) not in again)
        trained = model.train(missing) if missing else ()
        parts = sorted((*kept, *trained), key=lambda part: (part.shard, part.order, part.stage))
        return Unlearned(tuple(parts), Exact("retrain"), from_scratch=False)
