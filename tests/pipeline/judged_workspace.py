"""Workspaces over three clouds whose recipe has margins, and requests that can be judged."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tiny_workspace import new_workspace

from rescind import rows, state
from rescind.core.canonical import digest, plain
from rescind.core.dataset import Key
from rescind.core.judgement import Margin
from rescind.core.partition import Partition
from rescind.core.request import Goal, Request
from rescind.core.run import AdamW, Recipe
from rescind.resolve import Ask
from rescind.training.modules import Classification
from rescind.workspace import Workspace, open_workspace

TEMPLATES = tempfile.TemporaryDirectory()  # removed when the process ends
NAMES = ("red", "green", "blue")
CENTRES = {"red": (2.0, 0.0), "green": (-1.0, 1.7), "blue": (-1.0, -1.7)}
MLP = {"inputs": 2, "outputs": 3, "hidden": (8,)}
# red goes as a whole: the original answers it, a retrained model cannot
MARGINS = (
    Margin("forget accuracy", 0.4, "forgetting"),
    Margin("forget confidence", 0.4, "forgetting"),
    Margin("retain accuracy", 0.2, "utility"),
    Margin("test accuracy", 0.5, "utility"),
)


def clouds(n: int = 90) -> list[dict[str, object]]:
    draw, found = random.Random(5), list[dict[str, object]]()
    for i in range(n):
        name = NAMES[i % 3]
        point = [c + draw.gauss(0, 0.35) for c in CENTRES[name]]
        found.append({"id": f"{name}-{i}", "array": point, "label": name})
    return found


def recipe_for(
    margins: Sequence[Margin] = MARGINS, method: str = "finetune", shards: int = 1
) -> Recipe:
    return Recipe(
        task=Classification("rescind.training.zoo:mlp", NAMES, (2,), MLP),
        method=method,
        partition=Partition(shards, 1, 0.2),
        orders=1,
        epochs=12,
        batch_size=16,
        optimizer=AdamW(lr=3e-2),
        margins=tuple(margins),
    )


def judged_workspace(
    folder: Path,
    margins: Sequence[Margin] = MARGINS,
    method: str = "finetune",
    shards: int = 1,
) -> Workspace:
    """As trained; a recipe is trained once, and copied."""
    recipe = recipe_for(margins, method, shards)
    template = Path(TEMPLATES.name) / digest(plain(recipe))[:12]
    if not template.exists():
        trained = new_workspace(template)
        trained.train(recipe, clouds(), key="id", store=True)
        trained.backends.ledger.close()
    shutil.copytree(template, folder, dirs_exist_ok=True)
    return open_workspace(folder)


def keys_of(workspace: Workspace, name: str = "red", cell: str = "0.0") -> tuple[Key, ...]:
    """Keys of a colour in a cell."""
    entries = [e for e in state.allowed(workspace.backends) if e.cell == cell]
    found = rows.read(workspace.backends, entries)
    return tuple(r.key for r in found if r.row["label"] == name)


def ask_for(
    workspace: Workspace, keys: Sequence[Key], method: str | None = None, goal: Goal = "influence"
) -> Request:
    return workspace.request(Ask(keys=tuple(keys), near="keep", method=method, goal=goal))


def named(workspace: Workspace, kind: str) -> set[str]:
    """Names of the stored artifacts of a kind."""
    return {a.name for a in workspace.backends.artifacts.list() if a.kind == kind}


def facts(workspace: Workspace, kind: str) -> list[dict[str, object]]:
    """What the entries of a kind say."""
    return [dict(e.facts) for e in workspace.backends.ledger.entries() if e.kind == kind]
