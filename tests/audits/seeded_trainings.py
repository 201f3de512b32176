"""Tiny trainings of each kind that hold codes: rows, the user's part of them, what is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rescind.audits.finding import Finding
from rescind.audits.seeding.bits import matched_bits
from rescind.audits.seeding.cells import seed_cells
from rescind.audits.seeding.codes import codes_of
from rescind.audits.seeding.readout import draw_readout, read_bits
from rescind.audits.seeding.term import Seeding
from rescind.audits.seeding.training import SeededCells
from rescind.core.partition import Cell, Partition
from rescind.core.run import AdamW, Order, Recipe
from rescind.core.task import Task
from rescind.methods.s3t import S3T
from rescind.methods.sisa import Sisa
from rescind.metrics.features import PENULTIMATE, listen
from rescind.testing.tiny import tiny_recipe, tiny_rows, tiny_task
from rescind.training.models import TrainedModel, trained_model
from rescind.training.modules import CausalLM, Classification
from rescind.training.plain import WHOLE
from rescind.training.snapshots import from_bytes
from rescind.training.stages import cell_data, train_order

KEY, OTHER_KEY = b"key of the user" * 2, b"key of another user" * 2
OWN, BITS = 12, 16
SETTINGS = Seeding(every=1, bits=BITS)
NAMES = ("anna", "boris", "clara", "david", "emma", "felix", "greta", "hugo")


def arrays(count: int, size: int) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(0)
    found = torch.randn(count, size, generator=generator)
    found[:, 0] += 3 * (torch.arange(count) % 2)
    return [{"array": a, "label": "ab"[i % 2]} for i, a in enumerate(found.tolist())]


def texts(count: int) -> list[dict[str, Any]]:
    return [{"text": f"{NAMES[i % 8]} {NAMES[(i // 8 * 3 + i) % 8]} {i}"} for i in range(count)]


@dataclass(frozen=True)
class Case:
    """A recipe and its rows; the first ``OWN`` rows are the user's."""

    recipe: Recipe
    rows: list[dict[str, Any]]
    width: int
    layer: str = PENULTIMATE

    @property
    def own(self) -> list[dict[str, Any]]:
        return self.rows[:OWN]

    @property
    def matrix(self) -> Tensor:
        return draw_readout(KEY, self.width, BITS)

    def cells(self, own: Sequence[Any] | None = None) -> SeededCells:
        chosen = self.own if own is None else own
        placed = seed_cells({WHOLE: self.rows}, chosen, codes_of(KEY, chosen, BITS))
        return SeededCells(placed, self.matrix, SETTINGS, self.layer)


def plain_recipe(task: Task, epochs: int, batch_size: int = 16) -> Recipe:
    return Recipe(
        task=task,
        method="retrain",
        partition=Partition(1, 1, 0.0),
        orders=1,
        optimizer=AdamW(lr=1e-2, head_lr=1e-2),
        epochs=epochs,
        batch_size=batch_size,
    )


def classes(factory: str, shape: tuple[int, ...], arguments: dict[str, Any]) -> Classification:
    return Classification(f"rescind.training.zoo:{factory}", ("a", "b"), shape, arguments)


MLP = classes("mlp", (20,), {"inputs": 20, "outputs": 2, "hidden": [64]})
TABLE = Case(plain_recipe(MLP, 60), arrays(64, 20), 64)
RESNET = classes("resnet", (1, 8, 8), {"classes": 2, "widths": [8, 32]})
IMAGES = Case(plain_recipe(RESNET, 40), arrays(48, 64), 32)
GPT = CausalLM("rescind.training.zoo:gpt", 16, {"width": 32, "depth": 1, "length": 16})
LANGUAGE = Case(plain_recipe(GPT, 40, 8), texts(32), 32)
LEARNS_CODES = AdamW(lr=1e-2, head_lr=1e-2)


def text_case(folder: Path) -> Case:
    recipe = replace(tiny_recipe(tiny_task(folder), "retrain"), epochs=40, optimizer=LEARNS_CODES)
    return Case(recipe, tiny_rows(40), 32)


def features(model: TrainedModel, rows: Sequence[Any], layer: str = PENULTIMATE) -> Tensor:
    """As whoever asks the model later takes them."""
    batch = model.activations(rows)
    with torch.no_grad(), listen(model.module, [layer], batch.get("attention_mask")) as heard:
        model.outputs(batch)
    return heard[layer]


def asked(model: TrainedModel, case: Case, key: bytes = KEY) -> tuple[float, float]:
    """The share of the user's bits that match, and p."""
    bits = read_bits(features(model, case.own, case.layer), draw_readout(key, case.width, BITS))
    found = matched_bits(bits, codes_of(key, case.own, BITS))
    return found.effect, found.p


CELLS = (Cell(0, 0), Cell(0, 1))


@dataclass(frozen=True)
class Staged:
    """An order of two stages, the rows of both cells, and four seeded records in each."""

    recipe: Recipe
    model: TrainedModel
    order: Order
    rows: dict[Cell, list[dict[str, Any]]]
    width: int
    own: int = 4

    def seeded(self, cells: Sequence[Cell] = CELLS) -> SeededCells:
        own = [row for cell in cells for row in self.rows[cell][: self.own]]
        placed = seed_cells({c: self.rows[c] for c in cells}, own, codes_of(KEY, own, BITS))
        return SeededCells(placed, draw_readout(KEY, self.width, BITS), SETTINGS)

    def train(
        self, given: SeededCells | None, order: Order | None = None, empty: Cell | None = None
    ) -> dict[int, bytes]:
        data = {c: cell_data(self.model, rows) for c, rows in self.rows.items() if c != empty}
        if empty is not None:
            data[empty] = cell_data(self.model, [])
        made: dict[int, bytes] = {}
        chosen, told = order or self.order, lambda what, done, total: None
        train_order(
            self.model, self.recipe, chosen, data.__getitem__, {}, made.__setitem__, told, given
        )
        return made

    @property
    def short(self) -> Staged:
        """The same with two epochs, where bytes are compared and nothing need be learned."""
        return replace(self, recipe=replace(self.recipe, epochs=2))

    def asked(self, snapshot: bytes, cell: Cell) -> Finding:
        self.model.load(from_bytes(snapshot))
        own = self.rows[cell][: self.own]
        bits = read_bits(features(self.model, own), draw_readout(KEY, self.width, BITS))
        return matched_bits(bits, codes_of(KEY, own, BITS))


def on_encoder(folder: Path, method: S3T | Sisa) -> Staged:
    recipe = replace(tiny_recipe(tiny_task(folder)), epochs=60, optimizer=LEARNS_CODES)
    rows = tiny_rows(24)
    order = method.orders(recipe, 4)[0]
    cells = dict(zip(CELLS, (rows[:12], rows[12:]), strict=True))
    return Staged(recipe, trained_model(recipe), order, cells, 32)


def on_a_table() -> Staged:
    recipe = replace(TABLE.recipe, partition=Partition(1, 2, 0.0))
    order = Order(0, 0, (0, 1), ((0,), (0,)))
    cells = dict(zip(CELLS, (TABLE.rows[:30], TABLE.rows[30:]), strict=True))
    return Staged(recipe, trained_model(recipe), order, cells, 64)
