"""Steps 1 to 3: accept, plan, withdraw. From here on no answer uses the record."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime

from rescind import methods_of, planner, state
from rescind.backends import Backends
from rescind.core.canonical import keyed, plain
from rescind.core.errors import Busy, NoOp, Refused
from rescind.core.lineage import labels_until
from rescind.core.plan import Plan
from rescind.core.protocols import Entry, Withdrawal, Withdrawer, Write
from rescind.core.request import RESTORED, Request, Status, check_transition
from rescind.core.run import Snapshot
from rescind.core.version import selection
from rescind.resolve import Draft
from rescind.sealing import open_keys, seal_keys


def accept(b: Backends, draft: Draft) -> Request:
    """Steps 1 to 3 for a draft that somebody has looked at. Asking twice gives the same request.

    Raises:
        Refused: duplicates would stay and nobody has decided about them, or the draft is out of
            date: another request has taken some of its records since.
        NoOp: the draft holds no record, or several earlier requests cover all of it.
        UnknownPlugin: no such method.
        Busy: another process is accepting the same request.
    """
    started = time.perf_counter()
    if draft.already_forgotten:
        return _earlier(b, draft)
    if draft.undecided:
        raise Refused(
            f"{draft.undecided} duplicates of the forget set would stay behind.",
            "They still carry its content.",
            "Say --near include, --near keep or --near refuse.",
        )
    if not draft.keys:
        raise NoOp("The request holds no record.", do="Name at least one key that is here.")
    methods_of.make(draft.ask.method or state.run(b).recipe.method)  # unknown: before any entry
    request_id = _free_id(b, draft)
    with b.ledger.claim(request_id):
        known = b.ledger.get("request", request_id)
        if known is None:
            _check_fresh(b, draft)
        request = state.request(b, request_id) if known else _accepted(b, request_id, draft)
        return finish(b, request, started)


def _earlier(b: Backends, draft: Draft) -> Request:
    """The request that covers all of a draft already."""
    owners = sorted({owner for _, owner in draft.already})
    if RESTORED in owners:
        raise NoOp(
            "All of it is forgotten already; some before this workspace was restored.",
            "The certificates of that time went to whoever asked then.",
            "Nothing is left to do here.",
        )
    if len(owners) > 1:
        raise NoOp(
            f"All of it is forgotten already, by the requests {', '.join(owners)}.",
            "No single request answers for it.",
            "See each with `rescind request show ID`.",
        )
    return state.request(b, owners[0])


def _check_fresh(b: Backends, draft: Draft) -> None:
    suppressed = b.ledger.items("suppressed")
    taken = [k for k in draft.keys if state.suppression_leaf(b, k) in suppressed]
    if taken:
        raise Refused(
            f"{len(taken)} of {len(draft.keys)} records were forgotten since they were looked up.",
            "What the request would do has changed.",
            "Look them up again and send the request once more.",
        )


def finish(b: Backends, request: Request, started: float | None = None) -> Request:
    """Whatever of steps 2 and 3 is still to do; the caller holds the claim.

    A request that would leave no shard stays planned until the outage is accepted.
    """
    if request.status == "accepted":
        request = _planned(b, request)
    if request.status == "planned":
        with one_at_a_time(b):
            request = withdraw(b, request)
        if started is not None and request.withdrawn_at is not None:
            request = _timed(b, request, (time.perf_counter() - started) * 1e3)
    return request


@contextmanager
def one_at_a_time(b: Backends, what: str = "parts", seconds: float = 30.0) -> Iterator[None]:
    """Hold the one lock under which the serving parts, or the allow-list, may change.

    Raises:
        Busy: another process kept it for all that time.
    """
    end = time.monotonic() + seconds
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(b.ledger.claim(what))
                break
            except Busy:
                if time.monotonic() > end:
                    raise
                time.sleep(0.01)
        yield


def waits(b: Backends, request: Request) -> bool:
    """Whether the request stays open because it would end the service and nobody agreed to that:
    as ``withdraw`` last found, for other requests and rebuilding change what is left.
    """
    return bool(b.ledger.get("plan", request.id)["outage"]) and not request.accept_outage


def _free_id(b: Backends, draft: Draft) -> str:
    """An id that follows from the record keys, so that a repeated request meets itself, closed or
    open. One that ended without forgetting (cancelled, rejected) does not stand in the way.
    """
    base = keyed(b.keys.get("workspace"), "request", *draft.keys)[:12]
    number, request_id = 1, base
    while True:
        known = b.ledger.get("request", request_id)
        if known is None or known["status"] not in ("cancelled", "rejected"):
            return request_id
        number += 1
        request_id = f"{base}-{number}"


def _accepted(b: Backends, request_id: str, draft: Draft) -> Request:
    request = Request(
        id=request_id,
        model=state.MODEL,
        target=draft.target,
        goal=draft.ask.goal,
        basis=draft.ask.basis,
        received_at=draft.received_at,
        due_at=draft.due_at,
        status="accepted",
        sealed_keys=seal_keys(b.keys, request_id, draft.keys),
        cells=draft.cells,
        method=draft.ask.method,
        accept_outage=draft.ask.accept_outage,
    )
    writes = (*_mark(b, request_id, draft), state.write_request(request))
    b.ledger.append(Entry("request.accepted", request_id, writes=writes))
    return request


def _mark(b: Backends, request_id: str, draft: Draft) -> tuple[Write, ...]:
    """A keyed mark of the subject, so that who asks again is answered by the certificate."""
    if draft.ask.subject is None or not b.settings.suppression_list:
        return ()
    return (Write("subject", state.subject_mark(b, draft.ask.subject), request_id),)


def _planned(b: Backends, request: Request) -> Request:
    plan: Plan = planner.plan(
        b,
        request.id,
        request.cells,
        request.target,
        request.due_at,
        request.method,
        request.goal,
    )
    if request.status == "accepted":
        request = moved(request, "planned")
    writes = (Write("plan", request.id, plain(plan)), state.write_request(request))
    b.ledger.append(Entry("plan.made", request.id, writes=writes))
    return request


def withdraw(b: Backends, request: Request) -> Request:
    """Step 3: cut parts leave service and the keys enter the suppression list, in one transaction.

    One that would leave nothing to serve waits; the caller holds the lock, so that no two requests
    end the service together which would not do so alone.

    Raises:
        NoOp: the method left a part in service that was made from the records.
    """
    method = methods_of.make(b.ledger.get("plan", request.id)["method"])
    if not isinstance(method, Withdrawer):
        return request  # it edits weights: its records are suppressed in step 4
    live = state.parts(b)
    result = planner.withdrawal(method, live, request.cells)
    _check_cut(live, result, request)
    if bool(b.ledger.get("plan", request.id)["outage"]) == bool(result.kept):
        request = _planned(b, request)  # something was withdrawn or rebuilt since it was planned
    if waits(b, request):
        return request
    now = datetime.now(UTC).isoformat()
    request = moved(replace(marked(b, request), withdrawn_at=now), "withdrawn")
    served = [plain(s) for s in selection(live)]
    writes = (
        *(Write("part", s.name, None) for s in result.cut),
        *(
            Write("sealed", s.name, {"snapshot": plain(s), "request": request.id})
            for s in result.cut
        ),
        Write("original", request.id, served),
        *suppression(b, request),
        state.write_request(request),
    )
    cut = [[s.shard, s.order, s.stage] for s in result.cut]
    facts = {"cut": cut, "cells": sorted(request.cells)}
    b.ledger.append(Entry("parts.withdrawn", request.id, facts, writes, at=now))
    b.artifacts.seal([s.name for s in result.cut])
    return request


def suppression(b: Backends, request: Request) -> tuple[Write, ...]:
    """Each record's leaf on the suppression list, and the next generation of each cell."""
    leaves: tuple[Write, ...] = ()
    if b.settings.suppression_list:
        keys = open_keys(b.keys, request)
        leaves = tuple(Write("suppressed", state.suppression_leaf(b, k), request.id) for k in keys)
    bump = (Write("cell", c, state.generation(b, c) + 1) for c in sorted(request.cells))
    return (*leaves, *bump)


