"""The frame of methods that train the forget set on other labels than its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rescind.core.task import Target
from rescind.methods.base import CLASSES, LossUnlearner, Work

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Relabel(LossUnlearner):
    """min E_forget loss(f(x), y') + E_retain loss; a method says what y' is in an epoch."""

    serves: ClassVar[frozenset[Target]] = CLASSES

    def labels(self, work: Work, epoch: int) -> Tensor:
        """The other labels of all forget rows, shape (n,)."""
        raise NotImplementedError

    def change(self, work: Work) -> None:
        """All epochs, on the labels of each."""
        self.descend(work, self.over)

    def descend(self, work: Work, over: str, after: Callable[[], None] | None = None) -> None:
        """All epochs over one of the sets; ``after`` is called after each step."""
        from rescind.training.descent import descend, pairs

        for epoch in range(self.epochs):
            seed = 1_000 * self.seed + epoch
            forget = work.forget | {"labels": self.labels(work, epoch)}
            steps = pairs(forget, work.retain, over, self.batch_size, seed)
            descend(work.model, steps, lambda f, r: self.loss(work, f, r), self.lr, after)

    def loss(self, work: Work, forget: dict[str, Tensor], retain: dict[str, Tensor]) -> Tensor:
        """The sum of the two mean losses; ``forget`` holds the other labels."""
        task, model = work.model.task, work.model
        kept = task.loss(model.outputs(retain), retain).mean()
        return task.loss(model.outputs(forget), forget).mean() + kept
