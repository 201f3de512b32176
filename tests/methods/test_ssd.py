"""Selective synaptic dampening: importance and rule against loops over records and weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from trained_clouds import (
    cloud_work,
    loss_before_and_after,
    share_right,
    weights_of,
)

from rescind.core.errors import BadParameter, Diverged, Refused
from rescind.methods.base import Work
from rescind.methods.ssd import SelectiveDampening, importance


def fisher_by_hand(work: Work, batch: dict[str, Tensor], *, labels: bool) -> list[Tensor]:
    """With the module itself, not the task: one record, one backward pass, squared, averaged."""
    module = work.original.module.requires_grad_(True)
    total = [torch.zeros_like(p) for p in module.parameters()]
    for x, y in zip(batch["array"], batch["labels"], strict=True):
        module.zero_grad()
        z = module(x[None])[0]
        loss = torch.logsumexp(z, 0) - z[y] if labels else sum(v**2 for v in z)
        loss.backward()
        for t, p in zip(total, module.parameters(), strict=True):
            t += torch.zeros_like(p) if p.grad is None else p.grad**2
    module.zero_grad(set_to_none=True)
    module.requires_grad_(False)
    return [t / len(batch["labels"]) for t in total]


@pytest.mark.parametrize("labels", [True, False])
def test_importance_is_the_mean_squared_gradient_of_single_records(labels: bool) -> None:
    work = cloud_work()
    for batch in (work.forget, work.retain):
        found = importance(work.model, batch, labels)
        wanted = fisher_by_hand(work, batch, labels=labels)
        for one, two in zip(found, wanted, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-9)
    assert all(p.grad is None for p in work.model.module.parameters())


@pytest.mark.parametrize("labels", [True, False])
def test_each_weight_is_dampened_by_the_rule(labels: bool) -> None:
    work, method = cloud_work(), SelectiveDampening(alpha=1.5, dampening=0.8, labels=labels)
    before = weights_of(work)
    whole = {k: torch.cat([work.forget[k], work.retain[k]]) for k in work.forget}
    gone = fisher_by_hand(work, work.forget, labels=labels)
    overall = fisher_by_hand(work, whole, labels=labels)
    method.change(work)
    dampened = 0
    for old, new, f_set, all_set in zip(before, weights_of(work), gone, overall, strict=True):
        flat = (t.flatten().tolist() for t in (old, new, f_set, all_set))
        for theta, found, f, a in zip(*flat, strict=True):
            chosen = f > 1.5 * a
            dampened += chosen
            wanted = theta * min(0.8 * a / f, 1.0) if chosen else theta
            assert found == pytest.approx(wanted, rel=1e-4, abs=1e-9)
    assert 0 < dampened < sum(p.numel() for p in before)


def test_a_factor_never_raises_a_weight() -> None:
    work = cloud_work()
    before = weights_of(work)
    SelectiveDampening(alpha=0.1, dampening=2.0).change(work)
    after = weights_of(work)
    assert all(bool((b.abs() <= a.abs()).all()) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("labels", [True, False])
def test_it_forgets_and_what_is_kept_stays_right(labels: bool) -> None:
    work = cloud_work()
    SelectiveDampening(alpha=1.5, labels=labels).change(work)
    before, after = loss_before_and_after(work, work.forget)
    assert after > before + 0.5
    assert share_right(work, work.retain) > 0.9


def test_without_labels_the_labels_do_not_matter() -> None:
    one, two = cloud_work(), cloud_work()
    two.forget["labels"].zero_().add_(2)
    for work in (one, two):
        SelectiveDampening(alpha=2.0, labels=False).change(work)
    assert all(map(torch.equal, weights_of(one), weights_of(two)))


def test_a_weight_that_no_record_needs_stays_as_it_is() -> None:
    work = cloud_work()
    unused = torch.nn.Linear(2, 2)
    first = next(work.model.module.children())
    first.add_module("unused", unused)  # what flattens calls no child
    before = unused.weight.detach().clone()
    SelectiveDampening(alpha=1.5).change(work)
    assert torch.equal(unused.weight, before)


def test_an_importance_that_is_no_number_is_an_error() -> None:
    work = cloud_work()
    work.forget["array"][0, 0] = float("nan")
    before = weights_of(work)
    with pytest.raises(Diverged, match="importance"):
        SelectiveDampening().change(work)
    assert all(map(torch.equal, before, weights_of(work)))


def test_a_rule_that_chooses_no_weight_is_refused_and_says_what_alpha_could_choose() -> None:
    work = cloud_work()  # a third of the records: no ratio is above 3
    with pytest.raises(Refused, match=r"3\.00 times at most"):
        SelectiveDampening(alpha=3.1).change(work)


@pytest.mark.parametrize(("alpha", "dampening"), [(0.0, 1.0), (1.5, -1.0)])
def test_parameters_without_meaning_are_refused(alpha: float, dampening: float) -> None:
    with pytest.raises(BadParameter):
        SelectiveDampening(alpha=alpha, dampening=dampening)
