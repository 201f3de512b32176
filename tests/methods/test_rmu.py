"""E_forget |h - c u|^2 + alpha E_retain |h - h_original|^2, of one block."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from language_task import LM, MLP, forgets, moved, same, work_on
from torch import Tensor, nn

from rescind.core.errors import BadParameter, UnsupportedModel
from rescind.methods.base import Work
from rescind.methods.rmu import RMU, direction, find_list

SMALL = RMU(layer=0, c=4.0, alpha=10.0, lr=3e-3)


def hidden(module: nn.Module, batch: dict[str, Tensor], layer: int) -> Tensor:
    """As transformers gives them: index 0 is what enters block 0."""
    with torch.no_grad():
        found = module(batch["input_ids"], output_hidden_states=True)
    return cast("Tensor", found.hidden_states[layer + 1])


def brute(work: Work, method: RMU) -> float:
    ends = []
    for batch, reference in ((work.forget, None), (work.retain, work.original)):
        h = hidden(work.model.module, batch, method.layer)
        u = method.c * direction(h.shape[-1], method.seed)
        to = u.expand_as(h) if reference is None else hidden(
            reference.module, batch, method.layer
        )  # fmt: skip
        places = [
            float(((h[i, t] - to[i, t]) ** 2).mean())
            for i, label in enumerate(batch["labels"])
            for t in range(len(label))
            if label[t] >= 0
        ]
        ends.append(sum(places) / len(places))
    return ends[0] + method.alpha * ends[1]


def test_the_loss_is_that_of_section_4_where_a_token_is() -> None:
    work, method = moved(work_on(LM)), RMU(layer=0, c=3.0, alpha=2.0)
    found = method.loss(work, work.forget, work.retain)
    assert float(found) == pytest.approx(brute(work, method), rel=1e-4)


def test_the_direction_has_length_1_and_follows_the_seed() -> None:
    assert float(direction(32, 0).norm()) == pytest.approx(1.0, rel=1e-5)
    assert bool((direction(32, 0) >= 0).all())
    assert torch.equal(direction(32, 0), direction(32, 0))
    assert not torch.equal(direction(32, 0), direction(32, 1))


def test_the_list_is_the_longest() -> None:
    short, long = (nn.ModuleList(nn.Linear(1, 1) for _ in range(n)) for n in (1, 3))
    assert find_list(nn.ModuleDict({"a": short, "b": long})) == list(long)


@pytest.mark.parametrize(("rank", "lr", "epochs"), [(0, 3e-3, 30), (4, 1e-2, 60)])
def test_the_forget_loss_rises_and_the_retain_loss_stays(rank: int, lr: float, epochs: int) -> None:
    """One text in four begins with other words: near the input, only what reads otherwise can be
    told apart.
    """
    work = work_on(LM, every=4)
    RMU(layer=0, c=10.0, alpha=30.0, lr=lr, epochs=epochs, lora_rank=rank).change(work)
    forgets(work, 1.0, 0.1)


def test_only_the_block_and_those_below_it_change() -> None:
    work = work_on(LM)
    SMALL.change(work)
    before = work.original.module.state_dict()
    changed = {
        n for n, t in work.model.module.state_dict().items() if not torch.equal(t, before[n])
    }
    assert changed
    assert all(name.startswith("transformer.h.0.") for name in changed)
    assert all(p.requires_grad for p in work.model.module.parameters())


def test_the_seed_fixes_the_bytes() -> None:
    works = [work_on(LM) for _ in range(2)]
    for work in works:
        SMALL.change(work)
    assert same(works[0].model, works[1].model)
    assert not same(works[0].model, works[0].original)


def test_a_module_without_blocks_is_refused() -> None:
    with pytest.raises(UnsupportedModel, match="Never"):
        RMU().change(work_on(MLP))
    with pytest.raises(UnsupportedModel, match="2 blocks"):
        RMU(layer=2).change(work_on(LM))
    with pytest.raises(BadParameter):
        RMU(c=0.0)


def test_a_block_that_may_not_change_is_refused() -> None:
    work = work_on(LM)
    work.model.module.requires_grad_(False)
    with pytest.raises(UnsupportedModel, match="no weight that may change"):
        RMU().change(work)
