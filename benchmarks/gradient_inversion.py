"""Images whose gradient is a published one, and whether they resemble the records behind it.

* ``by_pixels``: from noise, with a total-variation prior (Geiping et al. 2020, arXiv 2003.14053);
* ``by_prior``: in the 100 first principal components of the attacker's own images of the class,
  from those whose gradients agree best; as a generative prior (Jeon et al. 2021, arXiv 2110.14962);
* ``nearest``: those of its own images, as they are.

Gradients are compared as they are published, cut off at 127 units, tensor by tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

import zk_apex as scenario
from gradient_members import published
from rescind.methods.zk_apex.fisher import mean_gradient
from rescind.training.whole import WholeModel
from zk_apex import Batch

COMPONENTS, GROUPS = 100, 40  # of the prior; groups of other records that are compared with
VARIATION, LENGTH, OUTSIDE = 0.1, 1.0, 10.0  # what total variation and the prior weigh


@dataclass(frozen=True)
class Setting:
    """A model, the records of a class that it was trained on, others, and the attacker's own."""

    model: WholeModel
    weights: list[nn.Parameter]
    class_: int
    records: Batch
    others: Batch
    own: Batch
    single: Tensor

    def gradient(self, batch: Batch) -> list[Tensor]:
        """What is published of these records, in whole numbers."""
        return [g.round() for g in published(mean_gradient(self.model, batch, self.weights))]


def agreement(at: Setting, images: Tensor, goal: Sequence[Tensor]) -> Tensor:
    """One minus the cosine of the images' mean gradient with what is published, by tensor."""
    batch = {"array": images, "labels": torch.full((len(images),), at.class_)}
    with sdpa_kernel(SDPBackend.MATH):  # the fused attention has no second derivative
        loss = scenario.TASK.loss(at.model.outputs(batch), batch).mean()
        own = torch.autograd.grad(loss, at.weights, create_graph=True)
    pairs = zip(published(own), goal, strict=True)
    return torch.stack(
        [1 - functional.cosine_similarity(o.flatten(), g.flatten(), 0) for o, g in pairs]
    )


def nearest(at: Setting, goal: Sequence[Tensor], count: int) -> Tensor:
    """The attacker's own images whose single gradients agree best, (count, 1, 28, 28)."""
    total, start = torch.zeros(len(at.single)), 0
    for g in goal:
        part = at.single[:, start : start + g.numel()]
        total += functional.cosine_similarity(part, g.flatten()[None], dim=1)
        start += g.numel()
    found: Tensor = at.own["array"][total.topk(count).indices]
    return found


def by_pixels(at: Setting, goal: Sequence[Tensor], count: int, steps: int, seed: int) -> Tensor:
    """Images from noise, with total variation."""
    draw = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 1, 28, 28, generator=draw).requires_grad_(True)
    optimizer = torch.optim.Adam([images], lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        rough = images.diff(dim=2).abs().mean() + images.diff(dim=3).abs().mean()
        value = agreement(at, images, goal).mean() + VARIATION * rough
        images.grad = torch.autograd.grad(value, images)[0].sign()
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            images.clamp_(0.0, 1.0)
    return images.detach()


def by_prior(at: Setting, goal: Sequence[Tensor], count: int, steps: int) -> Tensor:
    """Images in principal components of the attacker's own, from the nearest of them."""
    flat = at.own["array"].flatten(1)
    middle = flat.mean(0)
    _, spread, axes = torch.linalg.svd(flat - middle, full_matrices=False)
    deviation = spread[:COMPONENTS, None] / len(flat) ** 0.5
    basis = deviation * axes[:COMPONENTS]
    start = (nearest(at, goal, count).flatten(1) - middle) @ (axes[:COMPONENTS] / deviation).T
    place = start.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([place], lr=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        images = (middle + place @ basis).view(count, 1, 28, 28)
        far = (agreement(at, images, goal) + 1e-4).log().mean()
        outside = (images - images.clamp(0.0, 1.0)).square().mean()
        value = far + LENGTH * place.square().mean() + OUTSIDE * outside
        place.grad = torch.autograd.grad(value, place)[0]
        optimizer.step()
        schedule.step()
    found: Tensor = (middle + place.detach() @ basis).view(count, 1, 28, 28).clamp(0.0, 1.0)
    return found


def correlations(made: Tensor, records: Tensor) -> Tensor:
    """Between images, over pixels, (made, records)."""
    found = []
    for images in (made, records):
        flat = images.flatten(1)
        found.append(functional.normalize(flat - flat.mean(1, keepdim=True), dim=1))
    return found[0] @ found[1].T


def gain(made: Tensor, true: Tensor, others: Tensor, seed: int) -> dict[str, float]:
    """How much more images resemble the true records than others, which look alike too.

    ``match`` is the mean over the images of the largest correlation with a true record, ``gain``
    the same less its mean over groups of as many records that are not in the gradient, and
    ``rank`` the share of these groups that it exceeds, half by chance.
    """
    count = min(len(true), len(others) // 2)  # groups of all others would be one group
    match = float(correlations(made, true[:count]).amax(1).mean())
    table, draw = correlations(made, others), torch.Generator().manual_seed(seed)
    groups = [
        float(table[:, torch.randperm(len(others), generator=draw)[:count]].amax(1).mean())
        for _ in range(GROUPS)
    ]
    below = fmean((g < match) + 0.5 * (g == match) for g in groups)
    return {"match": match, "gain": match - fmean(groups), "rank": below}
