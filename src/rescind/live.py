"""The live model: every answer first looks at the ledger's head, so no withdrawal is overlooked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rescind import methods_of, state
from rescind.backends import Backends
from rescind.core.dataset import Row
from rescind.core.errors import DamagedArtifact, Exhausted
from rescind.core.run import Snapshot
from rescind.core.version import selection

if TYPE_CHECKING:
    from torch import Tensor


class LiveModel:
    """An ensemble that follows the ledger of its workspace.

    Another process may withdraw at any time. An answer worked out while the served parts changed
    is thrown away and worked out again, so none that used a withdrawn part is ever given.

    Raises:
        DamagedArtifact: the pretrained encoder is not the one that the model was trained on.
    """

    def __init__(self, b: Backends) -> None:
        from rescind.serving.ensemble import Ensemble
        from rescind.training.determinism import check_encoder, settle

        settle(b.settings.threads)
        self._b = b
        self._run = state.run(b)
        check_encoder(self._run)
        methods_of.make(self._run.recipe.method)  # found now, so that a withdrawal need not look
        self._ensemble = Ensemble(self._run.recipe.task, self._run.recipe)
        self._seen = -1
        self._states: dict[str, dict[str, Tensor]] = {}
        self._served: tuple[Snapshot, ...] = ()

    def served(self) -> tuple[Snapshot, ...]:
        """The snapshots that an answer would use now; reads the head, and the parts if it moved."""
        head, _ = self._b.ledger.head()
        if head != self._seen:
            self._served = selection(state.parts(self._b))
            names = {s.name for s in self._served}
            self._states = {n: t for n, t in self._states.items() if n in names}
            self._seen = head
        return self._served

    def ready(self) -> tuple[Snapshot, ...]:
        """What is served now, every snapshot of it loaded, as before an answer."""
        served = self.served()
        for snapshot in served:
            self._state(snapshot)
        return served

    def predict(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """One answer a row.

        Raises:
            Exhausted: no shard has a survivor; the message says how to bring one back.
            BadData: no rows.
        """
        while True:
            served = self.served()
            if not served:
                raise Exhausted(
                    "No shard has a model left to answer with.",
                    "Every snapshot was cut by a deletion.",
                    "Run `rescind rebuild` to train dead shards on the retain set.",
                )
            try:
                parts = [(self._state(s), float(s.records)) for s in served]
            except DamagedArtifact:
                if self.served() == served:
                    raise
                continue  # withdrawn and destroyed since: answer with what is served now
            combined = self._ensemble.predict(rows, parts)
            if self.served() == served:
                return self._run.recipe.task.answers(combined)

    def _state(self, snapshot: Snapshot) -> dict[str, Tensor]:
        if snapshot.name not in self._states:
            data = state.weights(self._b, snapshot)
            self._states[snapshot.name] = self._ensemble.load_state(data)
        return self._states[snapshot.name]
