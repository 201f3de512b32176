"""From a method's name to the method, and from a recipe to the orders it lays out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rescind.core.protocols import Planner, Unlearner
from rescind.core.run import Order, Recipe
from rescind.methods.retrain import Retrain
from rescind.registry import Registry

METHODS = Registry("rescind.methods")


def make(name: str, settings: Mapping[str, Any] | None = None) -> Unlearner:
    """The method of that name with these parameters; see ``Registry.make`` for the errors."""
    method: Unlearner = METHODS.make(name, settings or {})
    return method


def orders(recipe: Recipe, n_blocks: int) -> tuple[Order, ...]:
    """The orders that the recipe's method trains; a method without a layout gets one plain run."""
    method = make(recipe.method)
    layout = method if isinstance(method, Planner) else Retrain()
    return layout.orders(recipe, n_blocks)


def name_of(method: Unlearner) -> str:
    """The registered name of a method's class, else where the class comes from."""
    cls = type(method)
    known = (name for name in METHODS.names() if METHODS.load(name) is cls)
    return next(known, f"{cls.__module__}:{cls.__qualname__}")
