"""Copies of parts that a method may edit, and edited copies as parts (decision 8)."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import cast

from rescind import state
from rescind.backends import Backends
from rescind.core.canonical import digest, plain
from rescind.core.errors import BadParameter
from rescind.core.lineage import label
from rescind.core.protocols import Editable
from rescind.core.run import Run, Snapshot
from rescind.jobs import content, keep, staged_model


def load(b: Backends, run: Run, part: Snapshot) -> Editable:
    """A copy of a part, in evaluation mode, gradients on what its training may change.

    Raises:
        DamagedArtifact: the part is lost or damaged, or the encoder is another.
    """
    from rescind.training.determinism import check_encoder, settle
    from rescind.training.snapshots import from_bytes

    settle(b.settings.threads)
    check_encoder(run)
    model = copy.deepcopy(staged_model(run.recipe))
    model.load(from_bytes(state.weights(b, part)))
    for group in model.groups(_blocks(part)):
        for parameter in group:
            parameter.requires_grad_(True)
    return model


def save(
    b: Backends, run: Run, part: Snapshot, edited: Editable, generations: Mapping[str, int]
) -> Snapshot:
    """Store an edited copy. Its lineage is what the part's cells hold now: the forget set is taken
    to be edited out of it, which the guarantee ``Empirical`` says, and only evidence supports.

    Raises:
        BadParameter: ``edited`` did not come from ``load``.
        StaleVersion: a withdrawal has changed the cells meanwhile.
        Diverged: a weight is no finite number.
    """
    from rescind.training.determinism import environment

    data = bytes_of(part, edited)
    found = hashlib.sha256(data).hexdigest()
    labels = frozenset(label(c, generations.get(c, 0)) for c in part.cells)
    held = [e for e in state.allowed(b) if e.cell in part.cells]
    here = digest(plain(environment(run.recipe.task, b.settings.threads)))
    name = f"snapshot/{run.id}/edited/{content(b, held, (*labels, found, here))}"
    keep(b, name, "snapshot", data, labels)
    return replace(part, name=name, digest=found, records=len(held), environment=here)


def bytes_of(part: Snapshot, edited: Editable) -> bytes:
    """The weights of an edited copy of a part, as a snapshot holds them.

    Raises:
        BadParameter: ``edited`` did not come from ``load``.
        Diverged: a weight is no finite number.
    """
    from rescind.training.descent import require_finite
    from rescind.training.models import TrainedModel
    from rescind.training.snapshots import to_bytes
    from rescind.training.whole import WholeModel

    if not hasattr(edited, "state"):
        raise BadParameter(
            f"{type(edited).__name__} is no copy that `load` gave.",
            "Its weights have no names that a snapshot could keep.",
            "Load the part, change the module that comes, and save that.",
        )
    model = cast("TrainedModel", edited)
    blocks = (0,) if isinstance(model, WholeModel) else _blocks(part)
    weights = model.state(blocks)
    require_finite(weights)
    return to_bytes(weights)


def _blocks(part: Snapshot) -> tuple[int, ...]:
    return tuple(sorted({block for stage in part.blocks for block in stage}))
