"""(2 / beta) E_forget log(1 + (p / p_original)^beta) - alpha E_retain log p."""

from __future__ import annotations

import math

import pytest
import torch
from language_task import LM, MLP, forgets, log_probabilities, loss_of, moved, same, work_on

from rescind.core.errors import BadParameter
from rescind.core.task import Task
from rescind.methods.npo import NPO

TASKS = pytest.mark.parametrize("task", [LM, MLP], ids=lambda t: t.target)


@TASKS
def test_the_loss_is_equation_3_with_the_probability_of_the_whole_text(task: Task) -> None:
    work, beta = moved(work_on(task)), 0.3
    found = NPO(beta=beta, alpha=0.5).loss(work, work.forget, work.retain)
    after, before = (log_probabilities(m, work.forget) for m in (work.model, work.original))
    ratios = [math.exp(sum(a) - sum(b)) for a, b in zip(after, before, strict=True)]
    gone = sum(2 / beta * math.log(1 + r**beta) for r in ratios) / len(ratios)
    kept = [-sum(y) for y in log_probabilities(work.model, work.retain)]
    wanted = gone + 0.5 * sum(kept) / len(kept)
    assert float(found) == pytest.approx(wanted, rel=1e-4)


def test_a_small_beta_is_gradient_ascent() -> None:
    """2404.05868, proposition 1: the gradient is that of E log p."""
    work = moved(work_on(MLP))
    moving = list(work.model.module.parameters())
    npo = NPO(beta=1e-4, alpha=0.0).loss(work, work.forget, work.retain)
    ascent = -loss_of(work.model, work.forget)
    for one, two in zip(
        torch.autograd.grad(npo, moving), torch.autograd.grad(ascent, moving), strict=True
    ):
        torch.testing.assert_close(one, two, rtol=1e-2, atol=1e-4)


@TASKS
def test_the_forget_loss_rises_and_the_retain_loss_stays(task: Task) -> None:
    work = work_on(task)
    NPO(alpha=4.0, lr=1e-3 if task is LM else 3e-3).change(work)
    forgets(work, 0.1, 0.05)


def test_adapters_forget_too_and_the_seed_fixes_the_bytes() -> None:
    works = [work_on(LM) for _ in range(3)]
    for work, seed in zip(works, (0, 0, 1), strict=True):
        NPO(alpha=4.0, lora_rank=4, epochs=30, seed=seed, lr=1e-2).change(work)
    forgets(works[0], 0.1, 0.05)
    assert same(works[0].model, works[1].model)
    assert not same(works[0].model, works[2].model)


def test_numbers_are_not_served_and_beta_is_above_zero() -> None:
    assert NPO.serves == {"classes", "tokens"}
    with pytest.raises(BadParameter, match="beta"):
        NPO(beta=0.0)
