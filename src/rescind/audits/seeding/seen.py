"""What a model showed when it was asked for codes, kept to compare a later answer with.

Two answers are compared for one key and the same records alone: with others every model looks as if
the codes were gone. Neither lies in what is kept, only a fingerprint and a hash under the key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rescind.audits.finding import Finding
from rescind.core.canonical import keyed
from rescind.core.dataset import Record
from rescind.core.errors import BadParameter


@dataclass(frozen=True, slots=True)
class Seen:
    """The findings of one version, of the user's key with the fingerprint ``key``.

    ``asked`` is the ``mark_of`` the records. ``left_out`` of those that were named lie in the test
    set, by the hash of their keys, and hold no code.
    """

    version: str
    key: str
    asked: str
    findings: tuple[Finding, ...]
    left_out: int = 0


def mark_of(key: bytes, records: Sequence[Record]) -> str:
    """64 hex digits that tell these records, as they are, from any others.

    A hash under the user's key: without it nobody can try whether a record is among them.
    """
    return keyed(key, "rescind seeding asked", *sorted(f"{r.digest} {r.key}" for r in records))


def require_same(before: Seen, key: str, asked: str) -> None:
    """Refuse to compare with what was seen of another user or of other records.

    Raises:
        BadParameter: the fingerprint or the mark of the records differs.
    """
    if before.key != key:
        raise BadParameter(
            f"What was seen before is of key {before.key[:12]}, and this is key {key[:12]}.",
            "Codes of one user say nothing of those of another.",
            "Name the answer that was kept for this key, or ask with the other key.",
        )
    if before.asked != asked:
        raise BadParameter(
            "These are not the records that were asked about before, as they were then.",
            "Codes are computed from every column, so that no model shows them for rows that were"
            " changed, or for others.",
            "Ask with the rows of the first answer, unchanged, and all of them.",
        )
