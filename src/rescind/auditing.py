"""Audits of a request: exactly those that were planned, on the model that was made, one verdict."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from rescind import audit_case, judging, state
from rescind.audit_case import AUDITS
from rescind.audit_planning import PLANNABLE, fresh_seed, planned
from rescind.audits.one_verdict import verdict
from rescind.audits.results import SAID, refused
from rescind.backends import Backends
from rescind.core.audit import LEVEL, AuditPlan, AuditResult, AuditVerdict, Case, Choice
from rescind.core.canonical import build, digest, plain
from rescind.core.errors import (
    BadParameter,
    Diverged,
    InsufficientEvidence,
    MissingExtra,
    Refused,
    RescindError,
    UnknownKey,
    UnknownPlugin,
    UnsupportedModel,
)
from rescind.core.protocols import Auditor, Entry, Progress, Write
from rescind.core.request import Request
from rescind.core.run import Snapshot

NOT_AGAIN = "No audit was run on this model; one was run on a model before it."
OPEN = ("unlearned", "evidenced")  # the records can still be read
# what the audits may meet in records, models and plug-ins; all else ends the step
UNREADABLE: tuple[type[RescindError], ...] = (
    *judging.NOT_READ,
    BadParameter,
    Diverged,
    InsufficientEvidence,
    UnknownPlugin,
    UnsupportedModel,
)


def request_of(b: Backends, version: str) -> str:
    """The request that made a version; a request's own id is given back.

    Raises:
        UnknownKey: neither, or the version that was trained, which no request made.
    """
    if any(r.id == version for r in state.requests(b)):
        return version
    made_by = state.version_by_id(b, version).request
    if made_by is None:
        raise UnknownKey(
            f"Version {version} was made by no request.",
            "It was trained on everything: there is nothing to look for.",
            "Name a version that a request made: `rescind list models`.",
        )
    return made_by


def _is_stored(b: Backends, request: Request) -> bool:
    return b.ledger.get("audit", request.id) is not None


def found(b: Backends, request: Request) -> AuditVerdict:
    """The verdict on a request.

    Raises:
        UnknownKey: no audit has been run.
    """
    stored = told(b, request.id)
    if stored is None or not stored.version:
        raise UnknownKey(
            f"No audit of request {request.id} has been run; it is {request.status}.",
            "Audits are planned before the model is unlearned and run right after.",
            f"Plan them with `rescind plan --request {request.id} --audit-budget 10m`."
            if request.status in PLANNABLE
            else "What was certified stands in the certificate.",
        )
    return stored


def told(b: Backends, request_id: str) -> AuditVerdict | None:
    """The verdict on a request; None where no audit has been run. Where one was run on a model that
    was given up, and none on the one that was made for it, that is told.
    """
    stored = b.ledger.get("audit", request_id)
    if stored is not None:
        return build(AuditVerdict, stored)
    before = tuple(b.ledger.get("audits_before", request_id) or ())
    return AuditVerdict("", "no_power", NOT_AGAIN, (), earlier=before) if before else None


def check_planned(b: Backends, request: Request, more: Sequence[str]) -> None:
    """Refuse to go as far as the audits where there are none, and no verdict to show.

    Raises:
        UnknownPlugin: one of ``more`` is no audit.
        InsufficientEvidence: none is planned or was run, and none is added.
    """
    for name in more:
        AUDITS.load(name)
    if not more and planned(b, request.id) is None and not _is_stored(b, request):
        soon = request.status in PLANNABLE
        raise InsufficientEvidence(
            f"No audit of request {request.id} was planned.",
            "What decides is chosen before the model is unlearned, and not by what it shows.",
            f"`rescind plan --request {request.id} --audit-budget 10m` plans them."
            if soon
            else f"`rescind audit {request.id} --add NAME` adds one that can lower the claim.",
        )


def check_open(request: Request) -> None:
    """Refuse where the records cannot be read, or no model was unlearned.

    Raises:
        Refused: the records are erased, or not unlearned yet.
    """
    if request.status not in OPEN:
        raise Refused(
            f"Request {request.id} is {request.status}.",
            "An audit reads the records and the model before, which are there until the erasure.",
            "Audit between `rescind audit` and `rescind process`.",
        )


def audit(
    b: Backends, request: Request, version: str, parts: Sequence[Snapshot], progress: Progress
) -> None:
    """Step 6: run exactly what was planned. A result that is there is not made again.

    What cannot be read or does not fit is told in the row of the audit: a deletion must not wait
    for its audits (decision 6).

    Raises:
        StaleVersion: a withdrawal came in meanwhile; the same call tries again.
    """
    chosen = planned(b, request.id)
    if request.status != "unlearned" or chosen is None or _is_stored(b, request):
        return
    results = _results(b, request, chosen, parts, progress)
    same = set(chosen.left_out.values())
    none = same.pop() if len(same) == 1 else ""
    _keep(b, request, verdict(version, results, none), _left_out(chosen).values())
    drawn = b.ledger.get("candidate_seeds", request.id) or {}  # of a process that was killed
    others = [replace(c, seed=own[c.audit]) for own in drawn.values() for c in chosen.choices]
    audit_case.destroy_trained(b, (*chosen.choices, *others))


def _left_out(chosen: AuditPlan) -> dict[str, str]:
    """What is not claimed, by the audit that was left out."""
    return {name: f"{name} was not run: {why}." for name, why in chosen.left_out.items()}


def explore(
    b: Backends,
    request: Request,
    version: str,
    parts: Sequence[Snapshot],
    names: Sequence[str],
    progress: Progress,
) -> AuditVerdict:
    """Run more audits than were planned: they can lower a verdict and never support one.

    Raises:
        Refused: the records are erased, or not unlearned yet.
        UnknownPlugin: no such audit.
    """
    check_open(request)
    earlier = told(b, request.id)
    so_far = earlier.results if earlier else ()
    each = dict.fromkeys(names)  # twice the same says no more
    choices = [Choice(n, plain(AUDITS.make(n, {})), fresh_seed(), 0.0) for n in each]
    if why := audit_case.never_trained(request):
        more = [refused(c.audit, why, c.seed) for c in choices]
    else:
        case = audit_case.read_case(b, request, parts, choices, progress)
        more = [_one(c, case, LEVEL, 1) for c in choices]
    lowered = verdict(version, (*so_far, *(replace(r, exploratory=True) for r in more)))
    limits = earlier.not_claimable if earlier else ()
    kept = _keep(b, request, lowered, _still_left_out(b, request, more, limits))
    audit_case.destroy_trained(b, choices)
    return kept


def _still_left_out(
    b: Backends, request: Request, more: Sequence[AuditResult], limits: Sequence[str]
) -> list[str]:
    """What is not claimed, without the lines of audits that were left out and have been run now."""
    chosen = planned(b, request.id)
    left_out = _left_out(chosen) if chosen else {}
    ran = {left_out.get(r.audit) for r in more if not r.refused}
    return [line for line in limits if line not in ran]


def of_candidate(
    b: Backends, request: Request, parts: Sequence[Snapshot], candidate: str, progress: Progress
) -> AuditVerdict | None:
    """What the planned audits see in a model that ``Auto`` would take; None where none is planned.

    At the level of the plan for each candidate: a smaller one would find fewer residues. With seeds
    and models of the ``candidate``'s own: what chose a model does not decide about it later.
    """
    chosen = planned(b, request.id)
    if chosen is None or not chosen.choices:
        return None
    choices, seen = _for_candidate(b, request, chosen, candidate), None
    try:
        case = audit_case.read_case(b, request, parts, choices, progress, "candidate")
        seen = verdict("", [_one(c, case, chosen.level, len(choices)) for c in choices])
    except UNREADABLE:
        pass  # the model is judged without them, and audited once it is made
    audit_case.destroy_trained(b, choices)
    return seen


def _for_candidate(
    b: Backends, request: Request, chosen: AuditPlan, candidate: str
) -> list[Choice]:
    """The planned audits with seeds that follow from theirs and the candidate's name, recorded
    before they are used: a process that was killed goes on with the same.
    """
    seeds = {c.audit: int(digest([c.seed, candidate])[:8], 16) >> 1 for c in chosen.choices}
    known = b.ledger.get("candidate_seeds", request.id) or {}
    if candidate not in known:
        facts = {"candidate": candidate, "seeds": seeds}
        write = Write("candidate_seeds", request.id, {**known, candidate: seeds})
        b.ledger.append(Entry("audits.candidate", request.id, facts, (write,)))
    return [replace(c, seed=seeds[c.audit]) for c in chosen.choices]


def _results(
    b: Backends,
    request: Request,
    chosen: AuditPlan,
    parts: Sequence[Snapshot],
    progress: Progress,
) -> list[AuditResult]:
    """Each is recorded when it is there, so that a broken run goes on with the next."""
    known = {r["audit"]: build(AuditResult, r) for r in b.ledger.get("audits", request.id) or ()}
    case, unread = None, ""
    for done, choice in enumerate(chosen.choices):
        progress("audits", done, len(chosen.choices))
        if choice.audit in known:
            continue
        if case is None and not unread:
            try:
                case = audit_case.read_case(b, request, parts, chosen.choices, progress)
            except UNREADABLE as error:
                unread = judging.told(error)
        if case is None:
            known[choice.audit] = refused(choice.audit, unread, choice.seed)
        else:
            known[choice.audit] = _one(choice, case, chosen.level, len(chosen.choices))
        write = Write("audits", request.id, [plain(r) for r in known.values()])
        facts = {"audit": choice.audit, "outcome": known[choice.audit].outcome}
        b.ledger.append(Entry("audit.run", request.id, facts, (write,)))
    progress("audits", len(chosen.choices), len(chosen.choices))
    return [known[choice.audit] for choice in chosen.choices]


def _one(choice: Choice, case: Case, level: float, tests: int) -> AuditResult:
    """One result, or why there is none; the words of an audit that is not ours may name rows, so
    that only its numbers are kept (rule 4), and a bug of it holds up no deletion.
    """
    try:
        auditor: Auditor = AUDITS.make(choice.audit, choice.parameters)
    except (UnknownPlugin, MissingExtra) as error:
        return refused(choice.audit, f"{type(error).__name__} when it was loaded", choice.seed)
    if why := audit_case.refusal(auditor, case.sizes):
        return refused(choice.audit, why, choice.seed)
    ours, started = audit_case.is_ours(auditor), time.process_time()
    try:
        result = auditor.audit(case, level=level, tests=tests, seed=choice.seed)
        if not ours:
            result = replace(result, told=SAID[result.outcome], limits="", unit="", refused="")
    except UNREADABLE as error:
        why = judging.told(error) if ours else audit_case.bug_of(error)
        return refused(choice.audit, why, choice.seed)
    except audit_case.BUGS as error:
        if ours:
            raise
        return refused(choice.audit, audit_case.bug_of(error), choice.seed)
    return replace(result, audit=choice.audit, cpu_seconds=time.process_time() - started)


def _keep(
    b: Backends, request: Request, found: AuditVerdict, limits: Iterable[str] = ()
) -> AuditVerdict:
    """With what was seen in models of this request that were made before and not kept."""
    before = tuple(b.ledger.get("audits_before", request.id) or ())
    not_claimable = tuple(dict.fromkeys((*found.not_claimable, *limits)))
    found = replace(found, not_claimable=not_claimable, earlier=before)
    facts: dict[str, Any] = {
        "version": found.version,
        "outcome": found.outcome,
        "audits": [r.audit for r in found.results if not r.exploratory],
        "exploratory": [r.audit for r in found.results if r.exploratory],
    }
    write = Write("audit", request.id, plain(found))
    b.ledger.append(Entry("audit.done", request.id, facts, (write,)))
    return found


def forgotten_with(b: Backends, request: Request) -> Write:
    """Before a model is made anew: what the audits saw in the one that is given up stays told."""
    before = list(b.ledger.get("audits_before", request.id) or ())
    seen = b.ledger.get("audit", request.id)
    return Write("audits_before", request.id, [*before, *([seen["outcome"]] if seen else [])])