def marked(b: Backends, request: Request) -> Request:
    """The request with the labels of everything made from its cells so far."""
    until = (labels_until(c, state.generation(b, c)) for c in request.cells)
    return replace(request, labels=frozenset[str]().union(*until))


def _check_cut(live: Sequence[Snapshot], result: Withdrawal, request: Request) -> None:
    """Every live part is kept or cut, and none that was made from the records is kept."""
    if Counter((*result.kept, *result.cut)) != Counter(live):
        raise NoOp(
            f"Of {len(live)} snapshots the method keeps {len(result.kept)} and cuts"
            f" {len(result.cut)}; it lost some, named some twice, or put others in.",
            "What it does not name would go on serving.",
            "Use another method: `rescind list methods` shows them.",
        )
    training = frozenset(c for c in request.cells if c != "test")
    left = [s for s in result.kept if s.cells & training]
    if left:
        raise NoOp(
            f"The method left {len(left)} snapshots in service that were made from the records.",
            "A withdrawal that does not withdraw is an error.",
            "Use another method: `rescind list methods` shows them.",
        )


def _timed(b: Backends, request: Request, milliseconds: float) -> Request:
    request = replace(request, milliseconds_to_withdraw=round(milliseconds, 3))
    b.ledger.append(Entry("withdrawal.timed", request.id, writes=(state.write_request(request),)))
    return request


def moved(request: Request, status: Status) -> Request:
    """The request in its next status; a step that its life does not have is refused."""
    check_transition(request.status, status, request.id)
    return replace(request, status=status)
