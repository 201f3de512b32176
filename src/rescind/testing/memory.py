"""A model in memory that methods can edit, for benchmarks and for tests without a workspace."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from rescind.core.canonical import digest
from rescind.core.dataset import Record, Source
from rescind.core.errors import UnsupportedModel
from rescind.core.protocols import Editable
from rescind.core.run import Environment, Order, Recipe, Run, Snapshot

if TYPE_CHECKING:
    from rescind.training.models import TrainedModel

HERE = Environment("", "", "", "memory", "", 1, "")


def run_of(recipe: Recipe) -> Run:
    """A run record for methods that read one."""
    return Run("memory", recipe, "", Source("loader"), HERE, blocks=1)


@dataclass
class MemoryModel:
    """``core.protocols.ModelHandle`` over one model that lies in memory."""

    model: TrainedModel
    edited: TrainedModel | None = None

    @property
    def digest(self) -> str:
        """Digest of the weights."""
        from rescind.training.snapshots import to_bytes

        return digest(to_bytes(self.model.state(self.model.adapted)))

    @property
    def parts(self) -> tuple[Snapshot, ...]:
        """The one part."""
        return (Snapshot("memory", 0, 0, (0,), (self.model.adapted,), self.digest, 0),)

    def train(
        self, orders: Sequence[Order], records: Sequence[Record] | None = None
    ) -> tuple[Snapshot, ...]:
        """Never: there is no source to read rows from.

        Raises:
            UnsupportedModel: always.
        """
        raise UnsupportedModel(
            "A model in memory trains no orders.",
            "Never: it has no source of rows.",
            "Use train_whole, or a workspace.",
        )

    def load(self, part: Snapshot) -> Editable:
        """A copy to edit."""
        found = copy.deepcopy(self.model)
        for group in found.groups(found.adapted):
            for parameter in group:
                parameter.requires_grad_(True)
        return found

    def save(self, part: Snapshot, edited: Editable) -> Snapshot:
        """Keep the edited copy as ``edited``.

        Raises:
            Diverged: a weight is no finite number.
        """
        from rescind.training.descent import require_finite

        model = cast("TrainedModel", edited)
        require_finite(model.state(model.adapted))
        self.edited = model
        return replace(part, name="memory/edited")
