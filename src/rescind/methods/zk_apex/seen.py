"""What the edit is made from: mask, forget gradient and sketches of each weight, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rescind.core.protocols import Editable
from rescind.methods.zk_apex.fisher import matrices, mean_gradient, sketches

if TYPE_CHECKING:
    from torch import Tensor, nn

    from rescind.methods.zk_apex.method import ZkApex


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """By the names of weights, each of its weight's shape; sketches (n, *shape)."""

    weights: dict[str, nn.Parameter]
    masks: dict[str, Tensor]
    directions: dict[str, Tensor]
    sketches: dict[str, Tensor]


def look(
    method: ZkApex, model: Editable, forget: Mapping[str, Tensor], retain: Mapping[str, Tensor]
) -> Seen:
    """Read a forget and a retain set through a model that is not edited yet.

    Raises:
        BadParameter: no weight is named after the targets, or the share masks none.
        InsufficientEvidence: there is no retained record.
        Diverged: a gradient was no finite number.
    """
    from rescind.training.descent import rows

    named = matrices(model, method.targets)
    weights = list(named.values())
    masks = method.masks(model, forget, retain, weights)
    directions = mean_gradient(model, forget, weights)
    few = min(method.samples, rows(retain))
    count = min(method.sketches, few)
    samples = few - few % count
    found = sketches(model, retain, weights, count=count, samples=samples, seed=method.seed)
    names = list(named)
    return Seen(
        named,
        dict(zip(names, masks, strict=True)),
        dict(zip(names, directions, strict=True)),
        dict(zip(names, found, strict=True)),
    )
