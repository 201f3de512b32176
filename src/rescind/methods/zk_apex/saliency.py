"""Which weights the provider masks: those that the forget set needs more than the retain set does.

The default is F_f / (F_r + floor), F the mean squared gradient of single records; with the floor no
score explodes where the retain set has no gradient. It is the ratio of selective synaptic dampening
(Foster et al., 2308.07707). ``signed`` is the form of the released code of ZK-APEX (arXiv
2512.09953), s = g w - h F w^2 of both sets and the ratio of the two: ratios of numbers of both
signs explode near zero, and in the probes of this project it forgot no more than a random mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rescind.core.errors import BadParameter
from rescind.methods.zk_apex.method import Form

if TYPE_CHECKING:
    from torch import Tensor

FLOOR = 0.1  # the quantile of F_r that is added to the denominator
CURVATURE = 0.4485  # h of the released run
RHO = 2.0  # weight of the retain set in the released ratio
NEVER_ZERO = 1e-12
DRAWN = 1_000_000  # weights whose quantile stands for all


def scores(
    form: Form,
    weights: Sequence[Tensor],
    forget: Sequence[tuple[Tensor, Tensor]],
    retain: Sequence[tuple[Tensor, Tensor]],
) -> list[Tensor]:
    """One number a weight, higher for those that are masked first.

    Args:
        form: see the module.
        weights: of the chosen tensors.
        forget: for each tensor the mean gradient and the mean squared gradient of single records
            of the forget set.
        retain: the same of the retain set.

    Raises:
        BadParameter: an unknown form.
    """
    if form == "signed":
        pairs = zip(weights, forget, retain, strict=True)
        return [_signed(w, *f) / (RHO * _signed(w, *r) + NEVER_ZERO) for w, f, r in pairs]
    if form == "fisher_ratio":
        over, under = [f for _, f in forget], [f for _, f in retain]
    elif form == "taylor_ratio":
        over = [_taylor(w, *f) for w, f in zip(weights, forget, strict=True)]
        under = [_taylor(w, *r) for w, r in zip(weights, retain, strict=True)]
    else:
        raise BadParameter(f"There is no score {form!r}.", do="Use fisher_ratio.")
    floor = quantile(under, FLOOR) + NEVER_ZERO
    return [f / (r + floor) for f, r in zip(over, under, strict=True)]


def _signed(weight: Tensor, gradient: Tensor, fisher: Tensor) -> Tensor:
    return gradient * weight - CURVATURE * fisher * weight**2


def _taylor(weight: Tensor, gradient: Tensor, fisher: Tensor) -> Tensor:
    return (gradient * weight).abs() + CURVATURE * fisher * weight**2


def quantile(values: Sequence[Tensor], share: float) -> float:
    """Of all values together; of very many, of evenly spaced ones."""
    import torch

    flat = torch.cat([v.reshape(-1) for v in values]).double()
    step = max(1, len(flat) // DRAWN)
    return float(torch.quantile(flat[::step], share))


def global_mask(found: Sequence[Tensor], share: float) -> list[Tensor]:
    """Masks, bool, of the ``share`` of all weights with the highest scores.

    Raises:
        BadParameter: a share outside (0, 1], or one of less than a weight.
    """
    import torch

    total = sum(s.numel() for s in found)
    count = round(share * total)
    if not 0.0 < share <= 1.0 or count < 1:
        raise BadParameter(
            f"A share of {share} of {total} weights is to be masked.",
            "At least one weight is, and at most all.",
            "Use 0.04.",
        )
    flat = torch.cat([s.reshape(-1).double() for s in found])
    chosen = torch.zeros(total, dtype=torch.bool, device=flat.device)
    # stable, so that equal scores are cut off at the same weight everywhere
    chosen[flat.sort(descending=True, stable=True).indices[:count]] = True
    pieces = torch.split(chosen, [s.numel() for s in found])
    return [mask.reshape(s.shape) for mask, s in zip(pieces, found, strict=True)]
