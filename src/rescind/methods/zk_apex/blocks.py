"""Weights in blocks of neighbours: a tensor, row by row, in pieces of one length."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rescind.core.errors import BadParameter

if TYPE_CHECKING:
    from torch import Size, Tensor

BLOCK = 64


def into_blocks(tensor: Tensor, size: int = BLOCK) -> Tensor:
    """A weight's tensor as (blocks, size). The last block is filled with zeros.

    Args:
        tensor: of one weight, any shape.
        size: of a block.

    Raises:
        BadParameter: a size below 1.
    """
    import torch

    if size < 1:
        raise BadParameter(f"A block has {size} weights.", do="Use 64.")
    flat = tensor.reshape(-1)
    missing = -len(flat) % size
    return torch.cat([flat, flat.new_zeros(missing)]).reshape(-1, size)


def sketches_into_blocks(sketches: Tensor, size: int = BLOCK) -> Tensor:
    """(n, *shape) of one weight as (blocks, n, size)."""
    import torch

    return torch.stack([into_blocks(one, size) for one in sketches], 1)


def from_blocks(blocks: Tensor, shape: Size) -> Tensor:
    """The tensor of that shape, without what the last block was filled with."""
    return blocks.reshape(-1)[: shape.numel()].reshape(shape)
