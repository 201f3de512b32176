"""What the 95 % intervals of audits share: the quantile of the normal, and resamples of records."""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator, Tensor

TAILS = (0.025, 0.975)
Z95 = NormalDist().inv_cdf(TAILS[1])
RESAMPLES = 2_000
ENTRIES = 1 << 22  # of drawn values that are held at a time


def resampled_means(values: Tensor, generator: Generator) -> Tensor:
    """Means (..., RESAMPLES) of values (..., n) over n records drawn with replacement.

    All rows see the same draws, so that a ratio of two of their means is one of the same records.
    """
    import torch

    n, found = values.shape[-1], []
    step = max(1, ENTRIES // values.numel())
    for start in range(0, RESAMPLES, step):
        size = (min(step, RESAMPLES - start), n)
        found.append(values[..., torch.randint(n, size, generator=generator)].mean(-1))
    return torch.cat(found, -1)
