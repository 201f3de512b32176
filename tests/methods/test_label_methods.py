"""Random labels, SalUn and pseudo-labels: the labels, the losses, the mask, and the effect."""

from __future__ import annotations

import pytest
import torch
from edited_points import accuracy, class_work, mean_loss, mixed_work, whole_state
from torch.nn.functional import cross_entropy

from rescind.core.errors import BadParameter
from rescind.methods.base import Work
from rescind.methods.pseudo_label import PseudoLabel
from rescind.methods.random_label import RandomLabel
from rescind.methods.salun import SalUn, saliency_masks

Method = RandomLabel | SalUn | PseudoLabel
ALL: list[Method] = [RandomLabel(), SalUn(), PseudoLabel(), PseudoLabel(with_retain=False)]


@pytest.mark.parametrize("method", ALL)
def test_labels_are_classes_and_never_the_true_one(method: Method) -> None:
    work = mixed_work()
    for epoch in range(30):
        labels = method.labels(work, epoch)
        assert labels.shape == work.forget["labels"].shape
        assert set(labels.tolist()) <= {0, 1, 2}
        assert not bool((labels == work.forget["labels"]).any())


def test_random_labels_are_uniform_and_drawn_again_in_every_epoch() -> None:
    work, method = mixed_work(), RandomLabel(seed=3)
    draws = torch.stack([method.labels(work, epoch) for epoch in range(400)])
    assert not torch.equal(draws[0], draws[1])
    steps = (draws - work.forget["labels"]) % 3
    assert 0.45 < float((steps == 1).float().mean()) < 0.55
    assert bool(((steps == 1).any(dim=0) & (steps == 2).any(dim=0)).all())


def test_random_labels_follow_the_seed_alone() -> None:
    work = mixed_work()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = RandomLabel(seed=3).labels(work, 0)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(RandomLabel(seed=3).labels(work, 0), one)
    assert not torch.equal(RandomLabel(seed=4).labels(work, 0), one)


def test_a_pseudo_label_is_the_likeliest_wrong_class_of_the_original() -> None:
    work = mixed_work()
    with torch.no_grad():
        logits = work.original.outputs(work.forget).tolist()
        for parameter in work.model.module.parameters():
            parameter.mul_(-1.0)  # the model under edit has no say
    true = work.forget["labels"].tolist()
    wanted = [
        max((c for c in range(3) if c != y), key=lambda c, row=row: row[c])  # type: ignore[misc]
        for row, y in zip(logits, true, strict=True)
    ]
    assert PseudoLabel().labels(work, 0).tolist() == wanted
    assert len(set(wanted)) > 1


def relabelled(method: Method, work: Work) -> dict[str, torch.Tensor]:
    return work.forget | {"labels": method.labels(work, 0)}


@pytest.mark.parametrize("method", ALL)
def test_the_loss_is_the_sum_of_the_means(method: Method) -> None:
    work = mixed_work()
    batch = relabelled(method, work)
    rows = cross_entropy(work.model.outputs(batch), batch["labels"], reduction="none").tolist()
    kept = work.model.outputs(work.retain)
    others = cross_entropy(kept, work.retain["labels"], reduction="none").tolist()
    wanted = sum(rows) / len(rows) + sum(others) / len(others)
    if method == PseudoLabel(with_retain=False):
        wanted = sum(rows) / len(rows)
    found = float(method.loss(work, batch, work.retain).detach())
    assert found == pytest.approx(wanted, rel=1e-5)


def test_one_batch_steps_on_the_drawn_labels_of_the_epoch() -> None:
    work, method = mixed_work(), RandomLabel(lr=1e-2, batch_size=100, seed=2)
    weight = work.model.module[5].weight  # type: ignore[index]
    gradient = torch.autograd.grad(
        method.loss(work, relabelled(method, work), work.retain), weight
    )[0]
    wanted = (weight - 1e-2 * gradient / (gradient.abs() + 1e-8)).detach()
    method.change(work)
    assert torch.allclose(weight, wanted, atol=1e-5)


