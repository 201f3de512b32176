"""The edit of one weight as a function of the public direction g: affine, and its slope symmetric.

In a block with masked weights S and others R, F = dN I + G^T G and c the tensor's ``pull``,

    D_S = -w_S,      D_R = D0_R + c F_RR^-1 g_R,

D0 the change without a pull. F_RR^-1 is symmetric, so that a loss L of the changed weights has
dL/dg_R = c F_RR^-1 (dL/dD)_R: one product a block, and no solve to differentiate through.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rescind.core.errors import BadData
from rescind.core.mask_terms import TensorTerms
from rescind.methods.zk_apex.blocks import from_blocks, into_blocks, sketches_into_blocks
from rescind.methods.zk_apex.compensate import compensate
from rescind.methods.zk_apex.quantise import whole_gradients, whole_weights

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Affine:
    """w(g) = ``start`` + ``slope`` F_RR^-1 g_R of a weight, in floats.

    ``touched`` are the blocks with a masked weight, ``inverse`` (touched, block, block) is 0 in the
    rows and columns of masked weights.
    """

    start: Tensor
    touched: Tensor
    inverse: Tensor
    slope: float

    def at(self, direction: Tensor) -> Tensor:
        """w(g), for a g of the weight's shape."""
        return self.start + self.back(direction)

    def back(self, gradient: Tensor) -> Tensor:
        """A loss's gradient by g from that by the weight, of one shape: the same map as w's."""
        import torch

        blocks = into_blocks(gradient, self.inverse.shape[1])
        found = torch.zeros_like(blocks)
        found[self.touched] = self.slope * torch.einsum(
            "bij,bj->bi", self.inverse, blocks[self.touched]
        )
        return from_blocks(found, gradient.shape)


def affine(
    weight: Tensor, mask: Tensor, sketches: Tensor, terms: TensorTerms, block: int
) -> Affine:
    """Of one weight of a client, in the provider's terms.

    Args:
        weight: of any shape.
        mask: bool, of that shape.
        sketches: (n, *shape).
        terms: with the pull c.
        block: weights a block.

    Raises:
        BadData: shapes do not fit, or a weight does not fit its bytes.
        Diverged: the change without a pull is no finite number.
    """
    if mask.shape != weight.shape or sketches.shape[1:] != weight.shape:
        raise BadData(
            f"{terms.name} has the shape {tuple(weight.shape)}, its mask {tuple(mask.shape)}, its"
            f" sketches {tuple(sketches.shape)}.",
            do="Give each weight a mask of its shape, and sketches with one dimension more.",
        )
    w = into_blocks(whole_weights(weight.detach(), terms.weight_bits), block)
    m = into_blocks(mask, block)
    g = sketches_into_blocks(whole_gradients(sketches, terms.gradient_step), block)
    unit, touched = 2.0**-terms.weight_bits, m.any(1).nonzero().flatten()
    first = (w + compensate(w, m, g, terms.damping / g.shape[1])) * unit
    inverse = _inverse(g[touched].double(), m[touched], terms.damping)
    start = from_blocks(first, weight.shape).to(weight)
    return Affine(start, touched, inverse.to(weight), terms.pull * unit)


def movable(mask: Tensor, block: int) -> Tensor:
    """Where g has any effect: weights that are kept, in blocks with one that is not."""
    m = into_blocks(mask, block)
    return from_blocks(~m & m.any(1, keepdim=True), mask.shape)


def _inverse(gradients: Tensor, mask: Tensor, damping: int) -> Tensor:
    import torch

    fisher = gradients.mT @ gradients
    fisher.diagonal(dim1=1, dim2=2).add_(damping)
    kept = (~mask).double()
    both = kept[:, :, None] * kept[:, None, :]
    found: Tensor = torch.linalg.inv(fisher * both + torch.diag_embed(mask.double())) * both
    return found
