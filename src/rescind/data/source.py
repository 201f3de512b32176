"""Where rows come from, how to read them again, and whether they are still the same."""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rescind.core import canonical
from rescind.core.dataset import Key, ManifestEntry, Record, Row, Source
from rescind.core.errors import (
    BadData,
    BadParameter,
    MissingExtra,
    MissingSource,
    RescindError,
)
from rescind.data.files import read
from rescind.data.manifest import PREFIX, subject_hash
from rescind.data.problems import as_missing, first_few

_LOADER = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class Checked:
    """The re-read records that the manifest lists, and how many others the source holds.

    The ``new`` ones are on no allow-list (never seen, or forgotten) and are not among ``records``.
    """

    records: tuple[Record, ...]
    new: int


def source_of(
    data: object,
    *,
    key: str | None = None,
    subject: str | None = None,
    encoding: str = "utf-8",
    arguments: Mapping[str, Any] | None = None,
) -> tuple[Source, list[Row]]:
    """Take data as the user has it: where to read it again, and its rows as read now.

    ``data`` is a path, ``module:function`` (called with ``arguments``), or rows in memory: an
    iterable of mappings or of (text, label) pairs, a ``datasets.Dataset`` or a pandas frame. Rows
    in memory give the kind ``stored``: only the workspace can keep them for a replay. A text that
    looks like ``module:function`` names a loader; pass a ``pathlib.Path`` for a file of that name.

    Raises:
        BadData: the rows cannot be read.
        BadParameter: ``arguments`` without a loader, not JSON, or not those it takes; or a loader
            of Python's own library.
        MissingSource: no such file, module or function, or whatever else came up in reading.
    """
    if isinstance(data, (str, Path)):
        is_loader = isinstance(data, str) and _LOADER.fullmatch(data) is not None
        where = str(data) if is_loader else str(Path(data).expanduser().absolute())
        kind = "loader" if is_loader else "path"
    else:
        kind, where = "stored", ""
    given = _arguments(arguments, kind)
    source = Source(kind, where, given, key, subject, encoding)  # type: ignore[arg-type]
    return source, _in_memory(data) if kind == "stored" else _rows(source)


def rows_of(source: Source) -> list[Row]:
    """Read the rows of a loader or a path again.

    Raises:
        BadData: the rows cannot be read.
        MissingExtra: a package that reads them is not installed.
        MissingSource: no such file, module or function, whatever else came up in reading, or the
            rows lie in the workspace.
    """
    try:
        return _rows(source)
    except (BadData, MissingExtra, MissingSource):
        raise
    except RescindError as error:  # no longer what was recorded: another signature, another kind
        raise MissingSource(error.what, error.why, error.do) from error


def _rows(source: Source) -> list[Row]:
    if source.kind == "loader":
        return _loaded(source)
    if source.kind == "path":
        return read(Path(source.where), source.encoding)
    raise MissingSource(
        "These rows came from memory and have no source outside the workspace.",
        "Only the workspace that stored them, encrypted, can read them again.",
        "Open that workspace, or train from a file or a loader.",
    )


def check_rows(
    records: Sequence[Record], entries: Sequence[ManifestEntry], subject_key: bytes
) -> Checked:
    """Compare re-read records with the manifest; only those it lists are returned, by key.

    Raises:
        BadData: a listed record is gone, or its content or its subject has changed.
    """
    listed = {entry.key: entry for entry in entries}
    known = {record.key: record for record in records if record.key in listed}
    new = len(records) - len(known)
    gone = sorted(listed.keys() - known.keys())
    changed = [k for k in sorted(known) if known[k].digest != listed[k].digest]
    moved = [
        k for k in sorted(known) if subject_hash(known[k].subject, subject_key) != listed[k].subject
    ]
    if gone or changed or moved:
        raise _not_the_same(
            {"gone": gone, "with other content": changed, "with another subject": moved}, new
        )
    return Checked(tuple(known[name] for name in sorted(known)), new)


