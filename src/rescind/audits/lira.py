"""LiRA: each record's margin against its own distribution in models with and without the record.

N. Carlini et al., "Membership Inference Attacks From First Principles", S&P 2022 (arXiv
2112.03570). Over shadow models a record's margin is about normal, in each of two worlds. U-LiRA
(J. Hayes et al., 2024, arXiv 2403.01218) is the same ratio with other worlds: ``shadows`` builds
either. Scores are of single records; ``lira_group`` tests the records of a request together.

By default variances are pooled over records and means are shrunk, for few shadow models;
``variance="record", shrink=False`` is the paper's attack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rescind.audits.shadows import Shadows
from rescind.audits.worlds import Variance, held_out_worlds, outside_world, worlds

if TYPE_CHECKING:
    from torch import Tensor


def lira(
    target: Tensor, shadows: Shadows, variance: Variance = "pooled", shrink: bool = True
) -> Tensor:
    """Log likelihood ratio (n,), in nats: above 0 the inside world explains the margin better.

        log N(x; mu_in, sigma_in^2) - log N(x; mu_out, sigma_out^2),

    the attack "online". Where the audited method overshoots, U-LiRA's inside world lies *below*
    the outside one; the ratio finds that as well.

    Args:
        target: margins (n,) of the audited model.
        shadows: margins and worlds (models, n) of other models.
        variance: ``"pooled"`` over records or of each ``"record"``, in both for each world.
        shrink: move each record's gap between the worlds, and its level, towards the mean of all.

    Raises:
        BadData: other records, or margins that do not vary.
        BadParameter: another variance.
        InsufficientEvidence: a record has no model (with ``"record"``: one model) in a world.
    """
    return worlds(shadows, variance, shrink).log_ratio(shadows.margins_of(target))


def lira_offline(
    target: Tensor, shadows: Shadows, variance: Variance = "pooled", shrink: bool = True
) -> Tensor:
    """How many standard deviations (n,) the margin lies above the outside world's mean.

        (x - mu_out) / sigma_out,

    the attack "offline", left as the score that a probability would be a function of and that does
    not saturate. Needs no model trained on the records, and finds less.

    Raises:
        BadData, BadParameter, InsufficientEvidence: as ``lira``, for the outside world alone.
    """
    x = shadows.margins_of(target)
    out = outside_world(shadows, variance, shrink)
    return (x - out.mean) / out.variance.sqrt()


def held_out(
    shadows: Shadows, variance: Variance = "pooled", shrink: bool = True
) -> tuple[Tensor, Tensor]:
    """Scores of ``lira`` for each shadow model, held out in turn: (a,) inside and (b,) outside.

    What ``roc`` makes of them is how well the attack does where the answer is known. For U-LiRA it
    is the paper's result for a method: how well its unlearned models are told from retrained ones.
    Records of one model share its quirks, so intervals of the curve are too narrow.

    Raises:
        BadData, BadParameter, InsufficientEvidence: as ``lira``, with each model held out.
    """
    scores = held_out_worlds(shadows, variance, shrink).log_ratio(shadows.margins)
    return scores[shadows.inside], scores[shadows.outside]
