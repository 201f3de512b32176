"""Adapters for the time of an edit: names, what moves, the rank of the change, ties."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from rescind.core.errors import UnsupportedModel
from rescind.training.low_rank import low_rank
from rescind.training.zoo import gpt, mlp, vit


def small_gpt() -> nn.Module:
    torch.manual_seed(0)
    return gpt(width=32, depth=2, length=32).eval()


def small_mlp() -> nn.Module:
    torch.manual_seed(0)
    return mlp(12, 8, (16,)).eval()


def small_vit() -> nn.Module:
    torch.manual_seed(0)
    return vit(4, width=32, depth=2).eval()


def edited(module: nn.Module, rank: int, seed: int = 0) -> int:
    """Draw the adapters anew within; how many parameters could move."""
    with low_rank(module, rank, seed):
        moving = [p for p in module.parameters() if p.requires_grad]
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for p in moving:
                p.add_(0.1 * torch.randn(p.shape, generator=generator))
        return sum(p.numel() for p in moving)


@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize("make", [small_gpt, small_mlp, small_vit])
def test_names_stay_and_weights_differ_by_the_rank(
    make: Callable[[], nn.Module], rank: int
) -> None:
    module = make()
    before = {n: t.clone() for n, t in module.state_dict().items()}
    kinds = [(n, type(m)) for n, m in module.named_modules()]
    few = edited(module, rank)
    after = module.state_dict()
    assert list(after) == list(before)
    assert [(n, type(m)) for n, m in module.named_modules()] == kinds
    assert all(p.requires_grad for p in module.parameters())
    changed = {n for n in after if not torch.equal(after[n], before[n])}
    assert changed
    ranks = {int(torch.linalg.matrix_rank(after[n] - before[n], rtol=1e-3)) for n in changed}
    assert ranks == {rank}
    assert rank > 1 or few < sum(p.numel() for p in module.parameters()) / 4


def test_adapters_change_nothing_before_they_are_trained() -> None:
    module, ids = small_gpt(), torch.arange(32)[None]
    before = module(ids).logits.detach()
    with low_rank(module, 2, 0):
        assert torch.equal(module(ids).logits, before)
    assert torch.equal(module(ids).logits, before)


def test_the_merged_module_answers_as_the_adapted_one() -> None:
    module, ids = small_gpt(), torch.arange(32)[None]
    before = module(ids).logits.detach()
    with low_rank(module, 2, 0):
        generator = torch.Generator().manual_seed(1)
        for p in module.parameters():
            if p.requires_grad:
                nn.init.normal_(p, 0.0, 0.3, generator=generator)
        within = module(ids).logits.detach()
    torch.testing.assert_close(module(ids).logits, within, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(before, within, atol=1e-2)


def test_a_tied_weight_has_no_adapter() -> None:
    module = small_gpt()
    module.lm_head.weight = module.transformer.wte.weight  # type: ignore[union-attr]
    before = module.state_dict()["transformer.wte.weight"].clone()
    edited(module, 2)
    assert torch.equal(module.state_dict()["transformer.wte.weight"], before)
    assert torch.equal(module.state_dict()["lm_head.weight"], before)


def test_what_was_frozen_stays_frozen_and_has_no_adapter() -> None:
    module = small_mlp()
    first = module.get_submodule("1").requires_grad_(False)
    before = first.get_parameter("weight").clone()
    edited(module, 2)
    assert torch.equal(first.get_parameter("weight"), before)
    assert [p.requires_grad for p in module.parameters()] == [False, False, True, True]


def test_the_seed_fixes_the_adapters_and_the_global_generator_stays() -> None:
    modules = [small_mlp() for _ in range(3)]
    torch.manual_seed(7)
    wanted = torch.rand(1)
    torch.manual_seed(7)
    for module, seed in zip(modules, (0, 0, 1), strict=True):
        edited(module, 2, seed)
    assert torch.equal(torch.rand(1), wanted)
    weights = [m.state_dict()["1.weight"] for m in modules]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_rank_0_changes_nothing() -> None:
    module = small_mlp()
    with low_rank(module, 0, 0):
        assert all(p.requires_grad for p in module.parameters())
        assert "1.weight" in module.state_dict()


def test_the_module_is_whole_again_after_an_error() -> None:
    module = small_mlp()
    names = list(module.state_dict())
    with pytest.raises(ZeroDivisionError), low_rank(module, 2, 0):
        raise ZeroDivisionError
    assert list(module.state_dict()) == names


def test_adapters_are_not_put_on_adapters_or_on_nothing() -> None:
    module = small_mlp()
    with (
        low_rank(module, 1, 0),
        pytest.raises(UnsupportedModel, match="already"),
        low_rank(module, 1, 0),
    ):
        pass
    with pytest.raises(UnsupportedModel, match="no linear"), low_rank(nn.Conv2d(1, 1, 1), 1, 0):
        pass
