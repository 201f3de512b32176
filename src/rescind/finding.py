"""From what a requester names to record keys, and to the request that has forgotten them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rescind import state
from rescind.backends import Backends
from rescind.core.dataset import Key, ManifestEntry, Record
from rescind.core.errors import BadParameter, MissingSource, NoOp, UnknownKey
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


def by_concept(
    b: Backends,
    label: str,
    entries: Sequence[ManifestEntry],
    records: Sequence[Record] | None,
    others: Sequence[Record],
) -> Found:
    """All training records with this label; test records with it stay, as probes.

    Raises:
        BadParameter: the task has no column of labels.
        MissingSource: the rows cannot be read, so there is nothing to look in.
        NoOp: no training record has the label, and none that was forgotten had.
    """
    column = _label_column(b)
    if records is None:
        raise MissingSource(
            "The source cannot be read as it was recorded, so labels cannot be looked up in it.",
            do="Bring the source back, or name the records by --key.",
        )
    probes = {e.key for e in entries if e.cell == "test"}
    already = _covered(b, [r.key for r in others if r.row.get(column) == label])
    training = [r for r in records if r.key not in probes]
    found = tuple(r.key for r in training if r.row.get(column) == label)
    if not found and not already:
        known = ", ".join(sorted({str(r.row.get(column)) for r in training}))
        raise NoOp(
            f"No training record has the label {label!r}.",
            "A request that matches nothing is an error.",
            f"The labels are: {known}.",
        )
    return Found(found, already)


def _label_column(b: Backends) -> str:
    task = state.run(b).recipe.task
    column: str = getattr(task, "label", "") if task.target == "classes" else ""
    if column:
        return column
    raise BadParameter(
        f"The task answers with {task.target}, so no label names a concept.",
        do="Name the records by their keys; their influence can be forgotten.",
    )


def _covered(b: Backends, keys: Iterable[Key]) -> tuple[tuple[Key, str], ...]:
    """The keys on the suppression list, each with the request that put it there."""
    leaves = ((k, b.ledger.get("suppressed", state.suppression_leaf(b, k))) for k in keys)
    return tuple((key, str(request)) for key, request in leaves if request is not None)
