"""Modules named as ``module:function``; no torch until one is built."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rescind.core.errors import BadParameter, MissingExtra

if TYPE_CHECKING:
    from torch import nn


def find(factory: str) -> Callable[..., nn.Module]:
    """The function of that name.

    Raises:
        MissingExtra: its module is not installed.
        BadParameter: it has no such function, or is one of Python's own library.
    """
    module, _, name = factory.partition(":")
    if module.partition(".")[0] in sys.stdlib_module_names:
        raise BadParameter(
            f"The factory {factory!r} is a function of Python's own library.",
            "None of them builds a model, and some would run a command.",
            "Check task.factory in the recipe.",
        )
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"The factory {factory!r} needs {error.name}, which is not installed.",
            do="Install it, or correct task.factory in the recipe.",
        ) from error
    if not callable(found):
        raise BadParameter(f"{module} has no function {name!r}.", do="Check task.factory.")
    built: Callable[..., nn.Module] = found
    return built


def build_module(factory: str, arguments: Mapping[str, Any]) -> nn.Module:
    """What the function returns for these arguments.

    Raises:
        BadParameter: it takes other arguments, or returns no module.
    """
    from torch import nn

    build = find(factory)
    try:
        inspect.signature(build).bind(**arguments)
    except TypeError as error:
        raise BadParameter(
            f"{factory} cannot be called with task.arguments: {error}.",
            do="Correct task.arguments in the recipe.",
        ) from error
    module = build(**arguments)
    if not isinstance(module, nn.Module):
        raise BadParameter(f"{factory} returned {type(module).__name__}, not a torch module.")
    return module


def source_file(factory: str) -> Path:
    """The file that the function stands in: what its modules are depends on it."""
    return Path(str(inspect.getsourcefile(find(factory))))
