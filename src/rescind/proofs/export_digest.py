"""The digest of an exported model folder, from its bytes alone: no torch, no workspace."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from rescind.core.canonical import digest
from rescind.core.errors import DamagedArtifact

SELECTION = "selection.json"


def exported_weights(folder: Path) -> str:
    """What ``core.version.weights_digest`` gives for the served selection in this folder.

    Every file that ``selection.json`` names is hashed anew. Weights that it does not name are
    refused, since a reader would take them for part of the certified model.

    Raises:
        DamagedArtifact: the folder, ``selection.json`` or a file is missing, unreadable or stray.
    """
    parts = _parts(folder)
    rows = [
        [part["shard"], part["slices"], _sha256(folder, part["file"]), part["records"]]
        for part in parts
    ]
    named = {part["file"] for part in parts}
    stray = sorted(f.name for f in folder.glob("*.safetensors") if f.name not in named)
    if stray:
        raise _damaged(f"{folder} holds weights that {SELECTION} does not name: {stray[0]}.")
    return digest(rows)


def _parts(folder: Path) -> list[dict[str, Any]]:
    path = folder / SELECTION
    try:
        selection = json.loads(path.read_bytes())
    except OSError as error:
        raise _damaged(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise _damaged(f"{path} is not JSON.") from error
    parts = selection.get("parts") if isinstance(selection, dict) else None
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
