"""Gradients of single records: many at once against one backward pass each."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rescind.core.protocols import Editable
from rescind.core.run import Recipe
from rescind.core.task import Task
from rescind.testing.tiny import tiny_recipe, tiny_rows, tiny_task
from rescind.training import per_record
from rescind.training.encoder import StagedModel
from rescind.training.modules import CausalLM, Classification, Regression
from rescind.training.per_record import gradients, one_by_one, squared_gradients
from rescind.training.whole import WholeModel

ROWS = 7
PICTURES = (1, 28, 28)
ZOO = "rescind.training.zoo:"
TASKS: dict[str, Task] = {
    "mlp": Classification(ZOO + "mlp", ("a", "b"), (5,), {"inputs": 5, "outputs": 2}),
    "number": Regression(ZOO + "mlp", (5,), 0.1, {"inputs": 5, "outputs": 1}),
    "resnet": Classification(ZOO + "resnet", ("a", "b"), PICTURES, {"classes": 2}),
    "vit": Classification(ZOO + "vit", ("a", "b"), PICTURES, {"classes": 2, "depth": 2}),
    "gpt": CausalLM(ZOO + "gpt", 12, {"width": 32, "depth": 2, "length": 12}),
}


def whole(task: Task) -> WholeModel:
    found = WholeModel(Recipe(task, seed=1))
    found.module.requires_grad_(True)
    return found


def batch_of(task: Task) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(2)
    if isinstance(task, CausalLM):  # texts of many lengths, padded
        return task.batch([{"text": "abcdefghijkl"[: 2 + i]} for i in range(ROWS)])
    shape = task.shape if isinstance(task, (Classification, Regression)) else ()
    array = torch.rand(ROWS, *shape, generator=draw)
    labels = torch.arange(ROWS) % 2
    return {"array": array, "labels": labels.float() if task.target == "numbers" else labels}


def loss(model: Editable, batch: dict[str, Tensor]) -> Tensor:
    return model.task.loss(model.outputs(batch), batch).sum()


def by_hand(model: Editable, batch: dict[str, Tensor]) -> list[Tensor]:
    """(rows, *shape) of each parameter, from .grad: one row, one backward pass."""
    found = []
    for i in range(ROWS):
        model.module.zero_grad(set_to_none=True)
        loss(model, {n: t[i : i + 1] for n, t in batch.items()}).backward()  # type: ignore[no-untyped-call]
        moving = [p for p in model.module.parameters() if p.requires_grad]
        found.append([torch.zeros_like(p) if p.grad is None else p.grad for p in moving])
    model.module.zero_grad(set_to_none=True)
    return [torch.stack(each) for each in zip(*found, strict=True)]


def check(model: Editable, batch: dict[str, Tensor], size: int = 3) -> None:
    """Both functions, in chunks with a rest, against the loop; no row's gradient is another's."""
    wanted = by_hand(model, batch)
    assert any(float((w[0] - w[1]).abs().max()) > 1e-4 for w in wanted)
    pieces = [*gradients(model, batch, loss)]
    assert [len(p[0]) for p in pieces] == [3, 3, 1]
    found = [torch.cat(each) for each in zip(*pieces, strict=True)]
    close(found, wanted)
    close(squared_gradients(model, batch, loss), [w.square().sum(dim=0) for w in wanted])


def close(found: list[Tensor], wanted: list[Tensor]) -> None:
    """To the digits of single precision; a gradient that is zero in theory is noise in both."""
    most = max(float(w.abs().max()) for w in wanted)
    for one, two in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-5 * most)


@pytest.fixture(autouse=True)
def three_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(per_record, "MOST", 3)


@pytest.fixture
def no_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> list[Tensor]:
        raise AssertionError("one by one")

    monkeypatch.setattr(per_record, "one_by_one", refuse)


@pytest.mark.usefixtures("no_loop")
@pytest.mark.parametrize("name", TASKS)
def test_many_at_once_are_those_of_single_records(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch warns where vmap would loop over the records
        check(whole(TASKS[name]), batch_of(TASKS[name]))


def test_an_encoder_that_looks_at_its_mask_gives_the_same(tmp_path: Path) -> None:
    task = tiny_task(tmp_path)
    model = StagedModel(tiny_recipe(task))
    model.initialise_head(0)
    for block in model.adapted:
        model.initialise(block, block)
    model.set_training(model.adapted, on=True)
    model.module.eval()
    check(model, model.inputs(tiny_rows(ROWS)))


@pytest.mark.usefixtures("no_loop")
@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(1, 4, 3, stride=2, padding=(1, 2), dilation=(2, 1)),
        nn.Conv2d(1, 4, (3, 5), padding="same", bias=False),
        nn.Conv2d(1, 4, 3, padding=1, padding_mode="reflect"),
        nn.Sequential(nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 3, groups=2)),
    ],
    ids=["uneven", "same", "reflect", "groups"],
)
def test_convolutions_of_all_kinds(layer: nn.Module) -> None:
    model = whole(TASKS["resnet"])
    torch.manual_seed(0)
    tail = [nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)]
    model.module = nn.Sequential(layer, *tail).eval()
    check(model, batch_of(TASKS["resnet"]))


@dataclass
class Spy:
    """A module's outputs, and how many rows each call had."""

    inner: WholeModel
    seen: list[int]

    @property
    def task(self) -> Task:
        return self.inner.task

    @property
    def module(self) -> nn.Module:
        return self.inner.module

    def inputs(self, rows: Any) -> dict[str, Tensor]:
        return self.inner.inputs(rows)

    def outputs(self, batch: Mapping[str, Tensor]) -> Tensor:
        self.seen.append(len(batch["array"]))
        return self.inner.outputs(batch)


