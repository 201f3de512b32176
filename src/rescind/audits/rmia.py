"""RMIA: is the record likelier under this model than other records are, each beside its average?

S. Zarifzadeh, P. Liu and R. Shokri, "Low-Cost High-Power Membership Inference Attacks", ICML 2024
(arXiv 2312.03262). For a record x and records z of the population that no model was trained on,

    LR(x, z) = (Pr(x | theta) / Pr(x)) / (Pr(z | theta) / Pr(z)),
    score(x) = share of z with LR(x, z) >= gamma,

Pr(x | theta) being the probability that the model theta gives x's label and Pr(x) its mean over
reference models, half of which were trained on x. It needs fewer of them than LiRA. All inputs are
logs of probabilities, minus ``rescind.metrics.loss.cross_entropy``, so that none rounds to 0.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rescind.audits.shadows import Shadows
from rescind.core.errors import BadData, BadParameter, InsufficientEvidence
from rescind.metrics.loss import checked_values

if TYPE_CHECKING:
    from torch import Tensor


def rmia(
    target: Tensor,
    shadows: Shadows,
    target_population: Tensor,
    population: Tensor,
    gamma: float = 1.0,
) -> Tensor:
    """Scores (n,) in [0, 1] of the online attack; higher is more like a member.

    Pr(x) is the mean of two means, over the models inside and outside for x. Scores of one model
    rank as Pr(x | theta) / Pr(x) does, up to ties; what the population adds is a scale, on which
    one threshold means the same for all models.

    Args:
        target: log-probabilities (n,) of the audited model.
        shadows: log-probabilities (models, n) of reference models, as ``margins``.
        target_population: log-probabilities (m,) of the audited model on the population.
        population: those (models, m) of the reference models, none of which was trained on it.
        gamma: above 0, how much likelier x must be than z; the published code has 1.

    Raises:
        BadData: other shapes, or what is no log of a probability.
        BadParameter: a gamma that is not above 0.
        InsufficientEvidence: a record that no reference model was trained on, or that all were.
    """
    import torch

    inside = _log_mean(shadows.margins, shadows.inside, "inside")
    outside = _log_mean(shadows.margins, shadows.outside, "outside")
    own = _log_probabilities(shadows.margins_of(target)) - _mixed(inside, outside, 0.5)
    x, z = checked_population(shadows, target_population, population)
    return _share(own, x - _log_mean(z, torch.ones_like(z, dtype=torch.bool), "outside"), gamma)


def rmia_offline(
    target: Tensor,
    shadows: Shadows,
    target_population: Tensor,
    population: Tensor,
    scale: float,
    gamma: float = 1.0,
) -> Tensor:
    """Scores (n,) in [0, 1] without any model trained on the records.

    The mean inside is taken to be a Pr_out + (1 - a), so that

        Pr(x) = ((1 + a) Pr_out(x) + 1 - a) / 2,

    for z as for x, as in the published code. With a = 1 nothing is corrected.

    Args:
        target: as in ``rmia``.
        shadows: as in ``rmia``; only models outside for a record are used.
        target_population: as in ``rmia``.
        population: as in ``rmia``.
        scale: the paper's a, in [0, 1]; ``rmia_scale`` finds it.
        gamma: as in ``rmia``.

    Raises:
        BadData, BadParameter: as ``rmia``.
        BadParameter: a scale outside [0, 1].
        InsufficientEvidence: a record that all reference models were trained on.
    """
    import torch

    if not 0.0 <= scale <= 1.0:
        raise BadParameter(
            f"The scale is {scale}.",
            "It moves the mean outside towards the sure answer, 1.",
            "Use a number from 0 to 1, such as rmia_scale gives.",
        )
    outside = _log_mean(shadows.margins, shadows.outside, "outside")
    own = _log_probabilities(shadows.margins_of(target)) - _scaled(outside, scale)
    x, z = checked_population(shadows, target_population, population)
    mean = _log_mean(z, torch.ones_like(z, dtype=torch.bool), "outside")
    return _share(own, x - _scaled(mean, scale), gamma)


def _share(own: Tensor, population: Tensor, gamma: float) -> Tensor:
    import torch

    if not 0.0 < gamma < math.inf:
        raise BadParameter(
            f"gamma is {gamma}.", "It is a ratio.", "Use a number above 0, such as 1."
        )
    ordered = population.sort().values
    return torch.searchsorted(ordered, own - math.log(gamma), right=True).double() / len(ordered)


def _scaled(outside: Tensor, scale: float) -> Tensor:
    """Log of ((1 + a) p + 1 - a) / 2."""
    return _mixed(outside, outside.new_zeros(outside.shape), (1 + scale) / 2)


def _mixed(first: Tensor, second: Tensor, weight: float) -> Tensor:
    import torch

    if weight == 1.0:
        return first
    return torch.logaddexp(first + math.log(weight), second + math.log(1 - weight))


def _log_mean(values: Tensor, mask: Tensor, name: str) -> Tensor:
    """Log (n,) of the mean over the masked models of exp of the values (models, n)."""
    models = mask.sum(0)
    if not bool((models > 0).all()):
        raise InsufficientEvidence(
            f"{int((models == 0).sum())} records have no {name} reference model.",
            "Their average probability is not known.",
            "Train more reference models, each on half of the records, or use the offline attack.",
        )
    kept = _log_probabilities(values).masked_fill(~mask, -math.inf)
    return kept.logsumexp(0) - models.double().log()


def checked_population(
    shadows: Shadows, target: Tensor, population: Tensor
) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the population in the audited model (m,) and the others (models, m).

    Raises:
        BadData: other shapes, or what is no log of a probability.
    """
    x = checked_values(target, "log-probabilities of the population")
    if tuple(population.shape) != (len(shadows.margins), len(x)):
        raise BadData(
            f"The population has the shape {tuple(population.shape)}.",
            f"There are {len(shadows.margins)} reference models, and {len(x)} records in the "
            "audited model.",
            "Score the same population with all models, (models, records).",
        )
    z = checked_values(population.flatten(), "log-probabilities of the population")
    return _log_probabilities(x), _log_probabilities(z.reshape(population.shape).to(x.device))


def _log_probabilities(values: Tensor) -> Tensor:
    if bool((values > 1e-6).any()):
        raise BadData(
            f"{int((values > 1e-6).sum())} values are above 0.",
            "The log of a probability is 0 or less; probabilities and margins are not logs.",
            "Pass minus the cross entropy.",
        )
    return values.clamp(max=0.0)
