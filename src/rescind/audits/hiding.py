"""Models that hide what they hold, made from one that holds it: what an audit's power is shown on.

Two ways: an edit below half a step of rounding, from weights on the grid, and a last layer that
lost the rows of the requested classes. Both leave all else of the model as it was.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rescind.audits.quantisation import rounded
from rescind.core.errors import BadParameter

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

STEPS = 30  # of the ascent
SHARE = 0.45  # of a step of rounding that a weight may move: below half, so that it is undone


def below_half_a_step(
    module: nn.Module, loss: Callable[[nn.Module], Tensor], bits: int, seed: int
) -> nn.Module:
    """A copy that rounding to ``bits`` brings back: weights on the grid, then signed steps up the
    loss, each weight at most 0.45 of a step away. Half of the weights, by ``seed``, move.

    Args:
        module: holds the records; it is not changed.
        loss: of a module on the records, one number.
        bits: of a rounded weight.
        seed: of the weights that move.

    Raises:
        BadParameter: as ``rounded``.
    """
    import torch

    found = rounded(module, bits)
    weights = [p for p in found.parameters() if p.dim() > 1]
    generator = torch.Generator().manual_seed(seed)
    start = [w.detach().clone() for w in weights]
    caps = [_cap(w, bits, generator) for w in start]
    for _ in range(STEPS):
        with torch.enable_grad():
            for w in weights:
                w.requires_grad_(True)
            gradients = torch.autograd.grad(loss(found), weights, allow_unused=True)
        for w, g, was, cap in zip(weights, gradients, start, caps, strict=True):
            w.requires_grad_(False)
            if g is not None:
                moved = w + g.sign() * cap / (STEPS / 3)
                w.copy_(was + torch.minimum(torch.maximum(moved - was, -cap), cap))
    return found


def _cap(weight: Tensor, bits: int, generator: Generator) -> Tensor:
    """How far each weight may move: not at all where it is the largest, which fixes the grid."""
    import torch

    largest = weight.abs().max()
    moves = torch.rand(weight.shape, generator=generator).to(weight.device) < 0.5
    cap: Tensor = SHARE * largest / (2 ** (bits - 1) - 1) * (moves & (weight.abs() < largest))
    return cap


def behind_last_layer(
    module: nn.Module, classes: Sequence[int], logits: Callable[[nn.Module], Tensor], seed: int
) -> nn.Module:
    """A copy whose last layer answers none of ``classes`` any more, everything before it kept.

    Their rows are drawn anew, as large as those of the others, and their biases are set so that on
    each of the given records another class leads by a nat or more.

    Args:
        module: holds the records; it is not changed.
        classes: rows of the last layer.
        logits: of a module on the records to hide, (n, all classes).
        seed: of the rows.

    Raises:
        BadParameter: there is no linear last layer with a bias and such rows, and others.
    """
    import torch
    from torch import nn

    found = copy.deepcopy(module)
    linear = [m for m in found.modules() if isinstance(m, nn.Linear)]
    last, rows = linear[-1] if linear else None, torch.tensor(list(classes), dtype=torch.long)
    if last is None or last.bias is None or not 0 < len(rows) < last.out_features:
        raise BadParameter(
            f"{type(module).__name__} has no last layer in which these classes can be hidden.",
            "A class is hidden by taking its row away and lowering its bias.",
            "Use another audit.",
        )
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(len(rows), last.in_features, generator=generator)
    with torch.no_grad():
        last.weight[rows] = drawn.to(last.weight) * last.weight.std()
        given = logits(found)
        best = given.index_fill(1, rows.to(given.device), -torch.inf).amax(1, keepdim=True)
        last.bias[rows] -= (given[:, rows] - best).amax(0) + 1.0
    return found
