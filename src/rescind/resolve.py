"""From what a requester names to record keys: in memory only, shown before anything is accepted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

from rescind import rows, state
from rescind.backends import Backends
from rescind.core.dataset import Key, ManifestEntry, Record
from rescind.core.errors import (
    BadData,
    BadParameter,
    DamagedArtifact,
    MissingExtra,
    MissingSource,
    Refused,
    StorageFailed,
)
from rescind.core.request import Goal, Target
from rescind.data.duplicates import NearDuplicate, exact_duplicates, near_duplicates
from rescind.finding import Found, by_concept, by_keys, by_subject, by_words

NearPolicy = Literal["ask", "include", "keep", "refuse"]


@dataclass(frozen=True, slots=True)
class Ask:
    """What a requester names: exactly one of keys, subject, words and concept.

    ``concept`` is a label: all training records with it, test records excepted, which stay as
    probes; its goal is always the concept. For records named otherwise ``goal`` says which question
    is asked.
    ``near`` decides about duplicates that would stay: ``ask`` refuses acceptance until somebody
    has looked, ``include`` forgets them too, ``keep`` leaves and counts them, ``refuse`` stops.
    """

    keys: tuple[Key, ...] = ()
    subject: str | None = None
    words: str | None = None
    concept: str | None = None
    near: NearPolicy = "ask"
    goal: Goal = "influence"
    basis: str = "not stated"
    received_at: str | None = None
    due_at: str | None = None
    method: str | None = None
    accept_outage: bool = False


@dataclass(frozen=True, slots=True)
class Draft:
    """A request before acceptance. It holds content and is never stored.

    ``shown`` are the records in question; ``near`` and ``exact`` name duplicates that would stay,
    and ``stays`` are those records; ``already`` names what an earlier request covers (a key, or the
    mark of a subject), with that request's id.
    """

    ask: Ask
    target: Target
    keys: tuple[Key, ...]
    cells: frozenset[str]
    shown: tuple[Record, ...]
    near: tuple[NearDuplicate, ...]
    exact: tuple[Key, ...]
    stays: tuple[Record, ...]
    already: tuple[tuple[str, str], ...]
    received_at: str
    due_at: str

    @property
    def already_forgotten(self) -> bool:
        """Whether nothing is left to do because earlier requests cover all of it."""
        return not self.keys and bool(self.already)

    @property
    def undecided(self) -> int:
        """How many duplicates would stay without anybody having said so."""
        return len(self.near) + len(self.exact) if self.ask.near == "ask" else 0


def resolve(b: Backends, ask: Ask) -> Draft:
    """Find the records, the duplicates that would stay, and what is forgotten already.

    Raises:
        BadParameter: the ask is malformed.
        UnknownKey: keys or a subject that the allow-list does not have; all are named.
        NoOp: nothing matches.
        Refused: duplicates would stay and the policy is ``refuse``.
    """
    ask = _well_formed(ask)
    entries = state.allowed(b)
    records, others = _rows(b, entries)
    found = _found(b, ask, entries, records, others)
    near, exact = _duplicates(b, found.keys, records)
    if ask.near == "include":
        keys, near, exact = _with_duplicates(b, found.keys, near, exact, records)
        found = replace(found, keys=keys)
    if ask.near == "refuse" and (near or exact):
        raise Refused(
            f"{len(near) + len(exact)} duplicates of the forget set would stay.",
            "You asked to refuse in that case.",
            "Use --near include to forget them too, or --near keep to leave and count them.",
        )
    return _draft(b, ask, entries, records, found, near, exact)


def _rows(
    b: Backends, entries: Sequence[ManifestEntry]
) -> tuple[tuple[Record, ...] | None, tuple[Record, ...]]:
    """The listed rows, or None where they cannot be read as recorded: that stops no forgetting."""
    try:
        return rows.read_with_others(b, entries)
    except (MissingSource, MissingExtra, BadData, DamagedArtifact, StorageFailed):
        return None, ()


def _found(
    b: Backends,
    ask: Ask,
    entries: Sequence[ManifestEntry],
    records: Sequence[Record] | None,
    others: Sequence[Record],
) -> Found:
    if ask.words is not None:
        return by_words(b, ask.words, records, others)
    if ask.concept is not None:
        return by_concept(b, ask.concept, entries, records, others)
    if ask.subject is not None:
        return by_subject(b, ask.subject, entries, others)
    return by_keys(b, ask.keys, entries)


def _well_formed(ask: Ask) -> Ask:
    """The ask with its keys as text, as they are kept: 17 and "17" are one key.

    Raises:
        BadParameter: keys that are no keys, or an unknown policy.
        Refused: not exactly one of keys, subject, words and concept is named.
    """
    if ask.near not in get_args(NearPolicy):
        known = ", ".join(get_args(NearPolicy))
        raise BadParameter(f"near is {ask.near!r}.", do=f"Use one of {known}.")
    if isinstance(ask.keys, str) or not all(type(key) in (str, int) for key in ask.keys):
        raise BadParameter(
            f"keys is {ask.keys!r}.",
            "Keys are texts or integers, in a tuple.",
            "Give keys=('17',).",
        )
    one_of = (ask.subject, ask.words, ask.concept)
    named = bool(ask.keys) + sum(each is not None for each in one_of)
    if named != 1:
        raise Refused(
            f"A request names keys, a subject, words or a concept; this one names {named} of them.",
            do="Give exactly one: --key, --from FILE.csv, --subject, --words or --concept.",
        )
    goal = ask.goal if ask.concept is None else "concept"
    return replace(ask, keys=tuple(str(key) for key in ask.keys), goal=goal)


Duplicates = tuple[tuple[NearDuplicate, ...], tuple[Key, ...]]


def _duplicates(b: Backends, keys: Sequence[Key], records: Sequence[Record] | None) -> Duplicates:
    if records is None:
        return (), ()
    gone = set(keys)
    forget = [r for r in records if r.key in gone]
    retain = [r for r in records if r.key not in gone]
    near = near_duplicates(forget, retain, b.settings.near_threshold)
    return near, tuple(r.key for r in exact_duplicates(forget, retain))


def _with_duplicates(
    b: Backends,
    keys: tuple[Key, ...],
    near: tuple[NearDuplicate, ...],
    exact: tuple[Key, ...],
    records: Sequence[Record] | None,
) -> tuple[tuple[Key, ...], tuple[NearDuplicate, ...], tuple[Key, ...]]:
    """Take duplicates in until none is left: a duplicate may have duplicates of its own."""
    while near or exact:
        more = {n.retain_key for n in near} | set(exact)
        keys = (*keys, *sorted(more))
        near, exact = _duplicates(b, keys, records)
    return keys, near, exact


def _draft(
    b: Backends,
    ask: Ask,
    entries: Sequence[ManifestEntry],
    records: Sequence[Record] | None,
    found: Found,
    near: tuple[NearDuplicate, ...],
    exact: tuple[Key, ...],
) -> Draft:
    gone, stays = set(found.keys), {n.retain_key for n in near} | set(exact)
    hit = [e for e in entries if e.key in gone]
    target = Target(
        kind=_kind(ask),
        records=len(hit),
        copies=sum(e.multiplicity for e in hit),
        test_records=sum(e.cell == "test" for e in hit),
        near_kept=len({n.retain_key for n in near}),
        exact_kept=len(exact),
        searched=records is not None,
    )
    received, due = _times(ask, b.settings.due_days)
    return Draft(
        ask=ask,
        target=target,
        keys=tuple(sorted(found.keys)),
        cells=frozenset(e.cell for e in hit),
        shown=tuple(r for r in records or () if r.key in gone),
        near=near,
        exact=exact,
        stays=tuple(r for r in records or () if r.key in stays),
        already=found.already,
        received_at=received.isoformat(),
        due_at=due.isoformat(),
    )


def _kind(ask: Ask) -> Literal["records", "subject", "words", "concept"]:
    if ask.concept is not None:
        return "concept"
    if ask.words is not None:
        return "words"
    return "records" if ask.subject is None else "subject"


def _times(ask: Ask, due_days: int) -> tuple[datetime, datetime]:
    """When the request came in and when it is due; a time without a zone is UTC.

    Raises:
        BadParameter: no date, a receipt in the future, or a due date before it.
    """
    now = datetime.now(UTC)
    received = _moment(ask.received_at, "received_at") if ask.received_at else now
    later = received + timedelta(days=due_days)
    due = _moment(ask.due_at, "due_at") if ask.due_at else later
    if received > now or due < received:
        raise BadParameter(
            f"Received {received.isoformat()}, due {due.isoformat()}, now {now.isoformat()}.",
            "A request is received before now, and due after that.",
            "Correct received_at or due_at.",
        )
    return received, due


def _moment(text: str, name: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise BadParameter(f"{name} is {text!r}.", "It must be a date like 2026-01-31.") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
