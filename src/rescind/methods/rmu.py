"""Representation misdirection for unlearning (Li et al., 2024, arXiv 2403.03218)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from rescind.core.errors import BadParameter, UnsupportedModel
from rescind.core.search import Range
from rescind.methods.base import Work
from rescind.methods.language import LanguageUnlearner

if TYPE_CHECKING:
    from torch import Tensor, nn

    from rescind.core.protocols import Editable

TRAINED = 3  # blocks that change: the chosen one and the two below it, as in the paper


@dataclass(frozen=True, slots=True, kw_only=True)
class RMU(LanguageUnlearner):
    """min E_forget |h - c u|^2 + alpha E_retain |h - h_original|^2 (2403.03218, section 4).

    h is what block ``layer`` gives, of the module's list of blocks or else of its sequence; a
    negative number counts from the last, which in a sequence is the layer of the answers. u is a
    direction with entries drawn from [0, 1), of length 1; ``c`` must be well above the length of h.
    Squares are means over width (of pictures: channels), places that count, and batch. Only the
    block and the two below it change, so what lies above never learns of it.
    """

    alpha: float = 100.0
    c: float = 20.0
    layer: int = -2

    # public code that searches on TOFU with open-unlearning tries 1, 10 and 100 for c; public
    # settings of alpha for models of 7 billion parameters are 100 to 1200, the lower end is ours
    searched: ClassVar[Mapping[str, Range]] = {
        **LanguageUnlearner.searched,
        "alpha": Range(10.0, 1200.0, "log"),
        "c": Range(1.0, 100.0, "log"),
    }

    def __post_init__(self) -> None:
        LanguageUnlearner.__post_init__(self)
        if not self.c > 0.0:
            raise BadParameter(f"c is {self.c}.", "The steered length must be above 0.")

    def change(self, work: Work) -> None:
        """All epochs, on the parameters of three blocks.

        Raises:
            UnsupportedModel: there is no such block, it is not run, or may not change.
        """
        blocks = find_list(work.model.module)
        if not -len(blocks) <= self.layer < len(blocks):
            higher = f"Use a layer from {-len(blocks)} to {len(blocks) - 1}, or another method."
            raise UnsupportedModel(
                f"layer is {self.layer}, and the module has {len(blocks)} blocks in a list.",
                "Never for a module without blocks: nothing can be steered between them.",
                higher if blocks else "Use another method.",
            )
        top = self.layer % len(blocks)
        with only(work.model, blocks[max(0, top + 1 - TRAINED) : top + 1]):
            LanguageUnlearner.change(self, work)

    def loss(self, work: Work, forget: dict[str, Tensor], retain: dict[str, Tensor]) -> Tensor:
        """The distance from the direction, and that from the original."""
        import torch

        with torch.no_grad():
            kept = activations(work.original, retain, self.layer)
        gone = activations(work.model, forget, self.layer)
        steer = self.c * direction(gone.shape[-1], self.seed).to(gone)
        away = square(activations(work.model, retain, self.layer) - kept, retain)
        return square(gone - steer, forget) + self.alpha * away


def find_list(module: nn.Module) -> list[nn.Module]:
    """The blocks that run one after another; none where the module lists none.

    They are the members that hold weights of an ``nn.ModuleList``, or where there is none of an
    ``nn.Sequential``: of the one with the most weights, and among equals the most members. It is
    looked for before the model runs: an encoder in stages is cut while it runs.
    """
    from torch import nn

    for kind in (nn.ModuleList, nn.Sequential):
        lists = [m for m in module.modules() if isinstance(m, kind)]
        found = [[part for part in m.children() if size(part)] for m in lists]
        if found:
            return max(found, key=lambda parts: (sum(map(size, parts)), len(parts)))
    return []


def size(module: nn.Module) -> int:
    """How many weights it holds."""
    return sum(p.numel() for p in module.parameters())


@contextmanager
def only(model: Editable, blocks: list[nn.Module]) -> Iterator[None]:
    """Within, nothing outside the blocks may change. Raises ``UnsupportedModel`` if nothing may."""
    from rescind.training.descent import parameters

    moving = parameters(model)
    chosen = {id(p) for block in blocks for p in block.parameters() if p.requires_grad}
    if not chosen:
        raise UnsupportedModel(
            "The chosen block and the two below it hold no weight that may change.",
            "Never: the activations above cannot be steered without them.",
            "Use a higher layer, or another method.",
        )
    for parameter in moving:
        parameter.requires_grad_(id(parameter) in chosen)
    try:
        yield
    finally:
        for parameter in moving:
            parameter.requires_grad_(True)


def direction(width: int, seed: int) -> Tensor:
    """u, shape (width,): entries uniform in [0, 1), scaled to length 1."""
    import torch

    drawn = torch.rand(width, generator=torch.Generator().manual_seed(seed))
    found: Tensor = drawn / drawn.norm()
    return found


def activations(model: Editable, batch: dict[str, Tensor], layer: int) -> Tensor:
    """What the block gives, shape (n, ..., width); of pictures (n, c, h, w) it is (n, h, w, c).

    Raises:
        UnsupportedModel: the block is not run, or more than once.
    """
    seen: list[Tensor] = []

    def note(_: nn.Module, args: Any, found: Any) -> None:
        seen.append(found[0] if isinstance(found, tuple) else found)

    handle = find_list(model.module)[layer].register_forward_hook(note)
    try:
        model.outputs(batch)
    finally:
        handle.remove()
    if len(seen) != 1:
        raise UnsupportedModel(
            f"Block {layer} is run {len(seen)} times for an answer.",
            "Never below the lowest block that was trained: nothing there may change.",
            "Use a higher layer, or another method.",
        )
    return seen[0].movedim(1, -1) if seen[0].dim() > 3 else seen[0]


def square(difference: Tensor, batch: dict[str, Tensor]) -> Tensor:
    """The mean square over all places that hold a token; over all where nothing is padded."""
    from rescind.training.modules import IGNORED

    each = difference.pow(2).mean(dim=-1)
    labels, mask = batch["labels"], batch.get("attention_mask")
    counted = labels != IGNORED if labels.shape == each.shape and labels.dim() > 1 else mask
    if counted is None or counted.shape != each.shape:
        return each.mean()
    weight = counted.to(each)
    return (each * weight).sum() / weight.sum().clamp(min=1.0)
