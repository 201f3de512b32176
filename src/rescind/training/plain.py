"""Train the model of a recipe on rows at hand, without a workspace around it."""

from __future__ import annotations

from collections.abc import Sequence

from rescind.core.dataset import Row
from rescind.core.run import Order, Recipe
from rescind.training.device import PROCESSOR
from rescind.training.models import TrainedModel, trained_model
from rescind.training.stages import cell_data, train_order


def train_whole(recipe: Recipe, rows: Sequence[Row], device: str = PROCESSOR) -> TrainedModel:
    """The recipe's model, trained plainly on these rows with the recipe's seed, on a device."""
    model = trained_model(recipe)
    model.module.to(device)
    data = cell_data(model, rows)
    order = Order(0, 0, (0,), (model.adapted,))
    saved: list[bytes] = []
    train_order(
        model,
        recipe,
        order,
        lambda cell: data,
        {},
        lambda stage, found: saved.append(found),
        lambda what, done, total: None,
    )
    return model
