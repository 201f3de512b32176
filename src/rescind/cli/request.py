"""Requests to forget: make one, look at them, and end what has not begun."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rescind.cli import asking
from rescind.cli.audit import plan_lines
from rescind.cli.opening import opened
from rescind.cli.options import (
    HERE,
    AccessTo,
    AsJson,
    AuditAccess,
    AuditBudget,
    Basis,
    Concept,
    Due,
    KeyFile,
    Keys,
    Method,
    Near,
    Outage,
    Policy,
    Reason,
    Received,
    RequestId,
    Subject,
    Words,
    WorkspaceFolder,
    Yes,
    seconds,
)
from rescind.cli.output import counted, emit, table
from rescind.core.canonical import plain
from rescind.core.errors import Refused
from rescind.core.request import GOALS

if TYPE_CHECKING:
    from rescind.core.plan import Plan
    from rescind.core.report import Report
    from rescind.core.request import Request
    from rescind.workspace import Draft, Workspace

app = typer.Typer(no_args_is_help=True, help="Requests to forget.")
HIDDEN = ("sealed_keys", "labels")  # of use to the workspace only


@app.command()
def add(
    key: Keys = None,
    file: KeyFile = None,
    subject: Subject = None,
    words: Words = None,
    concept: Concept = None,
    near: Near = Policy.ASK,
    due: Due = None,
    basis: Basis = "not stated",
    received: Received = None,
    method: Method = None,
    accept_outage: Outage = False,
    yes: Yes = False,
    workspace: WorkspaceFolder = HERE,
    as_json: AsJson = False,
) -> None:
    """Show what would be forgotten and what it costs, ask, then accept it and withdraw at once.

    Give exactly one of --key, --from, --subject, --words and --concept. When it returns, no answer
    uses the records any more; `rescind process` then makes the evidence and the certificate. A
    request whose keys are all forgotten already changes nothing and names the earlier request.
    What it asks for is that the records' influence goes, and with --concept that the ability does.
    """
    ask = asking.with_policy(asking.target(key, file, subject, words, concept), near)
    asking.check_dates(received, due)
    ask = replace(ask, basis=basis, received_at=received, due_at=due)
    ws = opened(workspace)
    draft = ws.resolve(replace(ask, method=method, accept_outage=accept_outage))
    if draft.already_forgotten:
        _already(ws, draft, as_json)
        return
    quiet = as_json and yes
    _show(asking.draft_lines(draft), quiet, as_json)
    draft = _decided(ws, draft, yes, as_json)
    plan = ws.plan(draft)
    _show(asking.plan_lines(plan), quiet, as_json)
    _check_outage(plan, accept_outage)
    if not yes:
        these = counted(draft.target.records, "record")
        asking.agree(f"Forget {these}?", "Run it again to accept.")
    request = ws.accept(draft)
    found = {
        "request": request_plain(request),
        "plan": plan,
        "resolved": asking.draft_plain(draft),
    }
    emit(as_json, found, lambda: _accepted_lines(request))


def plan(
    key: Keys = None,
    file: KeyFile = None,
    subject: Subject = None,
    words: Words = None,
    concept: Concept = None,
    near: Near = Policy.ASK,
    method: Method = None,
    request: Annotated[
        str | None,
        typer.Option("--request", metavar="ID", help="With --audit-budget: for this request only."),
    ] = None,
    audit_budget: AuditBudget = None,
    audit_access: AuditAccess = AccessTo.DATA,
    workspace: WorkspaceFolder = HERE,
    as_json: AsJson = False,
) -> None:
    """Show what a request would forget and cost; nothing is stored and nothing changes.

    Give exactly one of --key, --from, --subject, --words and --concept. With --audit-budget
    instead, audits of accepted requests are chosen and recorded, before a model is unlearned.
    """
    budget = seconds(audit_budget)
    _check_one_use(budget, request, audit_access, (key, file, subject, words, concept, method))
    if budget is not None:
        _plan_audits(opened(workspace), request, budget, audit_access, as_json)
        return
    ask = asking.with_policy(asking.target(key, file, subject, words, concept), near)
    ws = opened(workspace)
    draft = ws.resolve(replace(ask, method=method))
    if draft.already_forgotten:
        _already(ws, draft, as_json)
        return
    made = ws.plan(draft)
    found = {"plan": made, "resolved": asking.draft_plain(draft)}
    emit(as_json, found, lambda: [*asking.draft_lines(draft), *asking.plan_lines(made)])


def _check_one_use(
    budget: float | None, request: str | None, access: AccessTo, draft: tuple[object, ...]
) -> None:
    """A draft is planned, or audits of what is accepted: options of both are a mistake."""
    if budget is None and request is not None:
        raise typer.BadParameter("--request goes with --audit-budget.")
    if budget is None and access is not AccessTo.DATA:
        raise typer.BadParameter("--audit-access goes with --audit-budget.")
    if budget is not None and any(draft):
        raise typer.BadParameter(
            "--audit-budget plans the audits of accepted requests: accept it with `rescind request"
            " add` first, and name it with --request."
        )


def _plan_audits(
    ws: Workspace, request: str | None, budget: float, access: AccessTo, as_json: bool
) -> None:
    """For one request, else for all that are open and have no audits planned."""
    from rescind.progress import Bars

    with Bars() as progress:
        found = ws.plan_audits(budget, request, progress, access.value)
    lines = [line for name, one in found.items() for line in plan_lines(name, one)]
    none = "No request waits for audits: they are chosen before a model is unlearned."
    emit(as_json, {"audits": found}, lambda: lines or [none])


@app.command("list")
def list_requests(workspace: WorkspaceFolder = HERE, as_json: AsJson = False) -> None:
    """List all requests, oldest first."""
    found = opened(workspace).requests()
    head = ["id", "status", "goal", "records", "received", "due", "withdrawn"]
    rows = [
        (
            r.id,
            r.status,
            r.goal,
            r.target.records,
            r.received_at[:19],
            r.due_at[:10],
            r.withdrawn_at,
        )
        for r in found
    ]
    emit(as_json, {"requests": [request_plain(r) for r in found]}, lambda: table(head, rows))


@app.command()
def show(request: RequestId, workspace: WorkspaceFolder = HERE, as_json: AsJson = False) -> None:
    """Show one request: where it stands, its plan and what has happened so far."""
    report = opened(workspace).report(request)
    found = {
        "request": request_plain(report.request),
        "plan": report.plan,
        "timeline": report.timeline,
        "certificate": report.certificate,
    }
    emit(as_json, found, lambda: _report_lines(report))


@app.command()
def cancel(
    request: RequestId,
    reason: Reason = "withdrawn by the requester",
    workspace: WorkspaceFolder = HERE,
    as_json: AsJson = False,
) -> None:
    """End a request that has not been withdrawn yet; a withdrawal is never undone."""
    _ended(opened(workspace).cancel(request, reason), as_json)


@app.command()
def reject(
    request: RequestId,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is recorded.")],
    workspace: WorkspaceFolder = HERE,
    as_json: AsJson = False,
) -> None:
    """Refuse a request; one that is withdrawn already goes on hold, its snapshots sealed."""
    _ended(opened(workspace).reject(request, reason), as_json)


@app.command()
def lift(request: RequestId, workspace: WorkspaceFolder = HERE, as_json: AsJson = False) -> None:
    """End the hold of a request; `rescind process` then goes on with it."""
    _ended(opened(workspace).lift(request), as_json)


def request_plain(request: Request) -> dict[str, Any]:
    """A request as JSON has it, without what only the workspace can use."""
    found: dict[str, Any] = plain(request)
    return {name: value for name, value in found.items() if name not in HIDDEN}


def _already(ws: Workspace, draft: Draft, as_json: bool) -> None:
    found = asking.already_found(ws, draft)
    emit(as_json, found, lambda: asking.already_lines(found))


def _decided(ws: Workspace, draft: Draft, yes: bool, as_json: bool) -> Draft:
    """The draft after the question about duplicates; what the answer brought in is shown."""
    decided = asking.decided(ws, draft, yes)
    if decided.keys != draft.keys:
        _show(asking.included_lines(draft, decided), False, as_json)
    return decided


def _show(lines: Iterator[str], quiet: bool, as_json: bool) -> None:
    """What somebody should see before agreeing; beside JSON it goes to standard error."""
    if quiet:
        return
    for line in lines:
        typer.echo(line, err=as_json)


def _check_outage(plan: Plan, agreed: bool) -> None:
    if plan.outage and not agreed:
        raise Refused(
            "This request would leave no shard to answer with; nothing was accepted.",
            "Every slice that still serves holds one of its records.",
            "Add --accept-outage to go on, or bring shards back with `rescind rebuild` first.",
        )


def _accepted_lines(request: Request) -> Iterator[str]:
    yield f"Request {request.id} accepted; it is {request.status}."
    if request.withdrawn_at is None:
        yield "Its method edits weights: the old model answers until the new one is released."
    else:
        yield f"Withdrawn in {request.milliseconds_to_withdraw or 0.0:.0f} ms: no answer uses it."
    yield f"Next: `rescind process {request.id}` makes the evidence and the certificate."


def _report_lines(report: Report) -> Iterator[str]:
    request, aim = report.request, report.request.target
    yield f"Request {request.id} is {request.status}." + (
        f" Reason: {request.reason}." if request.reason else ""
    )
    yield f"Goal: {GOALS[request.goal]}."
    yield f"Basis: {request.basis}. Received {request.received_at}, due {request.due_at}."
    yield f"Target: {aim.kind}, {asking.sizes(aim)}."
    if request.milliseconds_to_withdraw is not None:
        yield f"Withdrawn {request.withdrawn_at}, in {request.milliseconds_to_withdraw:.0f} ms."
    yield from asking.plan_lines(report.plan)
    yield "Timeline:"
    yield from (f"  {line}" for line in table(["at", "what"], [_when(m) for m in report.timeline]))


def _when(moment: Any) -> tuple[str, str]:
    return moment.at[:19], moment.what


def _ended(request: Request, as_json: bool) -> None:
    line = f"Request {request.id} is {request.status}."
    emit(as_json, {"request": request_plain(request)}, lambda: [line])
