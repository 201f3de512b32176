"""Gather what a reader is told about a request: counts, times and evidence, never content."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rescind import audit_planning, auditing, erasure, methods_of, state
from rescind.backends import Backends
from rescind.core.canonical import build, digest
from rescind.core.errors import UnknownKey
from rescind.core.evidence import ErasureReceipt, Evaluation, Proof
from rescind.core.protocols import Entry
from rescind.core.report import Moment, Report, StageMark
from rescind.core.request import Request
from rescind.core.run import Order
from rescind.core.version import selection
from rescind.proofs.reading import read_statement
from rescind.proofs.signing import from_envelope

WORDS = {
    "request.accepted": "accepted; record keys encrypted under the request's own key",
    "plan.made": "planned",
    "parts.withdrawn": "withdrawn: from here on no answer uses the records",
    "withdrawal.timed": "the withdrawal was timed",
    "records.suppressed": "records suppressed",
    "version.created": "new version made",
    "references.trained": "models retrained without the records, to compare with",
    "method.attempted": "a method was tried",
    "evaluation.done": "measured before and after",
    "audits.planned": "audits chosen, before the model is unlearned",
    "audits.candidate": "seeds drawn for the audits of a model that may be taken",
    "audit.run": "an audit was run",
    "audit.done": "audited",
    "mask.sealed": "an order to mask models of others was made and sealed",
    "proof.made": "replay",
    "version.released": "new version serves",
    "erasure.started": "rewritten without the records",
    "erasure.done": "everything made from the records destroyed",
    "certificate.issued": "certificate signed",
    "request.closed": "closed; the request's key destroyed",
    "request.failed": "a step failed; what was withdrawn stays withdrawn",
    "request.resumed": "taken up again",
    "request.held": "put on hold",
    "hold.lifted": "hold lifted",
    "outage.accepted": "outage accepted",
    "request.cancelled": "cancelled",
    "request.rejected": "rejected",
}


OUTCOMES = {
    "method.attempted": "tried {method}, {round}: {outcome}",
    "audit.run": "audit {audit}: {outcome}",
    "audit.done": "verdict of the audits: {outcome}",
    "proof.made": "replay: {outcome}",
}


def report(b: Backends, request_id: str) -> Report:
    """Everything known about one request.

    Raises:
        UnknownKey: no such request.
    """
    request = state.request(b, request_id)
    entries = tuple(b.ledger.entries(request_id))
    found = b.ledger.get("evaluation", request_id)
    receipt = b.ledger.get("erasure", request_id)
    proof = b.ledger.get("proof", request_id)
    envelope = b.ledger.get("certificate", request_id)
    statement = read_statement(from_envelope(envelope).payload) if envelope else None
    after = _measured(found, "after")
    return Report(
        request=request,
        model=_version(b, request_id),
        parent=state.parent(b),
        plan=state.plan(b, request_id),
        timeline=tuple(_moment(e) for e in entries),
        before=_measured(found, "before").measurements,
        after=after.measurements,
        unmeasured=after.unmeasured,
        marks=_marks(b, request, entries),
        proof=build(Proof, proof) if proof else None,
        guarantee=statement.guarantee if statement else None,
        erasure=build(ErasureReceipt, receipt) if receipt else None,
        certificate=digest(envelope) if envelope else None,
        exports=erasure.recipients(b, request),
        not_claimed=statement.scope if statement else ("Nothing is certified yet.",),
        exposure_seconds=exposure(request, entries),
        judgement=after.judgement,
        unjudged=after.unjudged,
        attempts=after.attempts,
        cpu_seconds=after.cpu_seconds,
        controls=after.controls,
        audit_plan=audit_planning.planned(b, request_id),
        audit=auditing.told(b, request_id),
    )


def evaluation(b: Backends, request_id: str) -> Evaluation:
    """What was measured after a request, and the verdict.

    Raises:
        UnknownKey: no such request, or it has not come so far.
    """
    request = state.request(b, request_id)
    found = b.ledger.get("evaluation", request_id)
    if found is None:
        raise UnknownKey(
            f"Request {request_id} has no evaluation yet; it is {request.status}.",
            do=f"`rescind process {request_id}` makes one.",
        )
    return build(Evaluation, {"goal": request.goal, **found["after"]})


def exposure(request: Request, entries: Sequence[Entry]) -> float | None:
    """Seconds from receipt until no answer could use the records, the commit of that included.

    The entry of a withdrawal is stamped before it is durable, the entry that times it afterwards.
    """
    if request.withdrawn_at is None:
        return None
    timed = [e.at for e in entries if e.kind == "withdrawal.timed"]
    end = datetime.fromisoformat(timed[0] if timed else request.withdrawn_at)
    return (end - datetime.fromisoformat(request.received_at)).total_seconds()


def _version(b: Backends, request_id: str) -> str:
    """The version that the request made, else the one that serves."""
    made = [v.id for v in state.versions(b) if v.request == request_id]
    return made[-1] if made else state.version(b).id


def _moment(entry: Entry) -> Moment:
    what = WORDS.get(entry.kind, entry.kind)
    if entry.kind == "parts.withdrawn":
        cut = len(entry.facts["cut"])
        what += f" ({cut} snapshot{'' if cut == 1 else 's'} cut)"
    if entry.kind == "evaluation.done" and not entry.facts["before"] and entry.facts["after"]:
        what = "measured after only; what served before was lost, or nothing did"
    verdict = str(entry.facts.get("verdict", "not judged"))
    if not verdict.startswith("not judged"):
        what += f"; beside retrained models: {verdict.replace('_', ' ')}"
    if entry.facts.get("concept"):
        what += f"; {entry.facts['concept']}"
    if entry.kind in OUTCOMES:
        what = OUTCOMES[entry.kind].format_map(entry.facts).replace("_", " ")
    if entry.kind == "references.trained":
        what = f"{entry.facts['trained']} models retrained without the records, to compare with"
    if entry.kind == "request.failed":
        what += f" ({entry.facts['reason']})"
    return Moment(entry.at, entry.kind, what)


def _measured(found: dict[str, Any] | None, side: str) -> Evaluation:
    return Evaluation("", ()) if found is None else build(Evaluation, found[side])


def _marks(b: Backends, request: Request, entries: tuple[Entry, ...]) -> tuple[StageMark, ...]:
    """Each stage of each planned order as it stands now; ``cut`` are those this request took."""
    run = state.run(b)
    live = state.parts(b)
    kept = {(s.shard, s.order, s.stage) for s in live}
    served = {(s.shard, s.order): s.stage for s in selection(live)}
    cut = {tuple(c) for e in entries if e.kind == "parts.withdrawn" for c in e.facts["cut"]}
    marks = []
    for order in methods_of.orders(run.recipe, run.blocks):
        for stage, slice_ in enumerate(order.slices):
            where = (order.shard, order.index, stage)
            mark = "gone"
            if where in kept:
                mark = "served" if stage <= served.get(where[:2], -1) else "kept"
            elif where in cut:
                mark = "hit" if _hit(order, stage, request) else "cut"
            marks.append(StageMark(order.shard, order.index, slice_, stage, mark))
    return tuple(marks)


def _hit(order: Order, stage: int, request: Request) -> bool:
    return str(order.cells(stage)[-1]) in request.cells
