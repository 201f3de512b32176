"""A provider and a client of a small trained classifier, by files as they would exchange them."""

from __future__ import annotations

import copy
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rescind.core.canonical import digest, plain
from rescind.core.partition import Partition
from rescind.core.run import Recipe
from rescind.methods.zk_apex.fisher import matrices, mean_gradient, sketches
from rescind.methods.zk_apex.method import ZkApex
from rescind.training.modules import Classification
from rescind.training.whole import WholeModel
from rescind.workspace import Workspace, new_workspace
from rescind.zk import receipts
from rescind.zk.check import Received
from rescind.zk.client import Opening, commit, compensate, prove_once
from rescind.zk.entries import Receipt
from rescind.zk.provider import Made, Wish, make
from rescind.zk.tensors import Tensors
from rescind.zk.terms import Commitment

CLASSES = ("a", "b", "c")
TASK = Classification(
    "rescind.training.zoo:mlp", CLASSES, (6,), {"inputs": 6, "outputs": 3, "hidden": (24, 24)}
)


def points(n: int, seed: int, shift: float = 0.0) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    centres = torch.eye(3, 6)[labels] * 2.5 + shift
    return {"array": centres + torch.randn(n, 6, generator=draw) * 0.9, "labels": labels}


def part(batch: dict[str, torch.Tensor], keep: torch.Tensor) -> dict[str, torch.Tensor]:
    return {name: t[keep] for name, t in batch.items()}


def trained(model: WholeModel, batch: dict[str, torch.Tensor], steps: int, seed: int) -> WholeModel:
    torch.manual_seed(seed)
    model.module.requires_grad_(True)
    optimizer = torch.optim.Adam(model.module.parameters(), lr=5e-3)
    for _ in range(steps):
        loss = TASK.loss(model.outputs(batch), batch).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return model


@dataclass(frozen=True)
class Party:
    """A model with its weights and sketches of its retained data, as in its files."""

    model: WholeModel
    data: dict[str, torch.Tensor]
    weights: Tensors
    gradients: Tensors


def party(model: WholeModel, data: dict[str, torch.Tensor], count: int = 8) -> Party:
    named = matrices(model)
    found = sketches(
        model, part(data, data["labels"] != 2), list(named.values()), count=count, samples=240
    )
    gradients = {n: g.numpy() for n, g in zip(named, found, strict=True)}
    weights = {n: w.detach().numpy().copy() for n, w in named.items()}
    return Party(model, data, weights, gradients)


@cache
def provider() -> Party:
    recipe = Recipe(task=TASK, method="zk_apex", partition=Partition(1, 1, 0.1))
    data = points(900, 0)
    return party(trained(WholeModel(recipe), data, 150, 0), data)


@cache
def client(seed: int = 1) -> Party:
    data = points(600, seed, shift=0.3)
    return party(trained(copy.deepcopy(provider().model), data, 40, seed), data)


@cache
def forgetting() -> tuple[Tensors, Tensors]:
    """Mask and direction of class c, of the provider's model."""
    own = provider()
    named, gone = matrices(own.model), own.data["labels"] == 2
    forget, retain = part(own.data, gone), part(own.data, ~gone)
    weights = list(named.values())
    masks = ZkApex(share=0.06).masks(own.model, forget, retain, weights)
    pulls = mean_gradient(own.model, forget, weights)
    mask = {n: m.numpy().astype(np.uint8) for n, m in zip(named, masks, strict=True)}
    return mask, {n: g.numpy() for n, g in zip(named, pulls, strict=True)}


@cache
def made(**wish: Any) -> Made:
    """An epoch of the provider, small blocks and few bits."""
    given: dict[str, Any] = {"goal": "class", "records": 600, "alpha": 0.02, "block": 16}
    given |= {"bits": 40.0, **wish}
    own, (mask, direction) = provider(), forgetting()
    return make(own.weights, own.gradients, mask, direction, Wish(**given))


@cache
def workspace() -> Workspace:
    """The provider's, with some entries of other kinds."""
    return new_workspace(Path(tempfile.mkdtemp()) / "provider")


@cache
def receipt_of(commitment: Commitment) -> Receipt:
    """Each commitment is another client's of the epoch of ``made()``."""
    name = digest(plain(commitment))
    return receipts.enter(workspace().backends, made().epoch, commitment, name)


def quiet(what: str, done: int, total: int) -> None:
    """Nothing is told."""


@cache
def received() -> tuple[Received, Opening, Any]:
    """What a verifier gets of an honest client, its opening, and the new weights."""
    epoch, own = made(), client()
    committed, opening = commit(epoch.epoch, own.weights, own.gradients)
    new, _ = compensate(epoch.epoch, epoch.order, epoch.public, own.weights, own.gradients)
    statement, proof, used = prove_once(
        epoch.epoch, epoch.order, epoch.public, own.weights, own.gradients, opening, quiet
    )
    receipt = receipt_of(committed)
    got = Received(epoch.epoch, epoch.order, committed, receipt, statement, epoch.public, proof)
    return got, used, new


def accuracy(model: WholeModel, weights: Tensors | None, label: int) -> float:
    """On fresh points of a class, with these tensors in place of the model's."""
    model = copy.deepcopy(model)
    if weights is not None:
        state = {n: torch.from_numpy(np.array(w)) for n, w in weights.items()}
        model.module.load_state_dict({**model.module.state_dict(), **state})
    batch = points(300, 99, shift=0.3)
    batch = part(batch, batch["labels"] == label)
    with torch.no_grad():
        return float((model.outputs(batch).argmax(1) == label).double().mean())
