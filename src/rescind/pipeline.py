"""From an accepted request to its certificate, top to bottom, in the order a reader would tell it.

Each step appends one ledger entry and is skipped when its entry is there, so that a process that
was killed anywhere goes on from where it stopped. No failure undoes a withdrawal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from rescind import acceptance, auditing, certify, erasure, state, steps
from rescind.backends import Backends, add_signer
from rescind.core.audit import AuditVerdict
from rescind.core.certificate import Certificate
from rescind.core.errors import (
    Busy,
    DamagedArtifact,
    NoOp,
    NotDeterministic,
    Refused,
    RescindError,
    StaleVersion,
    UnknownPlugin,
)
from rescind.core.protocols import Entry, Progress, Unlearner, Write
from rescind.core.request import FINAL, Request, Status


def silent(what: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a request is processed. Without a replay no exact claim is made."""

    method: Unlearner | None = None
    replay: bool = True
    accept_outage: bool = False
    progress: Progress = field(default=silent)


def process(b: Backends, request_id: str, options: Options) -> Certificate:
    """Walk one request from where it stands to its close and return its certificate.

    Raises:
        Busy: another process has the request.
        Refused: it is on hold, was cancelled or rejected, or would end the service.
        DamagedArtifact: the signing key is lost or another's; what was withdrawn stays withdrawn.
        RescindError: a step failed; the request is ``failed`` with the step and the reason, what
            was withdrawn stays withdrawn, and the same call goes on from that step.
    """
    with b.ledger.claim(request_id):
        request = _ready(b, state.request(b, request_id), options)
        if request.status == "closed":
            return certify.load(b, request_id)
        b.signer()  # a key that is lost or another's is told now, and not after the erasure
        with _failing_at(b, request_id):
            request = _audited(b, request, options)  # 4 to 6
            request = steps.prove(b, request, options.replay, options.progress)  # 7
            request = steps.release(b, request)  # 8
            request = erasure.erase(b, request)  # 9
            certificate = certify.certify(b, request)  # 10
            steps.close(b, request)  # 11, which clears what the closed request needs no more
        return certificate


def audit(b: Backends, request_id: str, options: Options, more: Sequence[str] = ()) -> AuditVerdict:
    """Walk a request as far as its audits and stop there: the old model serves on if it did, and
    ``process`` goes on. ``more`` audits are exploratory.

    Raises:
        RescindError: as ``process``; also where no audit was planned and none is added.
    """
    with b.ledger.claim(request_id):
        request = state.request(b, request_id)
        if request.status not in FINAL:
            auditing.check_planned(b, request, more)
            request = _ready(b, request, options)
            with _failing_at(b, request_id):
                request = _audited(b, request, options)
        if more:
            auditing.check_open(request)
            made = steps.parts_of(b, request), list(more), options.progress
            return auditing.explore(b, request, steps.version_of(b, request), *made)
        return auditing.found(b, request)


def _audited(b: Backends, request: Request, options: Options) -> Request:
    """Steps 4 to 6, of which those that are done are left out."""
    request = steps.unlearn(b, request, options.method, options.progress)  # 4
    steps.evaluate_both(b, request, options.progress)  # 5
    if request.status == "unlearned":
        parts = steps.parts_of(b, request)
        auditing.audit(b, request, steps.version_of(b, request), parts, options.progress)  # 6
    return request


def _ready(b: Backends, request: Request, options: Options) -> Request:
    """Bring a request to the point where step 4 may begin, or say why it cannot."""
    if request.status in ("cancelled", "rejected"):
        raise Refused(f"Request {request.id} was {request.status}: {request.reason}.")
    if request.status == "held":
        raise Refused(
            f"Request {request.id} is on hold: {request.reason}.",
            "Its cut snapshots stay sealed and unserved meanwhile.",
            f"Lift the hold with `rescind request lift {request.id}`.",
        )
    if request.status == "failed" and request.resume is not None:
        request = replace(request, status=request.resume, resume=None, reason=None)
        b.ledger.append(
            Entry("request.resumed", request.id, writes=(state.write_request(request),))
        )
    if options.accept_outage and not request.accept_outage:
        request = replace(request, accept_outage=True)
        b.ledger.append(
            Entry("outage.accepted", request.id, writes=(state.write_request(request),))
        )
    request = acceptance.finish(b, request)
    if request.status == "planned" and acceptance.waits(b, request):
        raise Refused(
            f"Request {request.id} would leave no shard to answer with; due {request.due_at}.",
            "It stays open until you agree.",
            f"Use `rescind process {request.id} --accept-outage`, or `rescind rebuild` first.",
        )
    return request


