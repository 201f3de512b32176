"""Train the model of a recipe on rows at hand, without a workspace around it."""

from __future__ import annotations

from collections.abc import Sequence

from rescind.core.dataset import Row
from rescind.core.partition import Cell
from rescind.core.run import Order, Recipe
from rescind.training.device import PROCESSOR
from rescind.training.extra_term import ExtraTerms
from rescind.training.models import TrainedModel, trained_model
from rescind.training.stages import cell_data, train_order

WHOLE = Cell(0, 0)  # the one cell of a plain training


def train_whole(
    recipe: Recipe,
    rows: Sequence[Row],
    device: str = PROCESSOR,
    *,
    seeding: ExtraTerms | None = None,
) -> TrainedModel:
    """The recipe's model, trained plainly on these rows with the recipe's seed, on a device.

    Codes of records that ``seeding`` has for the cell ``WHOLE``, by their index among ``rows``, are
    learned beside the task.
    """
    model = trained_model(recipe)
    model.module.to(device)
    data = cell_data(model, rows)
    order = Order(WHOLE.shard, 0, (WHOLE.slice,), (model.adapted,))
    saved: list[bytes] = []
    train_order(
        model,
        recipe,
        order,
        lambda cell: data,
        {},
        lambda stage, found: saved.append(found),
        lambda what, done, total: None,
        seeding,
    )
    return model
