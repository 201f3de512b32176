"""SCRUB: divergence and loss written out, the turns, the rewind, and the effect."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from trained_clouds import cloud_work, loss_before_and_after, share_right, weights_of

from rescind.core.errors import BadParameter, Refused
from rescind.methods.divergence import divergence
from rescind.methods.scrub import Scrub, closest, error_rate, hold_out


def by_hand(teacher: torch.Tensor, student: torch.Tensor) -> float:
    p, q = teacher.double().softmax(-1).tolist(), student.double().softmax(-1).tolist()
    return float(sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)))


def test_the_divergence_is_from_the_original_to_the_student() -> None:
    one, two = torch.randn(4, 3), torch.randn(4, 3)
    found = divergence(one, two, {})
    wanted = torch.tensor([by_hand(a, b) for a, b in zip(one, two, strict=True)])
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(found, divergence(two, one, {}), rtol=1e-2)


def test_the_divergence_of_texts_counts_no_padding() -> None:
    one, two = torch.randn(2, 4, 5), torch.randn(2, 4, 5)
    labels = torch.tensor([[1, 2, 3, 4], [1, 2, -100, -100]])
    found = divergence(one, two, {"labels": labels})
    for row, positions in ((0, 3), (1, 1)):  # position t foretells token t + 1
        each = [by_hand(one[row, t], two[row, t]) for t in range(positions)]
        assert float(found[row]) == pytest.approx(sum(each) / positions, rel=1e-4)


def test_the_loss_of_the_retain_set_weighs_divergence_and_task() -> None:
    work = cloud_work()
    with torch.no_grad():
        for parameter in work.model.module.parameters():
            parameter.mul_(0.8)
        z = work.original.outputs(work.retain), work.model.outputs(work.retain)
    each = [by_hand(a, b) for a, b in zip(*z, strict=True)]
    task = float(work.model.task.loss(z[1], work.retain).mean())
    found = Scrub(alpha=0.3, gamma=0.7).loss(work, work.forget, work.retain).detach()
    assert float(found) == pytest.approx(0.3 * sum(each) / len(each) + 0.7 * task, rel=1e-4)


def test_a_pass_over_the_forget_set_raises_the_divergence_and_later_epochs_have_none() -> None:
    work, none = cloud_work(steps=15), cloud_work(steps=15)
    Scrub(epochs=4, max_epochs=4, lr=1e-2, batch_size=4).change(work)
    Scrub(epochs=4, max_epochs=0, lr=1e-2, batch_size=4).change(none)
    raised = float(Scrub().apart(work, work.forget).detach())
    assert raised > 3 * float(Scrub().apart(none, none.forget).detach())


def test_it_forgets_and_what_is_kept_stays_right() -> None:
    work = cloud_work(steps=15)
    Scrub(epochs=4, max_epochs=4, lr=1e-2, batch_size=4).change(work)
    before, after = loss_before_and_after(work, work.forget)
    assert after > before + 0.5
    assert share_right(work, work.retain) > 0.9


def test_the_closest_error_is_taken_and_of_equals_the_last() -> None:
    assert closest([0.0, 0.2, 0.5, 1.0], 0.3) == 1
    assert closest([0.0, 0.2, 0.2, 1.0], 0.2) == 2
    assert closest([0.5], 0.0) == 0


def test_the_rewind_goes_back_to_the_epoch_whose_forget_error_is_closest() -> None:
    method = Scrub(epochs=4, max_epochs=4, lr=1e-2, batch_size=4, seed=0)
    work = cloud_work(steps=15)
    train, held = hold_out(work.retain, 0)
    states, errors = [], []
    for epochs in range(1, 5):  # each epoch by a run of its own, from the original
        again = replace(cloud_work(steps=15), retain=train)
        replace(method, epochs=epochs).change(again)
        states.append(weights_of(again))
        errors.append(error_rate(again, work.forget))
    wanted = states[closest(errors, error_rate(again, held))]
    replace(method, rewind=True).change(work)
    assert len(set(errors)) > 1  # else any epoch would do
    assert not all(map(torch.equal, states[-1], wanted))
    assert all(map(torch.equal, weights_of(work), wanted))


def test_what_is_held_out_is_a_tenth_by_the_seed_and_never_trained_on() -> None:
    work = cloud_work()
    train, held = hold_out(work.retain, 0)
    assert len(held["labels"]) == 4
    both = torch.cat([train["array"], held["array"]])
    assert sorted(both.tolist()) == sorted(work.retain["array"].tolist())
    assert torch.equal(held["array"], hold_out(work.retain, 0)[1]["array"])
    assert not torch.equal(held["array"], hold_out(work.retain, 1)[1]["array"])


def test_a_rewind_needs_two_records() -> None:
    work = cloud_work()
    single = replace(work, retain={k: t[:1] for k, t in work.retain.items()})
    with pytest.raises(Refused, match="one record"):
        Scrub(rewind=True).change(single)


@pytest.mark.parametrize("wrong", [{"max_epochs": -1}, {"alpha": -0.1}, {"gamma": 0.0}])
def test_parameters_without_meaning_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(BadParameter):
        replace(Scrub(), **wrong)  # type: ignore[arg-type]
