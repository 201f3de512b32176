"""Steps 4 to 8 and 11: each reads the ledger, does one thing, and appends one entry."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from rescind import (
    acceptance,
    concepts,
    escalation,
    evaluate,
    judging,
    methods_of,
    planner,
    replay,
    rows,
    state,
    trainer,
)
from rescind.backends import Backends
from rescind.core.canonical import build, plain
from rescind.core.dataset import Examples, Key, ManifestEntry, Record, Split
from rescind.core.errors import MissingSource, NoOp, Refused, StaleVersion
from rescind.core.evidence import Proof
from rescind.core.guarantee import Empirical
from rescind.core.protocols import Entry, Escalation, Progress, Unlearned, Unlearner, Write
from rescind.core.request import Request
from rescind.core.run import Snapshot
from rescind.core.version import ModelVersion, selection, weights_digest
from rescind.sealing import open_keys


def unlearn(b: Backends, request: Request, method: Unlearner | None, progress: Progress) -> Request:
    """Step 4: the method makes what replaces the original; its claim is noted, not believed.

    Raises:
        NoOp: the method returned snapshots made from the forget set, or changed nothing.
        StaleVersion: a withdrawal came in while it trained; the same call tries again.
    """
    if request.status not in ("planned", "withdrawn"):
        return request
    run = state.run(b)
    method = method or methods_of.make(request.method or run.recipe.method)
    if isinstance(method, Escalation):
        escalation.check(request, run)
    if not request.labels:
        request = _suppress(b, request)
    attempt = partial(_result, b, request, progress)
    if isinstance(method, Escalation):
        result, parameters = escalation.escalate(b, request, method, attempt, progress)
    else:
        result, parameters = attempt(method), plain(method)
    with acceptance.one_at_a_time(b):
        _check_result(b, request, result)
        return _created(b, request, method, parameters, result)


def _result(
    b: Backends,
    request: Request,
    progress: Progress,
    method: Unlearner,
    *,
    withdraw: bool = False,
) -> Unlearned:
    """What the method makes of the parts as they are, its bytes looked at; ``withdraw`` first takes
    away what it would not keep.
    """
    run, generations = state.run(b), state.generations(b)
    forget, retain = _split(b, request)
    parts = state.parts(b)
    if withdraw:
        parts = planner.withdrawal(method, parts, request.cells).kept
    handle = trainer.Handle(b, run, parts, generations, progress)
    try:
        result = method.unlearn(handle, Split(forget, retain), run)
    finally:
        forget.close()
        retain.close()
    _check_bytes(b, request, result)
    return result


def _suppress(b: Backends, request: Request) -> Request:
    """For methods that edit weights the records go on the suppression list only now."""
    with acceptance.one_at_a_time(b):
        request = acceptance.marked(b, request)
        served = [plain(s) for s in selection(state.parts(b))]
        writes = (
            *acceptance.suppression(b, request),
            Write("original", request.id, served),
            state.write_request(request),
        )
        b.ledger.append(Entry("records.suppressed", request.id, writes=writes))
    return request


def _split(b: Backends, request: Request) -> tuple[Examples, Examples]:
    """Forget and retain set, their rows read only if the method looks at them."""
    listed = {e.key: e for e in state.manifest_entries(b)}
    keys = open_keys(b.keys, request)
    forget = [listed[k] for k in keys if k in listed and listed[k].cell != "test"]
    off = [k for k in keys if k not in listed]
    retain = [e for e in state.allowed(b) if e.cell != "test"]
    return (
        Examples([*(e.key for e in forget), *off], lambda: _forget_rows(b, forget, off)),
        Examples([e.key for e in retain], lambda: rows.read(b, retain)),
    )


def _forget_rows(
    b: Backends, forget: Sequence[ManifestEntry], off: Sequence[Key]
) -> tuple[Record, ...]:
    """The rows to forget, for a method that needs to see them once more.

    Raises:
        MissingSource: the erasure of another request has taken some off the allow-list: it keeps
            no record that any request is to forget, for whomever.
    """
    if off:
        raise MissingSource(
            f"{len(off)} records of the forget set can no longer be read.",
            "Another request's erasure has taken all suppressed records off the allow-list.",
            "Use a method that trains on the retain set: `rescind process --method retrain`.",
        )
    return rows.read(b, forget)


def _check_bytes(b: Backends, request: Request, result: Unlearned) -> None:
    """Each part holds what it says, and none the bytes of a snapshot made from the forget set,
    whatever its lineage says. This reads weights, so it is done before the lock is taken.
    """
    known = (*state.parts(b), *state.sealed(b, request.id))
    stale = {s.digest for s in known if trainer.labels_of(b, s) & request.labels}
    made_from = {s.name: trainer.labels_of(b, s) for s in result.parts}
    clean = [
        s for s in result.parts if made_from[s.name] and not made_from[s.name] & request.labels
    ]
    copies = [s for s in clean if hashlib.sha256(state.weights(b, s)).hexdigest() in stale]
    if copies:
        raise NoOp(
            f"The method returned {len(copies)} copies of snapshots made from the forget set.",
            "A new name and clean lineage do not change what they hold.",
            "Use another method: `rescind list methods` shows them.",
        )


def _check_result(b: Backends, request: Request, result: Unlearned) -> None:
    live = {s.name for s in state.parts(b)}
    if live and not result.parts and not request.accept_outage:
        raise Refused(
            f"The method dropped all {len(live)} snapshots; no shard would be left to answer with.",
            "Nobody has agreed to that.",
            f"Use `rescind process {request.id} --accept-outage`, or another method.",
        )
    made_from = {s.name: trainer.labels_of(b, s) for s in result.parts}
    stale = [name for name, labels in made_from.items() if labels & request.labels]
    trained = any(c != "test" for c in request.cells)
    untouched = request.withdrawn_at is None and {s.name for s in result.parts} == live
    if stale or (untouched and trained):
        raise NoOp(
            f"The method returned {len(stale) or len(live)} snapshots made from the forget set.",
            "Handing back the original is not unlearning.",
            "Use another method: `rescind list methods` shows them.",
        )
    trainer.check_current(b, result.parts)


def _created(
    b: Backends,
    request: Request,
    method: Unlearner,
    parameters: Mapping[str, Any],
    result: Unlearned,
) -> Request:
    """Note the new version and the parts it adds and drops; they serve after the evidence."""
    live = {s.name: s for s in state.parts(b)}
    kept = {s.name for s in result.parts}
    change = {
        "add": [plain(s) for s in result.parts if s.name not in live],
        "drop": sorted(set(live) - kept),
    }
    parent = state.version(b)
    version = ModelVersion(
        id=f"v{len(b.ledger.items('version')) + 1}",
        run=parent.run,
        parent=parent.id,
        weights=weights_digest(selection(result.parts)),
        forgotten=state.forgotten_root(b),
        guarantee=Empirical("its evidence is not complete"),
        request=request.id,
    )
    done = acceptance.moved(request, "unlearned")
    claim = {
        "version": version.id,
        "original": weights_digest(state.original(b, request.id)),
        "change": change,
        "guarantee": plain(result.guarantee),
        "from_scratch": result.from_scratch,
        "method": methods_of.name_of(method),
        "parameters": parameters,
        "released": False,
    }
    writes = (
        Write("version", version.id, plain(version)),
        Write("claim", request.id, claim),
        state.write_request(done),
    )
    b.ledger.append(Entry("version.created", request.id, {"version": version.id}, writes))
    return done


def parts_of(b: Backends, request: Request) -> tuple[Snapshot, ...]:
    """All parts of the version that step 4 made, whether released yet or not.

    Raises:
        StaleVersion: another withdrawal has changed them since; step 4 must be done again.
    """
    claim = b.ledger.get("claim", request.id)
    added = tuple(build(Snapshot, s) for s in claim["change"]["add"])
    dropped = set(claim["change"]["drop"]) | {s.name for s in added}
    parts = (*(s for s in state.parts(b) if s.name not in dropped), *added)
    version = state.version_by_id(b, claim["version"])
    trainer.check_current(b, parts)
    if weights_digest(selection(parts)) != version.weights:
        raise StaleVersion(
            f"Version {version.id} was overtaken by another withdrawal.",
            "What it serves has changed since it was made.",
            f"Run `rescind process {request.id}` again.",
        )
    return parts


def version_of(b: Backends, request: Request) -> str:
    """The version that step 4 made."""
    return str(b.ledger.get("claim", request.id)["version"])


def evaluate_both(b: Backends, request: Request, progress: Progress) -> None:
    """Step 5: before and after on the test records that are left, and next to retrained models."""
    if request.status != "unlearned" or b.ledger.get("evaluation", request.id) is not None:
        return
    claim = b.ledger.get("claim", request.id)
    parts = parts_of(b, request)
    before, after = evaluate.before_and_after(
        b,
        state.original(b, request.id),
        selection(parts),
        (str(state.version(b).id), claim["version"]),
        progress,
    )
    after = replace(after, goal=request.goal, attempts=escalation.attempts(b, request))
    answer = escalation.answered(b, request, parts) or judging.answer(
        b, request, claim["guarantee"]["kind"], parts, progress
    )
    after = replace(
        after,
        judgement=answer.judgement,
        unjudged=answer.unjudged,
        controls=answer.controls,
        cpu_seconds=answer.cpu_seconds,
    )
    told = dict[str, str]()
    if request.goal == "concept":
        models = state.original(b, request.id), selection(parts)
        seen = concepts.measure(b, request, models, (before, after))
        before, after, told = seen.before, seen.after, {"concept": seen.outcome}
    found = {"before": plain(before), "after": plain(after)}
    facts: dict[str, object] = {
        "before": len(before.measurements),
        "after": len(after.measurements),
        "goal": after.goal,
        "verdict": after.judgement.verdict if after.judgement else f"not judged: {after.unjudged}",
        **told,
    }
    b.ledger.append(
        Entry("evaluation.done", request.id, facts, (Write("evaluation", request.id, found),))
    )


def prove(b: Backends, request: Request, wanted: bool, progress: Progress) -> Request:
    """Step 7: the replay, or why there is none.

    Raises:
        NotDeterministic: the replay gave other bytes; the claim is false and nothing is certified.
    """
    if request.status != "unlearned":
        return request
    proof = Proof("replay", "not_run", "it was not asked for")
    if b.ledger.get("claim", request.id)["guarantee"]["kind"] != "exact":
        proof = Proof("replay", "not_run", "the method claims no exactness")
    elif wanted:
        proof = replay.replay(b, parts_of(b, request), progress)
    done = acceptance.moved(request, "evidenced")
    writes = (Write("proof", request.id, plain(proof)), state.write_request(done))
    b.ledger.append(Entry("proof.made", request.id, plain(proof), writes))
    return done


def release(b: Backends, request: Request) -> Request:
    """Step 8: the model's name moves to the new version, and what it dropped leaves service."""
    claim = b.ledger.get("claim", request.id)
    if request.status != "evidenced" or claim["released"]:
        return request
    with acceptance.one_at_a_time(b):
        parts_of(b, request)
        if request.withdrawn_at is None:
            request = replace(request, withdrawn_at=datetime.now(UTC).isoformat())
        model = {"run": state.run(b).id, "version": claim["version"]}
        writes = (
            *_changes(claim["change"]["add"], claim["change"]["drop"]),
            Write("model", request.model, model),
            Write("claim", request.id, claim | {"released": True}),
            state.write_request(request),
        )
        b.ledger.append(
            Entry("version.released", request.id, {"version": model["version"]}, writes)
        )
    return request


