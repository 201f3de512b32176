"""Mask and compensation in whole numbers: what is proved, and how far it is from the exact solve.

    w = weights 2^weight_bits,  G = gradients / gradient_step,  D = the change in units of w,
    dN D_i + sum_k G_ki <G_k, D> = c g_i + e_i  for every weight i of a touched block that is kept,
    D_i = -w_i for every masked one.

dN, c and g are whole and public, and c is one number a tensor. The left side without rounding is
N F D, so that e is what rounding D leaves, and |D - exact| <= |e| / dN in every block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rescind.core.errors import BadData, BadParameter
from rescind.methods.zk_apex.compensate import compensate

if TYPE_CHECKING:
    from torch import Tensor

WEIGHT_LIMIT = 2**15  # |w| and |w'| are below it
GRADIENT_LIMIT = 127  # |G| and |g| are at most this


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The public numbers of one tensor; the provider sets them before a client's epoch opens.

    ``weight_bits`` is the scale of the weights, ``gradient_step`` the value of one unit of G,
    ``damping`` is dN, ``change`` the most that a kept weight may move (beta), ``residual`` the most
    that |e| may be (tau), and ``pull`` is c, 0 without a directed step.
    """

    weight_bits: int
    gradient_step: float
    damping: int
    change: int
    residual: int
    pull: int = 0

    def __post_init__(self) -> None:
        counts = (self.damping, self.change, self.residual)
        if min(counts) < 1 or not self.gradient_step > 0.0 or self.change >= WEIGHT_LIMIT:
            raise BadParameter(
                f"These terms cannot be met: {self}.",
                "Damping, change and residual are at least 1, and a change fits 16 bits.",
            )


def whole_weights(weights: Tensor, bits: int) -> Tensor:
    """The weights in units of 2^-bits, int64.

    Raises:
        BadData: one does not fit 16 bits.
    """
    import torch

    found = torch.round(weights.double() * 2.0**bits).long()
    if int(found.abs().max()) >= WEIGHT_LIMIT:
        raise BadData(
            f"A weight of {float(weights.abs().max()):.3g} does not fit 16 bits at 2^-{bits}.",
            "It would be cut off, and the model would be another.",
            "Use a scale with more room: fewer bits after the point.",
        )
    return found


def weight_bits(weights: Tensor, room: float) -> int:
    """The finest scale at which the weights and a change of ``room`` fit 16 bits.

    Raises:
        BadData: not even whole numbers would fit.
    """
    largest = float(weights.abs().max()) + room
    bits = next((b for b in range(24, -1, -1) if largest * 2**b < WEIGHT_LIMIT - 1), None)
    if bits is None:
        raise BadData(f"Weights of {largest:.3g} do not fit 16 bits.", do="Look for a bad weight.")
    return bits


def whole_gradients(gradients: Tensor, step: float) -> Tensor:
    """Gradients in units of ``step``, int64, cut off at 127 units."""
    import torch

    units = torch.round(gradients.double() / step)
    return units.clamp(-GRADIENT_LIMIT, GRADIENT_LIMIT).long()


def compensated(
    weights: Tensor, mask: Tensor, gradients: Tensor, terms: Terms, direction: Tensor | None = None
) -> Tensor:
    """D (blocks, size), int64: the exact solve, rounded.

    Args:
        weights: w (blocks, size), whole.
        mask: (blocks, size), bool.
        gradients: G (blocks, n, size), whole.
        terms: of the tensor.
        direction: g (blocks, size), whole; nothing where ``terms.pull`` is 0.

    Raises:
        BadData: shapes that do not fit.
        Diverged: a number is not finite.
    """
    import torch

    count = gradients.shape[1]
    pull = None if direction is None or not terms.pull else terms.pull * direction / count
    exact = compensate(weights, mask, gradients, terms.damping / count, pull)
    return torch.round(exact).long()


def residuals(
    weights: Tensor,
    change: Tensor,
    mask: Tensor,
    gradients: Tensor,
    terms: Terms,
    direction: Tensor | None = None,
) -> Tensor:
    """E (blocks, size), int64, by whole numbers alone; 0 for masked weights and untouched blocks.

    Raises:
        BadData: a masked weight would not be 0.
    """
    import torch

    if bool((weights + change)[mask].any()):
        raise BadData("A masked weight is not 0 after the change.", do="Compensate again.")
    seen = torch.einsum("bni,bi->bn", gradients, change)
    found = terms.damping * change + torch.einsum("bni,bn->bi", gradients, seen)
    if direction is not None:
        found = found - terms.pull * direction
    kept = ~mask & mask.any(1, keepdim=True)
    return found * kept
