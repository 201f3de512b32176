"""How a workspace behaves: RESCIND_* variables over its rescind.toml over the defaults."""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from rescind.core.canonical import Json, build
from rescind.core.errors import BadParameter

T = TypeVar("T")
FILE = "rescind.toml"
PREFIX = "RESCIND_"
WORKSPACE = "RESCIND_WORKSPACE"  # says where the workspace is, not how it behaves


def _about(default: Any, text: str, fixed: bool = False) -> Any:
    return field(default=default, metadata={"about": text, "fixed": fixed})


@dataclass(frozen=True, slots=True)
class Settings:
    """Each field is a line of rescind.toml and a variable RESCIND_<NAME>."""

    encrypt: bool = _about(True, "encrypt every stored artifact with its own key", fixed=True)
    suppression_list: bool = _about(True, "keep a keyed mark of each forgotten record", fixed=True)
    workers: int = _about(0, "worker processes; 0 is one a core")
    threads: int = _about(1, "torch threads in each worker; part of what fixes the bytes")
    executor: Literal["local", "inline"] = _about("local", "local: worker processes; inline: none")
    validity_days: int = _about(365, "days until a certificate expires")
    due_days: int = _about(30, "days from receipt until a request is due")
    near_threshold: float = _about(0.5, "similarity from which a record is a near duplicate, 0..1")

    def __post_init__(self) -> None:
        problems = [
            f"{name} is {value}; it must be at least {least}"
            for name, value, least in (
                ("workers", self.workers, 0),
                ("threads", self.threads, 1),
                ("validity_days", self.validity_days, 1),
                ("due_days", self.due_days, 1),
            )
            if value < least
        ]
        if not 0.0 < self.near_threshold <= 1.0:
            problems.append(f"near_threshold is {self.near_threshold}; it must lie in (0, 1]")
        if problems:
            raise BadParameter("The settings cannot work: " + "; ".join(problems) + ".")


def load_settings(folder: Path) -> Settings:
    """The settings in force for a workspace; without a file the defaults hold.

    Raises:
        BadParameter: an unknown key or variable, or a value that cannot be, with where it stands.
    """
    path = folder / FILE
    written = _read(path)
    _known(written, str(path), "")
    _check(written, str(path))
    named = {n: v for n, v in os.environ.items() if n.startswith(PREFIX) and n != WORKSPACE}
    given = {name.removeprefix(PREFIX).lower(): text for name, text in named.items()}
    _known(given, "The environment", PREFIX)
    spoken = typed(Settings, given)
    _check(spoken, "The environment")
    return build(Settings, {**written, **spoken})


def write_settings(folder: Path, settings: Settings) -> Path:
    """Write all settings with a comment each, replacing the file; its path.

    Values are written out so that a later version's defaults do not change a workspace.
    """
    lines = ["# Settings of this workspace. A variable RESCIND_<NAME> goes before its line.\n"]
    for item in fields(settings):
        value = json.dumps(getattr(settings, item.name))  # TOML and JSON agree on these types
        lines.append(f"# {item.metadata['about']}\n{item.name} = {value}\n")
    path = folder / FILE
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def fixed(settings: Settings) -> dict[str, Json]:
    """The settings that are decided when a workspace is made, with their values."""
    return {f.name: getattr(settings, f.name) for f in fields(settings) if f.metadata["fixed"]}


def check_fixed(folder: Path, settings: Settings, made_with: Mapping[str, Json]) -> None:
    """Compare with what the workspace was made with: a certificate speaks of all that is stored.

    Raises:
        BadParameter: another value; all are named.
    """
    now = fixed(settings)
    other = [name for name in made_with if name in now and now[name] != made_with[name]]
    if other:
        was = ", ".join(f"{name} = {json.dumps(made_with[name])}" for name in other)
        variables = ", ".join(PREFIX + name.upper() for name in other)
        raise BadParameter(
            f"The workspace {folder} was made with {was}; now another value is set.",
            "What is stored already, and what was certified, follow the first value.",
            f"Set {was} in {folder / FILE}, and leave the environment without {variables}; or make"
            " another workspace.",
        )


def typed(cls: type[Any], given: Mapping[str, Json]) -> dict[str, Json]:
    """Read text, from a command line or a variable, as the field's type; other values stay.

    Text for a field that may hold text stays as it is; other text is read as JSON, so that lists
    are written ``[1, 2]``. Fields that ``cls`` does not have stay too: ``build`` names them.
    """
    hints = get_type_hints(cls)
    return {
        name: _read_text(hints[name], value) if name in hints else value
        for name, value in given.items()
    }


def _read_text(hint: Any, value: Json) -> Json:
    listed = get_origin(hint) in (tuple, frozenset)  # what a list holds is no text of its own
    options = (hint,) if listed else (hint, *get_args(hint))
    if not isinstance(value, str) or str in options or Any in options or value in options:
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value  # of the wrong type, which ``build`` says with the field's name


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadParameter(f"{path} is not TOML.", f"{error}.", "Correct that line.") from error


def _known(given: Mapping[str, Any], where: str, prefix: str) -> None:
    names = [f.name for f in fields(Settings)]
    for name in given:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            known = ", ".join(prefix + (n.upper() if prefix else n) for n in near or names)
            shown = prefix + name.upper() if prefix else name
            raise BadParameter(
                f"{where} sets {shown}, which is no setting.",
                do=f"Did you mean {known}?" if near else f"The settings are {known}.",
            )


def _check(given: Mapping[str, Any], where: str) -> None:
    try:
        build(Settings, given)
    except BadParameter as error:
        raise BadParameter(f"{where}: {error.what}", error.why, error.do) from error
