"""Attacks on an update: which records were unlearned between two models that one can ask?

An unlearned model may hide a record that the pair of models gives away. M. Chen et al., "When
Machine Unlearning Jeopardizes Privacy", CCS 2021 (arXiv 2005.02205), compare posteriors before and
after; M. Jagielski et al., PETS 2023 (arXiv 2205.06369), the difference of scores. Exact unlearning
is found too: that something changed is what was asked for. What these scores measure is what
publishing both models tells a stranger.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rescind.audits.lira import lira
from rescind.audits.shadows import Shadows
from rescind.audits.worlds import Variance
from rescind.core.errors import BadData
from rescind.metrics.loss import checked_pair

if TYPE_CHECKING:
    from torch import Tensor


def margin_drop(before: Tensor, after: Tensor) -> Tensor:
    """Margin before minus margin after, (n,); higher is more like a record that was unlearned.

    Methods that overshoot give larger drops than retraining does.

    Raises:
        BadData: not the same records, or a margin that is not finite.
    """
    first, second = checked_pair(before, after, "margins before", "margins after")
    return first - second


def update_shadows(before: Tensor, after: Tensor, removed: Tensor, kept: Tensor) -> Shadows:
    """Margin drops of shadow pairs, for ``update_ratio``.

    Args:
        before: margins (pairs, n) of shadow models.
        after: margins (pairs, n) of the same models after the audited method unlearned some of
            the records they had seen.
        removed: boolean (pairs, n), which records that pair unlearned.
        kept: which records are the alternative: those trained on before and after, or never; the
            two behave differently, and a record of a pair in neither mask does not count.

    Raises:
        BadData: other shapes, a margin that is not finite, or a record removed and kept.
    """
    if before.shape != after.shape:
        raise BadData(
            f"Margins have the shape {tuple(before.shape)} before and {tuple(after.shape)} after.",
            "A pair is one model before and after it unlearned.",
            "Pass the same models and records in the same order.",
        )
    drops = Shadows(before, removed, kept).margins - Shadows(after, removed, kept).margins
    return Shadows(drops, removed, kept)


def update_ratio(
    before: Tensor,
    after: Tensor,
    shadows: Shadows,
    variance: Variance = "pooled",
    shrink: bool = True,
) -> Tensor:
    """Log likelihood ratio (n,), in nats, of each record's drop if removed and if kept.

    LiRA (``lira``) on margin drops. Training noise that a model keeps through the update cancels in
    the drop, so that few pairs are needed where the method starts from the model before.

    Args:
        before: margins (n,) of the audited model.
        after: margins (n,) of the model that it became.
        shadows: from ``update_shadows``.
        variance: as in ``lira``.
        shrink: as in ``lira``.

    Raises:
        BadData, BadParameter, InsufficientEvidence: as ``margin_drop`` and ``lira``.
    """
    return lira(margin_drop(before, after), shadows, variance, shrink)
