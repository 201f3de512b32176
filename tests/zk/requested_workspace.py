"""A small trained workspace with enough records of a class for an order, and requests in it."""

from __future__ import annotations

import random
import shutil
import tempfile
from pathlib import Path

from rescind import rows, state
from rescind.core.dataset import Key
from rescind.core.partition import Partition
from rescind.core.request import Request
from rescind.core.run import AdamW, Recipe
from rescind.resolve import Ask
from rescind.settings import Settings
from rescind.storage.keys import KeyStore
from rescind.training.modules import Classification
from rescind.workspace import Workspace, open_workspace

TEMPLATE = tempfile.TemporaryDirectory()  # removed when the process ends
NAMES = ("red", "green", "blue", "grey")
COUNTS = {"red": 700, "green": 650, "blue": 300, "grey": 520}
CENTRES = {"red": (2.0, 0.0), "green": (-1.0, 1.7), "blue": (-1.0, -1.7), "grey": (0.0, 4.0)}
RECIPE = Recipe(
    task=Classification(
        "rescind.training.zoo:mlp", NAMES, (2,), {"inputs": 2, "outputs": 4, "hidden": (24, 24)}
    ),
    method="finetune",
    partition=Partition(1, 1, 0.1),
    orders=1,
    epochs=2,
    batch_size=64,
    optimizer=AdamW(lr=1e-2),
)


def clouds() -> list[dict[str, object]]:
    draw, found = random.Random(5), list[dict[str, object]]()
    for name in NAMES:
        for i in range(COUNTS[name]):
            point = [c + draw.gauss(0, 0.5) for c in CENTRES[name]]
            who = f"{name} {i}"
            if name == "grey" or (name == "green" and i < 580):
                who = "anna" if name == "green" else "boris"
            found.append({"id": f"{name}-{i}", "array": point, "label": name, "who": who})
    return found


def workspace(folder: Path, recipe: Recipe = RECIPE) -> Workspace:
    """As trained once for each partition, and copied."""
    template = Path(TEMPLATE.name) / f"trained-{recipe.partition.shards}"
    if not template.exists():
        for name in ("workspace", "partition"):  # every run places the records in the same cells
            KeyStore(template / "keys").put(name, name.ljust(32, "2").encode())
        trained = open_workspace(template, Settings(executor="inline", near_threshold=1.0))
        trained.train(recipe, clouds(), key="id", subject="who", store=True)
        trained.backends.ledger.close()
    shutil.copytree(template, folder)
    return open_workspace(folder)


def concept(ws: Workspace, label: str = "red", method: str = "zk_apex") -> Request:
    return ws.request(Ask(concept=label, near="keep", method=method, accept_outage=True))


def keys_of(ws: Workspace, label: str) -> list[Key]:
    """Of the training records with a label that may be used."""
    listed = [e for e in state.allowed(ws.backends) if e.cell != "test"]
    return [r.key for r in rows.read(ws.backends, listed) if r.row["label"] == label]


def stored(ws: Workspace) -> dict[str, frozenset[str]]:
    """Names and cells of what is stored of orders."""
    return {a.name: a.cells for a in ws.backends.artifacts.list() if a.kind == "mask"}
