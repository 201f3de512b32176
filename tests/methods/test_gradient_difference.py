"""min alpha E_retain K - E_forget loss."""

from __future__ import annotations

import pytest
import torch
from language_task import LM, MLP, forgets, log_probabilities, loss_of, moved, same, work_on

from rescind.core.errors import BadParameter, UnsupportedModel
from rescind.core.task import Task
from rescind.methods.gradient_difference import GradientDifference
from rescind.training.modules import Regression

TASKS = pytest.mark.parametrize("task", [LM, MLP], ids=lambda t: t.target)


@TASKS
def test_the_loss_is_the_weighted_difference(task: Task) -> None:
    work = moved(work_on(task))
    found = GradientDifference(alpha=0.7).loss(work, work.forget, work.retain)
    means = [
        sum(-sum(t) / len(t) for t in texts) / len(texts)
        for texts in (log_probabilities(work.model, b) for b in (work.retain, work.forget))
    ]
    assert float(found.detach()) == pytest.approx(0.7 * means[0] - means[1], rel=1e-4, abs=1e-5)


@TASKS
def test_the_divergence_is_that_of_the_original_from_the_model(task: Task) -> None:
    work = moved(work_on(task))
    found = GradientDifference(alpha=2.0, keep="kl").loss(work, work.forget, work.retain)
    before, after = (m.outputs(work.retain).detach() for m in (work.original, work.model))
    rows = []
    for i, label in enumerate(work.retain["labels"]):
        places = [t - 1 for t in range(1, label.numel()) if label[t] >= 0] if label.dim() else [...]
        each = [(before[i][t].softmax(-1), after[i][t].softmax(-1)) for t in places]
        rows.append(sum(float((p * (p / q).log()).sum()) for p, q in each) / len(each))
    wanted = 2.0 * sum(rows) / len(rows) - loss_of(work.model, work.forget).detach().item()
    assert sum(rows) > 0.1
    assert found.detach().item() == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("keep", ["loss", "kl"])
@TASKS
def test_the_forget_loss_rises_and_the_retain_loss_stays(task: Task, keep: str) -> None:
    work = work_on(task)
    lr = 1e-3 if task is LM else 3e-3
    GradientDifference(keep=keep, alpha=4.0, lr=lr).change(work)
    forgets(work, 0.05, 0.05)


def test_adapters_forget_too_and_the_seed_fixes_the_bytes() -> None:
    works = [work_on(LM) for _ in range(3)]
    for work, seed in zip(works, (0, 0, 1), strict=True):
        GradientDifference(alpha=4.0, lora_rank=2, seed=seed, lr=1e-2).change(work)
    forgets(works[0], 0.05, 0.1)
    assert same(works[0].model, works[1].model)
    assert not same(works[0].model, works[2].model)


def test_numbers_have_no_divergence() -> None:
    task = Regression("rescind.training.zoo:mlp", (2,), 0.5, {"inputs": 2, "outputs": 1})
    work = work_on(MLP)
    object.__setattr__(work.model, "task", task)
    with pytest.raises(UnsupportedModel, match="keep=loss"):
        GradientDifference(keep="kl").change(work)


@pytest.mark.parametrize("wrong", [{"keep": "l2"}, {"alpha": -1.0}, {"lora_rank": -1}, {"lr": 0.0}])
def test_what_cannot_work_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(BadParameter):
        GradientDifference(**wrong)  # type: ignore[arg-type]


def test_the_original_is_left_alone() -> None:
    work = work_on(MLP)
    GradientDifference().change(work)
    assert same(work.original, work_on(MLP).model)
    assert torch.is_grad_enabled()
