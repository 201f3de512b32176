from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rescind.core.errors import BadData, NotDeterministic
from rescind.core.partition import Cell, Partition
from rescind.core.run import Lora, Order, Recipe
from rescind.methods.s3t import S3T
from rescind.methods.sisa import Sisa
from rescind.testing.tiny import tiny_recipe, tiny_rows, tiny_task
from rescind.training.encoder import StagedModel
from rescind.training.pretrained import encoder_name
from rescind.training.snapshots import from_bytes, to_bytes
from rescind.training.stages import CellData, cell_data, train_order

Cells = dict[Cell, CellData]


def silent(what: str, done: int, total: int) -> None:
    """Progress is looked at in one test only."""


def rows_of(cell: Cell) -> list[dict[str, str]]:
    start = 10 * (2 * cell.shard + cell.slice)
    return tiny_rows(60)[start : start + 10]


def train(
    model: StagedModel,
    recipe: Recipe,
    order: Order,
    cells: Cells,
    have: dict[int, bytes] | None = None,
) -> dict[int, bytes]:
    made: dict[int, bytes] = {}
    train_order(model, recipe, order, cells.__getitem__, have or {}, made.__setitem__, silent)
    return made


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    return tiny_recipe(tiny_task(tmp_path_factory.mktemp("encoder")))


@pytest.fixture(scope="module")
def model(recipe: Recipe) -> StagedModel:
    return StagedModel(recipe)


@pytest.fixture(scope="module")
def cells(model: StagedModel) -> Cells:
    return {Cell(0, k): cell_data(model, rows_of(Cell(0, k))) for k in range(3)}


@pytest.fixture(scope="module")
def order(recipe: Recipe) -> Order:
    return S3T().orders(recipe, 4)[0]


@pytest.fixture(scope="module")
def trained(model: StagedModel, recipe: Recipe, order: Order, cells: Cells) -> dict[int, bytes]:
    return train(model, recipe, order, cells)


def test_a_stage_trains_its_own_blocks_and_the_head(
    trained: dict[int, bytes], order: Order
) -> None:
    first, second = from_bytes(trained[0]), from_bytes(trained[1])
    assert order.blocks == ((3,), (2,))
    assert {n.split(".")[1] for n in first if n.startswith("block")} == {"3"}
    assert {n.split(".")[1] for n in second if n.startswith("block")} == {"2", "3"}
    earlier = [n for n in first if n.startswith("block.3.")]
    assert all(torch.equal(first[n], second[n]) for n in earlier)
    assert all(t.abs().max() > 0 for n, t in second.items())


def test_block_and_head_start_from_seeds_of_their_own(
    model: StagedModel, recipe: Recipe, order: Order, cells: Cells
) -> None:
    still = replace(recipe, optimizer=replace(recipe.optimizer, lr=0.0, head_lr=0.0))
    made = train(model, still, order, cells)
    first, second = from_bytes(made[0]), from_bytes(made[1])
    a, b = "block.{}.attention.self.query.lora_A", "block.{}.attention.self.query.lora_B"
    assert first["head.weight"].any(), "a head of zeros would send no gradient to the adapters"
    assert not first[b.format(3)].any()
    assert not torch.equal(second[a.format(2)], second[a.format(3)])
    # with no learning rate the second stage takes the head over as it was
    assert torch.equal(first["head.weight"], second["head.weight"])


def test_the_head_is_kept_with_its_stage(trained: dict[int, bytes]) -> None:
    heads = [from_bytes(trained[stage])["head.weight"] for stage in (0, 1)]
    assert not torch.equal(*heads)


def test_block_1_leaves_10_and_11_untouched(tmp_path: Path, cells: Cells) -> None:
    task = tiny_task(tmp_path / "deep", blocks=12)
    deep = replace(tiny_recipe(task), partition=Partition(1, 12, 0.1))
    model = StagedModel(deep)
    data = {Cell(0, 0): cell_data(model, rows_of(Cell(0, 0)))}
    before = {n: t.clone() for n, t in model.module.state_dict().items()}
    made = train(model, deep, Order(0, 0, (0,), ((1,),)), data)
    changed = {n for n, t in model.module.state_dict().items() if not torch.equal(t, before[n])}
    assert {n for n in changed if "layer.1." in n} == {
        n for n in before if "layer.1." in n and "lora_" in n
    }
    assert {n for n in changed if "layer.1." not in n} == {"head.weight", "head.bias"}
    assert {n.split(".")[1] for n in from_bytes(made[0]) if n.startswith("block")} == {"1"}


def test_what_the_model_held_before_has_no_influence(
    model: StagedModel, recipe: Recipe, order: Order, cells: Cells, trained: dict[int, bytes]
) -> None:
    model.load({n: torch.randn_like(t) for n, t in model.state(model.adapted).items()})
    torch.manual_seed(7)
    assert train(model, recipe, order, cells) == trained


