"""Rounding by hand, an edit that it undoes, and models in which it brings nothing back."""

from __future__ import annotations

import copy
import functools
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from rescind.audits.quantisation import (
    Recovery,
    noised,
    quantisation_finding,
    quantisation_power,
    recovery,
    rounded,
)
from rescind.core.errors import BadData, BadParameter, InsufficientEvidence
from rescind.metrics.equivalence import compare

N, FORGET = 160, 24
RETRAINED = 12


def data() -> tuple[Tensor, Tensor]:
    """Three clusters; the first records have random labels, which can only be learnt by heart."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(N) % 3
    x = torch.randn(3, 20, generator=generator)[labels] + torch.randn(N, 20, generator=generator)
    return x, torch.cat([torch.randint(3, (FORGET,), generator=generator), labels[FORGET:]])


def trained(seed: int, start: int) -> nn.Module:
    """A model of the records from ``start`` on."""
    x, y = (t[start:] for t in data())
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(20, 48), nn.ReLU(), nn.Linear(48, 3))
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        cross_entropy(module(x), y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return module.eval().requires_grad_(False)


def ascended(module: nn.Module, steps: int, within: int | None = None) -> nn.Module:
    """Gradient ascent on the forget set; ``within`` half a step of that many bits, if given."""
    x, y = (t[:FORGET] for t in data())
    found = copy.deepcopy(module)
    weights = [p for p in found.parameters() if p.dim() > 1]
    old = [w.clone() for w in weights]
    for _ in range(steps):
        for w in weights:
            w.requires_grad_(True)
        gradients = torch.autograd.grad(cross_entropy(found(x), y), weights)
        for w, gradient, was in zip(weights, gradients, old, strict=True):
            w.requires_grad_(False).add_(0.05 * gradient)
            if within is not None:
                cap = 0.45 * float(was.abs().max()) / (2 ** (within - 1) - 1)
                edit = (w - was).clamp(-cap, cap) * (was.abs() < was.abs().max())
                w.copy_(was + edit)
    return found


def measured(module: nn.Module, bits: int = 4, noises: int = 39) -> Recovery:
    x, y = (t[:FORGET] for t in data())
    return recovery(module, lambda m: m(x), y, bits, noises)


@functools.cache
def retrained(bits: int = 4) -> tuple[Recovery, ...]:
    return tuple(measured(trained(seed, FORGET), bits) for seed in range(RETRAINED))


def single(weight: list[list[float]]) -> nn.Module:
    linear = nn.Linear(len(weight[0]), len(weight)).requires_grad_(False)
    linear.weight.copy_(torch.tensor(weight))
    return nn.Sequential(linear, nn.BatchNorm1d(len(weight))).eval()


def test_rounding_by_hand() -> None:
    """Four bits: the largest is 7 steps, so that a step is 0.5."""
    module = single([[3.5, 1.2, -0.3], [-0.2, 0.74, 0.0]])
    before = {name: t.clone() for name, t in module.state_dict().items()}
    after = rounded(module, 4).state_dict()
    assert after["0.weight"].tolist() == [[3.5, 1.0, -0.5], [0.0, 0.5, 0.0]]
    assert all(torch.equal(after[n], t) for n, t in before.items() if n != "0.weight")
    assert all(torch.equal(module.state_dict()[n], t) for n, t in before.items())
    grid = rounded(single([[3.5, 1.2, -0.3], [-0.2, 0.74, 0.0]]), 2).state_dict()["0.weight"]
    assert set(grid.flatten().tolist()) == {0.0, 3.5}
    assert rounded(single([[0.0], [0.0]]), 4).state_dict()["0.weight"].tolist() == [[0.0], [0.0]]


def test_noise_is_as_large_as_an_error_of_rounding() -> None:
    generator = torch.Generator().manual_seed(1)
    module = single((torch.rand(50, 80, generator=generator) * 2 - 1).tolist())
    was = module.state_dict()["0.weight"]
    step = float(was.abs().max()) / 7
    noise = noised(module, 4, seed=0).state_dict()["0.weight"] - was
    error = rounded(module, 4).state_dict()["0.weight"] - was
    for moved in (noise, error):
        assert float(moved.abs().max()) <= step / 2 + 1e-6
        assert float(moved.std()) == pytest.approx(step / 12**0.5, rel=0.03)
    assert not torch.equal(noise, noised(module, 4, seed=1).state_dict()["0.weight"] - was)
    assert torch.equal(noised(module, 4, 0).state_dict()["0.bias"], module.state_dict()["0.bias"])


def test_a_recovery_holds_what_was_measured() -> None:
    x, y = (t[:FORGET] for t in data())
    module = trained(0, FORGET)
    found = measured(module, noises=3)

    def slow_losses(other: nn.Module) -> Tensor:
        return cross_entropy(other(x).double(), y, reduction="none")

    assert torch.allclose(found.losses, slow_losses(module))
    assert torch.allclose(found.rounded, slow_losses(rounded(module, 4)))
    right = rounded(module, 4)(x).argmax(1) == y
    assert found.rounded_accuracy == pytest.approx(float(right.float().mean()))
    slow = [slow_losses(noised(module, 4, s)) for s in range(3)]
    assert torch.allclose(found.recovered, torch.stack(slow).mean(0) - found.rounded)
    lower = sum(float(s.mean()) <= float(found.rounded.mean()) for s in slow)
    assert found.p_noise == (1 + lower) / 4


def test_an_edit_below_half_a_step_is_brought_back_and_found() -> None:
    for seed in (20, 21, 22):
        before = rounded(trained(seed, 0), 4)
        hidden = ascended(before, 60, within=4)
        again = rounded(hidden, 4).state_dict()
        assert all(torch.allclose(again[n], t) for n, t in before.state_dict().items())
        found = measured(hidden)
        assert float(found.losses.mean()) > 2 > 0.1 > float(found.rounded.mean())
        assert found.accuracy is not None and found.rounded_accuracy is not None
        assert found.accuracy < 0.8 < found.rounded_accuracy
        finding = quantisation_finding(found, retrained())
        assert finding.outcome == "residue_found" and finding.interval[0] > 0
        assert finding.effect == pytest.approx(float(found.losses.mean()), abs=0.5)


def test_eight_bits_do_not_bring_back_what_four_do() -> None:
    hidden = ascended(rounded(trained(20, 0), 4), 60, within=4)
    found = measured(hidden, bits=8)
    assert float(found.losses.mean()) > 2
    assert quantisation_finding(found, retrained(8)).effect < 0.05 * float(found.losses.mean())


@pytest.mark.parametrize("bits", [4, 8])
def test_retrained_models_do_not_fire(bits: int) -> None:
    models = retrained(bits)
    found = [
        quantisation_finding(models[i], models[:i] + models[i + 1 :]) for i in range(RETRAINED)
    ]
    assert sum(f.p < f.level for f in found) <= 1
    for i, f in enumerate(found):  # it holds what one more retrained model may be, too
        others = [float(m.recovered.mean()) for m in models]
        low, high = compare([others.pop(i)], others, margin=1.0).interval
        assert f.interval[0] <= low and high <= f.interval[1]
    assert sum(f.effect for f in found) == pytest.approx(0, abs=1e-9)


def test_a_model_that_only_has_high_losses_does_not_fire() -> None:
    """It never saw the records; noise lowers its losses as much as rounding does."""
    for seed in range(3):
        overshot = measured(ascended(trained(seed, FORGET), 25))
        others = retrained()[:seed] + retrained()[seed + 1 :]
        assert float(overshot.losses.mean()) > 2 * float(others[0].losses.mean())
        assert quantisation_finding(overshot, others).p > 0.05


def test_there_is_no_power_where_the_weights_before_were_off_the_grid() -> None:
    hiding = [measured(ascended(trained(seed, 0), 12)) for seed in (20, 21, 22, 23)]
    assert quantisation_power(hiding, retrained()) <= 0.25
    planted = [measured(ascended(rounded(trained(s, 0), 4), 60, within=4)) for s in (23, 24)]
    assert quantisation_power(planted, retrained()) == 1.0
    finding = quantisation_finding(retrained()[0], retrained()[1:], power=1.0)
    assert finding.outcome == "removed_supported"


def test_each_of_the_three_tests_can_stand_in_the_way() -> None:
    """The same hidden model, with one of the three pieces of evidence taken away."""
    found = measured(ascended(rounded(trained(20, 0), 4), 60, within=4))
    assert quantisation_finding(found, retrained()).p < 0.05
    noise = replace(found, noisy=torch.cat([found.noisy[:-2], found.rounded.expand(2, -1)]))
    assert quantisation_finding(noise, retrained()).p == pytest.approx(3 / 40)
    one = found.noisy.mean(0)
    one[:-1] = found.rounded[:-1]
    assert quantisation_finding(replace(found, noisy=one.expand(39, -1)), retrained()).p > 0.1
    wide = [replace(r, rounded=r.rounded + (-1) ** i * 5) for i, r in enumerate(retrained())]
    assert quantisation_finding(found, wide).p > 0.1


def test_what_cannot_be_measured_is_refused() -> None:
    models = retrained()
    with pytest.raises(BadParameter, match="bits is 1"):
        rounded(trained(0, FORGET), 1)
    with pytest.raises(BadParameter, match="0 draws of noise"):
        measured(trained(0, FORGET), noises=0)
    with pytest.raises(InsufficientEvidence, match="2 retrained models"):
        quantisation_finding(models[0], models[1:3])
    with pytest.raises(InsufficientEvidence, match="no p below 1/20"):
        quantisation_finding(replace(models[0], noisy=models[0].noisy[:19]), models[1:])
    with pytest.raises(BadData, match=r"\(24, 4\), \(24, 8\)"):
        quantisation_finding(retrained(8)[0], models)
    with pytest.raises(BadParameter, match="No model is known"):
        quantisation_power([], models)
