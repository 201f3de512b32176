"""Audits of a request: chosen before it is unlearned, run on what was made, and one verdict."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rescind import judging, methods_of, references, state
from rescind.audit_job import ReadPair, TimePair
from rescind.audits.one_verdict import verdict
from rescind.audits.results import refused
from rescind.backends import Backends
from rescind.core.audit import (
    LEVEL,
    AuditPlan,
    AuditResult,
    AuditVerdict,
    Case,
    Choice,
    Sizes,
)
from rescind.core.canonical import build, plain
from rescind.core.dataset import ManifestEntry
from rescind.core.errors import (
    BadData,
    BadParameter,
    InsufficientEvidence,
    MissingSource,
    Refused,
    UnknownKey,
)
from rescind.core.protocols import Auditor, Entry, Progress, Withdrawer, Write
from rescind.core.request import Request
from rescind.core.run import Snapshot
from rescind.core.version import selection
from rescind.data.manifest import manifest_bytes
from rescind.jobs import content
from rescind.readings import sample
from rescind.registry import Registry
from rescind.trainer import place_for

if TYPE_CHECKING:
    from torch import Tensor

AUDITS = Registry("rescind.audits", verb="audit")
RETAINED, OUTSIDE = 4_000, 2_000  # records that are scored, at most
TIMED = 64
PLANNABLE = ("accepted", "planned", "withdrawn")
OPEN = ("unlearned", "evidenced")  # the records can still be read
CONCEPT = "the audits ask for the influence of records, and the goal is a concept"
# what an audit may meet in the records and models; all else ends the step
UNFIT = (BadData, BadParameter, InsufficientEvidence)


def plan(
    b: Backends, request: Request, budget: float, progress: Progress, level: float = LEVEL
) -> AuditPlan:
    """Choose the audits that fit the request and the budget, and record them with fresh seeds.

    Args:
        b: the workspace.
        request: accepted, and not unlearned yet.
        budget: seconds of one core that all of them together may take.
        progress: of the reading that is timed.
        level: of the verdict.

    Raises:
        Refused: the model is unlearned already; or audits are planned already.
        BadParameter: a budget or level that is none.
    """
    _refuse(b, request, budget, level)
    sizes = _sizes(b, request)
    if request.goal == "concept":
        found = AuditPlan(budget, level, (), dict.fromkeys(AUDITS.names(), CONCEPT))
    else:
        reading, passing = _seconds_each(b, progress)
        both = 2 * reading * (sizes.forget + sizes.retain + sizes.test)
        found = _chosen(_priced(b, sizes, passing), budget, level, both)
    facts = {
        "audits": [c.audit for c in found.choices],
        "level": level,
        "budget_seconds": budget,
        "left_out": len(found.left_out),
    }
    write = Write("audit_plan", request.id, plain(found))
    b.ledger.append(Entry("audits.planned", request.id, facts, (write,)))
    return found


def plan_open(
    b: Backends, request_id: str | None, budget: float, progress: Progress
) -> dict[str, AuditPlan]:
    """``plan`` for one request, else for all that can be planned and are not; by request."""
    if request_id is not None:
        chosen = [state.request(b, request_id)]
    else:
        ready = [r for r in state.requests(b) if r.status in PLANNABLE]
        chosen = [r for r in ready if planned(b, r.id) is None]
    return {r.id: plan(b, r, budget, progress) for r in chosen}


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


def planned(b: Backends, request_id: str) -> AuditPlan | None:
    """What was chosen for a request; None where nothing was planned."""
    found = b.ledger.get("audit_plan", request_id)
    return None if found is None else build(AuditPlan, found)


def found(b: Backends, request: Request) -> AuditVerdict:
    """The verdict on a request.

    Raises:
        UnknownKey: no audit has been run.
    """
    stored = told(b, request.id)
    if stored is None:
        raise UnknownKey(
            f"No audit of request {request.id} has been run; it is {request.status}.",
            "Audits are planned before the model is unlearned and run right after.",
            f"Plan them with `rescind plan --request {request.id} --audit-budget 10m`.",
        )
    return stored


def told(b: Backends, request_id: str) -> AuditVerdict | None:
    """The verdict on a request; None where no audit has been run."""
    stored = b.ledger.get("audit", request_id)
    return None if stored is None else build(AuditVerdict, stored)


def check_planned(b: Backends, request: Request, more: Sequence[str]) -> None:
    """Refuse to go as far as the audits where there are none.

    Raises:
        UnknownPlugin: one of ``more`` is no audit.
        InsufficientEvidence: none is planned, and none is added.
    """
    for name in more:
        AUDITS.load(name)
    if not more and planned(b, request.id) is None:
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

    Raises:
        RescindError: a model or the records cannot be read; an audit that does not fit them is
            told in its own row.
    """
    chosen = planned(b, request.id)
    if request.status != "unlearned" or chosen is None or b.ledger.get("audit", request.id):
        return
    results = _results(b, request, chosen, parts, progress)
    _keep(b, request, verdict(version, results))


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
    choices = [Choice(n, plain(AUDITS.make(n, {})), _seed(), 0.0) for n in names]
    case = _case(b, request, parts, choices, progress)
    more = [_one(c, case, LEVEL, 1) for c in choices]
    lowered = verdict(version, (*so_far, *(replace(r, exploratory=True) for r in more)))
    _keep(b, request, lowered)
    return lowered


