"""Servers with a known answer for benchmarks/pair_attacks.py.

*Same seed and batches* leaves the records out of the very batches of the original; *same seed*
draws its batches anew, as the method retrain does.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from rescind import methods_of
from rescind.audits.hiding import behind_last_layer, below_half_a_step
from rescind.core.audit import MODELS
from rescind.core.dataset import Split
from rescind.core.run import Order
from rescind.data import fashion_mnist
from rescind.metrics.relearning import LABELS
from rescind.testing.memory import MemoryModel, run_of
from rescind.training.models import TrainedModel, trained_model
from rescind.training.plain import WHOLE
from rescind.training.stages import CellData, cell_data, train_order
from treated_shadows import Table

METHODS = ("finetune", "cf_k", "negative_gradient", "ssd", "influence")
MANY, FEW, CLASS, ONE = "many records", "few records", "one class", "one record"
UNTOUCHED, ANOTHER = "untouched", "retrained, another seed"
SAME, MASKED = "retrained, same seed", "retrained, same seed and batches"
LAYER, EDITED = "hidden behind a new last layer", "edited below half a step of rounding"
AGAIN = 1_000  # added to a seed for a model that is retrained with another
BITS = 4
IGNORED = -100  # the label of a record that adds nothing to a cross entropy


@dataclass(frozen=True)
class Size:
    """Images, how many are asked for, retrained models to stand beside, and steps of inversion."""

    images: int = 3_000
    epochs: int = 12
    test: int = 2_000
    many: int = 100
    few: int = 20
    references: tuple[int, ...] = (3, MODELS)
    steps: int = 300
    seeds: tuple[int, ...] = (1, 2, 3, 4, 5)


@dataclass(frozen=True, eq=False)
class World:
    """The records with the models of them, and images that no model saw, as tensors by name."""

    size: Size
    table: Table
    test: dict[str, Tensor]

    def at(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Images and labels of rows."""
        return self.table.inputs["array"][rows], self.table.inputs[LABELS][rows]

    def requests(self, seed: int) -> dict[str, Tensor]:
        """Rows (n,) bool of each request."""
        size, labels = self.size, self.table.inputs[LABELS]
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
        drawn = {MANY: order[: size.many], FEW: order[size.many :][: size.few], ONE: order[-1:]}
        none = torch.zeros_like(labels, dtype=torch.bool)
        found = {name: none.index_fill(0, rows, True) for name, rows in drawn.items()}
        return {**found, CLASS: labels == seed % len(fashion_mnist.CLASSES)}


def masked(given: Table, rows: Tensor, seed: int) -> TrainedModel:
    """Trained in the batches of the original, where these rows (n,) add nothing to the loss."""
    made = replace(given.recipe, seed=seed)
    model = trained_model(made)
    data = cell_data(model, [record.row for record in given.records])
    data = CellData(data.activations, data.labels.masked_fill(rows, IGNORED))
    order = Order(WHOLE.shard, 0, (WHOLE.slice,), (model.adapted,))
    quiet = (lambda stage, found: None), (lambda what, done, total: None)
    train_order(model, made, order, lambda cell: data, {}, *quiet)
    return model


def unlearned(given: Table, model: TrainedModel, method: str, rows: Tensor) -> TrainedModel:
    """After a method with its defaults; the model itself where it handed none in."""
    forget, retain = (
        [record for record, asked in zip(given.records, mask.tolist(), strict=True) if asked]
        for mask in (rows, ~rows)
    )
    handle = MemoryModel(model)
    methods_of.make(method).unlearn(handle, Split(forget, retain), run_of(given.recipe))
    return handle.edited or model


def servers(given: Table, rows: Tensor, seed: int) -> dict[str, TrainedModel]:
    """What each gives back, by name; the first is the original."""
    before = given.trained(torch.ones_like(rows), seed)
    name = ["masked", rows.tolist(), seed]
    return {
        UNTOUCHED: before,
        MASKED: given.kept(name, lambda: masked(given, rows, seed)),
        ANOTHER: given.trained(~rows, seed + AGAIN),
        **{method: unlearned(given, before, method, rows) for method in METHODS},
    }


def mean_loss(module: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    """One number."""
    return cross_entropy(module(x), labels)


def stepped(w: World, before: nn.Module, row: int) -> nn.Module:
    """One step along the gradient of a record, as long as brings its loss to that of others."""
    one = w.at(torch.tensor([row]))
    parts = torch.autograd.grad(mean_loss(before, *one), list(before.parameters()))
    norm = float(torch.cat([part.flatten() for part in parts]).norm())
    after, length = before, 1e-3
    with torch.no_grad():
        goal = float(mean_loss(before, w.test["array"], w.test[LABELS]))
        while length < 10 and (after is before or float(mean_loss(after, *one)) < goal):
            after = copy.deepcopy(before)
            for weight, part in zip(after.parameters(), parts, strict=True):
                weight.add_(part, alpha=length / norm)
            length *= 1.3
    return after


def hiding(w: World, before: nn.Module, rows: Tensor, seed: int) -> dict[str, nn.Module]:
    """Models that hide the records: by the last layer where a class goes, and by an edit that
    rounding undoes.
    """
    x, labels = w.at(rows)
    kinds, found = sorted(set(labels.tolist())), dict[str, nn.Module]()
    if len(kinds) == 1:
        found[LAYER] = behind_last_layer(before, kinds, lambda m: m(x), seed)
    edited = below_half_a_step(before, lambda m: mean_loss(m, x, labels), BITS, seed)
    return {**found, EDITED: edited}
