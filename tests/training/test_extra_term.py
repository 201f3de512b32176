from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rescind.core.partition import Cell, Partition
from rescind.core.run import AdamW, Order, Recipe
from rescind.methods.s3t import S3T
from rescind.methods.sisa import Sisa
from rescind.testing.tiny import tiny_recipe, tiny_rows, tiny_task
from rescind.training.batches import batches, steps
from rescind.training.determinism import stage_seed
from rescind.training.encoder import StagedModel
from rescind.training.extra_term import ExtraTerm, Moment
from rescind.training.loop import decay
from rescind.training.modules import Classification
from rescind.training.plain import WHOLE, train_whole
from rescind.training.snapshots import to_bytes
from rescind.training.stages import CellData, cell_data, train_order
from rescind.training.whole import WholeModel

ROWS = [{"array": [float(i % 5), float(i % 3), 1.0], "label": "ab"[i % 2]} for i in range(20)]
RECIPE = Recipe(
    task=Classification(
        "rescind.training.zoo:mlp", ("a", "b"), (3,), {"inputs": 3, "outputs": 2, "hidden": [8]}
    ),
    method="retrain",
    partition=Partition(1, 1, 0.0),
    orders=1,
    optimizer=AdamW(lr=1e-2),
    epochs=3,
    batch_size=8,
)


