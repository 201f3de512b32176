"""Mask and compensation in whole numbers: what is proved, and how far it is from the exact solve.

    w = weights 2^weight_bits,  G = gradients / gradient_step,  D = the change in units of w,
    dN D_i + sum_k G_ki <G_k, D> = c g_i + e_i  for every weight i of a touched block that is kept,
    D_i = -w_i for every masked one.

dN, c and g are whole and public, and c is one number a tensor. The left side without rounding is
N F D, so that e is what rounding D leaves, and |D - exact| <= |e| / dN in every block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rescind.core.errors import BadData
from rescind.core.mask_terms import TensorTerms
from rescind.methods.zk_apex.compensate import compensate

if TYPE_CHECKING:
    from torch import Tensor

GRADIENT_LIMIT = 127  # |G| and |g| are at most this
VALUE_BYTES = 3  # of a weight with its sign; whole numbers up to 2^24 are exact in float32


def limit_of(value_bytes: int) -> int:
    """|w| and |D| are below it."""
    return 1 << (8 * value_bytes - 1)


def whole_weights(weights: Tensor, bits: int, value_bytes: int = VALUE_BYTES) -> Tensor:
    """The weights in units of 2^-bits, int64.

    Raises:
        BadData: one does not fit so many bytes.
    """
    import torch

    found = torch.round(weights.double() * 2.0**bits).long()
    if int(found.abs().max()) >= limit_of(value_bytes):
        raise BadData(
            f"A weight of {float(weights.abs().max()):.3g} does not fit {value_bytes} bytes at"
            f" 2^-{bits}.",
            "It would be cut off, and the model would be another.",
            "Use a scale with more room: fewer bits after the point.",
        )
    return found


def weight_bits(weights: Tensor, room: float, value_bytes: int = VALUE_BYTES) -> int:
    """The finest scale at which ``room`` times the largest weight fits.

    The client's weights are larger than the provider's, from which scales are set, and a change may
    be as large as the limit.

    Raises:
        BadData: not even whole numbers would fit.
    """
    largest, limit = float(weights.abs().max()) * room, limit_of(value_bytes)
    bits = next((b for b in range(30, -1, -1) if largest * 2**b < limit - 1), None)
    if bits is None:
        raise BadData(f"Weights of {largest:.3g} do not fit.", do="Look for a bad weight.")
    return bits


def whole_gradients(gradients: Tensor, step: float) -> Tensor:
    """Gradients in units of ``step``, int64, cut off at 127 units."""
    import torch

    units = torch.round(gradients.double() / step)
    return units.clamp(-GRADIENT_LIMIT, GRADIENT_LIMIT).long()


def compensated(
    weights: Tensor,
    mask: Tensor,
    gradients: Tensor,
    terms: TensorTerms,
    direction: Tensor | None = None,
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
    terms: TensorTerms,
    direction: Tensor | None = None,
) -> Tensor:
    """The residuals e (blocks, size), int64; 0 for masked weights and untouched blocks.

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