@pytest.mark.slow
def test_a_fresh_process_gives_the_same_bytes(recipe: Recipe, trained: dict[int, bytes]) -> None:
    folder = encoder_name(recipe.task)
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from rescind.training.determinism import settle
settle()
from hashlib import sha256
from test_train_order import *
recipe = tiny_recipe(tiny_task({folder!r}))
model = StagedModel(recipe)
cells = {{Cell(0, k): cell_data(model, rows_of(Cell(0, k))) for k in range(2)}}
made = train(model, recipe, S3T().orders(recipe, 4)[0], cells)
sys.stdout.write(" ".join(sha256(made[s]).hexdigest() for s in (0, 1)))
"""
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert told.stdout.split() == [sha256(trained[s]).hexdigest() for s in (0, 1)]


def test_a_common_prefix_gives_the_same_bytes(
    model: StagedModel, recipe: Recipe, order: Order, cells: Cells, trained: dict[int, bytes]
) -> None:
    other = Order(0, 5, (order.slices[0], 2), order.blocks)
    made = train(model, recipe, other, cells)
    assert made[0] == trained[0]
    assert made[1] != trained[1]


def test_another_shard_or_seed_draws_other_numbers(
    model: StagedModel, recipe: Recipe, order: Order, cells: Cells, trained: dict[int, bytes]
) -> None:
    moved = {Cell(1, k): cells[Cell(0, k)] for k in range(2)}
    assert train(model, recipe, replace(order, shard=1), moved)[0] != trained[0]
    assert train(model, replace(recipe, seed=1), order, cells)[0] != trained[0]


def test_resuming_gives_the_same_bytes_and_trains_nothing_twice(
    model: StagedModel, recipe: Recipe, order: Order, cells: Cells, trained: dict[int, bytes]
) -> None:
    assert train(model, recipe, order, cells, {0: trained[0]}) == {1: trained[1]}
    assert train(model, recipe, order, cells, trained) == {}
    assert train(model, recipe, order, cells, {1: trained[1]}) == {0: trained[0]}


def test_finished_stages_ask_for_no_data(
    model: StagedModel, recipe: Recipe, order: Order, trained: dict[int, bytes]
) -> None:
    assert train(model, recipe, order, {}, trained) == {}


def _dropped(data: CellData) -> CellData:
    return CellData({n: t[1:] for n, t in data.activations.items()}, data.labels[1:])


def _relabelled(data: CellData) -> CellData:
    return CellData(data.activations, 1 - data.labels)


@pytest.mark.parametrize("change", [_dropped, _relabelled])
def test_a_snapshot_depends_on_the_slices_of_its_prefix_alone(
    change: Callable[[CellData], CellData],
    model: StagedModel,
    recipe: Recipe,
    order: Order,
    cells: Cells,
    trained: dict[int, bytes],
) -> None:
    later, own = order.cells(1)[1], order.cells(1)[0]
    made = train(model, recipe, order, {**cells, later: change(cells[later])})
    assert made[0] == trained[0]
    assert made[1] != trained[1]
    assert train(model, recipe, order, {**cells, own: change(cells[own])})[0] != trained[0]


def test_cached_activations_give_the_bytes_of_fresh_ones(
    model: StagedModel, recipe: Recipe, order: Order, trained: dict[int, bytes]
) -> None:
    rows = {Cell(0, k): rows_of(Cell(0, k)) for k in range(2)}
    cached = {c: to_bytes(model.activations(r)) for c, r in rows.items()}
    data = {c: cell_data(model, r, cached[c]) for c, r in rows.items()}
    assert train(model, recipe, order, data) == trained
    with pytest.raises(BadData, match="hold 10 rows, the cell 9"):
        cell_data(model, rows[Cell(0, 0)][1:], cached[Cell(0, 0)])


def test_stages_from_the_middle_equal_training_with_the_whole_forward(
    recipe: Recipe, order: Order, cells: Cells, trained: dict[int, bytes]
) -> None:
    """The slow truth: no cache, no lift; every batch goes from tokens through all blocks."""
    model = StagedModel(recipe)
    tokens = [model.task.batch(rows_of(cell)) for cell in order.cells(1)]
    joined = {n: torch.cat([t[n] for t in tokens]) for n in ("input_ids", "attention_mask")}
    hidden_is_index = torch.arange(20).view(20, 1, 1)

    def whole(activations: dict[str, Tensor], block: int | None = None) -> Tensor:
        index = activations["hidden"].flatten()
        return model.forward({n: t[index] for n, t in joined.items()})

    model.forward_from = whole  # type: ignore[method-assign, assignment]
    model.lift = lambda activations, block: activations  # type: ignore[method-assign, assignment, return-value]
    slow = {
        cell: CellData(
            {
                "hidden": hidden_is_index[10 * i : 10 * i + 10],
                "attention_mask": joined["attention_mask"][10 * i : 10 * i + 10],
            },
            cells[cell].labels,
        )
        for i, cell in enumerate(order.cells(1))
    }
    for stage, data in train(model, recipe, order, slow).items():
        fast = from_bytes(trained[stage])
        for name, tensor in from_bytes(data).items():
            torch.testing.assert_close(tensor, fast[name], rtol=1e-4, atol=1e-5)


def test_dropout_is_seeded_and_switched_off_again(
    recipe: Recipe, order: Order, cells: Cells, trained: dict[int, bytes]
) -> None:
    wet = replace(recipe, adapter=Lora(dropout=0.5))
    model = StagedModel(wet)
    made = train(model, wet, order, cells)
    torch.manual_seed(3)
    assert train(model, wet, order, cells) == made
    assert made[0] != trained[0]
    assert not any(layer.training for layer in model.module.modules())


def test_the_random_state_of_the_caller_is_left_alone(
    model: StagedModel, recipe: Recipe, order: Order, cells: Cells
) -> None:
    before = torch.get_rng_state()
    train(model, recipe, order, cells)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_frozen_tensor_that_changes_is_noticed(
    recipe: Recipe, order: Order, cells: Cells, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = StagedModel(recipe)
    real = model.forward_from

    def leaking(activations: dict[str, Tensor], block: int | None = None) -> Tensor:
        outputs = real(activations, block)
        weight = model.adapters[2]["block.2.attention.self.query.lora_B"]
        with torch.no_grad():
            weight[0, 0] = 1e-30  # far below what any tolerance would see
        return outputs

    monkeypatch.setattr(model, "forward_from", leaking)
    with pytest.raises(NotDeterministic, match=r"1 frozen tensors changed.*layer\.2\..*lora_B"):
        train(model, recipe, order, cells)


def test_nothing_is_left_to_train_by_accident(
    model: StagedModel, trained: dict[int, bytes]
) -> None:
    assert not any(p.requires_grad for p in model.module.parameters())
    assert all(p.grad is None for p in model.module.parameters())


def test_sisa_goes_on_from_the_checkpoint_before(
    model: StagedModel, recipe: Recipe, cells: Cells
) -> None:
    order = Sisa().orders(recipe, 4)[0]
    made = train(model, recipe, order, cells)
    first, second = from_bytes(made[0]), from_bytes(made[1])
    assert order.blocks == ((2, 3), (2, 3))
    assert set(first) == set(second)
    assert not any(torch.equal(first[n], second[n]) for n in first)
    still = replace(recipe, optimizer=replace(recipe.optimizer, lr=0.0, head_lr=0.0))
    assert train(model, still, order, cells, {0: made[0]})[1] == made[0]


@pytest.mark.parametrize("method", [S3T(), Sisa()], ids=["s3t", "sisa"])
def test_an_emptied_slice_adds_nothing_and_a_stage_without_records_is_left_out(
    method: S3T | Sisa, model: StagedModel, recipe: Recipe, cells: Cells
) -> None:
    order, empty = method.orders(recipe, 4)[0], cell_data(model, [])
    first, second = order.cells(1)
    later_empty = train(model, recipe, order, {**cells, second: empty})
    assert later_empty[0] == train(model, recipe, order, cells)[0]
    assert set(later_empty) == {0, 1}
    early_empty = train(model, recipe, order, {**cells, first: empty})
    assert set(early_empty) == {1}
    # the stage that is first to have records starts its blocks and the head, and learns
    state = from_bytes(early_empty[1])
    trained = [n for n in state if n.endswith("lora_B") and f"block.{order.blocks[1][-1]}." in n]
    assert trained and all(bool(state[n].any()) for n in (*trained, "head.weight"))
    still = replace(recipe, optimizer=replace(recipe.optimizer, lr=0.0, head_lr=0.0))
    start = from_bytes(train(model, still, order, {**cells, first: empty})[1])
    assert bool(start["head.weight"].any())  # where it begins, before it learns
    assert train(model, recipe, order, dict.fromkeys(cells, empty)) == {}


def test_progress_counts_every_step(
    model: StagedModel, recipe: Recipe, order: Order, cells: Cells
) -> None:
    told: list[tuple[str, int, int]] = []
    train_order(
        model,
        replace(recipe, epochs=2),
        order,
        cells.__getitem__,
        {},
        lambda stage, data: None,
        lambda what, done, total: told.append((what, done, total)),
    )
    # 10 and 20 records in batches of 8, twice
    assert told == [("shard 0, order 0, stage 1/2", i, 4) for i in range(1, 5)] + [
        ("shard 0, order 0, stage 2/2", i, 6) for i in range(1, 7)
    ]


def test_training_learns(model: StagedModel, recipe: Recipe, cells: Cells, order: Order) -> None:
    long = replace(recipe, epochs=12)
    made = train(model, long, order, cells)
    model.load(from_bytes(made[1]))
    data = cells[order.cells(1)[0]]
    with torch.no_grad():
        outputs = model.forward_from(data.activations)
    assert model.task.score(outputs, {"labels": data.labels}).mean() >= 0.9
