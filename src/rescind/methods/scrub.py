"""SCRUB: a student that disobeys its teacher on the forget set (Kurmanji et al., 2302.09880)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from rescind.core.errors import BadParameter, Refused
from rescind.core.search import Range
from rescind.core.task import Target
from rescind.methods.base import LossUnlearner, Work
from rescind.methods.divergence import PROBABILITIES, divergence

if TYPE_CHECKING:
    from torch import Tensor

HELD_OUT = 0.1  # share of the retain set that is the reference of a rewind


@dataclass(frozen=True, slots=True, kw_only=True)
class Scrub(LossUnlearner):
    """max E_forget d and min E_retain alpha d + gamma loss, in turn; d = KL(original || student).

    In turns as the paper's Algorithm 1: each of the first ``max_epochs`` epochs begins with a pass
    over the forget set that raises d, and every epoch has a pass over the retain set. One more
    pass over the retain set goes before all: at the original itself d is 0, its least, and has no
    gradient that a pass over the forget set could follow.

    ``rewind`` is SCRUB+R: of the states after each epoch the one is kept whose error on the forget
    set is closest to the error of the last on records held out; of equals, the latest. The paper
    holds out records that the original never saw. There are none here, so a tenth of the retain
    set, drawn by the seed, is held out of this method's own training. The original did see it:
    the reference is lower than the paper's, and the state kept may forget less.
    """

    epochs: int = 3
    max_epochs: int = 2
    alpha: float = 0.5
    gamma: float = 1.0
    rewind: bool = False

    serves: ClassVar[frozenset[Target]] = PROBABILITIES
    # public copies of the authors' code take 0.5 and 0.001 for alpha, 2 and 3 for max_epochs, and
    # leave gamma near 1: the ratio of the two weights is what matters
    searched: ClassVar[Mapping[str, Range]] = {
        **LossUnlearner.searched,
        "max_epochs": Range(1, 3, "whole"),
        "alpha": Range(1e-3, 1.0, "log"),
    }

    def __post_init__(self) -> None:
        LossUnlearner.__post_init__(self)
        if self.max_epochs < 0 or self.alpha < 0.0 or not self.gamma > 0.0:
            raise BadParameter(
                f"max_epochs is {self.max_epochs}, alpha {self.alpha}, gamma {self.gamma}.",
                "max_epochs and alpha must be at least 0, gamma above 0.",
                "Correct them with --set name=value.",
            )

    def change(self, work: Work) -> None:
        """All epochs, and the way back to one of them where ``rewind`` asks for it.

        Raises:
            Refused: the retain set has one record, and a rewind needs two.
        """
        if not self.rewind:
            for _ in self._passes(work):
                pass
            return
        train, held = hold_out(work.retain, self.seed)
        states = [
            (error_rate(work, work.forget), _weights(work))
            for _ in self._passes(replace(work, retain=train))
        ]
        errors = [error for error, _ in states]
        _restore(work, states[closest(errors, error_rate(work, held))][1])

    def _passes(self, work: Work) -> Iterator[int]:
        """Each epoch, after it is done."""
        first = 1_000 * self.seed
        self._descend(work, "retain", first + 999, lambda f, r: self.loss(work, f, r))
        for epoch in range(self.epochs):
            seed = first + epoch
            if epoch < self.max_epochs:
                self._descend(work, "forget", seed, lambda f, r: -self.apart(work, f))
            self._descend(work, "retain", seed, lambda f, r: self.loss(work, f, r))
            yield epoch

    def _descend(
        self,
        work: Work,
        over: str,
        seed: int,
        loss: Callable[[dict[str, Tensor], dict[str, Tensor]], Tensor],
    ) -> None:
        from rescind.training.descent import descend, pairs

        steps = pairs(work.forget, work.retain, over, self.batch_size, seed)
        descend(work.model, steps, loss, self.lr)

    def loss(self, work: Work, forget: dict[str, Tensor], retain: dict[str, Tensor]) -> Tensor:
        """On the retain batch: alpha d + gamma loss."""
        task_loss = work.model.task.loss(work.model.outputs(retain), retain).mean()
        return self.alpha * self.apart(work, retain) + self.gamma * task_loss

    def apart(self, work: Work, batch: dict[str, Tensor]) -> Tensor:
        """d, the mean KL(original || student) over the batch."""
        wanted = work.original.outputs(batch).detach()
        return divergence(wanted, work.model.outputs(batch), batch).mean()


def hold_out(retain: dict[str, Tensor], seed: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What is trained on and what is held out, at least one row of each.

    Raises:
        Refused: there is only one row.
    """
    import torch

    from rescind.training.descent import rows, take

    n = rows(retain)
    if n < 2:
        raise Refused(
            "The retain set has one record, and a rewind holds some of it out.",
            "Nothing would be left to train on.",
            "Use the method with --set rewind=false.",
        )
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    cut = max(1, round(HELD_OUT * n))
    return take(retain, order[cut:]), take(retain, order[:cut])


def closest(errors: list[float], reference: float) -> int:
    """Which of the errors is closest to the reference; of equals, the last."""
    return min(range(len(errors)), key=lambda i: (abs(errors[i] - reference), -i))


def error_rate(work: Work, batch: dict[str, Tensor]) -> float:
    """Share of rows that the edited model does not answer right."""
    import torch

    with torch.no_grad():
        outputs = work.model.outputs(batch)
    return 1.0 - float(work.model.task.score(outputs, batch).mean())


def _weights(work: Work) -> list[Tensor]:
    from rescind.training.descent import parameters

    return [p.detach().clone() for p in parameters(work.model)]


def _restore(work: Work, weights: list[Tensor]) -> None:
    import torch

    from rescind.training.descent import parameters

    with torch.no_grad():
        for parameter, kept in zip(parameters(work.model), weights, strict=True):
            parameter.copy_(kept)
