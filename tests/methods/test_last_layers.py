"""CF-k and EU-k: which layers change, how they are drawn, and what comes of it."""

from __future__ import annotations

import pytest
import torch
from edited_points import accuracy, class_work, mean_loss, whole_state
from torch import nn

from rescind.core.errors import BadParameter
from rescind.methods.cf_k import CFk
from rescind.methods.eu_k import EUk
from rescind.methods.last_layers import last_layers, only, own_parameters, reinitialise

LAYERS = ("1", "3", "5")  # the linear layers of the perceptron, by their place


@pytest.mark.parametrize("method", [CFk, EUk])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_last_k_layers_change_and_all_others_keep_their_bits(
    method: type[CFk] | type[EUk], k: int
) -> None:
    work = class_work()
    before = whole_state(work)
    method(k=k, epochs=2).change(work)
    after = whole_state(work)
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {*LAYERS[-k:]}


@pytest.mark.parametrize("method", [CFk, EUk])
def test_gradients_are_required_again_where_they_were(method: type[CFk] | type[EUk]) -> None:
    work = class_work()
    wanted = {n: not n.startswith("3") for n, _ in work.model.module.named_parameters()}
    for name, parameter in work.model.module.named_parameters():
        parameter.requires_grad_(wanted[name])
    before = whole_state(work)
    method(k=2, epochs=1).change(work)
    found = {n: p.requires_grad for n, p in work.model.module.named_parameters()}
    assert found == wanted
    assert torch.equal(before["3.weight"], whole_state(work)["3.weight"])
    assert not torch.equal(before["1.weight"], whole_state(work)["1.weight"])  # 3 is no layer


def test_gradients_are_required_again_after_an_error() -> None:
    work = class_work()
    layers = last_layers(work.model, 1)
    with pytest.raises(ZeroDivisionError), only(work.model, layers):
        assert [p.requires_grad for p in work.model.module.parameters()] == [False] * 4 + [True] * 2
        _ = 1 / 0
    assert all(p.requires_grad for p in work.model.module.parameters())


@pytest.mark.parametrize("method", [CFk, EUk])
def test_more_layers_than_there_are_is_refused(method: type[CFk] | type[EUk]) -> None:
    work = class_work()
    before = whole_state(work)
    with pytest.raises(BadParameter, match=r"k is 4, and the model has 3 layers.*at most 3"):
        method(k=4).change(work)
    assert all(torch.equal(before[n], t) for n, t in whole_state(work).items())
    with pytest.raises(BadParameter, match="k is 0"):
        method(k=0)


def test_cf_k_with_one_batch_is_one_step_of_adam_on_the_retain_loss() -> None:
    work = class_work()
    last = work.model.module[5]  # type: ignore[index]
    loss = work.model.task.loss(work.model.outputs(work.retain), work.retain).mean()
    gradient = torch.autograd.grad(loss, last.weight)[0]
    wanted = last.weight - 1e-2 * gradient / (gradient.abs() + 1e-8)  # Adam's first step
    wanted = wanted.detach()
    CFk(lr=1e-2, batch_size=100).change(work)
    assert torch.allclose(last.weight, wanted, atol=1e-5)


def test_new_draws_follow_the_seed_and_leave_the_generator_of_the_process() -> None:
    states: list[dict[str, torch.Tensor]] = []
    for seed in (1, 1, 2):
        work = class_work()
        torch.manual_seed(len(states))
        before = torch.get_rng_state()
        reinitialise(last_layers(work.model, 2), seed)
        assert torch.equal(torch.get_rng_state(), before)
        states.append(whole_state(work))
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["5.weight"], states[2]["5.weight"])
    drawn = states[0]["3.weight"]
    assert 0.8 / 12**0.5 < float(drawn.abs().max()) <= 1 / 12**0.5
    assert abs(float(drawn.mean())) < 0.05


def test_normalisations_and_adapters_begin_as_nothing() -> None:
    norm, adapter = nn.LayerNorm(4), nn.Linear(2, 4, bias=False)
    for parameter in (*norm.parameters(), *adapter.parameters()):
        nn.init.constant_(parameter, 7.0)
    reinitialise([("norm", norm), ("query.lora_B.default", adapter)], 0)
    assert norm.weight.tolist() == [1.0] * 4
    assert norm.bias.tolist() == [0.0] * 4
    assert not adapter.weight.any()


def test_a_layer_is_a_module_that_owns_what_may_change() -> None:
    work = class_work()
    work.model.module[5].requires_grad_(False)  # type: ignore[index]
    assert [name for name, _ in last_layers(work.model, 2)] == ["1", "3"]
    assert own_parameters(work.model.module) == {}


def test_eu_k_begins_from_new_draws_and_not_from_the_old_weights() -> None:
    ends = []
    for scale in (1.0, -3.0):
        work = class_work()
        with torch.no_grad():
            work.model.module[5].weight.mul_(scale)  # type: ignore[index]
        EUk(epochs=2).change(work)
        ends.append(whole_state(work)["5.weight"])
    assert torch.equal(*ends)


@pytest.mark.parametrize("method", [CFk(lr=1e-2, epochs=30), EUk(epochs=30)])
def test_a_class_fades_and_the_others_stay(method: CFk | EUk) -> None:
    work = class_work()
    assert accuracy(work, work.forget) == 1.0
    method.change(work)
    assert mean_loss(work, work.forget) > mean_loss(work, work.forget, original=True) + 0.5
    assert accuracy(work, work.retain) == 1.0
