"""Tasks over any module: what they declare, refuse, and compute."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import torch

from rescind.core.errors import BadData, BadParameter, DamagedArtifact, MissingExtra
from rescind.core.run import Recipe
from rescind.training.modules import IGNORED, CausalLM, Classification, Regression
from rescind.training.whole import WholeModel

MLP = "rescind.training.zoo:mlp"
CLASSES = Classification(MLP, ("a", "b"), (4,), {"inputs": 4, "outputs": 2})
NUMBERS = Regression(MLP, (4,), 0.5, {"inputs": 4, "outputs": 1})
TEXT = CausalLM("rescind.training.zoo:gpt", 8, {"width": 32, "depth": 1, "length": 8})


def test_bytes_and_lists_of_numbers_are_the_same_array() -> None:
    rows: list[dict[str, Any]] = [
        {"array": base64.b64encode(bytes([0, 51, 102, 255])).decode(), "label": "b"},
        {"array": [0.0, 0.2, 0.4, 1.0], "label": "a"},
    ]
    found = CLASSES.batch(rows)
    assert torch.allclose(found["array"][0], found["array"][1])
    assert found["labels"].tolist() == [1, 0]


@pytest.mark.parametrize(
    "array", ["not base64!", [1.0, 2.0], [1, 2, 3, "x"], [1, 2, 3, float("nan")], None]
)
def test_rows_without_an_array_are_refused_together(array: object) -> None:
    rows = [{"array": array, "label": "c"}]
    with pytest.raises(BadData, match=r"4 numbers.*not declared: c"):
        CLASSES.check(rows)


def test_a_value_that_is_no_number_is_refused() -> None:
    with pytest.raises(BadData, match="no finite number"):
        NUMBERS.check([{"array": [1, 2, 3, 4], "value": "high"}])


def test_an_empty_text_is_refused() -> None:
    with pytest.raises(BadData, match="1 rows have no text"):
        TEXT.check([{"text": "good"}, {"text": ""}])


def test_cross_entropy_and_squared_error_by_hand() -> None:
    logits, labels = torch.tensor([[2.0, 0.0]]), torch.tensor([1])
    expected = torch.log(torch.tensor(2.0).exp() + 1.0)
    assert torch.allclose(CLASSES.loss(logits, {"labels": labels}), expected)
    numbers = {"labels": torch.tensor([1.0, 2.0])}
    assert NUMBERS.loss(torch.tensor([1.5, 0.0]), numbers).tolist() == [0.25, 4.0]
    assert NUMBERS.score(torch.tensor([1.5, 0.0]), numbers).tolist() == [1.0, 0.0]


def test_padding_of_a_text_counts_for_nothing() -> None:
    batch = TEXT.batch([{"text": "abc"}, {"text": "abcdefghij"}])
    assert batch["labels"][0].tolist() == [97, 98, 99, *[IGNORED] * 5]
    assert batch["labels"][1].tolist() == list(b"abcdefgh")
    logits = torch.randn(2, 8, 256, generator=torch.Generator().manual_seed(0))
    by_hand = [-logits[0, t].log_softmax(0)[list(b"abc")[t + 1]] for t in range(2)]
    assert torch.allclose(TEXT.loss(logits, batch)[0], torch.stack(by_hand).mean())


def test_an_ensemble_is_a_weighted_mean_of_probabilities() -> None:
    one, other = torch.tensor([[50.0, 0.0]]), torch.tensor([[0.0, 50.0]])
    assert torch.allclose(CLASSES.combine([one, other], [3.0, 1.0]), torch.tensor([[0.75, 0.25]]))
    assert NUMBERS.combine([torch.tensor([1.0]), torch.tensor([3.0])], [1.0, 1.0]).tolist() == [2.0]


@pytest.mark.parametrize(
    ("factory", "error"),
    [("os:system", BadParameter), ("no_such_module:f", MissingExtra), (f"{MLP}x", BadParameter)],
)
def test_a_factory_that_cannot_be_used(factory: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        Classification(factory, ("a", "b"), (4,)).build()


def test_arguments_that_the_factory_does_not_take() -> None:
    with pytest.raises(BadParameter, match=r"task\.arguments"):
        Classification(MLP, ("a", "b"), (4,), {"width": 4}).build()


def test_the_seed_alone_decides_the_first_weights() -> None:
    torch.manual_seed(1)
    one = WholeModel(Recipe(CLASSES, seed=3)).state()
    torch.manual_seed(2)
    drawn = torch.get_rng_state()
    model = WholeModel(Recipe(CLASSES, seed=3))
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(torch.equal(t, one[n]) for n, t in model.state().items())
    model.initialise(0, 4)
    assert not all(torch.equal(t, one[n]) for n, t in model.state().items())


def test_weights_of_another_module_are_refused() -> None:
    with pytest.raises(DamagedArtifact, match="does not fit"):
        WholeModel(Recipe(CLASSES)).load({"x": torch.zeros(1)})
