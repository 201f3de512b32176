"""A user's side of seeding, where no workspace is: the key, what is handed over, what was seen.

The key never leaves the user. Whoever trains is handed a file of codes and a read-out, and may say
how they are learned.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rescind.audits.finding import Finding
from rescind.audits.seeding.codes import BITS, fingerprint, new_key
from rescind.audits.seeding.handed import Handed, from_file, hand_over, to_file
from rescind.audits.seeding.seen import Seen
from rescind.audits.seeding.term import Seeding
from rescind.audits.seeding.verdict import SeedingVerdict, decide
from rescind.core.canonical import build, plain
from rescind.core.errors import BadData, BadParameter
from rescind.core.named_parts import named_parts
from rescind.data.problems import NO_ROWS
from rescind.data.records import records_from
from rescind.data.source import source_of
from rescind.metrics.features import penultimate_width
from rescind.training.recipes import recipe_from

if TYPE_CHECKING:
    from rescind.core.dataset import Record

__all__ = ["Columns", "Finding", "Handed", "SeedingVerdict", "Seen", "decide"]
LEARNED = ("every", "batch", "weight", "negatives", "smoothing")  # bits are those of the codes


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns by which whoever trains keys the records."""

    key: str | None = None
    subject: str | None = None


def records_of(data: object, columns: Columns, aim: str) -> tuple[Record, ...]:
    """A user's records, keyed as in the training; ``data`` is as in ``Workspace.train``, and
    ``aim`` what is to be done with them.

    Raises:
        BadData, BadParameter, MissingSource: as ``source_of`` and ``records_from``.
    """
    try:
        _, rows = source_of(data, key=columns.key, subject=columns.subject)
        return records_from(rows, key=columns.key, subject=columns.subject)
    except BadData as error:
        if error.why != NO_ROWS:
            raise
        raise BadData(error.what, f"There is nothing to {aim}.", error.do) from error


def make(
    secret: bytes, data: object, columns: Columns, recipe: Mapping[str, Any], bits: int = BITS
) -> Handed:
    """The codes of a user's records for the model of a recipe, given as plain values.

    Raises:
        BadData, BadParameter: as ``records_of`` and ``hand_over``; or the recipe cannot be.
    """
    from rescind.training.models import trained_model

    width = penultimate_width(trained_model(recipe_from(recipe)).module)
    return hand_over(secret, records_of(data, columns, "mark"), width, bits)


def write_key(file: Path) -> str:
    """Write a new key for the user alone to read; its fingerprint.

    Raises:
        BadParameter: the file exists.
    """
    secret = new_key()
    try:
        number = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise BadParameter(f"{file} exists already.", do="Name a new file.") from error
    with os.fdopen(number, "w") as handle:
        handle.write(secret.hex() + "\n")
    return fingerprint(secret)


def read_key(file: Path) -> bytes:
    """A user's key.

    Raises:
        BadParameter: the file is missing, or holds none.
    """
    data = _bytes(file, "rescind seeds key")
    try:
        return bytes.fromhex(data.decode().strip())
    except ValueError as error:
        raise BadParameter(f"{file} holds no key.", do="It is one line of hex digits.") from error


def learned_by(text: str) -> Seeding:
    """What whoever trains says with ``--seeding``; what is left out is as it was measured.

    Raises:
        BadParameter: a part is unknown, said twice, or no number that can be.
    """
    example = "every=4,batch=8,weight=1,negatives=0.5,smoothing=0"
    found = dict[str, int | float]()
    for name, value in named_parts(text, LEARNED, "said of how codes are learned", example).items():
        try:
            found[name] = int(value) if name in ("every", "batch") else float(value)
        except ValueError as error:
            raise BadParameter(
                f"{name}={value} is no number that can be used.",
                "every and batch are whole numbers.",
                f"Write it as {example}, or a part of these.",
            ) from error
    return build(Seeding, found)


def write_codes(file: Path, handed: Handed) -> None:
    """Write what is handed over."""
    file.write_bytes(to_file(handed))


def read_codes(file: Path) -> Handed:
    """What a user handed over.

    Raises:
        BadParameter: the file is missing.
        BadData: it is something else.
    """
    return from_file(_bytes(file, "rescind seeds make"))


def write_seen(file: Path, seen: Seen) -> None:
    """Keep what was seen of a version, to compare a later one with."""
    file.write_text(json.dumps(plain(seen), indent=1) + "\n")


def read_seen(file: Path) -> Seen:
    """What ``write_seen`` wrote.

    Raises:
        BadParameter: the file is missing.
        BadData: it is something else, or of a time when it did not say which records were asked
            about.
    """
    data = _bytes(file, "rescind seeds ask --out")
    try:
        found = json.loads(data)
        seen = build(Seen, found) if {"key", "asked"} & found.keys() else None
    except (ValueError, AttributeError, TypeError) as error:
        raise BadData(
            f"{file} does not say what was seen before.",
            "It is the file of an answer.",
            "Name what `rescind seeds ask --out` wrote.",
        ) from error
    if seen is None:
        raise BadData(
            f"{file} does not say which records were asked about.",
            "An older version of rescind wrote it. With other records, or with rows that were"
            " changed, a model that holds the codes looks as if they were gone.",
            "Ask again with `rescind seeds ask ROWS --secret KEY --out FILE`; where the records"
            " are forgotten by now, in a workspace restored from a backup of before.",
        )
    return seen


def _bytes(file: Path, maker: str) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError as error:
        raise BadParameter(f"There is no file {file}.", do=f"`{maker}` makes it.") from error