def _not_the_same(wrong: Mapping[str, list[Key]], new: int) -> BadData:
    said = [
        f"{len(keys):,} {how} (keys starting with {first_few([k[:PREFIX] for k in keys])})"
        for how, keys in wrong.items()
        if keys
    ]
    return BadData(
        f"The source has changed since it was recorded: {', '.join(said)}; {new:,} new.",
        "A row whose content is its key is gone and new at once when it is edited. A model is "
        "trained again, and proved, only from the rows it was trained on.",
        "Put the old rows back; to forget a record use `rescind request add`, and to train on the "
        "changed rows run `rescind train` anew.",
    )


def _arguments(arguments: Mapping[str, Any] | None, kind: str) -> dict[str, Any]:
    if not arguments:
        return {}
    if kind != "loader":
        raise BadParameter(
            "arguments are given, but the data is not a loader.",
            "Only a function takes arguments.",
            "Pass the data as 'module:function', or leave the arguments out.",
        )
    try:
        canonical.dumps(arguments)
    except (TypeError, ValueError) as error:
        raise BadParameter(
            f"The arguments of the loader are not JSON: {error}.",
            "They are recorded, so that the rows can be read again.",
            "Use texts, numbers, lists and mappings only.",
        ) from None
    return dict(arguments)


def _loaded(source: Source) -> list[Row]:
    function = _function(source.where)
    _check_call(function, source)
    with as_missing(
        f"The loader {source.where}", "Mend it, or what it reads from, and run the command again."
    ):
        return _in_memory(function(**source.arguments))


def _check_call(function: Callable[..., Any], source: Source) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # one written in C may show none; then the call is the check
        return
    try:
        signature.bind(**source.arguments)
    except TypeError as error:
        raise BadParameter(
            f"{source.where} cannot be called with {sorted(source.arguments)}: {error}.",
            "The rows come from that call.",
            f"Its signature is {signature}; change the arguments.",
        ) from None


def _function(where: str) -> Callable[..., Any]:
    module_name, _, name = where.partition(":")
    top = module_name.partition(".")[0]
    if top in sys.stdlib_module_names:
        raise BadParameter(
            f"The loader {where} is a function of Python's own library.",
            "None of them returns rows of yours, and some would run a command or delete a file.",
            "Name a function of your own that returns the rows.",
        )
    install = (
        f"Install its package, or put the folder of {top} on the path: export PYTHONPATH=FOLDER"
    )
    with as_missing(f"Importing the loader {where}", install):
        module = importlib.import_module(module_name)
    function = getattr(module, name, None)
    if callable(function):
        return function  # type: ignore[no-any-return]
    near = difflib.get_close_matches(name, [n for n in vars(module) if callable(vars(module)[n])])
    raise MissingSource(
        f"The module {module_name} has no function {name!r}.",
        "The rows are read by calling it.",
        f"Did you mean {module_name}:{near[0]}?" if near else f"Define it in {module.__name__}.",
    )


def _in_memory(data: object) -> list[Row]:
    """Rows of whatever a user holds; what is not a row is refused later, with its number."""
    if isinstance(data, Mapping):
        splits = all(hasattr(value, "features") for value in data.values())
        raise BadData(
            f"The data is a mapping with {first_few([repr(name) for name in data])}.",
            "It holds several data sets." if splits else "It holds columns or one row, not rows.",
            "Pass one of them, as in data['train']." if splits else "Pass a list of mappings.",
        )
    if hasattr(data, "columns") and hasattr(data, "to_dict"):  # a pandas frame iterates columns
        data = data.to_dict("records")
    try:
        rows = iter(data)  # type: ignore[call-overload]
    except TypeError:
        raise BadData(
            f"The data is a {type(data).__name__}.",
            "It holds no rows one after the other.",
            "Pass a list of mappings, a path, or 'module:function'.",
        ) from None
    return [_row(item) for item in rows]


def _row(item: Any) -> Row:
    if isinstance(item, (tuple, list)) and len(item) == 2 and isinstance(item[0], str):
        return {"text": item[0], "label": item[1]}
    return item  # type: ignore[no-any-return]
