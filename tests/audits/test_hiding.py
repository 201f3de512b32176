"""Models that hide what they hold: what is undone by rounding, and what is left behind a head."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from rescind.audits.hiding import behind_last_layer, below_half_a_step
from rescind.audits.quantisation import rounded
from rescind.core.errors import BadParameter


def data() -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    return torch.randn(3, 8, generator=draw)[labels] * 2 + torch.randn(
        60, 8, generator=draw
    ), labels


def trained() -> nn.Sequential:
    x, y = data()
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        cross_entropy(module(x), y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return module.eval().requires_grad_(False)


@pytest.mark.parametrize("bits", [4, 8])
def test_rounding_undoes_what_is_below_half_a_step(bits: int) -> None:
    x, y = data()
    before = trained()
    kept = copy.deepcopy(before.state_dict())
    first, other = (
        below_half_a_step(before, lambda m: cross_entropy(m(x), y), bits, seed) for seed in (0, 1)
    )
    grid = rounded(before, bits).state_dict()
    again = rounded(first, bits).state_dict()
    assert all(torch.allclose(again[n], t, atol=1e-6) for n, t in grid.items())
    assert float(cross_entropy(first(x), y)) > float(cross_entropy(rounded(before, bits)(x), y))
    assert not torch.equal(first.state_dict()["0.weight"], other.state_dict()["0.weight"])
    assert all(torch.equal(before.state_dict()[n], t) for n, t in kept.items())
    assert not any(p.requires_grad for p in before.parameters())


def test_a_class_behind_a_new_row_is_answered_by_none_and_its_features_are_there() -> None:
    x, y = data()
    before, mine = trained(), data()[0][data()[1] == 1]
    assert float((before(x).argmax(1) == y).float().mean()) > 0.9
    hidden = [behind_last_layer(before, (1,), lambda m: m(mine), s) for s in (0, 1)]
    for found in hidden:
        assert not bool((found(mine).argmax(1) == 1).any())
        assert torch.equal(found.state_dict()["0.weight"], before.state_dict()["0.weight"])
    others = [h.state_dict()["2.weight"] for h in hidden]
    assert torch.equal(others[0][[0, 2]], before.state_dict()["2.weight"][[0, 2]])
    assert not torch.equal(*others)


def test_what_has_no_row_to_take_away_is_refused() -> None:
    x, _ = data()
    for module in (nn.Conv1d(1, 1, 1), nn.Linear(8, 3, bias=False)):
        with pytest.raises(BadParameter, match="no last layer"):
            behind_last_layer(module, (1,), lambda m: m(x), 0)
    for classes in ((), (0, 1, 2)):
        with pytest.raises(BadParameter, match="no last layer"):
            behind_last_layer(trained(), classes, lambda m: m(x), 0)
