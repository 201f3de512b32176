"""Which audits a request gets: chosen and recorded before a model is made, with fresh seeds."""

from __future__ import annotations

import secrets
from dataclasses import replace

from rescind import audit_case, state
from rescind.audit_case import AUDITS
from rescind.audit_job import TimePair
from rescind.backends import Backends
from rescind.core.audit import ACCESS, LEVEL, Access, AuditPlan, Choice, Sizes, beyond
from rescind.core.canonical import build, plain
from rescind.core.errors import BadParameter, Refused
from rescind.core.protocols import Auditor, Entry, Progress, Write
from rescind.core.request import Request
from rescind.core.version import selection
from rescind.trainer import place_for

TIMED = 64
PLANNABLE = ("accepted", "planned", "withdrawn")
LOOKED = ("version.created", "method.attempted")  # after these a choice could follow what was seen
CONCEPT = "the audits ask for the influence of records, and the goal is a concept"


def plan(
    b: Backends,
    request: Request,
    budget: float,
    progress: Progress,
    level: float = LEVEL,
    access: Access = "data",
) -> AuditPlan:
    """Choose the audits that fit the request, the budget and the access, and record them with
    fresh seeds.

    Args:
        b: the workspace.
        request: accepted, and not unlearned yet.
        budget: seconds of one core that all of them together may take.
        progress: of the reading that is timed.
        level: of the verdict.
        access: what may be used; audits that need more are left out.

    Raises:
        Busy: another process has the request.
        Refused: the model is unlearned already; or audits are planned already.
        BadParameter: a budget, level or access that is none.
    """
    with b.ledger.claim(request.id):
        request = state.request(b, request.id)  # as it is now: nobody else moves it any more
        _refuse(b, request, budget, level, access)
        return _recorded(b, request, budget, progress, level, access)


def _recorded(
    b: Backends,
    request: Request,
    budget: float,
    progress: Progress,
    level: float,
    access: Access,
) -> AuditPlan:
    sizes = audit_case.sizes_of(b, request)
    nothing = CONCEPT if request.goal == "concept" else audit_case.never_trained(request)
    if nothing:
        found = AuditPlan(budget, level, (), dict.fromkeys(AUDITS.names(), nothing), access)
    else:
        reading, passing = _seconds_each(b, progress)
        both = 2 * reading * (sizes.forget + sizes.retain + sizes.test)
        found = _chosen(audit_case.priced(b, sizes, passing), budget, level, both, access)
    facts = {
        "audits": [c.audit for c in found.choices],
        "level": level,
        "budget_seconds": budget,
        "access": access,
        "left_out": len(found.left_out),
    }
    write = Write("audit_plan", request.id, plain(found))
    b.ledger.append(Entry("audits.planned", request.id, facts, (write,)))
    return found


def plan_open(
    b: Backends,
    request_id: str | None,
    budget: float,
    progress: Progress,
    access: Access = "data",
) -> dict[str, AuditPlan]:
    """``plan`` for one request, else for all that can be planned and are not; by request."""
    if request_id is not None:
        chosen = [state.request(b, request_id)]
    else:
        ready = [r for r in state.requests(b) if r.status in PLANNABLE]
        chosen = [r for r in ready if planned(b, r.id) is None]
    return {r.id: plan(b, r, budget, progress, access=access) for r in chosen}


def planned(b: Backends, request_id: str) -> AuditPlan | None:
    """What was chosen for a request; None where nothing was planned."""
    found = b.ledger.get("audit_plan", request_id)
    return None if found is None else build(AuditPlan, found)


def _refuse(b: Backends, request: Request, budget: float, level: float, access: str) -> None:
    if access not in ACCESS:
        raise BadParameter(
            f"The access is {access!r}.",
            "It is the most that an audit may use.",
            f"Write one of {', '.join(ACCESS)} with --audit-access.",
        )
    if not budget > 0.0 or not 0.0 < level < 1.0:
        raise BadParameter(
            f"The budget is {budget:g} seconds, the level {level:g}.",
            "A budget is above 0, a level between 0 and 1.",
            "Write it as --audit-budget 10m.",
        )
    seen = any(e.kind in LOOKED for e in b.ledger.entries(request.id))
    if request.status not in PLANNABLE or seen:
        raise Refused(
            f"Request {request.id} is {request.status}; audits are planned before a model is made.",
            "Else they could be chosen by what they show.",
            f"`rescind audit {request.id} --add NAME` adds one that can lower the claim.",
        )
    if planned(b, request.id) is not None:
        raise Refused(
            f"Audits of request {request.id} are planned already.",
            "A second choice could follow from what the first one would show.",
            f"`rescind process {request.id}` runs them.",
        )


def _chosen(sizes: Sizes, budget: float, level: float, reading: float, access: Access) -> AuditPlan:
    """The cheapest first, as long as the budget lasts; the models are read once for all, and those
    retrained without the records are paid by the first audit that needs them.
    """
    fits, left_out = list[Choice](), dict[str, str]()
    paid = replace(sizes, retraining_seconds=0.0)
    for name in AUDITS.names():
        auditor: Auditor = AUDITS.make(name, {})
        if why := beyond(auditor.needs, access) or auditor.refuses(sizes):
            left_out[name] = why
        else:
            fits.append(Choice(name, plain(auditor), fresh_seed(), auditor.seconds(sizes)))
    chosen, left, retrained = list[Choice](), budget - reading, False
    for choice in sorted(fits, key=lambda c: (c.seconds, c.audit)):
        sharing: Auditor = AUDITS.make(choice.audit, choice.parameters)
        if retrained and "retrained" in sharing.needs:
            choice = replace(choice, seconds=sharing.seconds(paid))
        if choice.seconds > left:
            left_out[choice.audit] = (
                f"it would take {choice.seconds:.0f} s more than reading the models"
                f" ({reading:.0f} s), and the budget is {budget:.0f} s"
            )
            continue
        chosen.append(choice)
        left -= choice.seconds
        retrained |= "retrained" in sharing.needs
    return AuditPlan(budget, level, tuple(chosen), left_out, access)


def _seconds_each(b: Backends, progress: Progress) -> tuple[float, float | None]:
    """Of one record in what is served, from a few retained ones; see ``TimePair``."""
    retain = [e for e in state.allowed(b) if e.cell != "test"][:TIMED]
    served = selection(state.parts(b))
    if not retain or not served:
        return 0.0, None
    place = place_for(b, state.run(b), retain, state.generations(b))
    [(_, (reading, passing))] = b.executor.run([TimePair(place, served)], progress)
    return float(reading), float(passing)


def fresh_seed() -> int:
    """Fresh: nobody has tried it before."""
    return secrets.randbelow(2**31)
