"""The public numbers of one tensor of a model that is masked and compensated in whole numbers."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorTerms:
    """One tensor: weights are whole numbers of 2^-weight_bits, G of ``gradient_step``.

    ``damping`` is dN, ``pull`` is c, ``floor`` the least that <g, D> over the whole tensor is.
    """

    name: str
    shape: tuple[int, ...]
    weight_bits: int
    gradient_step: float
    damping: int
    pull: int = 0
    floor: int = 0

    def blocks(self, size: int) -> int:
        """How many blocks of that size."""
        return -(-prod(self.shape) // size)
