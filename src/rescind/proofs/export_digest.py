"""What an exported model folder holds, from its bytes alone: no torch, no workspace."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rescind.core.canonical import digest
from rescind.core.errors import DamagedArtifact
from rescind.proofs.reading import parse_json

SELECTION = "selection.json"
RECIPE = "recipe.json"  # how the model was trained; an export may have it beside the weights


@dataclass(frozen=True, slots=True)
class Export:
    """The name that an exported folder gives its model, and the digest of the weights in it."""

    model: str
    weights: str


def read_export(folder: Path) -> Export:
    """The model's name, and what ``core.version.weights_digest`` gives for its served selection.

    Every file that ``selection.json`` names is hashed anew. Beside them and a recipe nothing may
    lie in the folder, since a reader would take it for part of the certified model.

    Raises:
        DamagedArtifact: the folder, ``selection.json`` or a file is missing, unreadable or stray.
    """
    selection = _selection(folder / SELECTION)
    parts = _parts(folder / SELECTION, selection)
    rows = [
        [part["shard"], part["slices"], _sha256(folder, part["file"]), part["records"]]
        for part in parts
    ]
    _refuse_stray(folder, {SELECTION, RECIPE, *(part["file"] for part in parts)})
    return Export(selection["model"], digest(rows))


def _selection(path: Path) -> dict[str, Any]:
    try:
        selection = parse_json(path.read_bytes())
    except OSError as error:
        raise _damaged(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise _damaged(f"{path} is not JSON: {str(error)[:80]}.") from error
    if not isinstance(selection, dict) or not isinstance(selection.get("model"), str):
        raise _damaged(f"{path} names no model.")
    return selection


def _parts(path: Path, selection: dict[str, Any]) -> list[dict[str, Any]]:
    parts = selection.get("parts")
    if not isinstance(parts, list) or not parts:
        raise _damaged(f"{path} names no parts.")
    for number, part in enumerate(parts):
        if not _well_formed(part):
            raise _damaged(f"Part {number} of {path} is malformed.")
    return parts


def _well_formed(part: object) -> bool:
    """Shard and records are counts, slices a list of counts, file a bare name in the folder."""
    if not isinstance(part, dict):
        return False
    counts = [part.get("shard"), part.get("records")]
    slices, file = part.get("slices"), part.get("file")
    if not isinstance(slices, list) or not isinstance(file, str):
        return False
    bare = file.isascii() and file.isprintable() and Path(file).name == file != ".."
    return bare and all(type(n) is int and n >= 0 for n in [*counts, *slices])


def _refuse_stray(folder: Path, named: set[str]) -> None:
    try:
        stray = _stray(folder, named)
    except OSError as error:
        raise _damaged(f"{folder} cannot be listed: {error.strerror}.") from error
    if stray:
        first = ", ".join(stray[:3])
        raise _damaged(f"{folder} holds more than {SELECTION} names: {first}.")


def _stray(folder: Path, named: set[str]) -> list[str]:
    """What is no named file, folders included, by its place in the folder; links are not followed.

    A named file may not be a folder either: it could hold anything.
    """
    found, folders = [], [folder]
    while folders:
        for path in folders.pop().iterdir():
            name = path.relative_to(folder).as_posix()
            if name not in named or not path.is_file():
                found.append(name)
            if path.is_dir() and not path.is_symlink():
                folders.append(path)
    return sorted(found)


def _sha256(folder: Path, name: str) -> str:
    try:
        with (folder / name).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except (OSError, ValueError) as error:
        raise _damaged(f"{folder / name} cannot be read.") from error


def _damaged(what: str) -> DamagedArtifact:
    return DamagedArtifact(
        what, "So its weights cannot be compared with a certificate.", "Export the version again."
    )
