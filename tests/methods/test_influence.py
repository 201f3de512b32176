"""The Newton step by Woodbury's identity against dense solves and against retraining."""

from __future__ import annotations

import pytest
import torch
from language_task import LM, MLP, forgets, same, work_on
from torch.nn.utils import parameters_to_vector

from rescind.core.errors import BadParameter, Diverged
from rescind.methods import influence
from rescind.methods.base import Work
from rescind.methods.influence import Influence, solve

DRAW = torch.Generator().manual_seed(0)


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=DRAW)


@pytest.mark.parametrize("damping", [1e-6, 1e-2, 10.0])
@pytest.mark.parametrize("shape", [(5, 30), (30, 5), (1, 7)])
def test_the_solve_is_the_dense_one(
    shape: tuple[int, int], damping: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(influence, "COLUMNS", 4)
    g, v = drawn(*shape), drawn(shape[1])
    matrix = g.T @ g / len(g) + damping * torch.eye(shape[1], dtype=torch.float64)
    wanted = torch.linalg.solve(matrix, v)
    assert float((solve(g, v, damping) - wanted).norm() / wanted.norm()) < 1e-6


def test_on_ridge_least_squares_the_step_is_retraining() -> None:
    """There the Hessian is X^T X, and one Newton step from the optimum is exact."""
    x, y, ridge = drawn(40, 6), drawn(40), 0.5
    forget, retain = slice(0, 5), slice(5, 40)

    def fit(part: slice) -> torch.Tensor:
        matrix = x[part].T @ x[part] + ridge * torch.eye(6, dtype=torch.float64)
        found: torch.Tensor = torch.linalg.solve(matrix, x[part].T @ y[part])
        return found

    original = fit(slice(0, 40))
    gradient = x[forget].T @ (x[forget] @ original - y[forget])
    edited = original + solve(x[retain], gradient / 35, ridge / 35)
    retrained = fit(retain)
    assert float((edited - retrained).norm() / retrained.norm()) < 1e-6
    assert float((original - retrained).norm() / retrained.norm()) > 1e-2


def doubled() -> Work:
    work = work_on(MLP)
    for model in (work.model, work.original):
        model.module.double()
    wide = [{n: t.double() if t.is_floating_point() else t for n, t in b.items()}
            for b in (work.forget, work.retain)]  # fmt: skip
    return Work(work.model, work.original, *wide)


@pytest.mark.parametrize("rows_at_once", [1, 4, 64])
def test_the_step_is_the_dense_one(rows_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(influence, "ROWS", rows_at_once)
    work, method = doubled(), Influence(damping=0.03, scale=0.5)
    moving = list(work.model.module.parameters())
    before = parameters_to_vector(moving).detach().clone()

    def gradient(batch: dict[str, torch.Tensor], i: int) -> torch.Tensor:
        logits = work.model.module(batch["array"][i : i + 1])
        loss = torch.nn.functional.cross_entropy(logits, batch["labels"][i : i + 1])
        found: torch.Tensor = parameters_to_vector(torch.autograd.grad(loss, moving))
        return found

    g = [gradient(work.retain, i) for i in range(34)]
    hessian = sum((torch.outer(one, one) for one in g), torch.zeros(()).double()) / 34
    total = sum((gradient(work.forget, i) for i in range(6)), torch.zeros(()).double())
    eye = torch.eye(len(before), dtype=torch.float64)
    wanted = 0.5 * torch.linalg.solve(hessian + 0.03 * eye, total / 34)
    method.change(work)
    step = parameters_to_vector(work.model.module.parameters()).detach() - before
    assert float((step - wanted).norm() / wanted.norm()) < 1e-6


def test_the_forget_loss_rises_and_the_retain_loss_stays() -> None:
    for work, damping, scale in ((work_on(LM), 1.0, 0.5), (work_on(MLP), 0.1, 1.0)):
        Influence(damping=damping, scale=scale).change(work)
        forgets(work, 0.02, 0.04)  # of the language model .03 to .06, by how a processor rounds


def test_fewer_samples_are_drawn_by_the_seed() -> None:
    works = [work_on(MLP) for _ in range(3)]
    for work, seed in zip(works, (0, 0, 1), strict=True):
        Influence(samples=5, seed=seed).change(work)
    assert same(works[0].model, works[1].model)
    assert not same(works[0].model, works[2].model)


def test_what_may_not_change_stays() -> None:
    work = work_on(MLP)
    first = next(work.model.module.parameters())
    kept = first.requires_grad_(False).clone()
    Influence().change(work)
    assert torch.equal(first, kept)
    assert not same(work.model, work.original)


def test_a_gradient_that_is_not_finite_is_refused_and_nothing_changes() -> None:
    work = work_on(MLP)
    work.forget["array"][0, 0] = float("nan")
    with pytest.raises(Diverged):
        Influence().change(work)
    assert same(work.model, work.original)


@pytest.mark.parametrize("wrong", [{"damping": 0.0}, {"scale": 0.0}, {"samples": 0}, {"seed": -1}])
def test_what_cannot_work_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(BadParameter):
        Influence(**wrong)  # type: ignore[arg-type]
