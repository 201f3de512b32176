"""Made-up margins with known answers: two models, and how much of its margin a record owes to
having been trained on.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rescind.audits.holdout_gap import Holdout
from rescind.audits.margin_difference import Question, prepare

CLASSES, TRAINED, HELD_OUT = 3, 450, 240
OWES = 1.5  # nats, on average


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """Records whose surroundings, in the first feature, move together from model to model."""

    before: Tensor
    kept: Tensor
    owes: Tensor
    labels: Tensor
    features: Tensor
    requested: Tensor
    holdout: Holdout

    def after(self, extent: float, who: Tensor | None = None) -> Tensor:
        """Margins after that share of what training gave the requested records is gone."""
        gone = self.requested if who is None else who
        return self.kept - extent * torch.where(gone, self.owes, 0.0)

    def question(self, excluded: Tensor | None = None, controls: int = 20) -> Question:
        return prepare(
            self.before,
            self.labels,
            self.features,
            self.requested,
            excluded=excluded,
            holdout=self.holdout,
            controls=controls,
        )


def world(n: int, seed: int, owes: float = OWES) -> World:
    """``n`` records are requested at random; nothing else about them is special."""
    draw = normal(6, TRAINED, seed=seed)
    features = torch.stack([3 * draw[0], draw[1]], 1)
    hard = draw[2] + draw[0]
    own = owes + 0.3 * owes * draw[3]
    labels = torch.arange(TRAINED) % CLASSES
    order = torch.randperm(TRAINED, generator=torch.Generator().manual_seed(seed))
    requested = torch.zeros(TRAINED, dtype=torch.bool)
    requested[order[:n]] = True
    outside = normal(2, HELD_OUT, seed=seed + 10_000)
    return World(
        before=hard + own + 0.4 * draw[4],
        kept=hard + own + 2 * draw[0].sin() + 0.4 * draw[5],
        owes=own,
        labels=labels,
        features=features,
        requested=requested,
        holdout=Holdout(outside[0] + outside[1], torch.arange(HELD_OUT) % CLASSES),
    )