@contextmanager
def _failing_at(b: Backends, request_id: str) -> Iterator[None]:
    """Record a failed step; the cut version goes on serving, uncertified."""
    try:
        yield
    except (RescindError, OSError) as error:
        request = state.request(b, request_id)
        if request.status not in FINAL:
            _record_failure(b, request, error)
        raise


def _record_failure(b: Backends, request: Request, error: Exception) -> None:
    """The entry says what failed in the error's own class; its text may name rows, so it stays
    out of the ledger unless it is one of ours.
    """
    step = steps.step(b, request)
    reason = f"{type(error).__name__} in the step {step}"
    again: Status = "withdrawn" if request.withdrawn_at else "planned"
    anew = isinstance(error, StaleVersion | NotDeterministic)
    resume = again if anew else request.status
    dropped = _discard(b, request) if isinstance(error, NotDeterministic | DamagedArtifact) else ()
    failed = replace(request, status="failed", resume=resume, reason=reason)
    redo = ("claim", "evaluation", "audits", "audit", "proof") if anew else ()
    seen = (auditing.forgotten_with(b, request),) if anew else ()
    writes = (
        *seen,
        *(Write(t, request.id, None) for t in redo),
        *(Write("part", name, None) for name in dropped),
        state.write_request(failed),
    )
    facts = {"step": step, "reason": reason, "dropped": len(dropped)}
    b.ledger.append(Entry("request.failed", request.id, facts, writes))


def _discard(b: Backends, request: Request) -> tuple[str, ...]:
    """Destroy snapshots that were refuted: unreleased ones, and live ones changed or lost.

    Their lineage may be false, so no erasure would find them, and no training may go on from them.

    Returns:
        The live ones: they leave service too, and `rescind rebuild` trains them again.
    """
    if request.status not in ("planned", "withdrawn", "unlearned"):
        return ()
    claim, live = b.ledger.get("claim", request.id), state.parts(b)
    kept = {s.name for s in live}
    added = [] if claim is None else [s["name"] for s in claim["change"]["add"]]
    changed = tuple(s.name for s in live if not state.intact(b, s))
    b.artifacts.destroy([*(n for n in added if n not in kept), *changed])
    return changed


def recover(b: Backends) -> None:
    """On opening a workspace: seal what was cut, and finish the withdrawal of whatever was accepted
    before a crash.

    Requests that another process holds are left to it.
    """
    if b.ledger.get("signer", "current") is None:
        add_signer(b)  # it was killed while it was made
    b.artifacts.sweep()
    b.artifacts.destroy(erasure.left_behind(b))
    b.artifacts.seal(list(b.ledger.items("sealed")))
    for request in state.requests(b):
        if request.status in FINAL:
            b.keys.destroy(f"request/{request.id}")
        if request.status in ("accepted", "planned"):
            try:
                with b.ledger.claim(request.id):
                    acceptance.finish(b, state.request(b, request.id))
            except (Busy, NoOp, UnknownPlugin):
                continue  # its method cannot withdraw it now; it stays planned, and can be ended


def end(b: Backends, request_id: str, how: str, reason: str) -> Request:
    """Cancel or reject a request whose records may still be used; later, a hold is all there is.

    Raises:
        Refused: the records are withdrawn, or no training may use them any more, and the request
            was to be cancelled.
    """
    with b.ledger.claim(request_id):
        request = state.request(b, request_id)
        if not request.labels:
            status: Status = "cancelled" if how == "cancel" else "rejected"
            ended = replace(acceptance.moved(request, status), reason=reason)
            b.ledger.append(
                Entry(f"request.{status}", request_id, writes=(state.write_request(ended),))
            )
            b.keys.destroy(f"request/{request_id}")
            return ended
        if how == "cancel":
            raise Refused(
                f"Request {request_id} cannot be cancelled: its records are withdrawn, or on the"
                " suppression list.",
                "That is never undone.",
                f"Process it, or hold it with `rescind request reject {request_id} --reason ...`.",
            )
        return _hold(b, request, reason)


def _hold(b: Backends, request: Request, reason: str) -> Request:
    """A legal hold: sealed snapshots stay, unserved; the request stays open with its reason."""
    held = replace(
        acceptance.moved(request, "held"), resume=request.resume or request.status, reason=reason
    )
    b.ledger.append(Entry("request.held", request.id, writes=(state.write_request(held),)))
    return held


def lift(b: Backends, request_id: str) -> Request:
    """End a legal hold: the request goes back to where it stood."""
    with b.ledger.claim(request_id):
        request = state.request(b, request_id)
        if request.status != "held" or request.resume is None:
            raise Refused(f"Request {request_id} is not on hold; it is {request.status}.")
        lifted = replace(request, status=request.resume, resume=None, reason=None)
        b.ledger.append(Entry("hold.lifted", request_id, writes=(state.write_request(lifted),)))
        return lifted
