"""The examples that a model is looked at on, as tensors, drawn once for all models of a part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rescind.benchmarks.class_measures import ClassMeasures
from rescind.benchmarks.groups import GROUP, large, places
from rescind.benchmarks.number_measures import NumberMeasures
from rescind.benchmarks.readings import (
    CORRUPTED,
    DOWN_LABELS,
    DOWNSTREAM,
    FORGET,
    RETAIN,
    TEST,
    TEST_FORGET,
    Batch,
    Looks,
    Measures,
    corrupted,
    look,
    sample,
)
from rescind.benchmarks.setting import Downstream, ForgetSet, Setting
from rescind.benchmarks.token_measures import TokenMeasures, endings
from rescind.core.dataset import Record
from rescind.core.task import Target, Task
from rescind.metrics.features import PENULTIMATE, layers_of

if TYPE_CHECKING:
    from rescind.training.models import TrainedModel


@dataclass(frozen=True, slots=True)
class Sets:
    """Batches by set, and the subgroup of each test example."""

    batches: dict[str, Batch]
    groups: tuple[str, ...]
    measures: Measures
    task: Task

    def looks(self, model: TrainedModel, profile: bool = False) -> Looks:
        """One pass over each set; with ``profile`` all layers of the forget set are kept."""
        layers = layers_of(model.module) if profile else (PENULTIMATE,)
        return {
            name: look(model, batch, layers if name == FORGET else (PENULTIMATE,), self.measures)
            for name, batch in self.batches.items()
        }


def measures_for(task: Task, groups: tuple[str, ...] = ()) -> Measures:
    """What is measured of this kind of task; of numbers and tokens for each of ``groups`` too."""
    by_target: dict[Target, Measures] = {
        "classes": ClassMeasures(),
        "numbers": NumberMeasures(groups),
        "tokens": TokenMeasures(groups),
    }
    return by_target[task.target]


def sets_of(
    task: Task,
    setting: Setting,
    forget: ForgetSet,
    retain: Sequence[Record],
    test: Sequence[Record],
) -> Sets:
    """At most ``setting.sample`` examples a set; ``test`` is the validation set in a search.

    Test examples of classes that go as a whole are a set of their own: a retrained model has no
    answer for them.
    """
    label = getattr(task, "label", "")
    gone = [r for r in test if r.row.get(label) in forget.classes]
    kept = sample([r for r in test if r.row.get(label) not in forget.classes], setting.sample)
    found = {
        FORGET: _batch(task, sample(forget.records, setting.sample)),
        RETAIN: _batch(task, sample(retain, setting.sample)),
        TEST: _batch(task, kept),
    }
    if gone:
        found[TEST_FORGET] = _batch(task, sample(gone, setting.sample))
    if task.target == "classes":
        found[CORRUPTED] = corrupted(found[TEST])
    if task.target == "tokens":
        found |= endings(found[FORGET])
    for down in setting.downstream:
        found[DOWNSTREAM + down.name] = downstream_batch(task, down, setting.sample)
    column = setting.subgroup or label
    groups = tuple(str(r.row.get(column, "")) for r in kept)
    told = large(groups) if setting.subgroup and task.target != "classes" else ()
    if told:
        found[TEST] = {**found[TEST], GROUP: places(groups, told)}
    return Sets(found, groups, measures_for(task, told), task)


def _batch(task: Task, records: Sequence[Record]) -> Batch:
    return task.batch([r.row for r in records])


def downstream_batch(task: Task, down: Downstream, most: int) -> Batch:
    """Inputs without the labels of the task, which has no such classes, and labels of their own."""
    import torch

    chosen = sample(down.records, most)
    names = sorted({str(r.row[down.label]) for r in chosen})
    label = getattr(task, "label", "")
    rows = [{k: v for k, v in r.row.items() if k != label} for r in chosen]
    labels = torch.tensor([names.index(str(r.row[down.label])) for r in chosen])
    return {**task.batch(rows), DOWN_LABELS: labels}