def test_each_epoch_has_labels_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    work, asked, plain = mixed_work(), [], RandomLabel.labels

    def labels(self: RandomLabel, work: Work, epoch: int) -> torch.Tensor:
        asked.append(epoch)
        return plain(self, work, epoch)

    monkeypatch.setattr(RandomLabel, "labels", labels)
    RandomLabel(epochs=3).change(work)
    assert asked == [0, 1, 2]


def test_without_the_retain_set_an_epoch_goes_over_the_forget_set() -> None:
    found = {}
    for with_retain in (True, False):
        work = mixed_work()
        sizes: list[int] = []
        method = PseudoLabel(with_retain=with_retain, batch_size=6)
        work.model.module.register_forward_hook(lambda m, i, o, s=sizes: s.append(len(o)))
        method.change(work)
        found[with_retain] = sizes
    assert found[False] == [6, 6]  # 12 rows; no retain row is looked at
    assert len(found[True]) == 2 * 8  # 48 retain rows in 8 steps, a forget batch beside each


@pytest.mark.parametrize("fraction", [0.01, 0.3, 1.0])
@pytest.mark.parametrize("size", [5, 100])
def test_the_mask_is_the_top_of_a_sort_of_the_gradients(fraction: float, size: int) -> None:
    work = mixed_work()
    loss = work.model.task.loss(work.model.outputs(work.forget), work.forget).mean()
    gradients = torch.autograd.grad(loss, [*work.model.module.parameters()])
    every = sorted((abs(v) for g in gradients for v in g.flatten().tolist()), reverse=True)
    count = round(fraction * len(every))
    masks = saliency_masks(work.model, work.forget, fraction, size)
    assert sum(int(m.sum()) for m in masks) == count
    for mask, gradient in zip(masks, gradients, strict=True):
        assert mask.shape == gradient.shape
        inside = gradient.abs() >= every[count - 1] * (1 - 1e-4)
        assert not bool((mask & ~inside).any())


def test_salun_changes_weights_inside_the_mask_only() -> None:
    work, method = mixed_work(), SalUn(fraction=0.2, epochs=3, batch_size=8, lr=1e-2)
    masks = saliency_masks(work.model, work.forget, 0.2, 8)
    before = [p.detach().clone() for p in work.model.module.parameters()]
    method.change(work)
    after = list(work.model.module.parameters())
    for mask, old, new in zip(masks, before, after, strict=True):
        assert torch.equal(old[~mask], new[~mask])
        assert not bool((old[mask] == new[mask]).any())
    assert sum(int((~mask).sum()) for mask in masks) > 100


def test_salun_with_all_weights_is_random_labels() -> None:
    one, two = mixed_work(), mixed_work()
    SalUn(fraction=1.0, epochs=2, seed=1).change(one)
    RandomLabel(epochs=2, seed=1).change(two)
    first, second = whole_state(one), whole_state(two)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("fraction", [0.0, 1.1, float("nan")])
def test_a_fraction_that_is_none_is_refused(fraction: float) -> None:
    with pytest.raises(BadParameter, match="fraction is"):
        SalUn(fraction=fraction)


@pytest.mark.parametrize(
    "method",
    [
        RandomLabel(lr=1e-2, epochs=8),
        SalUn(lr=1e-2, epochs=8),
        PseudoLabel(lr=1e-2, epochs=8),
        PseudoLabel(lr=1e-2, epochs=15, with_retain=False),
    ],
)
def test_a_class_is_forgotten_and_the_others_stay(method: Method) -> None:
    work = class_work()
    assert accuracy(work, work.forget) == 1.0
    method.change(work)
    assert mean_loss(work, work.forget) > mean_loss(work, work.forget, original=True) + 0.5
    assert accuracy(work, work.retain) >= 0.95


@pytest.mark.parametrize("method", ALL)
def test_the_labels_of_the_work_stay_as_they_were(method: Method) -> None:
    work = mixed_work()
    before = work.forget["labels"].clone()
    method.change(work)
    assert torch.equal(work.forget["labels"], before)
    assert method.serves == {"classes"}
