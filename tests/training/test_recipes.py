from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rescind.core.canonical import plain
from rescind.core.errors import BadParameter
from rescind.core.run import Recipe
from rescind.training.recipes import read_recipe, recipe_from
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


def test_a_file_is_read_with_its_types(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(TOML)
    recipe = read_recipe(path)
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
    ],
)
def test_what_cannot_work_is_refused_by_name(change: dict[str, object], told: str) -> None:
    with pytest.raises(BadParameter) as error:
        recipe_from({**plain(RECIPE), **change})
    assert told in str(error.value)


def test_a_file_that_is_no_toml_and_one_that_is_missing(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("method = ")
    with pytest.raises(BadParameter, match="is not TOML"):
        read_recipe(tmp_path / "bad.toml")
    with pytest.raises(BadParameter, match="There is no recipe"):
        read_recipe(tmp_path / "none.toml")
