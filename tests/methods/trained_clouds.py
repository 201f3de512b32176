"""Sixty points in three clouds, a small network fitted to them, and what an edit did to it."""

from __future__ import annotations

import torch
from torch import Tensor

from rescind.core.run import Recipe
from rescind.methods.base import Work
from rescind.training.descent import frozen_copy
from rescind.training.modules import Classification
from rescind.training.whole import WholeModel

NAMES = ("red", "green", "blue")
CENTRES = torch.tensor([[2.0, 0.0, 0.0, 0.5], [0.0, 2.0, 0.0, -0.5], [0.0, 0.0, 2.0, 0.0]])


def cloud_batch() -> dict[str, Tensor]:
    """Labels in turn."""
    generator = torch.Generator().manual_seed(11)
    labels = torch.arange(60) % 3
    noise = 0.3 * torch.randn(60, 4, generator=generator)
    return {"array": CENTRES[labels] + noise, "labels": labels}


def cloud_model(steps: int = 60) -> WholeModel:
    """Fitted to all points; what may change requires gradients, as what a handle loads."""
    arguments = {"inputs": 4, "outputs": 3, "hidden": (16,)}
    task = Classification("rescind.training.zoo:mlp", NAMES, (4,), arguments)
    model = WholeModel(Recipe(task=task, method="finetune", seed=3))
    model.module.requires_grad_(True)
    batch = cloud_batch()
    optimizer = torch.optim.Adam(model.module.parameters(), lr=2e-2)
    for _ in range(steps):
        optimizer.zero_grad(set_to_none=True)
        model.task.loss(model.outputs(batch), batch).mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return model


def cloud_work(*, one_class: bool = True, steps: int = 60) -> Work:
    """To be forgotten: all that is red, or every tenth row, of all colours."""
    model, batch = cloud_model(steps), cloud_batch()
    gone = batch["labels"] == 0 if one_class else torch.arange(60) % 10 == 0
    forget, retain = ({k: t[part] for k, t in batch.items()} for part in (gone, ~gone))
    return Work(model, frozen_copy(model), forget, retain)


def loss_before_and_after(work: Work, batch: dict[str, Tensor]) -> tuple[float, float]:
    """Mean loss of the original and of the edited model."""
    with torch.no_grad():
        both = [m.task.loss(m.outputs(batch), batch).mean() for m in (work.original, work.model)]
    return float(both[0]), float(both[1])


def share_right(work: Work, batch: dict[str, Tensor]) -> float:
    """Accuracy of the edited model."""
    with torch.no_grad():
        return float(work.model.task.score(work.model.outputs(batch), batch).mean())


def weights_of(work: Work) -> list[Tensor]:
    """Copies."""
    return [p.detach().clone() for p in work.model.module.parameters()]
