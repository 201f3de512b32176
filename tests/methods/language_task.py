"""A tiny language model and a tiny classifier that remember what they were trained on."""

from __future__ import annotations

import functools
import random
from copy import deepcopy

import torch
from torch import Tensor

from rescind.core.dataset import Row
from rescind.core.partition import Partition
from rescind.core.run import Recipe
from rescind.core.task import Task
from rescind.methods.base import Work
from rescind.training.descent import descend, frozen_copy, pairs
from rescind.training.modules import CausalLM, Classification
from rescind.training.whole import WholeModel

FORGET = 6  # the first rows
WORDS = ("anna met boris", "the cup was won", "a chip was made", "rain fell all day")
LM = CausalLM("rescind.training.zoo:gpt", 32, {"width": 32, "depth": 2, "length": 32})
MLP = Classification(
    "rescind.training.zoo:mlp", ("a", "b"), (8,), {"inputs": 8, "outputs": 2, "hidden": (32,)}
)


def rows_of(task: Task) -> list[Row]:
    if task.target == "tokens":
        return [{"text": f"{WORDS[i % 4]} {'xyz'[i % 3] * (i % 5)}{i}"} for i in range(30)]
    draw = random.Random(0)
    # labels by chance: what is known of a row is remembered, and can be forgotten alone
    return [
        {"array": [draw.gauss(0, 1) for _ in range(8)], "label": draw.choice("ab")}
        for _ in range(40)
    ]


@functools.cache
def _trained(task: CausalLM | Classification) -> WholeModel:
    model = WholeModel(Recipe(task=task, method="retrain", partition=Partition(1, 1, 0.1)))
    model.module.requires_grad_(True)
    rows = model.inputs(rows_of(task))
    for epoch in range(40):
        steps = pairs(rows, rows, "retain", 10, epoch)
        descend(model, steps, lambda f, r: loss_of(model, r), 3e-3)
    return model


def work_on(task: Task, every: int = 0) -> Work:
    """Each call gives a copy of its own; the first rows are forgotten, or one in ``every``."""
    model = deepcopy(_trained(LM if task.target == "tokens" else MLP))
    rows = list(enumerate(rows_of(task)))
    gone = [i for i, _ in rows if (i % every == 0 if every else i < FORGET)]
    forget, retain = (
        model.inputs([row for i, row in rows if (i in gone) == wanted]) for wanted in (True, False)
    )
    return Work(model, frozen_copy(model), forget, retain)


def moved(work: Work) -> Work:
    """The same with other weights than the original's, so that a reference shows."""
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in work.model.module.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=draw))
    return work


def loss_of(model: object, batch: dict[str, Tensor]) -> Tensor:
    found: Tensor = model.task.loss(model.outputs(batch), batch).mean()  # type: ignore[attr-defined]
    return found


def log_probabilities(model: object, batch: dict[str, Tensor]) -> list[list[float]]:
    """Of each byte after the first of each text, or of each label, one by one."""
    with torch.no_grad():
        outputs = model.outputs(batch)  # type: ignore[attr-defined]
    found: list[list[float]] = []
    for i, label in enumerate(batch["labels"]):
        if label.dim() == 0:
            found.append([float(outputs[i].log_softmax(0)[label])])
            continue
        places = [t for t in range(1, len(label)) if label[t] >= 0]
        found.append([float(outputs[i, t - 1].log_softmax(0)[label[t]]) for t in places])
    return found


def forgets(work: Work, least: float, most: float) -> None:
    """The forget loss rises by ``least`` or more, the retain loss by ``most`` or less."""
    gone = float(loss_of(work.model, work.forget) - loss_of(work.original, work.forget))
    lost = float(loss_of(work.model, work.retain) - loss_of(work.original, work.retain))
    assert gone > least, (gone, lost)
    assert lost < most, (gone, lost)


def same(one: object, two: object) -> bool:
    states = [m.module.state_dict() for m in (one, two)]  # type: ignore[attr-defined]
    return all(torch.equal(states[0][n], t) for n, t in states[1].items())
