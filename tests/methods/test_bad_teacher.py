"""Bad teaching: where the bad teacher comes from, the loss written out, and the effect."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from trained_clouds import cloud_work, loss_before_and_after, share_right

from rescind.core.protocols import Editable
from rescind.methods.bad_teacher import BadTeacher, untrained
from rescind.testing.tiny import tiny_recipe, tiny_task
from rescind.training.descent import frozen_copy
from rescind.training.encoder import StagedModel


def tensors(model: Editable) -> dict[str, torch.Tensor]:
    return {name: t.clone() for name, t in model.module.state_dict().items()}


def test_the_bad_teacher_is_the_module_as_built_under_the_seed() -> None:
    work = cloud_work()
    before = torch.random.get_rng_state()
    found = tensors(untrained(work.original, work.model, 5))
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(5)
    wanted = work.model.task.build().state_dict()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    other = tensors(untrained(work.original, work.model, 6))
    assert not torch.equal(found["1.weight"], other["1.weight"])


def test_of_an_encoder_only_what_was_trained_is_drawn_anew(tmp_path: Path) -> None:
    model = StagedModel(tiny_recipe(tiny_task(tmp_path / "encoder"), "retrain"))
    for block in model.adapted:
        for parameter in model.adapters[block].values():
            torch.nn.init.normal_(parameter)
    for group in model.groups(model.adapted):
        for parameter in group:
            parameter.requires_grad_(True)
    moving = {n for n, p in model.module.named_parameters() if p.requires_grad}
    original = tensors(model)
    found = tensors(untrained(frozen_copy(model), model, 1))
    same = {name for name in found if torch.equal(found[name], original[name])}
    assert same == set(found) - moving | {n for n in moving if n == "head.bias"}
    zero = [n for n in moving if "lora_B" in n]
    assert zero
    assert not any(bool(found[n].any()) for n in zero)


def test_the_loss_is_the_sum_of_two_divergences_to_the_student() -> None:
    work = cloud_work()
    with torch.no_grad():
        for parameter in work.model.module.parameters():
            parameter.mul_(0.8)
    bad = untrained(work.original, work.model, 0)
    wanted = 0.0
    for teacher, batch in ((bad, work.forget), (work.original, work.retain)):
        with torch.no_grad():
            p = teacher.outputs(batch).softmax(1).tolist()
            q = work.model.outputs(batch).softmax(1).tolist()
        rows = [
            sum(a * math.log(a / b) for a, b in zip(*row, strict=True) if a)
            for row in zip(p, q, strict=True)
        ]
        wanted += sum(rows) / len(rows)
    found = BadTeacher()._loss(work, bad, work.forget, work.retain).detach()
    assert float(found) == pytest.approx(wanted, rel=1e-4)


def test_it_forgets_and_what_is_kept_stays_right() -> None:
    work = cloud_work()
    BadTeacher(lr=1e-2, epochs=20).change(work)
    before, after = loss_before_and_after(work, work.forget)
    assert after > before + 0.7
    assert share_right(work, work.retain) > 0.9


def test_the_student_ends_near_the_bad_teacher_on_the_forget_set() -> None:
    work = cloud_work()
    bad = untrained(work.original, work.model, 0)
    BadTeacher(lr=1e-2, epochs=40).change(work)
    with torch.no_grad():
        wanted, found, old = (
            m.outputs(work.forget).softmax(1) for m in (bad, work.model, work.original)
        )
    assert float((found - wanted).abs().mean()) < 0.3 * float((old - wanted).abs().mean())
