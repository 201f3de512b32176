"""Selective synaptic dampening: shrink the weights that the forget set needs most, in one pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from rescind.core.dataset import Split
from rescind.core.errors import BadParameter, Diverged, Refused
from rescind.core.protocols import Editable, ModelHandle, Unlearned
from rescind.core.run import Run
from rescind.core.search import Range
from rescind.methods.base import ANY, OnePart, Work, edit

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectiveDampening(OnePart):
    """theta_i *= min(dampening F_all,i / F_forget,i, 1) where F_forget,i > alpha F_all,i.

    The rule of Foster et al., 2308.07707; their lambda is ``dampening``. F is the mean over the
    records of the squared gradient of each record's loss, the diagonal of the empirical Fisher
    information; F_all is over forget and retain set together. Without ``labels`` the loss is the
    squared length of the outputs, so that no label is needed (2402.19308). Nothing is trained
    and nothing is drawn.

    F_forget / F_all is at most (records in all) / (records to forget), and of a record that is
    learnt well it is smaller: the paper's alpha of 10 would often choose no weight. With ``labels``
    one record with a large loss outweighs all others; hence the defaults.
    """

    alpha: float = 5.0
    dampening: float = 1.0
    labels: bool = False

    # ours: an alpha below 1 would choose weights that all records need more than the forget set
    # does, and 10 is the paper's; a dampening of alpha or more shrinks nothing
    searched: ClassVar[Mapping[str, Range]] = {
        "alpha": Range(1.0, 10.0, "log"),
        "dampening": Range(0.1, 2.0, "log"),
    }

    def __post_init__(self) -> None:
        if not self.alpha > 0.0 or self.dampening < 0.0:
            raise BadParameter(
                f"alpha is {self.alpha}, dampening {self.dampening}.",
                "alpha must be above 0, dampening at least 0.",
                "Correct them with --set name=value.",
            )

    def unlearn(self, model: ModelHandle, split: Split, run: Run) -> Unlearned:
        """Measure both importances, then dampen.

        Raises:
            UnsupportedModel: a model of several parts.
            Refused: the retain set is empty, or the rule chooses no weight.
            Diverged: an importance was no finite number.
        """
        return edit(model, split, run, ANY, self.change)

    def change(self, work: Work) -> None:
        """Dampen the weights that the rule chooses."""
        import torch

        from rescind.training.descent import parameters, rows

        n = rows(work.forget), rows(work.retain)
        gone, kept = (importance(work.model, x, self.labels) for x in (work.forget, work.retain))
        chosen = 0
        with torch.no_grad():
            for weight, f, r in zip(parameters(work.model), gone, kept, strict=True):
                overall = (n[0] * f + n[1] * r) / (n[0] + n[1])
                factor = (self.dampening * overall / f).clamp(max=1.0)
                above = (f > self.alpha * overall) & (factor < 1.0)
                weight.copy_(torch.where(above, factor * weight, weight))
                chosen += int(above.sum())
        self._check_chosen(chosen, sum(n) / n[0])

    def _check_chosen(self, chosen: int, most: float) -> None:
        if not chosen:
            raise Refused(
                f"No weight is {self.alpha} times as important to the forget set as to all records;"
                f" with this many records it could be {most:.2f} times at most.",
                "The model would stay as it is.",
                "Use a smaller alpha or dampening, or another method.",
            )


def importance(model: Editable, batch: dict[str, Tensor], labels: bool) -> list[Tensor]:
    """Mean squared gradient of each weight that may change, over the rows of the batch.

    Raises:
        Diverged: one of them is no finite number.
    """
    import torch

    from rescind.training.descent import rows
    from rescind.training.per_record import squared_gradients

    found = squared_gradients(model, batch, partial(_loss, labels=labels))
    found = [total / rows(batch) for total in found]
    if not all(bool(torch.isfinite(total).all()) for total in found):
        raise Diverged(
            "The importance of a weight is no finite number.",
            "The rule would compare nothing.",
            "Check the records and the model: a loss or its gradient overflows.",
        )
    return found


def _loss(model: Editable, row: dict[str, Tensor], labels: bool) -> Tensor:
    """One number: the task's loss of the row, or the squared length of its outputs."""
    outputs = model.outputs(row)
    return model.task.loss(outputs, row).sum() if labels else (outputs**2).sum()
