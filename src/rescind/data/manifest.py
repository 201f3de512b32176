"""What a workspace keeps of its records: keys, digests and cells, and no content."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rescind.core import canonical
from rescind.core.dataset import ManifestEntry, Record
from rescind.core.errors import DamagedArtifact
from rescind.core.partition import Partition

_FIELDS: dict[str, type | tuple[type, ...]] = {
    "key": str,
    "digest": str,
    "cell": str,
    "multiplicity": int,
    "subject": (str, type(None)),
}
PREFIX = 12


def entries_of(
    records: Iterable[Record], partition: Partition, partition_secret: bytes, subject_key: bytes
) -> tuple[ManifestEntry, ...]:
    """One entry a record, in the order given; the subject is kept as a keyed hash only."""
    return tuple(
        ManifestEntry(
            key=record.key,
            digest=record.digest,
            cell=str(partition.cell(record.placement, partition_secret)),
            multiplicity=record.multiplicity,
            subject=subject_hash(record.subject, subject_key),
        )
        for record in records
    )


def subject_hash(subject: str | None, subject_key: bytes) -> str | None:
    """HMAC-SHA256 of a subject's name in hex, by which a manifest is searched for a subject."""
    return None if subject is None else canonical.keyed(subject_key, "subject", subject)


def content_of(entry: ManifestEntry) -> bytes:
    """What stands at a record's key in the tree of a manifest: digest, multiplicity and cell."""
    return canonical.dumps([entry.digest, entry.multiplicity, entry.cell])


def leaves(entries: Iterable[ManifestEntry], cell_key: Callable[[str], bytes]) -> list[str]:
    """The leaves of an older manifest, whose tree could show no absence, in hex, in entry order:
    HMAC-SHA256 over key, digest and multiplicity.

    The key of the HMAC is the secret of the record's cell, since a bare hash of a short row can be
    guessed; ``cell_key`` is asked once a cell.
    """
    keys: dict[str, bytes] = {}
    result = []
    for entry in entries:
        if entry.cell not in keys:
            keys[entry.cell] = cell_key(entry.cell)
        parts = (entry.key, entry.digest, str(entry.multiplicity))
        result.append(canonical.keyed(keys[entry.cell], *parts))
    return result


def manifest_bytes(entries: Sequence[ManifestEntry]) -> bytes:
    """The entries as canonical JSON."""
    return canonical.dumps(entries)


def entries_from(data: bytes) -> tuple[ManifestEntry, ...]:
    """The inverse of ``manifest_bytes``.

    Raises:
        DamagedArtifact: the bytes are no manifest, or a key stands in it twice.
    """
    try:
        items = json.loads(data)
    except ValueError:
        raise _damaged("are not JSON") from None
    if not isinstance(items, list):
        raise _damaged("are not a list")
    entries = tuple(_entry(number, item) for number, item in enumerate(items, 1))
    if len({entry.key for entry in entries}) < len(entries):
        raise _damaged("hold a key twice")
    return entries


def _entry(number: int, item: Any) -> ManifestEntry:
    # not canonical.build: it resolves the type hints anew for each of maybe a million entries
    if not isinstance(item, dict) or item.keys() != _FIELDS.keys():
        raise _damaged(f"hold other fields in entry {number} than {', '.join(_FIELDS)}")
    for name, kind in _FIELDS.items():
        if not isinstance(item[name], kind) or isinstance(item[name], bool):
            raise _damaged(f"hold a {name} of the wrong type in entry {number}")
    return ManifestEntry(**item)


def _damaged(how: str) -> DamagedArtifact:
    return DamagedArtifact(
        f"The bytes of the manifest {how}.",
        "Which records may be trained on cannot be told from them.",
        "Restore the artifact from a backup, then run `rescind db verify`.",
    )