def of_candidate(
    b: Backends,
    request: Request,
    parts: Sequence[Snapshot],
    progress: Progress,
    candidates: int,
) -> AuditVerdict | None:
    """What the planned audits see in a model that ``Auto`` would take; None where none is planned.

    The level is shared among ``candidates`` models.
    """
    chosen = planned(b, request.id)
    if chosen is None or not chosen.choices:
        return None
    case = _case(b, request, parts, chosen.choices, progress, "candidate")
    level, tests = chosen.level / candidates, len(chosen.choices)
    return verdict("", [_one(c, case, level, tests) for c in chosen.choices])


def _refuse(b: Backends, request: Request, budget: float, level: float) -> None:
    if not budget > 0.0 or not 0.0 < level < 1.0:
        raise BadParameter(
            f"The budget is {budget:g} seconds, the level {level:g}.",
            "A budget is above 0, a level between 0 and 1.",
            "Write it as --audit-budget 10m.",
        )
    if request.status not in PLANNABLE:
        raise Refused(
            f"Request {request.id} is {request.status}; audits are planned before it is unlearned.",
            "Else they could be chosen by what they show.",
            f"`rescind audit {request.id} --add NAME` adds one that can lower the claim.",
        )
    if planned(b, request.id) is not None:
        raise Refused(
            f"Audits of request {request.id} are planned already.",
            "A second choice could follow from what the first one would show.",
            f"`rescind process {request.id}` runs them.",
        )


def _chosen(sizes: Sizes, budget: float, level: float, reading: float) -> AuditPlan:
    """The cheapest first, as long as the budget lasts; the models are read once for all."""
    fits, left_out = list[Choice](), dict[str, str]()
    for name in AUDITS.names():
        auditor: Auditor = AUDITS.make(name, {})
        if why := auditor.refuses(sizes):
            left_out[name] = why
        else:
            fits.append(Choice(name, plain(auditor), _seed(), auditor.seconds(sizes)))
    chosen, left = list[Choice](), budget - reading
    for choice in sorted(fits, key=lambda c: (c.seconds, c.audit)):
        if choice.seconds > left:
            left_out[choice.audit] = (
                f"it would take {choice.seconds:.0f} s more than reading the models"
                f" ({reading:.0f} s), and the budget is {budget:.0f} s"
            )
            continue
        chosen.append(choice)
        left -= choice.seconds
    return AuditPlan(budget, level, tuple(chosen), left_out)


def _results(
    b: Backends,
    request: Request,
    chosen: AuditPlan,
    parts: Sequence[Snapshot],
    progress: Progress,
) -> list[AuditResult]:
    """Each is recorded when it is there, so that a broken run goes on with the next."""
    known = {r["audit"]: build(AuditResult, r) for r in b.ledger.get("audits", request.id) or ()}
    case = None
    for done, choice in enumerate(chosen.choices):
        progress("audits", done, len(chosen.choices))
        if choice.audit in known:
            continue
        case = case or _case(b, request, parts, chosen.choices, progress)
        known[choice.audit] = _one(choice, case, chosen.level, len(chosen.choices))
        write = Write("audits", request.id, [plain(r) for r in known.values()])
        facts = {"audit": choice.audit, "outcome": known[choice.audit].outcome}
        b.ledger.append(Entry("audit.run", request.id, facts, (write,)))
    progress("audits", len(chosen.choices), len(chosen.choices))
    return [known[choice.audit] for choice in chosen.choices]


def _one(choice: Choice, case: Case, level: float, tests: int) -> AuditResult:
    auditor: Auditor = AUDITS.make(choice.audit, choice.parameters)
    if why := auditor.refuses(case.sizes):
        return refused(choice.audit, why, choice.seed)
    started = time.process_time()
    try:
        result = auditor.audit(case, level=level, tests=tests, seed=choice.seed)
    except UNFIT as error:
        return refused(choice.audit, judging.told(error), choice.seed)
    return replace(result, audit=choice.audit, cpu_seconds=time.process_time() - started)


def _keep(b: Backends, request: Request, found: AuditVerdict) -> None:
    facts: dict[str, Any] = {
        "version": found.version,
        "outcome": found.outcome,
        "audits": [r.audit for r in found.results if not r.exploratory],
        "exploratory": [r.audit for r in found.results if r.exploratory],
    }
    write = Write("audit", request.id, plain(found))
    b.ledger.append(Entry("audit.done", request.id, facts, (write,)))


