"""E_forget |h - c u|^2 + alpha E_retain |h - h_original|^2, of one block."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import pytest
import torch
from language_task import LM, MLP, forgets, moved, same, work_on
from torch import Tensor, nn

from rescind.core.errors import BadParameter, UnsupportedModel
from rescind.core.protocols import Editable
from rescind.core.run import Recipe
from rescind.methods.base import Work
from rescind.methods.rmu import RMU, direction, find_list
from rescind.training.descent import frozen_copy
from rescind.training.modules import Classification
from rescind.training.whole import WholeModel

SMALL = RMU(layer=0, c=4.0, alpha=10.0, lr=3e-3)
SMALL_PICTURES = RMU(c=4.0, alpha=10.0, lr=3e-3, epochs=2)


@dataclass
class Bare:
    """All that is looked at before the refusal: the module."""

    module: nn.Module


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


def linears(count: int) -> list[nn.Module]:
    return [nn.Linear(1, 1) for _ in range(count)]


def test_the_list_is_the_one_with_the_most_weights() -> None:
    """Experts within a block are more than blocks, and no blocks themselves."""
    deep = nn.ModuleList(nn.ModuleDict({"experts": nn.ModuleList(linears(5))}) for _ in range(3))
    assert find_list(nn.ModuleDict({"a": nn.ModuleList(linears(4)), "b": deep})) == list(deep)


def test_a_sequence_is_taken_where_there_is_no_list_and_only_what_holds_weights_counts() -> None:
    layers = linears(3)
    plain = nn.Sequential(nn.Flatten(), layers[0], nn.ReLU(), *layers[1:])
    assert find_list(nn.Sequential(plain, nn.Softmax(dim=1))) == layers
    listed = nn.ModuleList(linears(2))
    assert find_list(nn.Sequential(plain, nn.ModuleDict({"blocks": listed}))) == list(listed)
    assert find_list(nn.Linear(1, 1)) == []


def clothes() -> Work:
    """Pictures at random, to be told apart by nothing but memory; one in four is forgotten."""
    arguments = {"classes": 2, "widths": (4, 8)}
    task = Classification("rescind.training.zoo:resnet", ("a", "b"), (1, 12, 12), arguments)
    model = WholeModel(Recipe(task))
    model.module.requires_grad_(True)
    draw = torch.Generator().manual_seed(1)
    pictures, labels = torch.rand(24, 1, 12, 12, generator=draw), torch.arange(24) % 2
    gone = torch.arange(24) < 6
    halves = ({"array": pictures[part], "labels": labels[part]} for part in (gone, ~gone))
    return Work(model, frozen_copy(model), *halves)


def test_of_pictures_each_place_is_a_row_of_channels() -> None:
    work, method = moved(clothes()), RMU(c=3.0, alpha=2.0)
    gone, kept, before = (
        cast("nn.Sequential", model.module)[:6](batch["array"])  # to the block before the answers
        for model, batch in (
            (work.model, work.forget), (work.model, work.retain), (work.original, work.retain),
        )
    )  # fmt: skip
    assert gone.dim() == 4 and gone.shape[1] == 8
    steered = 3.0 * direction(8, 0)
    far = [float((h[:, y, x] - steered).detach().square().mean())
           for h in gone for y in range(h.shape[1]) for x in range(h.shape[2])]  # fmt: skip
    wanted = sum(far) / len(far) + 2.0 * float((kept - before).detach().square().mean())
    found = float(method.loss(work, work.forget, work.retain).detach())
    assert found == pytest.approx(wanted, rel=1e-4)


def test_in_a_sequence_only_three_blocks_change() -> None:
    work = clothes()
    SMALL_PICTURES.change(work)
    before = work.original.module.state_dict()
    after = work.model.module.state_dict()
    changed = {n.split(".")[0] for n, t in after.items() if not torch.equal(t, before[n])}
    assert changed == {"1", "4", "5"}  # normalisation and both blocks; not the first convolution


@pytest.mark.parametrize("rank", [0, 4])
def test_a_classifier_of_layers_in_a_sequence_forgets(rank: int) -> None:
    work = work_on(MLP)
    RMU(c=30.0, alpha=10.0, lr=1e-2, epochs=60, lora_rank=rank).change(work)
    forgets(work, 0.15, 0.15)


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
    work = work_on(MLP)
    bare = cast("nn.Sequential", work.model.module)[1]
    with pytest.raises(UnsupportedModel, match=r"0 blocks in a list. Never .* Use another method"):
        RMU().change(replace(work, model=cast("Editable", Bare(bare))))
    with pytest.raises(UnsupportedModel, match=r"2 blocks .* from -2 to 1"):
        RMU(layer=-3).change(work)
    with pytest.raises(UnsupportedModel, match="2 blocks"):
        RMU(layer=2).change(work_on(LM))
    with pytest.raises(BadParameter):
        RMU(c=0.0)


def test_a_block_that_may_not_change_is_refused() -> None:
    work = work_on(LM)
    work.model.module.requires_grad_(False)
    with pytest.raises(UnsupportedModel, match="no weight that may change"):
        RMU().change(work)
