"""Batches that are a function of a seed and the number of rows, and of nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor


def steps(rows: int, size: int, epochs: int) -> int:
    """How many batches ``batches`` yields."""
    return epochs * -(-rows // size)


def batches(rows: int, size: int, epochs: int, seed: int) -> Iterator[Tensor]:
    """Indices of each batch, every row once an epoch; the last batch of an epoch may be smaller."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        order = torch.randperm(rows, generator=generator)
        yield from (order[start : start + size] for start in range(0, rows, size))


def pieces(tensors: Mapping[str, Tensor], size: int) -> Iterator[dict[str, Tensor]]:
    """The rows of several tensors, in order, ``size`` at a time."""
    for start in range(0, len(next(iter(tensors.values()))), size):
        yield {name: tensor[start : start + size] for name, tensor in tensors.items()}
