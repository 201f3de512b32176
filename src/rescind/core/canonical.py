"""One canonical JSON and one digest for everything that is hashed or signed."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import hmac
import json
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
    """Turn records, tuples and sets into what JSON knows; sets are sorted."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(plain(item) for item in value)
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def build(cls: type[T], data: Mapping[str, Any]) -> T:
    """Rebuild a record from plain values; unions are told apart by their ``kind``.

    Raises:
        BadParameter: an unknown or missing field, named with the nearest known one.
    """
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for name in data:
        if name not in fields:
            raise _unknown_field(cls.__name__, name, list(fields))
    missing = [n for n, f in fields.items() if n not in data and _required(f)]
    if missing:
        raise BadParameter(f"{cls.__name__} lacks {', '.join(missing)}.", do="Add the field.")
    return cls(**{name: _value(hints[name], item, name) for name, item in data.items()})


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
    if origin is tuple:
        inner = args if args[-1] is not Ellipsis else [args[0]] * len(item)
        return tuple(_value(h, v, name) for h, v in zip(inner, item, strict=True))
    if origin is frozenset:
        return frozenset(_value(args[0], v, name) for v in item)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return build(hint, item)
    return _scalar(hint, item, name)


def _member(args: tuple[Any, ...], item: Any, name: str) -> Any:
    if item is None and type(None) in args:
        return None
    members = [a for a in args if a is not type(None)]
    if isinstance(item, Mapping) and "kind" in item:
        for member in members:
            if dataclasses.is_dataclass(member) and _kind(member) == item["kind"]:
                return _value(member, item, name)
        raise BadParameter(f"{name} has the unknown kind {item['kind']!r}.")
    return _value(members[0], item, name) if len(members) == 1 else item


def _kind(member: Any) -> Any:
    return next((f.default for f in dataclasses.fields(member) if f.name == "kind"), None)


def _scalar(hint: Any, item: Any, name: str) -> Any:
    if hint is float and isinstance(item, int) and not isinstance(item, bool):
        return float(item)
    known = {str, int, float, bool}
    if hint in known and (not isinstance(item, hint) or (hint is int and item in (True, False))):
        if not (hint is int and type(item) is int):
            raise BadParameter(f"{name} is {item!r}.", f"It must be of type {hint.__name__}.")
    return item
