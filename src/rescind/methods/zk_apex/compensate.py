"""Mask and compensate: one solve that zeroes the masked weights and changes the others for it.

Per block, with S the masked weights, R the others, w the weights and F = (1/N) G^T G + damping I,

    d_S = -w_S,      (F d)_R = r_R,

which is Group-OBS (arXiv 2512.09953, equations 12 to 14, in KKT form) for r = 0: the change that
costs the client least. With r = alpha mean(F) g, g the provider's forget gradient, the same solve
also climbs the loss of the forget set: the directed step of this project. In its probes Group-OBS
alone brought back 37 to 64 % of what the mask had made the model forget.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rescind.core.errors import BadData, BadParameter, Diverged

if TYPE_CHECKING:
    from torch import Tensor

AT_ONCE = 2**22  # numbers of the matrices that are held together, in double precision


def compensate(
    weights: Tensor,
    mask: Tensor,
    gradients: Tensor,
    damping: float,
    pull: Tensor | None = None,
) -> Tensor:
    """The change d (blocks, size) in double precision; blocks without a masked weight have none.

    Args:
        weights: (blocks, size).
        mask: (blocks, size), bool.
        gradients: (blocks, n, size), G.
        damping: absolute, above 0.
        pull: r (blocks, size), nothing where it is left out.

    Raises:
        BadData: shapes that do not fit.
        BadParameter: a damping that is not above 0.
        Diverged: a number is not finite.
    """
    import torch

    _refuse(weights, mask, gradients, damping, pull)
    change = torch.zeros(weights.shape, dtype=torch.float64)
    touched = mask.any(1).nonzero().flatten()
    step = max(1, AT_ONCE // weights.shape[1] ** 2)
    for start in range(0, len(touched), step):
        rows = touched[start : start + step]
        wanted = None if pull is None else pull[rows].double()
        change[rows] = _solved(
            weights[rows].double(), mask[rows], gradients[rows].double(), damping, wanted
        )
    if not bool(change.isfinite().all()):
        raise Diverged("A change is no finite number.", do="Use a larger damping.")
    return change


def _solved(
    weights: Tensor, mask: Tensor, gradients: Tensor, damping: float, pull: Tensor | None
) -> Tensor:
    """A Cholesky factor a block: F_RR d_R = r_R + F_RS w_S, and d_S = -w_S beside it."""
    import torch

    fisher = gradients.mT @ gradients / gradients.shape[1]
    fisher.diagonal(dim1=1, dim2=2).add_(damping)
    masked = weights * mask
    right = torch.einsum("bij,bj->bi", fisher, masked)
    if pull is not None:
        right = right + pull
    right = torch.where(mask, -weights, right)
    kept = (~mask).double()
    reduced = fisher * kept[:, :, None] * kept[:, None, :] + torch.diag_embed(mask.double())
    factor = torch.linalg.cholesky(reduced)
    solved: Tensor = torch.cholesky_solve(right[:, :, None], factor)[:, :, 0]
    return torch.where(mask, -weights, solved)


def mean_diagonal(gradients: Tensor) -> float:
    """Of (1/N) G^T G, for a G (n, *shape) of one weight."""
    return float((gradients.double() ** 2).mean())


def directed(gradient: Tensor, alpha: float, scale: float) -> Tensor:
    """R = alpha scale g / rms(g) of one weight; zero where there is no gradient at all."""
    import torch

    wide = gradient.double()
    rms = float((wide**2).mean().sqrt())
    return wide * (alpha * scale / rms) if rms > 0.0 else torch.zeros_like(wide)


def _refuse(
    weights: Tensor, mask: Tensor, gradients: Tensor, damping: float, pull: Tensor | None
) -> None:
    import torch

    shape = weights.shape
    fits = mask.shape == shape and gradients.dim() == 3 and mask.dtype == torch.bool
    fits = fits and (gradients.shape[0], gradients.shape[2]) == tuple(shape)
    if not fits or (pull is not None and pull.shape != shape):
        raise BadData(
            f"Weights of shape {tuple(shape)}, a {mask.dtype} mask of {tuple(mask.shape)},"
            f" gradients of {tuple(gradients.shape)}.",
            "Each block has its mask, and N gradients of its size.",
            "Cut all of them with into_blocks and the same size.",
        )
    if not damping > 0.0:
        raise BadParameter(
            f"The damping is {damping}.",
            "Without it N gradients say nothing of most directions of a block.",
            "Use a tenth of the mean of the Fisher's diagonal.",
        )
