"""Curves, their areas by hand, the examples that are shown, and what breaks a measurement."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from rescind.core.errors import BadData, BadParameter, Diverged, InsufficientEvidence
from rescind.metrics.relearning import Budget, Curve, few, relearn, relearning_gap, steps_to

Batch = Mapping[str, Tensor]


def line(slope: float = 0.0) -> nn.Module:
    module = nn.Linear(1, 1, bias=False).eval()
    nn.init.constant_(module.weight, slope)
    return module


def data(*values: float) -> dict[str, Tensor]:
    x = torch.tensor(values, dtype=torch.float32)[:, None]
    return {"x": x, "labels": 3 * x[:, 0]}


def error(module: nn.Module, batch: Batch) -> Tensor:
    found: Tensor = (module(batch["x"])[:, 0] - batch["labels"]) ** 2
    return found


def score(module: nn.Module, batch: Batch) -> float:
    return -float(error(module, batch).mean())


def curve(*scores: float, steps: int = 4, lr: float = 1e-3) -> Curve:
    return Curve(Budget(steps=steps, lr=lr), scores, 5, 20)


def test_the_marks_double_and_end_at_the_budget() -> None:
    assert Budget(steps=1).marks == (0, 1)
    assert Budget(steps=8).marks == (0, 1, 2, 4, 8)
    assert Budget(steps=10).marks == (0, 1, 2, 4, 8, 10)


@pytest.mark.parametrize("slope", [0.0, -2.0])
def test_plain_descent_is_as_by_hand(slope: float) -> None:
    """On one example x = 1 the slope w goes to w - lr 2 (w - 3)."""
    shown, held_out = data(1.0), data(2.0, 4.0)
    found = relearn(
        line(slope), error, score, shown, held_out, Budget(steps=5, lr=0.1, optimizer="sgd")
    )
    expected = []
    for step in range(6):
        if step in found.steps:
            expected.append(-((slope - 3) ** 2) * (4 + 16) / 2)
        slope -= 0.1 * 2 * (slope - 3)
    assert found.steps == (0, 1, 2, 4, 5)
    assert found.scores == pytest.approx(expected, rel=1e-5)
    assert (found.shown, found.held_out) == (1, 2)
    assert found.start == found.scores[0]


def test_the_module_of_the_caller_stays_as_it_was() -> None:
    for trainable in (True, False):
        module = line().requires_grad_(trainable)
        relearn(module, error, score, data(1.0), data(2.0))
        (weight,) = module.parameters()
        assert weight.item() == 0.0 and weight.grad is None
        assert weight.requires_grad is trainable and not module.training


def test_only_what_may_change_is_trained() -> None:
    module = nn.Sequential(line(1.0), line(1.0))
    module[0].requires_grad_(False)
    kept = []

    def watch(learner: nn.Module, batch: Batch) -> float:
        kept.append([p.item() for p in learner.parameters()])
        return score(learner, batch)

    relearn(module.eval(), error, watch, data(1.0), data(2.0), Budget(steps=2))
    assert {first for first, _ in kept} == {1.0}
    assert len({second for _, second in kept}) == 3


def test_the_seed_orders_the_batches() -> None:
    shown, held_out = data(*range(1, 9)), data(20.0)
    budget = Budget(steps=4, lr=0.01, size=2)
    one, same, other = (
        relearn(line(), error, score, shown, held_out, budget, seed) for seed in (0, 0, 1)
    )
    assert one == same != other


def test_it_learns_without_gradients_around_it() -> None:
    with torch.no_grad():
        found = relearn(line(), error, score, data(1.0), data(2.0), Budget(steps=32, lr=0.1))
    assert found.scores[-1] > found.start


def test_areas_are_trapezoids_over_even_distances() -> None:
    # 0, 1, 2 and 4 steps lie at even distances
    assert curve(0.0, 0.2, 0.6, 1.0).area == pytest.approx((0.1 + 0.4 + 0.8) / 3)
    assert curve(0.7, 0.7, 0.7, 0.7).area == pytest.approx(0.7)
    # the last step, from 4 to 5, is log2(5/4) wide
    last = math.log2(5 / 4)
    expected = (0.1 + 0.4 + 0.8 + 1.0 * last) / (3 + last)
    assert curve(0.0, 0.2, 0.6, 1.0, 1.0, steps=5).area == pytest.approx(expected)


def test_steps_to_a_level() -> None:
    found = curve(0.0, 0.2, 0.6, 1.0)
    assert [steps_to(found, level) for level in (-1.0, 0.2, 0.5, 1.0, 1.1)] == [0, 1, 2, 4, None]


RETRAINED = [curve(0.0, 0.0, s, 0.5) for s in (0.1, 0.2, 0.3, 0.2)]


def test_the_gap_is_that_of_the_areas_with_its_part_at_the_start() -> None:
    candidates = [curve(0.0, 0.6, 0.9, 1.0), curve(0.1, 0.6, 0.9, 1.0)]
    found = relearning_gap(candidates, RETRAINED)
    areas = [2.0 / 3, 2.05 / 3]
    retrained = [(s + 0.25) / 3 for s in (0.1, 0.2, 0.3, 0.2)]
    assert found.gap == pytest.approx(sum(areas) / 2 - sum(retrained) / 4)
    assert found.start == pytest.approx(0.05)
    assert found.natural_spread == pytest.approx(math.sqrt(0.02 / 3) / 3)
    assert found.interval[0] > 0 and found.references == 4


def test_what_knew_all_along_is_told_by_its_start() -> None:
    original = relearning_gap([curve(1.0, 1.0, 1.0, 1.0)], RETRAINED)
    assert original.start == 1.0 and original.interval[0] > 0.5


def test_a_retrained_model_lies_within_the_interval_as_often_as_it_says() -> None:
    generator = torch.Generator().manual_seed(0)
    held = 0
    for _ in range(400):
        heights = torch.randn(9, generator=generator).tolist()
        first, *others = (curve(h, h, h, h) for h in heights)
        low, high = relearning_gap([first], others).interval
        held += low <= 0 <= high
    assert 0.92 <= held / 400 <= 0.98


def test_few_are_drawn_of_each_label_and_the_rest_is_held_out() -> None:
    forget = {"x": torch.arange(40.0)[:, None], "labels": torch.arange(40) % 4}
    shown, held_out = few(forget, 0.2, seed=1)
    assert sorted(shown["labels"].tolist()) == [0, 0, 1, 1, 2, 2, 3, 3]
    both = [*shown["x"][:, 0].tolist(), *held_out["x"][:, 0].tolist()]
    assert sorted(both) == list(range(40))
    again, other = few(forget, 0.2, seed=1)[0], few(forget, 0.2, seed=2)[0]
    assert torch.equal(again["x"], shown["x"]) and not torch.equal(other["x"], shown["x"])


@pytest.mark.parametrize("share", [0.001, 0.999])
@pytest.mark.parametrize("labels", [torch.arange(3), torch.zeros(3), torch.zeros(3).long()])
def test_at_least_one_is_shown_and_one_held_out(share: float, labels: Tensor) -> None:
    shown, held_out = few({"x": torch.arange(3.0), "labels": labels}, share, seed=0)
    assert {len(shown["x"]), len(held_out["x"])} == {1, 2}


def test_copies_of_what_is_shown_are_not_scored() -> None:
    forget = data(1.0, 1.0, 1.0, 1.0, 2.0)
    for seed in range(5):
        shown, held_out = few(forget, 0.2, seed)
        assert not set(shown["x"].flatten().tolist()) & set(held_out["x"].flatten().tolist())
    with pytest.raises(BadData, match="none is left"):
        few(data(1.0, 1.0), 0.5, 0)
    with pytest.raises(BadData, match="none is left"):
        few(data(1.0), 0.5, 0)


def test_what_is_refused() -> None:
    one, other = data(1.0, 2.0), data(3.0)
    with pytest.raises(BadParameter, match="training mode"):
        relearn(line().train(), error, score, one, other)
    with pytest.raises(BadParameter, match="no parameters"):
        relearn(nn.Identity().eval(), error, score, one, other)
    relabelled = {"x": one["x"], "labels": -one["labels"]}
    with pytest.raises(BadData, match="2 examples are both"):
        relearn(line(), error, score, one, relabelled)
    for shown, held_out in ((data(), other), (one, data()), ({}, other)):
        with pytest.raises(BadData, match="examples are tensors of"):
            relearn(line(), error, score, shown, held_out)
    with pytest.raises(BadParameter, match="share is 1"):
        few(one, 1.0, 0)
    for steps, size in ((0, 1), (1, 0)):
        with pytest.raises(BadParameter, match="1 or more"):
            Budget(steps=steps, size=size)
    for lr in (0.0, math.inf, math.nan):
        with pytest.raises(BadParameter, match="lr above 0"):
            Budget(lr=lr)


def test_what_breaks_off() -> None:
    with pytest.raises(Diverged, match=r"Step \d+ of relearning"):
        relearn(line(), error, score, data(9.0), data(2.0), Budget(300, 10.0, "sgd"))
    with pytest.raises(BadData, match="one finite score"):
        relearn(line(), error, lambda module, batch: math.nan, data(1.0), data(2.0))
    with pytest.raises(BadData, match="2 budgets"):
        relearning_gap([curve(0.0, 0.0, 0.0, 0.0, lr=0.5)], RETRAINED)
    with pytest.raises(InsufficientEvidence, match="2 retrained"):
        relearning_gap([curve(0.0, 0.0, 0.0, 0.0)], RETRAINED[:2])
