"""Bad teaching: learn the forget set from a model that knows nothing (Chundawat, 2205.08096)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rescind.core.task import Target
from rescind.methods.base import LossUnlearner, Work
from rescind.methods.divergence import PROBABILITIES, divergence

if TYPE_CHECKING:
    from torch import Tensor

    from rescind.core.protocols import Editable


@dataclass(frozen=True, slots=True, kw_only=True)
class BadTeacher(LossUnlearner):
    """min E_forget KL(bad || student) + E_retain KL(original || student): two teachers.

    The paper's loss is (1 - l) KL(T_s || S) + l KL(T_d || S) with l = 1 on the forget set, at
    temperature 1. T_s is the original; T_d, the bad teacher, is as untrained as the original once
    was, drawn from ``seed``: all weights of a whole module, adapters and head of an encoder.
    """

    serves: ClassVar[frozenset[Target]] = PROBABILITIES

    def change(self, work: Work) -> None:
        """All epochs, with one bad teacher."""
        from rescind.training.descent import descend, pairs

        bad = untrained(work.original, work.model, self.seed)
        for epoch in range(self.epochs):
            seed = 1_000 * self.seed + epoch
            steps = pairs(work.forget, work.retain, self.over, self.batch_size, seed)
            descend(work.model, steps, lambda f, r: self._loss(work, bad, f, r), self.lr)

    def _loss(
        self, work: Work, bad: Editable, forget: dict[str, Tensor], retain: dict[str, Tensor]
    ) -> Tensor:
        """The sum of the two mean divergences."""
        gone = taught(bad, work.model, forget)
        return gone + taught(work.original, work.model, retain)


def taught(teacher: Editable, student: Editable, batch: dict[str, Tensor]) -> Tensor:
    """Mean KL(teacher || student) over the batch, one number."""
    import torch

    with torch.no_grad():
        wanted = teacher.outputs(batch)
    return divergence(wanted, student.outputs(batch), batch).mean()


def untrained(original: Editable, edited: Editable, seed: int) -> Editable:
    """A copy of the original with everything that training may change drawn anew from the seed."""
    import torch

    from rescind.training.descent import frozen_copy
    from rescind.training.pretrained import is_adapted

    found = frozen_copy(original)
    if is_adapted(found.task):
        _redraw(found, {n for n, p in edited.module.named_parameters() if p.requires_grad}, seed)
        return found
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        found.module.load_state_dict(found.task.build().state_dict())
    return found


def _redraw(model: Editable, names: set[str], seed: int) -> None:
    """Adapters and head as their training begins: matrices uniform within 1 / sqrt(width), biases
    and the second matrix of each adapter zero (Hu et al., 2106.09685).
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.module.named_parameters():
        if name in names:
            zero = parameter.dim() < 2 or "lora_B" in name
            bound = 0.0 if zero else parameter.shape[1] ** -0.5
            torch.nn.init.uniform_(parameter, -bound, bound, generator=generator)
