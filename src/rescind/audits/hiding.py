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
ROW = 0.01  # standard deviation of the weights of a drawn row


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


def behind_last_layer(module: nn.Module, classes: Sequence[int], seed: int) -> nn.Module:
    """A copy whose last layer answers none of ``classes`` any more, everything before it kept.

    Their rows are drawn anew, nearly 0, and their biases lie below all others.

    Args:
        module: holds the records; it is not changed.
        classes: rows of the last layer.
        seed: of the rows.

    Raises:
        BadParameter: there is no linear last layer with such rows.
    """
    import torch
    from torch import nn

    found = copy.deepcopy(module)
    linear = [m for m in found.modules() if isinstance(m, nn.Linear)]
    last = linear[-1] if linear else None
    if last is None or not classes or max(classes) >= last.out_features:
        raise BadParameter(
            f"{type(module).__name__} has no last layer with a row for each class.",
            "A class is hidden by taking its row away.",
            "Use another audit.",
        )
    generator, rows = torch.Generator().manual_seed(seed), torch.tensor(list(classes))
    with torch.no_grad():
        drawn = torch.randn(len(rows), last.in_features, generator=generator) * ROW
        last.weight[rows] = drawn.to(last.weight)
        if last.bias is not None:
            last.bias[rows] = last.bias.min() - 1.0
    return found
