"""The scale of the offline RMIA attack, found on reference models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rescind.audits.rmia import checked_population, rmia_offline
from rescind.audits.shadows import Shadows
from rescind.core.errors import InsufficientEvidence
from rescind.metrics.membership import auc

if TYPE_CHECKING:
    from torch import Tensor


def tuned_scale(shadows: Shadows, population: Tensor) -> float:
    """The scale, of 0, 0.1, ..., 1, with the best mean area over reference models held out.

    Each in turn is attacked by the others; the audited model is not touched. The published code
    tunes on one paired model. It needs no model beyond those of the offline attack, as long as
    each was trained on some of the records.

    Raises:
        BadData, InsufficientEvidence: as ``rmia_offline``, with each model held out.
        InsufficientEvidence: a model that was trained on none or on all of the records.
    """
    _, z = checked_population(shadows, population[0], population)
    sides = zip(shadows.inside, shadows.outside, strict=True)
    if not all(bool(i.any()) and bool(o.any()) for i, o in sides):
        raise InsufficientEvidence(
            "A reference model was trained on none or on all of the records.",
            "The scale is tuned on models that have seen some.",
            "Train each reference model on half of the records, or set the scale.",
        )
    areas = [0.0] * 11
    for model in range(len(z)):
        rest, others = shadows.without(model), z[[m for m in range(len(z)) if m != model]]
        for tenth in range(11):
            found = rmia_offline(shadows.margins[model], rest, z[model], others, tenth / 10)
            areas[tenth] += auc(found[shadows.inside[model]], found[shadows.outside[model]])
    return areas.index(max(areas)) / 10
