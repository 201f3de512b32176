"""How often the group test of ``lira_group`` rejects models with a known answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rescind.audits.lira_group import LEVEL, group_statistics, rank_of
from rescind.audits.shadows import Shadows
from rescind.core.errors import BadParameter, InsufficientEvidence

if TYPE_CHECKING:
    from torch import Tensor


def held_out_power(shadows: Shadows, level: float = LEVEL) -> float:
    """Share of the models inside for the whole group that ``group_finding`` rejects.

    Each is held out of the shadows in turn. For LiRA these are models that hold the records, and
    this is the power to see that nothing was removed. For U-LiRA they are models that the audited
    method has treated: the share says how often *that method* leaves a trace, and is near the level
    where it leaves none.

    Raises:
        InsufficientEvidence: no model is inside for the whole group; as ``group_finding``.
    """
    whole = shadows.inside.all(1).nonzero()[:, 0].tolist()
    if not whole:
        raise InsufficientEvidence(
            "No shadow model has seen the whole group.",
            "Power is measured on models with a known answer.",
            "Train shadow models on all records of the request, or give power_on such models.",
        )
    found = [
        rank_of(*group_statistics(shadows.margins[model], shadows.without(model), level)) < level
        for model in whole
    ]
    return sum(found) / len(found)


def power_on(holding: Tensor, shadows: Shadows, level: float = LEVEL) -> float:
    """Share of models that hold the group which ``group_finding`` rejects.

    U-LiRA looks along the direction in which the audited method differs from retraining. Where it
    hardly differs there is none, and models that hold the records pass too: then this is low, and
    U-LiRA says nothing about a model that was not unlearned at all. LiRA is for that.

    Args:
        holding: margins (models, n) of models that are no shadows and hold the records, such as
            those that other shadows were before they unlearned.
        shadows: as for ``group_finding``.
        level: as for ``group_finding``.

    Raises:
        BadData, InsufficientEvidence: as ``group_finding``.
        BadParameter: no models.
    """
    if holding.dim() != 2 or len(holding) < 1:
        raise BadParameter(
            f"The models that hold the records have margins of the shape {tuple(holding.shape)}.",
            "Power is a share of models.",
            "Pass (models, n) with one model or more.",
        )
    found = [
        rank_of(*group_statistics(shadows.margins_of(x), shadows, level)) < level for x in holding
    ]
    return sum(found) / len(found)
