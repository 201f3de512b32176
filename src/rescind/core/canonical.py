"""One canonical JSON and one digest for everything that is hashed or signed."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import hashlib
import hmac
import json
import math
import re
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from rescind.core.errors import BadParameter

Json = Any  # None, bool, int, float, str, list or dict of the same; a recursive alias buys nothing
T = TypeVar("T")


def dumps(value: object) -> bytes:
    """Canonical JSON: sorted keys, no blanks, UTF-8, no NaN; records become plain values first.

    Raises:
        ValueError: for NaN or an infinity, which JSON cannot carry.
    """
    text = json.dumps(
        plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def digest(value: object) -> str:
    """SHA-256 in hex of bytes as they are, or of the canonical JSON of anything else."""
    data = value if isinstance(value, bytes) else dumps(value)
    return hashlib.sha256(data).hexdigest()


def keyed(key: bytes, *parts: str | bytes) -> str:
    """HMAC-SHA256 in hex over the parts, each preceded by its length so that no two lists meet."""
    mac = hmac.new(key, digestmod=hashlib.sha256)
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        mac.update(len(data).to_bytes(8, "big") + data)
    return mac.hexdigest()


def plain(value: object) -> Json:
    """Turn records, tuples and sets into what JSON knows; sets are sorted.

    An int in a field declared float is written as a float: equal records have equal digests.

    Raises:
        BadParameter: two keys of a mapping that are the same text, such as 1 and "1".
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        floats = _float_fields(type(value))
        fields = {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {n: _floats(item) if n in floats else item for n, item in fields.items()}
    if isinstance(value, Mapping):
        named = {str(k): plain(v) for k, v in value.items()}
        if len(named) < len(value):
            raise BadParameter(f"Two keys of {sorted(named)} are the same text.", do="Rename one.")
        return named
    if isinstance(value, (set, frozenset)):
        items = [plain(item) for item in value]
        return sorted(items) if all(isinstance(i, str) for i in items) else sorted(items, key=dumps)
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


@functools.cache
def _float_fields(cls: type) -> frozenset[str]:
    """Fields whose annotation says float and not int, read as text: nothing is imported for it."""
    words = {f.name: set(re.findall(r"\w+", str(f.type))) for f in dataclasses.fields(cls)}
    return frozenset(n for n, found in words.items() if "float" in found and "int" not in found)


def _floats(value: Json) -> Json:
    if isinstance(value, list):
        return [_floats(item) for item in value]
    return float(value) if type(value) is int else value


def build(cls: type[T], data: Mapping[str, Any]) -> T:
    """Rebuild a record from plain values; unions are told apart by their ``kind``.

    Raises:
        BadParameter: an unknown or missing field, named with the nearest known one.
    """
    record: Any = cls
    hints, fields = _hints(record), {f.name: f for f in dataclasses.fields(record)}
    for name in data:
        if name not in fields:
            raise _unknown_field(cls.__name__, name, list(fields))
    missing = [n for n, f in fields.items() if n not in data and _required(f)]
    if missing:
        raise BadParameter(f"{cls.__name__} lacks {', '.join(missing)}.", do="Add the field.")
    return cls(**{name: _value(hints[name], item, name) for name, item in data.items()})


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _unknown_field(owner: str, name: str, known: list[str]) -> BadParameter:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {near[0]!r}?" if near else f"Known fields: {', '.join(known)}."
    return BadParameter(f"{owner} has no field {name!r}.", do=hint)


def _value(hint: Any, item: Any, name: str) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _member(args, item, name)
    if origin is Literal:
        if item not in args:
            raise BadParameter(f"{name} is {item!r}.", f"It must be one of {list(args)}.")
        return item
    if origin in (tuple, frozenset):
        return _several(origin, args, item, name)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return item if isinstance(item, hint) else build(hint, _mapping(item, name))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        pairs = _mapping(item, name).items()
        return {key: _value(args[1], value, f"{name}[{key!r}]") for key, value in pairs}
    return _scalar(hint, item, name)


def _several(origin: type, args: tuple[Any, ...], item: Any, name: str) -> Any:
    if not isinstance(item, (list, tuple, set, frozenset)):
        raise BadParameter(f"{name} is {item!r}.", "It must be a list.")
    if origin is frozenset or args[-1] is Ellipsis:
        return origin(_value(args[0], v, name) for v in item)
    if len(item) != len(args):
        raise BadParameter(f"{name} has {len(item)} values.", f"It must have {len(args)}.")
    return tuple(_value(h, v, name) for h, v in zip(args, item, strict=True))


def _mapping(item: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(item, Mapping):
        raise BadParameter(f"{name} is {item!r}.", "It must be a mapping of names to values.")
    return item


def _member(args: tuple[Any, ...], item: Any, name: str) -> Any:
    if item is None and type(None) in args:
        return None
    members = [a for a in args if a is not type(None)]
    if len(members) == 1:
        return _value(members[0], item, name)
    kinds = {_kind(m): m for m in members if dataclasses.is_dataclass(m)}
    if kinds and isinstance(item, Mapping):
        if item.get("kind") not in kinds:
            raise BadParameter(
                f"{name} has the kind {item.get('kind')!r}.",
                f"It must be one of {sorted(map(str, kinds))}.",
            )
        return _value(kinds[item["kind"]], item, name)
    return _first_that_takes(members, item, name)


def _first_that_takes(members: list[Any], item: Any, name: str) -> Any:
    """The value as the member of its very type, else as the first that takes it; never as it is."""
    for member in sorted(members, key=lambda m: m is not type(item)):
        try:
            return _value(member, item, name)
        except BadParameter:
            continue
    known = ", ".join(getattr(m, "__name__", str(m)) for m in members)
    raise BadParameter(f"{name} is {item!r}.", f"It must be one of: {known}.")


def _kind(member: Any) -> Any:
    return next((f.default for f in dataclasses.fields(member) if f.name == "kind"), None)


def _scalar(hint: Any, item: Any, name: str) -> Any:
    if hint not in (str, int, float, bool):
        return item  # Any, or a protocol such as Task whose classes core does not know
    if hint is float and type(item) is int and abs(item) < 2**53:
        item = float(item)
    if not isinstance(item, hint) or (hint is int and isinstance(item, bool)):
        raise BadParameter(f"{name} is {item!r}.", f"It must be of type {hint.__name__}.")
    if hint is float and not math.isfinite(item):
        raise BadParameter(f"{name} is {item!r}.", "It must be a finite number.")
    return item
