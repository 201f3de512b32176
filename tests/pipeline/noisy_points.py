"""A workspace over noisy points that its model overfits: margins of held-out ones are lower."""

from __future__ import annotations

import random
import shutil
import tempfile
from pathlib import Path

from tiny_workspace import new_workspace

from rescind import state
from rescind.core.dataset import Key
from rescind.core.partition import Partition
from rescind.core.request import Request
from rescind.core.run import AdamW, Recipe
from rescind.resolve import Ask
from rescind.training.modules import Classification
from rescind.workspace import Workspace, open_workspace

TEMPLATES = tempfile.TemporaryDirectory()  # removed when the process ends
NAMES, WIDTH, ASKED = ("red", "green"), 12, 60


def points(n: int = 800) -> list[dict[str, object]]:
    """The first coordinate tells the colour, not surely; the others tell nothing."""
    draw, found = random.Random(5), list[dict[str, object]]()
    for i in range(n):
        name = draw.choice(NAMES)
        point = [draw.gauss(0, 1) for _ in range(WIDTH)]
        point[0] += 1.0 if name == "red" else -1.0
        found.append({"id": f"r{i}", "array": point, "label": name})
    return found


def recipe() -> Recipe:
    mlp = {"inputs": WIDTH, "outputs": 2, "hidden": (64,)}
    return Recipe(
        task=Classification("rescind.training.zoo:mlp", NAMES, (WIDTH,), mlp),
        method="finetune",
        partition=Partition(1, 1, 0.4),
        orders=1,
        epochs=40,
        batch_size=16,
        optimizer=AdamW(lr=1e-2),
    )


def noisy_workspace(folder: Path) -> Workspace:
    """As trained; trained once, and copied."""
    template = Path(TEMPLATES.name) / "noisy"
    if not template.exists():
        trained = new_workspace(template)
        trained.train(recipe(), points(), key="id", store=True)
        trained.backends.ledger.close()
    shutil.copytree(template, folder, dirs_exist_ok=True)
    return open_workspace(folder)


def some_keys(ws: Workspace, n: int = ASKED) -> tuple[Key, ...]:
    """Keys of training records, drawn at random."""
    entries = [e for e in state.allowed(ws.backends) if e.cell != "test"]
    return tuple(e.key for e in random.Random(0).sample(entries, n))


def asked(ws: Workspace, method: str, n: int = ASKED) -> Request:
    return ws.request(Ask(keys=some_keys(ws, n), near="keep", method=method))
