"""From names to plug-ins, through entry points or a file; nothing is imported before its use."""

from __future__ import annotations

import difflib
import importlib.util
import inspect
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from rescind.core.canonical import Json, build, digest
from rescind.core.errors import BadParameter, MissingExtra, UnknownPlugin
from rescind.settings import typed

OURS = "rescind"


class Registry:
    """The plug-ins of one entry-point group, such as ``rescind.methods``.

    Ours have plain names, those of other packages are ``package/name``, so that none can clash.
    ``path/to/file.py:ClassName`` names a class in a file. Every plug-in is a frozen dataclass with
    the method ``verb``.
    """

    def __init__(self, group: str = "rescind.methods", verb: str = "unlearn") -> None:
        self.group, self.verb = group, verb
        self.plural = group.rpartition(".")[2]
        self.noun = self.plural.removesuffix("s")

    @cached_property
    def _entries(self) -> dict[str, EntryPoint]:
        return {_qualified(entry): entry for entry in entry_points(group=self.group)}

    def names(self) -> list[str]:
        """All registered names, sorted; no plug-in is imported."""
        return sorted(self._entries)

    def load(self, name: str) -> type:
        """The class of that name.

        Raises:
            UnknownPlugin: no package registers the name, or there is no such file or class.
            BadParameter: the class is not a frozen dataclass with the verb.
            MissingExtra: a package that the plug-in imports is not installed.
        """
        path, _, attribute = name.rpartition(":")
        if path.endswith(".py"):
            found = getattr(_module(Path(path)), attribute, None)
            if found is None:
                raise UnknownPlugin(f"{path} has no class {attribute!r}.", do="Check its name.")
        else:
            found = self._registered(name)
        return self._checked(name, found)

    def make(self, name: str, settings: Mapping[str, Json]) -> Any:
        """The plug-in with these parameters; text is read by the type of its field.

        Raises:
            BadParameter: an unknown parameter, with the nearest known one, or a wrong value.
            UnknownPlugin: as for ``load``.
        """
        cls = self.load(name)
        return build(cls, typed(cls, settings))

    def _registered(self, name: str) -> Any:
        if name not in self._entries:
            raise self._unknown(name)
        entry = self._entries[name]
        try:
            return entry.load()
        except ModuleNotFoundError as error:
            raise MissingExtra(
                f"The {self.noun} {name!r} needs {error.name}, which is not installed.",
                do="Install it, or all of ours with `pip install 'rescind[train]'`.",
            ) from error
        except AttributeError as error:
            raise UnknownPlugin(
                f"The {self.noun} {name!r} is registered as {entry.value}, which does not exist.",
                do="Reinstall the package that registers it.",
            ) from error

    def _unknown(self, name: str) -> UnknownPlugin:
        near = difflib.get_close_matches(name, self.names(), n=1)
        guess = f"Did you mean {near[0]!r}? " if near else ""
        shows = f"`rescind list {self.plural}` shows all {len(self.names())}."
        return UnknownPlugin(f"Unknown {self.noun} {name!r}.", do=guess + shows)

    def _checked(self, name: str, found: Any) -> type:
        parameters = getattr(found, "__dataclass_params__", None)
        if not inspect.isclass(found) or parameters is None or not parameters.frozen:
            raise BadParameter(
                f"{name} is not a frozen dataclass.",
                f"The fields of a {self.noun} are its parameters and are written down with it.",
                "Put @dataclass(frozen=True) above the class.",
            )
        if not callable(getattr(found, self.verb, None)):
            raise BadParameter(
                f"{name} has no method {self.verb!r}.",
                f"That is what makes a class a {self.noun}.",
                "Add it; rescind.core.protocols has its signature.",
            )
        return cast(type, found)


def _qualified(entry: EntryPoint) -> str:
    package = OURS if entry.dist is None else entry.dist.name
    return entry.name if package == OURS else f"{package}/{entry.name}"


def _module(path: Path) -> ModuleType:
    if not path.is_file():
        raise UnknownPlugin(f"There is no file {path}.", do="Check the path before the colon.")
    # a name of its own: dataclasses look their module up, and two files may share a stem
    name = f"rescind_file_{path.stem}_{digest(str(path.resolve()))[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UnknownPlugin(f"{path} cannot be imported.", do="Give a Python file.")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    with ExitStack() as undo:
        undo.callback(sys.modules.pop, name)
        spec.loader.exec_module(module)
        undo.pop_all()  # it went well: the module stays, so that its classes are made only once
    return module