def _changes(added: Iterable[dict[str, object]], dropped: Iterable[str]) -> tuple[Write, ...]:
    new = (Write("part", str(s["name"]), s) for s in added)
    return (*new, *(Write("part", name, None) for name in dropped))


def step(b: Backends, request: Request) -> str:
    """The step that a request is in, as the entry of a failure names it."""
    if request.status == "unlearned":
        if b.ledger.get("evaluation", request.id) is None:
            return "evaluate"
        planned = b.ledger.get("audit_plan", request.id) is not None
        return "audit" if planned and b.ledger.get("audit", request.id) is None else "prove"
    if request.status == "evidenced":
        return "erase" if b.ledger.get("claim", request.id)["released"] else "release"
    if request.status == "erased":
        return "close" if b.ledger.get("certificate", request.id) is not None else "certify"
    return "unlearn"


def close(b: Backends, request: Request) -> Request:
    """Step 11: the request's key is destroyed; its record keys can no longer be read."""
    if request.status != "erased":
        return request
    done = acceptance.moved(request, "closed")
    cleared = ("original", "claim", "attempts", "audits")
    writes = (*(Write(t, request.id, None) for t in cleared), state.write_request(done))
    b.ledger.append(Entry("request.closed", request.id, writes=writes))
    b.keys.destroy(f"request/{request.id}")
    return done
