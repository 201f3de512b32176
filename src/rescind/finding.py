"""From keys, a subject or words to record keys, and to the request that has forgotten them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rescind import state
from rescind.backends import Backends
from rescind.core.dataset import Key, ManifestEntry, Record
from rescind.core.errors import MissingSource, NoOp, UnknownKey
from rescind.data.manifest import subject_hash
from rescind.data.words import naming


@dataclass(frozen=True, slots=True)
class Found:
    """Keys to forget, and what earlier requests cover already: (key or mark, request id)."""

    keys: tuple[Key, ...]
    already: tuple[tuple[str, str], ...] = ()


def by_keys(b: Backends, keys: Sequence[Key], entries: Sequence[ManifestEntry]) -> Found:
    """The keys that are on the allow-list, and those that a request covers.

    Raises:
        UnknownKey: some are neither; they are named.
    """
    known, wanted = {e.key for e in entries}, tuple(dict.fromkeys(keys))
    missing = [k for k in wanted if k not in known]
    already = _covered(b, missing)
    unknown = [k for k in missing if k not in dict(already)]
    if unknown:
        raise UnknownKey(
            f"{len(unknown)} of {len(wanted)} keys are not here: {', '.join(unknown[:5])}.",
            "A request with an unknown key is refused as a whole, so that nothing is half done.",
            "Correct or remove the key, then send the request again.",
        )
    return Found(tuple(k for k in wanted if k in known), already)


def by_subject(
    b: Backends, subject: str, entries: Sequence[ManifestEntry], others: Iterable[Record]
) -> Found:
    """All records of a subject; ``others`` are rows of the source that are not on the list.

    Raises:
        UnknownKey: there is none, and none was forgotten.
    """
    wanted = subject_hash(subject, b.keys.get("workspace"))
    already = _covered(b, [r.key for r in others if r.subject == subject])
    mark = state.subject_mark(b, subject)
    earlier = state.asked_for(b, mark)
    if not already and earlier:
        already = ((mark, earlier),)
    found = tuple(e.key for e in entries if e.subject == wanted)
    if not found and not already:
        raise UnknownKey(
            f"No record of subject {subject!r}.",
            "The allow-list has none, and no request for this subject is known.",
            "Check the spelling; `rescind request list` shows what was forgotten and when.",
        )
    return Found(found, already)


def by_words(
    b: Backends, words: str, records: Sequence[Record] | None, others: Sequence[Record]
) -> Found:
    """All records with these words in a text.

    Raises:
        MissingSource: the rows cannot be read, so there is nothing to search.
        NoOp: none has them, and none that was forgotten had.
    """
    if records is None:
        raise MissingSource(
            "The source cannot be read as it was recorded, so words cannot be looked up in it.",
            do="Bring the source back, or name the records by --key.",
        )
    already = _covered(b, [r.key for r in naming(others, words)])
    found = tuple(r.key for r in naming(records, words))
    if not found and not already:
        raise NoOp(
            f"No record contains {words!r} as whole words.",
            "A request that matches nothing is an error.",
            "Check the spelling, or name the records by --key.",
        )
    return Found(found, already)


def _covered(b: Backends, keys: Iterable[Key]) -> tuple[tuple[Key, str], ...]:
    """The keys on the suppression list, each with the request that put it there."""
    leaves = ((k, b.ledger.get("suppressed", state.suppression_leaf(b, k))) for k in keys)
    return tuple((key, str(request)) for key, request in leaves if request is not None)
