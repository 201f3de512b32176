"""A tiny trained classifier of points in the plane, and the work of a method on it."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor

from rescind.core.dataset import Row
from rescind.core.partition import Partition
from rescind.core.run import Recipe
from rescind.methods.base import Work
from rescind.training.descent import frozen_copy
from rescind.training.modules import Classification
from rescind.training.whole import WholeModel

CENTRES = ((0.0, 1.5), (1.3, -0.75), (-1.3, -0.75))
NAMES = ("a", "b", "c")
FACTORY = "rescind.training.zoo:mlp"


def plane_points(n: int = 60) -> list[Row]:
    """Three clouds, far apart, the classes in turn."""
    draw = random.Random(5)
    return [
        {"array": [c + draw.gauss(0, 0.25) for c in CENTRES[i % 3]], "label": NAMES[i % 3]}
        for i in range(n)
    ]


def trained_model(hidden: Sequence[int] = (12, 12)) -> WholeModel:
    """Fitted to all points; what may change requires gradients, as after ``ModelHandle.load``."""
    arguments = {"inputs": 2, "outputs": 3, "hidden": tuple(hidden)}
    task = Classification(FACTORY, NAMES, (2,), arguments)
    model = WholeModel(Recipe(task=task, method="finetune", partition=Partition(1, 1, 0.2)))
    model.module.requires_grad_(True)
    batch = model.inputs(plane_points())
    optimizer = torch.optim.Adam(model.module.parameters(), lr=2e-2)
    for _ in range(60):
        optimizer.zero_grad()
        model.task.loss(model.outputs(batch), batch).mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    model.module.zero_grad(set_to_none=True)
    return model


def class_work(hidden: Sequence[int] = (12, 12)) -> Work:
    """All points of class c are to be forgotten."""
    model, rows = trained_model(hidden), plane_points()
    forget = [row for row in rows if row["label"] == "c"]
    retain = [row for row in rows if row["label"] != "c"]
    return Work(model, frozen_copy(model), model.inputs(forget), model.inputs(retain))


def mixed_work() -> Work:
    """Every fifth point is to be forgotten, of all classes."""
    model, rows = trained_model(), plane_points()
    forget, retain = rows[::5], [row for i, row in enumerate(rows) if i % 5]
    return Work(model, frozen_copy(model), model.inputs(forget), model.inputs(retain))


def whole_state(work: Work) -> dict[str, Tensor]:
    """Copies of all parameters and buffers."""
    return {name: t.clone() for name, t in work.model.module.state_dict().items()}


def mean_loss(work: Work, batch: dict[str, Tensor], *, original: bool = False) -> float:
    """The task's own mean loss, of the edited model or the original."""
    model = work.original if original else work.model
    with torch.no_grad():
        return float(model.task.loss(model.outputs(batch), batch).mean())


def accuracy(work: Work, batch: dict[str, Tensor]) -> float:
    with torch.no_grad():
        return float(work.model.task.score(work.model.outputs(batch), batch).mean())
