"""Models of which it is known what a judgement should say, made to be read and never stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from rescind import editing
from rescind.core.canonical import digest
from rescind.core.dataset import Row
from rescind.core.errors import (
    BadData,
    BadParameter,
    Diverged,
    InsufficientEvidence,
    RescindError,
    UnsupportedModel,
)
from rescind.core.run import Snapshot
from rescind.jobs import Desk
from rescind.methods.base import Work
from rescind.methods.eu_k import EUk

if TYPE_CHECKING:
    from rescind.training.models import TrainedModel

# errors by which a control cannot be had; the candidate is judged all the same
REFUSALS = (UnsupportedModel, BadParameter, BadData, Diverged, InsufficientEvidence)


def refusal(error: RescindError) -> str:
    """Why a control is lacking, in words without keys and paths (rule 4)."""
    if isinstance(error, BadData):
        return "its numbers or features are not such that they can be compared"
    return error.what.rstrip(".")


def untrained(desk: Desk) -> TrainedModel:
    """The desk's model as training finds it, drawn by a seed that nobody would type.

    Only what the recipe draws is random: a pretrained base stays what it is.
    """
    seed = 2**52 + int(digest(["rescind control", desk.run.recipe.seed])[:13], 16)
    desk.model.load({})
    for block in desk.model.adapted:
        desk.model.initialise(block, seed)
    desk.model.initialise_head(seed)
    return desk.model


def last_layer(
    desk: Desk, original: Snapshot, forget: Sequence[Row], retain: Sequence[Row]
) -> TrainedModel:
    """A copy of the original whose last layer alone was trained anew on the retain set: EU-1.

    Raises:
        BadParameter: no layer has weights that may change.
        Diverged: a loss or a gradient was no finite number.
        DamagedArtifact: the original is lost.
    """
    from rescind.training.descent import frozen_copy, renew_statistics

    edited = editing.load(desk.b, desk.run, original)
    work = Work(edited, frozen_copy(edited), edited.inputs(forget), edited.inputs(retain))
    EUk(k=1, seed=0).change(work)
    renew_statistics(edited, work.retain)
    return cast("TrainedModel", edited)
