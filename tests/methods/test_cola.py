"""COLA: the contrastive loss by a double loop, the features by hand, and the effect."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize
from trained_clouds import cloud_work, share_right, weights_of

from rescind.core.errors import BadParameter, UnsupportedModel
from rescind.methods.cola import Cola, contrastive, features


def by_double_loop(x: torch.Tensor, labels: list[int], t: float) -> float:
    z = x.double() / x.double().norm(dim=1, keepdim=True)
    terms = []
    for i in range(len(z)):
        partners = [p for p in range(len(z)) if p != i and labels[p] == labels[i]]
        if not partners:
            continue
        below = sum(math.exp(float(z[i] @ z[a]) / t) for a in range(len(z)) if a != i)
        logs = [float(z[i] @ z[p]) / t - math.log(below) for p in partners]
        terms.append(-sum(logs) / len(partners))
    return sum(terms) / len(terms)


@pytest.mark.parametrize("labels", [[0, 0, 1, 1, 2, 2], [0, 0, 0, 0, 1, 2], [1, 1, 1, 1, 1, 1]])
def test_the_contrastive_loss_is_that_of_a_double_loop(labels: list[int]) -> None:
    x = torch.randn(6, 5)
    found = contrastive(x, torch.tensor(labels), 0.2)
    assert float(found) == pytest.approx(by_double_loop(x, labels, 0.2), rel=1e-4)


@pytest.mark.parametrize("labels", [[0], [0, 1, 2]])
def test_without_partners_it_is_zero_and_so_is_its_gradient(labels: list[int]) -> None:
    x = torch.randn(len(labels), 5, requires_grad=True)
    loss = contrastive(x, torch.tensor(labels), 0.1)
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == 0.0
    assert x.grad is not None
    assert not bool(x.grad.any())


def test_the_features_are_what_enters_the_last_linear_layer() -> None:
    work = cloud_work()
    layers = list(work.model.module.children())
    wanted = torch.relu(layers[1](work.retain["array"]))
    found = features(work.model, work.retain)
    torch.testing.assert_close(found, wanted)
    assert not any(layer._forward_pre_hooks for layer in layers)


def test_the_collapse_moves_the_encoder_alone_and_the_alignment_the_head_too() -> None:
    work = cloud_work()
    Cola().collapse(work, work.retain).backward()  # type: ignore[no-untyped-call]
    moved = [p.grad is not None for p in work.model.module.parameters()]
    assert moved == [True, True, False, False]
    before = weights_of(work)
    Cola().change(work)
    assert not any(map(torch.equal, before, weights_of(work)))


def spread(x: torch.Tensor, labels: torch.Tensor) -> float:
    """Mean squared distance to the centre of one's class, of features of length 1."""
    z = normalize(x.detach(), dim=1)
    parts = [z[labels == c] for c in sorted(set(labels.tolist()))]
    return float(sum(((p - p.mean(0)) ** 2).sum() for p in parts)) / len(z)


def test_features_collapse_the_forgotten_class_fades_and_what_is_kept_stays_right() -> None:
    work = cloud_work()
    Cola(lr=1e-2, collapse_epochs=20, epochs=20).change(work)
    before, after = (
        spread(features(m, work.retain), work.retain["labels"]) for m in (work.original, work.model)
    )
    assert after < 0.5 * before
    assert share_right(work, work.retain) > 0.9
    assert share_right(work, work.forget) < 0.5


def test_the_forget_set_is_never_looked_at() -> None:
    one, two = cloud_work(), cloud_work()
    two.forget["array"].mul_(-9.0)
    for work in (one, two):
        Cola().change(work)
    assert all(map(torch.equal, weights_of(one), weights_of(two)))


def test_a_model_without_features_that_may_change_is_refused() -> None:
    work = cloud_work()
    list(work.model.module.children())[1].requires_grad_(False)
    with pytest.raises(UnsupportedModel, match="may change"):
        Cola().change(work)


def test_a_module_without_a_linear_layer_is_refused() -> None:
    work = cloud_work()
    work.model.module = torch.nn.Flatten()  # type: ignore[misc]
    with pytest.raises(UnsupportedModel, match="no linear layer"):
        features(work.model, work.retain)


@pytest.mark.parametrize("wrong", [{"collapse_epochs": 0}, {"temperature": 0.0}])
def test_parameters_without_meaning_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(BadParameter):
        replace(Cola(), **wrong)  # type: ignore[arg-type]
