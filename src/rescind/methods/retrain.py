"""Retraining from scratch on the retain set: the reference for every other method."""

from __future__ import annotations

from dataclasses import dataclass

from rescind.core.dataset import Split
from rescind.core.errors import BadParameter
from rescind.core.guarantee import Exact
from rescind.core.protocols import ModelHandle, Planner, Unlearned
from rescind.core.run import Order, Recipe, Run
from rescind.methods.s3t import S3T
from rescind.methods.sisa import Sisa
from rescind.training.layout import adapted_blocks


@dataclass(frozen=True, slots=True)
class Retrain:
    """Train everything again on the retain set, laid out as the run was; as a layout, plain LoRA.

    A layout that is neither S3T's, SISA's nor this one can be given as ``layout``.
    """

    layout: Planner | None = None

    def orders(self, recipe: Recipe, n_blocks: int) -> tuple[Order, ...]:
        """One shard, one slice, one stage that trains all adapted blocks.

        Raises:
            BadParameter: the partition has more than one cell, or the encoder too few blocks.
        """
        partition = recipe.partition
        if (partition.shards, partition.slices) != (1, 1):
            raise BadParameter(
                f"Plain training has one cell, not {partition.shards} shards of"
                f" {partition.slices} slices.",
                "Records of the other cells would never be trained on.",
                "Set partition.shards = 1, partition.slices = 1 and blocks_per_slice to the number"
                " of blocks to adapt.",
            )
        return (Order(0, 0, (0,), (adapted_blocks(recipe, n_blocks),)),)

    def unlearn(self, model: ModelHandle, split: Split, run: Run) -> Unlearned:
        """Train all orders of the run's layout on the retain set.

        Raises:
            BadParameter: the run's method is not known here and no ``layout`` is given.
        """
        planner = self.layout or self._planner(run)
        orders = planner.orders(run.recipe, run.blocks)
        return Unlearned(model.train(orders), Exact("retrain"), from_scratch=True)

    def _planner(self, run: Run) -> Planner:
        method = run.recipe.method
        known: dict[str, Planner] = {"s3t": S3T(), "sisa": Sisa(), "retrain": self}
        if method not in known and self._is_plain(run):
            return self
        if method not in known:
            raise BadParameter(
                f"The run was laid out by {method!r}.",
                f"Its layout is not one of {', '.join(known)}.",
                "Give the method object as Retrain(layout=...).",
            )
        return known[method]

    def _is_plain(self, run: Run) -> bool:
        """Whether the run was laid out as this method would, as those are that edit weights."""
        partition, made = run.recipe.partition, {(s.slices, s.blocks) for s in run.checkpoints}
        if (partition.shards, partition.slices) != (1, 1):
            return False
        return made == {(o.slices, o.blocks) for o in self.orders(run.recipe, run.blocks)}