@dataclass
class Squares:
    """A term by hand: the mean square of logits of the main batch and of one row of the stage."""

    every: int = 2
    weight: float = 0.1
    noise: float = 0.0
    moments: list[Moment] = field(default_factory=list)
    gradients: list[bool] = field(default_factory=list)
    same: list[bool] = field(default_factory=list)

    def due(self, step: int) -> bool:
        return step % self.every == 0

    @contextmanager
    def listen(self, module: nn.Module, batch: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
        found: dict[str, Tensor] = {}
        last = [part for part in module.modules() if isinstance(part, nn.Linear)][-1]
        hook = last.register_forward_hook(lambda part, inputs, out: found.update(logits=out))
        yield found
        hook.remove()

    def loss(self, moment: Moment, heard: Mapping[str, Tensor]) -> Tensor:
        self.moments.append(moment)
        one = {name: t[moment.step : moment.step + 1] for name, t in moment.activations.items()}
        if self.noise:
            one = {name: t + self.noise * torch.randn(t.shape) for name, t in one.items()}
        again = moment.forward(one)
        main = moment.forward({name: t[moment.index] for name, t in moment.activations.items()})
        self.same.append(torch.equal(main, heard["logits"]))
        self.gradients.append(again.requires_grad and heard["logits"].requires_grad)
        both: Tensor = heard["logits"].square().mean() + again.square().mean()
        return self.weight * both


@dataclass
class Given:
    """One term for all stages, or none; what was asked is kept."""

    term: ExtraTerm | None
    asked: list[tuple[dict[Cell, int], int]] = field(default_factory=list)

    def of_stage(self, rows: Mapping[Cell, int], seed: int) -> ExtraTerm | None:
        self.asked.append((dict(rows), seed))
        return self.term


def bytes_of(model: Any) -> bytes:
    return to_bytes(model.state(()))


def by_hand(more: Callable[[nn.Module, Tensor, int, Tensor], Tensor] | None) -> bytes:
    """The slow truth: what ``train_whole`` does, with no loop of ours."""
    model = WholeModel(RECIPE)
    model.initialise(0, stage_seed(RECIPE.seed, 0, (0,), "block 0"))
    found = model.task.batch(ROWS)
    module, inputs, labels = (
        model.module.train().requires_grad_(True),
        found["array"],
        found["labels"],
    )
    seed = stage_seed(RECIPE.seed, 0, (0,), "batches")
    chosen = RECIPE.optimizer
    optimizer = torch.optim.AdamW(
        module.parameters(), chosen.lr, weight_decay=chosen.weight_decay, foreach=False
    )
    total = steps(len(ROWS), RECIPE.batch_size, RECIPE.epochs)
    for step, index in enumerate(batches(len(ROWS), RECIPE.batch_size, RECIPE.epochs, seed)):
        optimizer.param_groups[0]["lr"] = chosen.lr * decay(step, total)
        logits = module(inputs[index])
        loss = nn.functional.cross_entropy(logits, labels[index], reduction="none").mean()
        if more is not None:
            loss = loss + more(module, inputs, step, logits)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return bytes_of(model)


def squares_by_hand(module: nn.Module, inputs: Tensor, step: int, logits: Tensor) -> Tensor:
    if step % 2:
        return torch.zeros(())
    found: Tensor = logits.square().mean() + module(inputs[step : step + 1]).square().mean()
    return 0.1 * found


def test_without_a_term_the_bytes_are_those_of_the_loop_written_out() -> None:
    plain = bytes_of(train_whole(RECIPE, ROWS))
    assert plain == by_hand(None)
    assert bytes_of(train_whole(RECIPE, ROWS, seeding=Given(None))) == plain


def test_a_term_that_is_never_due_changes_no_byte() -> None:
    term = Squares(every=10**9)
    term.due = lambda step: False  # type: ignore[method-assign]
    assert bytes_of(train_whole(RECIPE, ROWS, seeding=Given(term))) == by_hand(None)
    assert not term.moments


def test_a_term_is_added_to_the_loss_of_its_steps() -> None:
    found = bytes_of(train_whole(RECIPE, ROWS, seeding=Given(Squares())))
    assert found == by_hand(squares_by_hand)
    assert found != by_hand(None)


def test_a_term_sees_each_step_that_is_due_as_it_was() -> None:
    term = Squares()
    train_whole(RECIPE, ROWS, seeding=Given(term))
    # 20 records in batches of 8, three times
    assert [moment.step for moment in term.moments] == [0, 2, 4, 6, 8]
    seed = stage_seed(RECIPE.seed, 0, (0,), "batches")
    drawn = list(batches(20, 8, 3, seed))
    assert all(torch.equal(m.index, drawn[m.step]) for m in term.moments)
    assert all(len(m.activations["array"]) == 20 for m in term.moments)
    assert all(term.gradients)


def test_what_a_term_draws_is_seeded_and_the_caller_keeps_his_generator() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = bytes_of(train_whole(RECIPE, ROWS, seeding=Given(Squares(noise=0.5))))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert bytes_of(train_whole(RECIPE, ROWS, seeding=Given(Squares(noise=0.5)))) == first
    assert bytes_of(train_whole(RECIPE, ROWS, seeding=Given(Squares()))) != first


def test_a_plain_training_asks_for_the_term_of_its_one_cell() -> None:
    asked = Given(None)
    train_whole(RECIPE, ROWS, seeding=asked)
    assert asked.asked == [({WHOLE: 20}, stage_seed(RECIPE.seed, 0, (0,), "extra term"))]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    return tiny_recipe(tiny_task(tmp_path_factory.mktemp("encoder")))


@pytest.fixture(scope="module")
def model(recipe: Recipe) -> StagedModel:
    return StagedModel(recipe)


@pytest.fixture(scope="module")
def cells(model: StagedModel) -> dict[Cell, CellData]:
    rows = tiny_rows(18)
    return {Cell(0, 0): cell_data(model, rows[:8]), Cell(0, 1): cell_data(model, rows[8:])}


def stages(
    model: StagedModel, recipe: Recipe, cells: dict[Cell, CellData], order: Order, given: Any
) -> dict[int, bytes]:
    made: dict[int, bytes] = {}
    train_order(
        model, recipe, order, cells.__getitem__, {}, made.__setitem__, lambda *told: None, given
    )
    return made


def test_a_stage_is_handed_the_cells_of_its_prefix_in_order(
    model: StagedModel, recipe: Recipe, cells: dict[Cell, CellData]
) -> None:
    order = replace(S3T().orders(recipe, 4)[0], slices=(1, 0))
    given = Given(None)
    stages(model, recipe, cells, order, given)
    assert [list(rows.items()) for rows, _ in given.asked] == [
        [(Cell(0, 1), 10)],
        [(Cell(0, 1), 10), (Cell(0, 0), 8)],
    ]
    prefixes = [(1,), (1, 0)]
    assert [seed for _, seed in given.asked] == [
        stage_seed(recipe.seed, 0, prefix, "extra term") for prefix in prefixes
    ]


def test_an_emptied_cell_is_not_handed_on(
    model: StagedModel, recipe: Recipe, cells: dict[Cell, CellData]
) -> None:
    given = Given(None)
    empty = {**cells, Cell(0, 0): cell_data(model, [])}
    stages(model, recipe, empty, S3T().orders(recipe, 4)[0], given)
    assert [rows for rows, _ in given.asked] == [{Cell(0, 1): 10}]


@pytest.mark.parametrize("method", [S3T(), Sisa()], ids=["s3t", "sisa"])
def test_a_term_of_a_stage_changes_the_weights_of_that_stage(
    method: S3T | Sisa, model: StagedModel, recipe: Recipe, cells: dict[Cell, CellData]
) -> None:
    order, term = method.orders(recipe, 4)[0], Squares(every=1)
    plain = stages(model, recipe, cells, order, None)
    assert stages(model, recipe, cells, order, Given(None)) == plain
    found = stages(model, recipe, cells, order, Given(term))
    assert [found[stage] == plain[stage] for stage in (0, 1)] == [False, False]
    assert all(term.gradients)
    # the second pass enters where the stage does: of S3T not at the lowest block of the model
    assert all(term.same)
    assert [len(m.activations["hidden"]) for m in term.moments] == [8, 18, 18, 18]
