"""Recipes from plain values, such as those of a TOML file; no torch."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from rescind.core.canonical import build
from rescind.core.errors import BadParameter
from rescind.core.run import Recipe
from rescind.core.task import Task
from rescind.training.tasks import TASKS


def recipe_from(data: Mapping[str, Any]) -> Recipe:
    """A recipe from plain values; the task is chosen by its ``kind``.

    Raises:
        BadParameter: an unknown key, a missing one or a value that cannot work.
    """
    if not isinstance(data.get("task"), Mapping):
        raise BadParameter(
            "The recipe has no task.",
            "The task names the encoder and declares the labels.",
            "Add a table [task] with kind, encoder and labels.",
        )
    return build(Recipe, {**data, "task": _task(data["task"])})


def _task(data: Mapping[str, Any]) -> Task:
    kind = data.get("kind")
    if kind not in TASKS:
        near = difflib.get_close_matches(str(kind), TASKS, n=1)
        raise BadParameter(
            f"The task has the kind {kind!r}." if kind else "The task has no kind.",
            f"Known kinds: {', '.join(sorted(TASKS))}.",
            f"Did you mean {near[0]!r}?" if near else "Set kind in the table [task].",
        )
    return build(TASKS[kind], data)
