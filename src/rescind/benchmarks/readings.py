"""One pass of a model over each set: what all core metrics read."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from rescind import readings
from rescind.core.dataset import Record
from rescind.core.task import Task
from rescind.readings import AT_ONCE

if TYPE_CHECKING:
    from torch import Tensor

    from rescind.training.models import TrainedModel

FORGET, RETAIN, TEST = "forget", "retain", "test"
TEST_FORGET = "test forget"  # test examples of the classes that go as a whole
CORRUPTED = "corrupted test"
DOWNSTREAM = "downstream "
DOWN_LABELS = "downstream"  # the entry of a batch with the labels of a downstream task
Batch = dict[str, "Tensor"]


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What a model gives for one set, first dimension the examples: its outputs, reduced to what
    the measures need, and pooled features by layer.
    """

    outputs: Mapping[str, Tensor]
    features: Mapping[str, Tensor]


Looks = Mapping[str, Look]  # by set
Values = dict[str, float]


class Measures(Protocol):
    """What is measured of a kind of task."""

    def reduce(self, task: Task, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """The outputs of a batch, as small as the measures allow, with the labels."""

    def alone(self, looks: Looks) -> Values:
        """Measures of one model."""

    def beside(self, looks: Looks, retrained: Looks) -> Values:
        """Measures of one model next to one retrained model."""


def look(
    model: TrainedModel, batch: Mapping[str, Tensor], layers: Sequence[str], measures: Measures
) -> Look:
    """One pass, 256 examples at a time.

    Raises:
        BadParameter: the module is in training mode, or a layer is unknown.
    """
    import torch

    from rescind.metrics.features import listen
    from rescind.training.batches import pieces

    outputs, features = [], []
    for part in pieces(batch, AT_ONCE):
        with torch.no_grad(), listen(model.module, layers) as heard:
            found = model.outputs(part).cpu()
        outputs.append(measures.reduce(model.task, found, part))
        features.append({name: tensor.cpu() for name, tensor in heard.items()})
    return Look(_joined(outputs), _joined(features))


def _joined(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    import torch

    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def columns(
    measures: Measures, models: Sequence[Looks], retrained: Sequence[Looks]
) -> dict[str, list[float]]:
    """Each measure's values, one a model; a retrained model is compared with the other ones."""
    rows = []
    for looks in models:
        pairs = [measures.beside(looks, other) for other in retrained if other is not looks]
        means = {name: statistics.fmean(pair[name] for pair in pairs) for name in pairs[0]}
        rows.append({**measures.alone(looks), **means})
    return {name: [row[name] for row in rows] for name in rows[0] if all(name in r for r in rows)}


def sample(records: Sequence[Record], most: int) -> list[Record]:
    """At most so many, evenly spaced in the order of their keys."""
    return readings.sample(sorted(records, key=lambda r: r.key), most)


def corrupted(batch: Mapping[str, Tensor], seed: int = 0) -> Batch:
    """Inputs with Gaussian noise of half the standard deviation that each of them has."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    clean = batch["array"]
    noise = torch.randn(clean.shape, generator=generator)
    return {**batch, "array": clean + 0.5 * clean.std(dim=0) * noise}