class Branching(nn.Module):
    """A value decides what is computed, which no map over records can follow."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        scale = 2.0 if float(x.sum()) > 2.5 else 1.0
        found: Tensor = scale * self.inner(x)
        return found


def test_a_module_that_branches_is_gone_through_one_by_one_and_tried_once() -> None:
    model, batch = whole(TASKS["mlp"]), batch_of(TASKS["mlp"])
    model.module = Branching(model.module).eval()
    check(model, batch)
    spy = Spy(model, [])
    list(gradients(spy, batch, loss))
    assert spy.seen == [1] * (1 + ROWS)


def test_a_fault_of_the_rows_is_raised_as_it_is() -> None:
    model, batch = whole(TASKS["mlp"]), batch_of(TASKS["mlp"])
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        squared_gradients(model, {**batch, "array": torch.rand(ROWS, 6)}, loss)


def test_what_may_not_change_and_what_is_not_used() -> None:
    model, batch = whole(TASKS["mlp"]), batch_of(TASKS["mlp"])
    next(model.module.parameters()).requires_grad_(False)
    model.module.add_module("_unused", nn.Identity())
    next(model.module.children()).add_module("unused", nn.Linear(2, 2))  # flattening calls no child
    check(model, batch)
    unused = list(squared_gradients(model, batch, loss))[:2]
    assert all(not bool(zero.any()) for zero in unused)
    assert all(p.grad is None for p in model.module.parameters())


def test_the_bytes_are_the_same_twice_and_the_model_stays_as_it_is() -> None:
    model, batch = whole(TASKS["resnet"]), batch_of(TASKS["resnet"])
    before = model.state()
    one, two = (squared_gradients(model, batch, loss) for _ in range(2))
    assert all(map(torch.equal, one, two))
    assert all(torch.equal(t, before[n]) for n, t in model.state().items())


def test_as_many_records_at_once_as_the_bound_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = whole(TASKS["mlp"]), batch_of(TASKS["mlp"])
    bytes_each = 4 * sum(p.numel() for p in model.module.parameters())
    for held, sizes in ((2 * bytes_each, [2, 2, 2, 1]), (1, [1] * ROWS)):
        monkeypatch.setattr(per_record, "HELD", held)
        assert [len(piece[0]) for piece in gradients(model, batch, loss)] == sizes


def test_hooks_that_count_what_is_read_see_whole_chunks() -> None:
    model, batch, seen, depth = whole(TASKS["mlp"]), batch_of(TASKS["mlp"]), [0], [0]

    def entered(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        seen[0] += sum(getattr(part, "nbytes", 0) for part in inputs) if depth[0] == 0 else 0
        depth[0] += 1

    def left(*_: Any) -> None:
        depth[0] -= 1

    with (
        nn.modules.module.register_module_forward_pre_hook(entered),
        nn.modules.module.register_module_forward_hook(left),
    ):
        squared_gradients(model, batch, loss)
    assert seen[0] == batch["array"].nbytes


def test_the_loop_is_a_chunk() -> None:
    for name in ("mlp", "gpt"):
        model, batch = whole(TASKS[name]), batch_of(TASKS[name])
        close(one_by_one(model, batch, loss), by_hand(model, batch))
