"""From what a requester names to record keys: in memory only, shown before anything is accepted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from rescind import rows, state
from rescind.backends import Backends
from rescind.core.dataset import Key, ManifestEntry, Record
from rescind.core.errors import BadData, BadParameter, MissingSource, NoOp, Refused, UnknownKey
from rescind.core.request import Goal, Target
from rescind.data.duplicates import NearDuplicate, exact_duplicates, near_duplicates
from rescind.data.manifest import subject_hash
from rescind.data.words import naming

NearPolicy = Literal["ask", "include", "keep", "refuse"]


@dataclass(frozen=True, slots=True)
class Ask:
    """What a requester names: exactly one of keys, subject and words.

    ``near`` decides about duplicates that would stay: ``ask`` refuses acceptance until somebody
    has looked, ``include`` forgets them too, ``keep`` leaves and counts them, ``refuse`` stops.
    """

    keys: tuple[Key, ...] = ()
    subject: str | None = None
    words: str | None = None
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

    ``shown`` are the records in question, ``near`` and ``exact`` duplicates that would stay,
    ``already`` the keys that an earlier request covers, with that request's id.
    """

    ask: Ask
    target: Target
    keys: tuple[Key, ...]
    cells: frozenset[str]
    shown: tuple[Record, ...]
    near: tuple[NearDuplicate, ...]
    exact: tuple[Key, ...]
    already: tuple[tuple[Key, str], ...]
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
        UnknownKey: keys or a subject that the allow-list does not have; all are named.
        NoOp: nothing matches.
        Refused: duplicates would stay and the policy is ``refuse``.
    """
    _one_of(ask)
    entries = state.allowed(b)
    try:
        records: tuple[Record, ...] | None = rows.read(b, entries)
    except (MissingSource, BadData):  # gone, or no longer what was recorded: forget all the same
        records = None
    keys, already = _keys(b, ask, entries, records)
    near, exact = _duplicates(b, keys, records)
    if ask.near == "include":
        keys, near, exact = _with_duplicates(b, keys, near, exact, records)
    if ask.near == "refuse" and (near or exact):
        raise Refused(
            f"{len(near) + len(exact)} duplicates of the forget set would stay.",
            "You asked to refuse in that case.",
            "Use --near include to forget them too, or --near keep to leave and count them.",
        )
    return _draft(b, ask, entries, records, keys, already, near, exact)


def _one_of(ask: Ask) -> None:
    named = [bool(ask.keys), ask.subject is not None, ask.words is not None]
    if sum(named) != 1:
        raise Refused(
            f"A request names keys, a subject or words; this one names {sum(named)} of them.",
            do="Give exactly one: --key, --from FILE.csv, --subject or --words.",
        )


def _keys(
    b: Backends,
    ask: Ask,
    entries: Sequence[ManifestEntry],
    records: Sequence[Record] | None,
) -> tuple[tuple[Key, ...], tuple[tuple[Key, str], ...]]:
    if ask.words is not None:
        return _by_words(ask.words, records), ()
    if ask.subject is not None:
        wanted = subject_hash(ask.subject, b.keys.get("workspace"))
        found = tuple(e.key for e in entries if e.subject == wanted)
        if not found:
            raise UnknownKey(
                f"No record of subject {ask.subject!r}.",
                "The allow-list has none: never had, or already forgotten.",
                "Check the spelling; `rescind request list` shows what was forgotten and when.",
            )
        return found, ()
    known = {e.key for e in entries}
    wanted_keys = tuple(dict.fromkeys(ask.keys))
    already = tuple((k, r) for k in wanted_keys if k not in known for r in [_covered(b, k)] if r)
    unknown = [k for k in wanted_keys if k not in known and not _covered(b, k)]
    if unknown:
        raise UnknownKey(
            f"{len(unknown)} of {len(wanted_keys)} keys are not here: {', '.join(unknown[:5])}.",
            "A request with an unknown key is refused as a whole, so that nothing is half done.",
            "Correct or remove the key, then send the request again.",
        )
    return tuple(k for k in wanted_keys if k in known), already


def _covered(b: Backends, key: Key) -> str | None:
    found = b.ledger.get("suppressed", state.suppression_leaf(b, key))
    return None if found is None else str(found)


def _by_words(words: str, records: Sequence[Record] | None) -> tuple[Key, ...]:
    if records is None:
        raise MissingSource(
            "The source cannot be read as it was recorded, so words cannot be looked up in it.",
            do="Bring the source back, or name the records by --key.",
        )
    found = tuple(r.key for r in naming(records, words))
    if not found:
        raise NoOp(
            f"No record contains {words!r} as whole words.",
            "A request that matches nothing is an error.",
            "Check the spelling, or name the records by --key.",
        )
    return found


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
    keys: tuple[Key, ...],
    already: tuple[tuple[Key, str], ...],
    near: tuple[NearDuplicate, ...],
    exact: tuple[Key, ...],
) -> Draft:
    gone = set(keys)
    hit = [e for e in entries if e.key in gone]
    kind: Literal["records", "subject", "words"] = "records"
    if ask.subject is not None or ask.words is not None:
        kind = "subject" if ask.subject is not None else "words"
    target = Target(
        kind=kind,
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
        keys=tuple(sorted(keys)),
        cells=frozenset(e.cell for e in hit),
        shown=tuple(r for r in records or () if r.key in gone),
        near=near,
        exact=exact,
        already=already,
        received_at=received.isoformat(),
        due_at=due.isoformat(),
    )


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
