from __future__ import annotations

import importlib
import math

import pytest
import torch
from torch import Tensor

from rescind.core.errors import BadData, BadParameter
from rescind.metrics import linear_probe
from rescind.metrics.linear_probe import GRID, Probe, probe


def examples(
    n: int, seed: int, d: int = 8, classes: int = 3, apart: float = 0.8
) -> tuple[Tensor, Tensor]:
    """Gaussian clouds about fixed centres that overlap; every class occurs."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, d, generator=torch.Generator().manual_seed(99)) * apart
    y = torch.arange(n) % classes
    x = centres[y] + torch.randn(n, d, generator=generator)
    return x.double() * torch.logspace(-2, 2, d).double() + 5, y


def standard(x: Tensor) -> Tensor:
    return (x - x.mean(0)) / x.std(0, correction=0)


@pytest.mark.parametrize("l2", [1.0, 0.01, 0.0001])
def test_the_fit_is_where_an_independent_gradient_vanishes(l2: float) -> None:
    x, y = examples(90, 0)
    z = standard(x)
    weights = linear_probe._fit(z, y, l2, None, 3).requires_grad_()
    loss = torch.nn.functional.cross_entropy(z @ weights[:-1] + weights[-1], y)
    (loss + l2 / 2 * (weights[:-1] ** 2).sum()).backward()  # type: ignore[no-untyped-call]
    assert weights.grad is not None
    assert float(weights.grad.abs().max()) < 2e-5
    assert float(weights.detach().abs().max()) > 0.05


@pytest.mark.parametrize("l2", [1.0, 0.01])
def test_scikit_learn_finds_the_same_classifier(l2: float) -> None:
    (x, y), (x_test, y_test) = examples(120, 0), examples(300, 1)
    model = importlib.import_module("sklearn.linear_model").LogisticRegression(
        C=1 / (l2 * len(x)), tol=1e-8, max_iter=2000
    )
    model.fit(standard(x).numpy(), y.numpy())
    weights = linear_probe._fit(standard(x), y, l2, None, 3)
    theirs = torch.tensor(model.coef_).T
    assert torch.allclose(weights[:-1], theirs, atol=1e-3)
    z_test = ((x_test - x.mean(0)) / x.std(0, correction=0)).numpy()
    found = probe(x, y, x_test, y_test, grid=[l2])
    assert found.accuracy == pytest.approx(model.score(z_test, y_test.numpy()), abs=1 / 300)
    assert found.l2 == l2
    assert found.held_out is None


def test_the_penalty_is_the_best_on_what_was_held_out_and_the_largest_of_equals() -> None:
    x, y = examples(240, 0, d=40, apart=0.25)
    kept, held = linear_probe._split(y, 0.2, 0)
    z = standard(x)
    scores = {}
    for l2 in GRID:
        weights = linear_probe._fit(z[kept], y[kept], l2, None, 3)
        scores[l2] = linear_probe._score(weights, z[held], y[held])
    assert len(set(scores.values())) > 1
    best = max(scores.values())
    for grid in (GRID, GRID[::-1]):
        found = probe(x, y, x, y, grid=grid)
        assert found.held_out == best
        assert found.l2 == max(l2 for l2, score in scores.items() if score == best)


def test_the_chosen_penalty_is_fitted_to_all_training_features() -> None:
    (x, y), (x_test, y_test) = examples(60, 0, d=30), examples(400, 1, d=30)
    found = probe(x, y, x_test, y_test)
    again = probe(x, y, x_test, y_test, grid=[found.l2])
    assert again.accuracy == found.accuracy
    kept, _ = linear_probe._split(y, 0.2, 0)
    assert probe(x[kept], y[kept], x_test, y_test, grid=[found.l2]).accuracy != found.accuracy


def test_the_test_features_have_no_say() -> None:
    (x, y), (x_test, y_test) = examples(90, 0, d=40), examples(90, 1, d=40)
    far = probe(x, y, x_test * 50 + 1000, y_test)
    near = probe(x, y, x_test, y_test)
    assert (far.l2, far.held_out) == (near.l2, near.held_out)
    one = [probe(x, y, x_test[i : i + 1], y_test[i : i + 1]).accuracy for i in range(0, 90, 15)]
    few = probe(x, y, x_test[::15], y_test[::15]).accuracy
    assert few == pytest.approx(sum(one) / 6)


def test_the_share_is_held_out_in_every_class_by_its_seed() -> None:
    y = torch.tensor([0] * 20 + [1] * 10 + [2] * 2 + [3])
    kept, held = linear_probe._split(y, 0.2, 0)
    assert sorted([*kept.tolist(), *held.tolist()]) == list(range(33))
    assert torch.bincount(y[held], minlength=4).tolist() == [4, 2, 1, 0]
    assert torch.equal(held, linear_probe._split(y, 0.2, 0)[1])
    assert not torch.equal(held, linear_probe._split(y, 0.2, 1)[1])
    assert torch.bincount(y[linear_probe._split(y, 0.99, 0)[0]]).tolist() == [1, 1, 1, 1]


def test_the_same_arguments_give_the_same_probe_and_are_not_changed() -> None:
    x, y = examples(90, 0)
    before = x.clone()
    with torch.inference_mode():
        first = probe(x, y, x, y)
    assert first == probe(x.requires_grad_(), y, x, y)
    assert torch.equal(x, before)


def test_scale_and_shift_of_a_feature_change_nothing() -> None:
    (x, y), (x_test, y_test) = examples(90, 0), examples(90, 1)
    scale = torch.logspace(3, -3, 8).double()
    assert probe(x, y, x_test, y_test) == probe(x * scale - 7, y, x_test * scale - 7, y_test)


def test_features_that_can_be_separated_are() -> None:
    y = torch.arange(40) % 4
    x = torch.nn.functional.one_hot(y, 4) + 0.01 * torch.randn(40, 4)
    assert probe(x, y, x, y).accuracy == 1.0
    assert probe(x, y, x, (y + 1) % 4).accuracy == 0.0


def test_features_that_never_vary_are_left_out_even_if_they_do_in_the_test() -> None:
    (x, y), (x_test, y_test) = examples(90, 0), examples(90, 1)
    # apart from the last bit of a float32
    still = 1000 + 2.0**-14 * torch.randint(2, (90, 1))
    wild = torch.randn(90, 1) * 1e6
    more = probe(torch.cat([x, still], 1), y, torch.cat([x_test, wild], 1), y_test)
    assert more == probe(x, y, x_test, y_test)


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8])
def test_any_whole_numbers_are_labels(dtype: torch.dtype) -> None:
    x, y = examples(90, 0)
    assert probe(x, (3 * y + 40).to(dtype), x, 3 * y + 40) == probe(x, y, x, y)


def test_a_class_that_is_missing_in_both_is_no_matter_and_one_in_the_test_alone_is() -> None:
    x, y = examples(90, 0, classes=4)
    few = (y != 1) & (y != 3)
    assert isinstance(probe(x[few], y[few], x[few], y[few]), Probe)
    with pytest.raises(BadData, match="label 1, 3"):
        probe(x[few], y[few], x, y)
    assert probe(x, y, x[few], y[few]).accuracy > 0.5


X, Y = examples(30, 0)
BAD = [
    (X[:0], Y[:0], X, Y, "must be features"),
    (X, Y, X[:0], Y[:0], "must be features"),
    (X, Y[:29], X, Y, "Training features"),
    (X, Y, X, Y[:29], "Test features"),
    (X.unsqueeze(0), Y, X, Y, "one row"),
    (X, Y.double(), X, Y, "whole number"),
    (X, Y, X, Y.double(), "whole number"),
    (X, Y, X[:, :4], Y, "8 wide and test features 4"),
    (torch.where(X.max() == X, math.nan, X), Y, X, Y, "training feature is NaN"),
    (X, Y, torch.where(X.max() == X, math.inf, X), Y, "test feature is NaN or infinite"),
    (X * 0 + 0.1, Y, X, Y, "are the same"),
    (X, Y * 0, X, Y * 0, "label 0"),
    (X[:3], Y[:3], X, Y, "held out"),
]


@pytest.mark.parametrize(("x", "y", "x_test", "y_test", "said"), BAD)
def test_what_cannot_be_probed_is_refused(
    x: Tensor, y: Tensor, x_test: Tensor, y_test: Tensor, said: str
) -> None:
    with pytest.raises(BadData, match=said):
        probe(x, y, x_test, y_test)


@pytest.mark.parametrize(
    ("grid", "share"), [([], 0.2), ([0.0], 0.2), ([0.1, -1], 0.2), ([math.nan], 0.2), (GRID, 0.0)]
)
def test_penalties_are_above_zero_and_a_share_is_held_out(grid: list[float], share: float) -> None:
    with pytest.raises(BadParameter):
        probe(X, Y, X, Y, grid=grid, share=share)


def test_a_fit_that_does_not_converge_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear_probe, "STEPS", 2)
    with pytest.raises(BadData, match=r"gradient of .* after 2 steps"):
        probe(X, Y, X, Y)