def _case(
    b: Backends,
    request: Request,
    parts: Sequence[Snapshot],
    choices: Sequence[Choice],
    progress: Progress,
    what: str = "version",
) -> Case:
    """Both models read on the requested, retained and held-out records.

    Raises:
        MissingSource: the records cannot be read again.
    """
    forget, off = judging.forget_set(b, request)
    if off:
        raise MissingSource(f"{off} records of the forget set can no longer be read.")
    retain, test = _pools(b, request)
    models = (
        state.original(b, request.id),
        selection(parts),
        _retrained(b, request, choices, progress),
    )
    asked = sample(sorted(forget, key=lambda e: e.key))
    digests = [s.digest for each in models for s in each]
    name = f"audit/{request.id}/{what}-{content(b, [*asked, *retain, *test], digests)}"
    if b.artifacts.find(name) is None:
        _read(b, request, asked, [*retain, *test], models, name, progress)
    known = {s.name for s in (*state.parts(b), *state.sealed(b, request.id))}
    sizes = _priced(b, _sizes(b, request), 0.0)
    truncated = {s.name for s in parts} <= known or len(selection(parts)) > 1
    return _loaded(b, name, replace(sizes, truncated=truncated))


def _retrained(
    b: Backends, request: Request, choices: Sequence[Choice], progress: Progress
) -> tuple[Snapshot, ...]:
    """Models for the audits that need them, with seeds that were drawn for the first of these."""
    for choice in choices:
        auditor: Auditor = AUDITS.make(choice.audit, choice.parameters)
        if "retrained" in auditor.needs and not auditor.refuses(
            _priced(b, _sizes(b, request), 0.0)
        ):
            found = references.retrained(b, state.run(b), request.id, progress, choice.seed)
            return found.models
    return ()


def _read(
    b: Backends,
    request: Request,
    forget: Sequence[ManifestEntry],
    others: Sequence[ManifestEntry],
    models: tuple[tuple[Snapshot, ...], tuple[Snapshot, ...], tuple[Snapshot, ...]],
    name: str,
    progress: Progress,
) -> None:
    """The allow-list of the forget set, and what is read, are stale from the start: an erasure
    finds them whatever happens.
    """
    place = place_for(b, state.run(b), others, state.generations(b))
    list_name = f"manifest/audit-{request.id}-{content(b, forget, request.labels)}"
    b.artifacts.put(list_name, "manifest", manifest_bytes(forget), request.labels)
    labels = request.labels | frozenset(place.allow.labels[e.cell] for e in others)
    before, after, retrained = models
    job = ReadPair(place, list_name, before, after, name, labels, retrained)
    try:
        for _ in b.executor.run([job], progress):
            pass
    finally:
        b.artifacts.destroy([list_name])


def _loaded(b: Backends, name: str, sizes: Sizes) -> Case:
    from rescind.training.snapshots import from_bytes

    tensors: dict[str, Tensor] = from_bytes(b.artifacts.get(name))
    return Case(sizes=sizes, **tensors)


def _pools(b: Backends, request: Request) -> tuple[list[ManifestEntry], list[ManifestEntry]]:
    """Retained records in no cell of the request, and test records; some of each."""
    allowed = sorted(state.allowed(b), key=lambda e: e.key)
    run = state.run(b)
    one_cell = run.recipe.partition.shards * run.recipe.partition.slices == 1
    cut = frozenset[str]() if one_cell else request.cells
    retain = [e for e in allowed if e.cell != "test" and e.cell not in cut]
    return sample(retain, RETAINED), sample([e for e in allowed if e.cell == "test"], OUTSIDE)


def _sizes(b: Backends, request: Request) -> Sizes:
    """As the audits will have them."""
    retain, test = _pools(b, request)
    method = methods_of.make(request.method or state.run(b).recipe.method)
    return Sizes(
        target=state.run(b).recipe.task.target,
        forget=request.target.records - request.target.test_records,
        retain=len(retain),
        test=len(test),
        truncated=isinstance(method, Withdrawer) or len(selection(state.parts(b))) > 1,
    )


def _priced(b: Backends, sizes: Sizes, each: float) -> Sizes:
    """With what one retraining should take: a step costs about three passes of its records."""
    run = state.run(b)
    if len(methods_of.orders(run.recipe, run.blocks)) > 1 or run.recipe.partition.slices > 1:
        return sizes
    retained = sum(e.cell != "test" for e in state.allowed(b))
    return replace(sizes, retraining_seconds=3 * each * run.recipe.epochs * retained)


def _seconds_each(b: Backends, progress: Progress) -> tuple[float, float]:
    """Of one record in what is served, from a few retained ones; see ``TimePair``."""
    retain = [e for e in state.allowed(b) if e.cell != "test"][:TIMED]
    served = selection(state.parts(b))
    if not retain or not served:
        return 0.0, 0.0
    place = place_for(b, state.run(b), retain, state.generations(b))
    [(_, (reading, passing))] = b.executor.run([TimePair(place, served)], progress)
    return float(reading), float(passing)


def _seed() -> int:
    """Fresh: nobody has tried it before."""
    return secrets.randbelow(2**31)
