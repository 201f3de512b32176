"""Retrain only the first orders of each shard: less to train, less to fall back on later."""

from __future__ import annotations

from dataclasses import dataclass

from rescind.core.dataset import Split
from rescind.core.guarantee import Exact
from rescind.core.protocols import ModelHandle, Unlearned
from rescind.core.run import Run
from rescind.methods.s3t import S3T


@dataclass(frozen=True)
class FirstOrders:
    """Trains ``orders_kept`` of the planned orders of each shard on the retain set."""

    orders_kept: int = 1

    def unlearn(self, model: ModelHandle, split: Split, run: Run) -> Unlearned:
        """Train the first orders again; nothing of the original model is kept."""
        planned = S3T().orders(run.recipe, run.blocks)
        chosen = [order for order in planned if order.index < self.orders_kept]
        return Unlearned(model.train(chosen), Exact("never_saw"), from_scratch=True)
