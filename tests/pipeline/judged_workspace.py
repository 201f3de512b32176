"""Workspaces over three clouds whose recipe has margins, and requests that can be judged."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from tiny_workspace import new_workspace

from rescind import state
from rescind.core.dataset import Key
from rescind.core.judgement import Margin
from rescind.core.partition import Partition
from rescind.core.request import Goal, Request
from rescind.core.run import AdamW, Recipe
from rescind.resolve import Ask
from rescind.training.modules import Classification
from rescind.workspace import Workspace

NAMES = ("red", "green", "blue")
CENTRES = {"red": (2.0, 0.0), "green": (-1.0, 1.7), "blue": (-1.0, -1.7)}
TASK = Classification(
    "rescind.training.zoo:mlp", NAMES, (2,), {"inputs": 2, "outputs": 3, "hidden": (8,)}
)
# red goes as a whole: the original answers it, a retrained model cannot
MARGINS = (
    Margin("forget accuracy", 0.2, "forgetting"),
    Margin("forget confidence", 0.2, "forgetting"),
    Margin("retain accuracy", 0.1, "utility"),
    Margin("test accuracy", 0.3, "utility"),
)


def rows(n: int = 90) -> list[dict[str, object]]:
    draw, found = random.Random(5), list[dict[str, object]]()
    for i in range(n):
        name = NAMES[i % 3]
        point = [c + draw.gauss(0, 0.35) for c in CENTRES[name]]
        found.append({"id": f"{name}-{i}", "array": point, "label": name})
    return found


def judged_workspace(
    folder: Path, margins: Sequence[Margin] = MARGINS, method: str = "finetune"
) -> Workspace:
    recipe = Recipe(
        task=TASK,
        method=method,
        partition=Partition(1, 1, 0.2),
        orders=1,
        epochs=12,
        batch_size=16,
        optimizer=AdamW(lr=3e-2),
        margins=tuple(margins),
    )
    workspace = new_workspace(folder)
    workspace.train(recipe, rows(), key="id", store=True)
    return workspace


def trained_keys(workspace: Workspace, name: str = "red") -> tuple[Key, ...]:
    """Keys of a colour, those of the test set left out."""
    listed = {e.key: e.cell for e in state.allowed(workspace.backends)}
    named = {r.key: str(r.row["label"]) for r in _records(workspace)}
    return tuple(k for k, cell in listed.items() if cell != "test" and named[k] == name)


def _records(workspace: Workspace):  # type: ignore[no-untyped-def]
    from rescind import rows as stored

    return stored.read(workspace.backends, state.allowed(workspace.backends))


def ask_for(
    workspace: Workspace, keys: Sequence[Key], method: str | None = None, goal: Goal = "influence"
) -> Request:
    return workspace.request(Ask(keys=tuple(keys), near="keep", method=method, goal=goal))
