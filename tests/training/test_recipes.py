from __future__ import annotations

import tomllib
from dataclasses import replace

import pytest

from rescind.core.canonical import plain
from rescind.core.errors import BadParameter
from rescind.core.run import AdamW, Lora, Recipe
from rescind.training.recipes import recipe_from
from rescind.training.tasks import TextClassification

TOML = """
method = "sisa"
epochs = 3

[task]
kind = "text_classification"
encoder = "some/folder"
labels = ["a", "b"]
max_length = 32

[partition]
shards = 2
slices = 2

[optimizer]
lr = 1
"""
RECIPE = recipe_from(
    {"task": {"kind": "text_classification", "encoder": "e", "labels": ["a", "b"]}}
)


def test_the_values_of_a_file_are_read_with_their_types() -> None:
    recipe = recipe_from(tomllib.loads(TOML))
    assert recipe.task == TextClassification("some/folder", ("a", "b"), max_length=32)
    assert (recipe.method, recipe.epochs, recipe.partition.shards) == ("sisa", 3, 2)
    assert isinstance(recipe.optimizer.lr, float)


def test_plain_values_come_back_as_the_same_recipe() -> None:
    for recipe in (RECIPE, replace(RECIPE, deletion_probabilities=(0.5, 0.3, 0.2), orders=2)):
        again = recipe_from(plain(recipe))
        assert again == recipe
        assert isinstance(again, Recipe)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"epoch": 3}, "'epoch'. Did you mean 'epochs'"),
        ({"task": {"kind": "text_clasification"}}, "Did you mean 'text_classification'"),
        ({"task": {"encoder": "e"}}, "has no kind"),
        ({"task": "e"}, "has no task"),
        ({"adapter": {"rang": 2}}, "'rang'. Did you mean 'rank'"),
        ({"epochs": 0}, "must be at least 1"),
        ({"epochs": "two"}, "must be of type int"),
        ({"seed": -1}, "seed is -1; it must be at least 0"),
        ({"orders": 0, "batch_size": 0, "seed": -2}, "orders is 0; it must be at least 1; batch_s"),
        ({"deletion_probabilities": [0.5, -0.5, 1.0]}, "holds [-0.5]; each must lie in [0, 1]"),
        ({"optimizer": {"lr": -1}}, "optimizer.lr is -1.0; it must be a finite number, at least 0"),
        (
            {"optimizer": {"head_lr": -1, "weight_decay": -1}},
            "head_lr is -1.0; it must be a finite",
        ),
        ({"optimizer": {"head_lr": -1, "weight_decay": -1}}, "optimizer.weight_decay is -1.0"),
        ({"adapter": {"rank": 0, "alpha": 0}}, "adapter.rank is 0; it must be at least 1"),
        ({"adapter": {"rank": 0, "alpha": 0}}, "adapter.alpha is 0.0; it must be above 0"),
        ({"adapter": {"dropout": 1.0}}, "adapter.dropout is 1.0; it must lie in [0, 1)"),
        ({"adapter": {"targets": []}}, "adapter.targets is []; it must name projections"),
        ({"adapter": {"targets": [" "]}}, "it must name projections"),
    ],
)
def test_what_cannot_work_is_refused_by_name(change: dict[str, object], told: str) -> None:
    with pytest.raises(BadParameter) as error:
        recipe_from({**plain(RECIPE), **change})
    assert told in str(error.value)


@pytest.mark.parametrize("rate", [float("nan"), float("inf"), -1.0])
def test_a_rate_that_python_passes_must_be_a_number_too(rate: float) -> None:
    for name in ("lr", "head_lr", "weight_decay"):
        with pytest.raises(BadParameter, match=rf"optimizer\.{name} is"):
            AdamW(**{name: rate})
    with pytest.raises(BadParameter, match=r"adapter\.alpha is"):
        Lora(alpha=rate)
