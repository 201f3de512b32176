"""SalUn: random labels, within the most salient weights only (Fan et al., 2023, 2310.12508)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rescind.core.errors import BadParameter
from rescind.core.search import Range
from rescind.methods.base import Work
from rescind.methods.random_label import RandomLabel

if TYPE_CHECKING:
    from torch import Tensor, nn

    from rescind.core.protocols import Editable


@dataclass(frozen=True, slots=True, kw_only=True)
class SalUn(RandomLabel):
    """theta = m (theta_0 + Delta) + (1 - m) theta_0 with m = 1[|grad E_forget loss| >= gamma].

    The paper's mask and its masked model. gamma is set so that m holds ``fraction`` of all weights
    that may change; Delta comes of random labels, min E_forget loss(f(x), y') + E_retain loss. The
    two terms are summed, as the paper writes; its published code takes them in turn.
    """

    fraction: float = 0.5

    # ours: from a narrow mask to none, which is the method of random labels
    searched: ClassVar[Mapping[str, Range]] = {
        **RandomLabel.searched,
        "fraction": Range(0.1, 1.0),
    }

    def __post_init__(self) -> None:
        RandomLabel.__post_init__(self)
        if not 0.0 < self.fraction <= 1.0:
            raise BadParameter(f"fraction is {self.fraction}.", "It must lie in (0, 1].")

    def change(self, work: Work) -> None:
        """All epochs; after each step the weights outside the mask are what they were."""
        import torch

        from rescind.training.descent import parameters

        trained = parameters(work.model)
        before = [p.detach().clone() for p in trained]
        masks = saliency_masks(work.model, work.forget, self.fraction, self.batch_size)

        def undo() -> None:
            with torch.no_grad():
                for parameter, mask, old in zip(trained, masks, before, strict=True):
                    parameter.copy_(torch.where(mask, parameter, old))

        self.descend(work, self.over, undo)


def saliency_masks(
    model: Editable, forget: dict[str, Tensor], fraction: float, size: int
) -> list[Tensor]:
    """One mask for each parameter that may change, true where it is among the ``fraction`` of all
    weights with the largest gradient; of equal ones the first.
    """
    import torch

    from rescind.training.descent import parameters

    trained = parameters(model)
    found = torch.cat([g.abs().flatten() for g in _gradients(model, trained, forget, size)])
    count = max(1, round(fraction * len(found)))
    mask = torch.zeros_like(found, dtype=torch.bool)
    mask[found.argsort(descending=True, stable=True)[:count]] = True
    parts = torch.split(mask, [p.numel() for p in trained])
    return [part.view_as(p) for part, p in zip(parts, trained, strict=True)]


def _gradients(
    model: Editable, trained: list[nn.Parameter], forget: dict[str, Tensor], size: int
) -> list[Tensor]:
    """Of the mean loss on the forget set, with its true labels, a batch at a time."""
    import torch

    total, n = [torch.zeros_like(p) for p in trained], len(forget["labels"])
    for start in range(0, n, size):
        batch = {name: t[start : start + size] for name, t in forget.items()}
        loss = model.task.loss(model.outputs(batch), batch).sum() / n
        parts = torch.autograd.grad(loss, trained, allow_unused=True)
        total = [t if g is None else t + g for t, g in zip(total, parts, strict=True)]
    return total
