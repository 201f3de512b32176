"""-(2 / beta) E_forget log sigmoid(-(beta / |y|) log p - gamma) + alpha E_retain loss."""

from __future__ import annotations

import math

import pytest
from language_task import LM, MLP, forgets, log_probabilities, loss_of, moved, same, work_on

from rescind.core.errors import BadParameter
from rescind.core.task import Task
from rescind.methods.simnpo import SimNPO

TASKS = pytest.mark.parametrize("task", [LM, MLP], ids=lambda t: t.target)


@TASKS
def test_the_loss_is_equation_4(task: Task) -> None:
    work, beta, gamma = moved(work_on(task)), 1.5, 0.25
    method = SimNPO(beta=beta, gamma=gamma, alpha=0.5)
    found = method.loss(work, work.forget, work.retain)
    margins = [-beta / len(y) * sum(y) - gamma for y in log_probabilities(work.model, work.forget)]
    gone = sum(2 / beta * math.log(1 + math.exp(-m)) for m in margins) / len(margins)
    wanted = gone + 0.5 * float(loss_of(work.model, work.retain))
    assert float(found) == pytest.approx(wanted, rel=1e-4)


@TASKS
def test_the_forget_loss_rises_and_the_retain_loss_stays(task: Task) -> None:
    work = work_on(task)
    SimNPO(alpha=4.0, lr=1e-3 if task is LM else 3e-3).change(work)
    forgets(work, 0.05, 0.05)


def test_adapters_forget_too_and_the_seed_fixes_the_bytes() -> None:
    works = [work_on(LM) for _ in range(3)]
    for work, seed in zip(works, (0, 0, 1), strict=True):
        SimNPO(alpha=4.0, lora_rank=4, epochs=30, seed=seed, lr=1e-2).change(work)
    forgets(works[0], 0.1, 0.05)
    assert same(works[0].model, works[1].model)
    assert not same(works[0].model, works[2].model)


def test_numbers_are_not_served_and_beta_is_above_zero() -> None:
    assert SimNPO.serves == {"classes", "tokens"}
    with pytest.raises(BadParameter, match="beta"):
        SimNPO(beta=-1.0)
