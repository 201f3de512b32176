"""The last k layers of a module: found, drawn anew by a seed, or the only ones that may change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rescind.core.errors import BadParameter
from rescind.core.search import Range
from rescind.methods.base import LossUnlearner, Work

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

    from rescind.core.protocols import Editable


@dataclass(frozen=True, slots=True, kw_only=True)
class LastLayers(LossUnlearner):
    """min over the weights of the last ``k`` layers of E_retain loss; all others stay as they are.

    A layer is a module that owns trainable parameters itself, counted in the order of the modules.
    """

    k: int = 1

    # ours: github.com/OPTML-Group/Unlearn-WorstCase (issue 1) leaves k at 1; a normalisation counts
    # as a layer here, so that three of them can be one block and the head
    searched: ClassVar[Mapping[str, Range]] = {
        **LossUnlearner.searched,
        "k": Range(1, 3, "whole"),
    }

    def __post_init__(self) -> None:
        LossUnlearner.__post_init__(self)
        if self.k < 1:
            raise BadParameter(f"k is {self.k}.", "It counts layers from the end: at least 1.")

    def change(self, work: Work) -> None:
        """All epochs. Raises ``BadParameter`` where the module has fewer than ``k`` layers."""
        with only(work.model, last_layers(work.model, self.k)):
            LossUnlearner.change(self, work)

    def loss(self, work: Work, forget: dict[str, Tensor], retain: dict[str, Tensor]) -> Tensor:
        """The task's own loss on the retain batch."""
        return work.model.task.loss(work.model.outputs(retain), retain).mean()


def last_layers(model: Editable, k: int) -> list[tuple[str, nn.Module]]:
    """Names and modules of the last ``k``.

    Raises:
        BadParameter: there are fewer.
    """
    found = [(name, m) for name, m in model.module.named_modules() if own_parameters(m)]
    if k > len(found):
        raise BadParameter(
            f"k is {k}, and the model has {len(found)} layers with weights that may change.",
            "There are no more layers to change.",
            f"Set k to at most {len(found)}.",
        )
    return found[-k:]


def own_parameters(layer: nn.Module) -> dict[str, nn.Parameter]:
    """What the module holds itself, not its children, and may change."""
    return {n: p for n, p in layer.named_parameters(recurse=False) if p.requires_grad}


@contextmanager
def only(model: Editable, layers: Sequence[tuple[str, nn.Module]]) -> Iterator[None]:
    """Within, no parameter outside the layers requires a gradient; after, all are as before."""
    from rescind.training.descent import parameters

    chosen = {id(p) for _, layer in layers for p in own_parameters(layer).values()}
    others = [p for p in parameters(model) if id(p) not in chosen]
    for parameter in others:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in others:
            parameter.requires_grad_(True)


def reinitialise(layers: Sequence[tuple[str, nn.Module]], seed: int) -> None:
    """Draw the layers' trainable parameters anew, from a generator of their own.

    Matrices, kernels and their biases are uniform in +-1/sqrt(inputs), as torch's linear and
    convolutional layers begin; normalisations scale by 1 and shift by 0; the second matrix of an
    adapter is 0, so that the adapter begins as nothing (Hu et al., 2106.09685).
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, layer in layers:
            _draw(own_parameters(layer), "lora_B" in name.split("."), generator)


def _draw(own: dict[str, nn.Parameter], nothing: bool, generator: Generator) -> None:
    import torch

    inputs = [p.numel() // len(p) for p in own.values() if p.dim() > 1]
    for name, parameter in own.items():
        if nothing or not inputs:
            parameter.fill_(1.0 if name == "weight" and not nothing else 0.0)
            continue
        drawn = 2.0 * torch.rand(parameter.shape, generator=generator) - 1.0
        parameter.copy_(drawn / inputs[0] ** 0.5)
