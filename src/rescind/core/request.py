"""A deletion request, what it is aimed at, and the states it may pass through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rescind.core.errors import BadParameter

Status = Literal[
    "accepted",
    "planned",
    "withdrawn",
    "unlearned",
    "evidenced",
    "erased",
    "closed",
    "rejected",
    "cancelled",
    "held",
    "failed",
]
Goal = Literal["influence", "concept"]
GOALS: dict[Goal, str] = {
    "influence": "remove the influence of the records",
    "concept": "remove a concept",
}

# failed and held are left for the status the request had, so that a retry goes on from that step
ALLOWED: dict[str, frozenset[str]] = {
    "accepted": frozenset({"planned", "cancelled", "rejected", "failed"}),
    "planned": frozenset({"withdrawn", "unlearned", "cancelled", "rejected", "held", "failed"}),
    "withdrawn": frozenset({"unlearned", "held", "failed"}),
    "unlearned": frozenset({"evidenced", "held", "failed"}),
    "evidenced": frozenset({"erased", "held", "failed"}),
    "erased": frozenset({"closed", "failed"}),
    "held": frozenset({"planned", "withdrawn", "unlearned", "evidenced"}),
    "failed": frozenset(
        {
            "accepted",
            "planned",
            "withdrawn",
            "unlearned",
            "evidenced",
            "erased",
            "held",
            "cancelled",
            "rejected",
        }
    ),
    "closed": frozenset(),
    "rejected": frozenset(),
    "cancelled": frozenset(),
}
FINAL: frozenset[str] = frozenset({"closed", "rejected", "cancelled"})
RESTORED = "restored"  # stands for the request, of a lost workspace, that left a mark


@dataclass(frozen=True, slots=True)
class Target:
    """What the requester named. Only the kind and counts are kept; words and names are not.

    ``near_kept`` near duplicates of the forget set and ``exact_kept`` equal rows of other subjects
    stay in the retain set by the requester's choice; the certificate counts them. ``searched`` is
    False when the source was missing, so that nobody could look for duplicates.
    """

    kind: Literal["records", "subject", "words", "concept"]
    records: int
    copies: int
    test_records: int = 0
    near_kept: int = 0
    exact_kept: int = 0
    searched: bool = True


@dataclass(frozen=True, slots=True)
class Request:
    """A person's or operator's demand that records be forgotten.

    ``sealed_keys`` are the record keys, encrypted under the request's own key, which is destroyed
    when the request closes. ``cells`` are those the records lie in; ``labels`` are these cells with
    their generations up to the withdrawal: what carries one of them is stale. Times are ISO 8601.
    ``resume`` is the status to go back to from ``failed`` or ``held``.
    """

    id: str
    model: str
    target: Target
    goal: Goal
    basis: str
    received_at: str
    due_at: str
    status: Status
    sealed_keys: str
    cells: frozenset[str]
    labels: frozenset[str] = frozenset()
    method: str | None = None
    accept_outage: bool = False
    withdrawn_at: str | None = None
    milliseconds_to_withdraw: float | None = None
    reason: str | None = None
    resume: Status | None = None


def check_transition(now: Status, then: Status, request: str) -> None:
    """Refuse a step that the life of a request does not have.

    Raises:
        BadParameter: the transition is not allowed.
    """
    if then not in ALLOWED[now]:
        raise BadParameter(
            f"Request {request} is {now}; it cannot become {then}.",
            f"What may follow: {', '.join(sorted(ALLOWED[now])) or 'nothing, it is final'}.",
        )
