"""DELETE: the distribution it distils, written out, and what it does to a trained network."""

from __future__ import annotations

import math

import pytest
import torch
from trained_clouds import cloud_work, loss_before_and_after, share_right, weights_of

from rescind.methods.delete import Delete, masked


def test_the_target_is_the_originals_opinion_of_all_other_classes() -> None:
    logits = torch.tensor([[1.0, 2.0, -0.5], [0.3, 0.1, 4.0]])
    labels = torch.tensor([1, 2])
    found = masked(logits, labels).softmax(dim=1)
    for row, wrong, label in zip(found, logits, labels, strict=True):
        others = [c for c in range(3) if c != int(label)]
        total = sum(math.exp(float(wrong[c])) for c in others)
        assert float(row[label]) == 0.0
        for c in others:
            assert float(row[c]) == pytest.approx(math.exp(float(wrong[c])) / total, rel=1e-5)


def test_the_loss_is_the_divergence_from_the_target_to_the_student() -> None:
    work = cloud_work()
    with torch.no_grad():
        for parameter in work.model.module.parameters():
            parameter.mul_(0.9)
        z, p = work.original.outputs(work.forget), work.model.outputs(work.forget).softmax(dim=1)
    total = 0.0
    for i, label in enumerate(work.forget["labels"].tolist()):
        others = [c for c in range(3) if c != label]
        mass = sum(math.exp(float(z[i, c])) for c in others)
        for c in others:
            q = math.exp(float(z[i, c])) / mass
            total += q * math.log(q / float(p[i, c]))
    found = float(Delete().loss(work, work.forget, work.retain).detach())
    assert found == pytest.approx(total / len(p), rel=1e-4)


def test_gradients_are_finite_although_a_logit_is_minus_infinity() -> None:
    work = cloud_work()
    Delete().loss(work, work.forget, work.retain).backward()  # type: ignore[no-untyped-call]
    gradients = [p.grad for p in work.model.module.parameters()]
    assert all(g is not None and bool(torch.isfinite(g).all()) for g in gradients)


def test_it_forgets_and_what_is_kept_stays_right() -> None:
    work = cloud_work()
    Delete(lr=2e-2, epochs=20).change(work)
    before, after = loss_before_and_after(work, work.forget)
    assert before < 0.2
    assert after > 2.0
    assert share_right(work, work.forget) < 0.2
    assert share_right(work, work.retain) > 0.9


def test_the_retain_set_is_never_looked_at() -> None:
    one, two = cloud_work(), cloud_work()
    two.retain["array"].mul_(-7.0)
    for work in (one, two):
        Delete().change(work)
    assert all(map(torch.equal, weights_of(one), weights_of(two)))
