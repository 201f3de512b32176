"""The live model over shards: the base is loaded once, each shard brings its adapters."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from rescind.core.dataset import Row
from rescind.core.errors import BadData, Exhausted
from rescind.core.run import Recipe
from rescind.core.task import Task
from rescind.training.batches import pieces
from rescind.training.encoder import ROWS
from rescind.training.models import trained_model
from rescind.training.snapshots import from_bytes


class Ensemble:
    """Answers by several snapshots of one recipe; safe to call from several threads."""

    def __init__(self, task: Task, recipe: Recipe) -> None:
        self.task = task
        self.model = trained_model(recipe)
        self._lock = threading.Lock()  # snapshots take turns in the one set of adapters

    def predict(
        self, rows: Sequence[Row], parts: Sequence[tuple[Mapping[str, Tensor], float]]
    ) -> Tensor:
        """What the task combines from the outputs of all parts by weight, shape (n, ...).

        The lower blocks run once, the adapted blocks once a part.

        Raises:
            Exhausted: no parts.
            BadData: no rows.
        """
        if not rows:
            raise BadData("There are no rows to answer.", do="Give at least one row.")
        with self._lock:
            activations = self.model.activations(rows)
        outputs = self.outputs(activations, [state for state, _ in parts])
        return self.task.combine(outputs, [weight for _, weight in parts])

    def outputs(
        self, activations: Mapping[str, Tensor], states: Sequence[Mapping[str, Tensor]]
    ) -> list[Tensor]:
        """The outputs (n, ...) of each state on activations entering the first block.

        Raises:
            Exhausted: no states.
        """
        if not states:
            raise Exhausted(
                "No shard has a model left to answer with.",
                "Every snapshot was cut by a deletion.",
                "Run `rescind process --method retrain` to train on the retain set.",
            )
        with self._lock, torch.no_grad():
            return [self._one(activations, state) for state in states]

    def _one(self, activations: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> Tensor:
        self.model.load(state)
        batches = pieces(activations, ROWS)
        return torch.cat([self.model.forward_from(batch) for batch in batches])

    @staticmethod
    def load_state(data: bytes) -> dict[str, Tensor]:
        """The tensors of a snapshot, to be given to ``predict``.

        Raises:
            DamagedArtifact: the bytes are no snapshot.
        """
        return from_bytes(data)
