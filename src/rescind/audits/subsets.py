"""Random subsets, many at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator, Tensor

FEW = 8  # drawn one after another, which is faster; more are sorted


def distinct(w: int, k: int, draws: int, generator: Generator) -> Tensor:
    """(draws, k) distinct numbers below w, each set as likely as any other."""
    import torch

    if k > FEW:
        return torch.rand(draws, w, generator=generator).topk(k, dim=1).indices
    found = torch.empty(draws, 0, dtype=torch.long)
    for taken in range(k):
        new = torch.randint(w - taken, (draws,), generator=generator)
        for before in found.sort(dim=1).values.T:  # the new one counts those that are left
            new += new >= before
        found = torch.cat([found, new[:, None]], 1)
    return found
