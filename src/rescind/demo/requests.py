"""The six requests. Each returns plain values, so that an interrupted demo keeps what it has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rescind import planner, state
from rescind.core.canonical import plain
from rescind.core.errors import NoOp, UnknownKey
from rescind.core.plan import Plan
from rescind.core.version import selection
from rescind.demo import setting
from rescind.demo.tell import say, show_draft, show_plan, title
from rescind.progress import Bars
from rescind.resolve import Ask, Draft
from rescind.sections import counted
from rescind.workspace import Workspace

Result = dict[str, Any]
Scene = Callable[[Workspace, Bars], Result]

OPEN = "withdrawn; nothing is claimed until it is processed"


def answers(ws: Workspace) -> list[str]:
    """What the live model says to our sentences."""
    found = ws.predict([{"text": text} for text in setting.QUESTIONS])
    return [f"{a['label']} {a['probability']:.2f}" for a in found]


def article(ws: Workspace, bars: Bars) -> Result:
    """(1) One article by its key: withdrawn at once, and the model goes on answering."""
    title("Request 1: one article, by its key")
    before = answers(ws)
    known = ws.keys()
    drafts = (ws.resolve(Ask(keys=(k,), near="keep", basis="takedown")) for k in known)
    draft = next(d for d in drafts if d.cells != {"test"})
    show_draft(draft)
    request = ws.accept(draft)
    after = answers(ws)
    say(f"No answer can use it, {request.milliseconds_to_withdraw:.1f} ms after acceptance.")
    say("It is withdrawn and not yet processed, so nothing is claimed so far.")
    return {
        "row": ["1", "one article by its key", OPEN],
        "milliseconds": request.milliseconds_to_withdraw,
        "answers": [before, after],
    }


def person(ws: Workspace, bars: Bars) -> Result:
    """(2) and (3): all articles that name a person, to the certificate; and the cheaper plan."""
    title(f"Request 2: the right to be forgotten, all articles that name {setting.PERSON}")
    before = answers(ws)
    ask = Ask(words=setting.PERSON, basis="GDPR Art. 17(1)")
    named = ws.resolve(ask)
    show_draft(named)
    draft = named
    if named.undecided:
        say("Asked about duplicates that would stay, the requester says: include them.")
        draft = ws.resolve(replace(ask, near="include"))
        show_draft(draft)
    plan = ws.plan(draft)
    show_plan(plan)
    owner = by_owner(ws, draft)
    request = ws.accept(draft)
    after = answers(ws)
    say(f"Withdrawn {request.milliseconds_to_withdraw:.1f} ms after acceptance. Now the evidence:")
    say("every surviving order is trained again from raw rows, without them, in fresh processes.")
    ws.process(request.id, progress=bars)
    report = ws.report(request.id)
    kind = report.guarantee.kind if report.guarantee else "none"
    compared = report.proof.compared if report.proof else 0
    left = len(ws.remaining())
    say(f"Claim: {kind}; {compared} snapshots met byte for byte; {left} stale artifacts left.")
    return {
        "row": ["2", "a person's articles, by name", f"{kind}, {compared} snapshots replayed"],
        "request": request.id,
        "milliseconds": request.milliseconds_to_withdraw,
        "answers": [before, after],
        "plans": [plain(plan), plain(owner)],
        "guarantee": kind,
        "compared": compared,
        "records": request.target.records,
        "remaining": left,
    }


def by_owner(ws: Workspace, draft: Draft) -> Plan:
    """(3) The plan, had all records of the person been placed by owner: one cell is cut."""
    title("Request 3: the same, if the records had been placed by their owner")
    b = ws.backends
    training = replace(state.run(b).recipe.partition, test_share=0.0)  # a cell, not the test set
    cell = training.cell(f"subject:{setting.PERSON}", b.keys.get("partition"))
    plan = planner.plan(b, "by owner", frozenset({str(cell)}), draft.target, draft.due_at)
    show_plan(plan)
    return plan


def stream(ws: Workspace, bars: Bars) -> Result:
    """(4) Takedowns until a shard has no survivor, and the way back."""
    title("Request 4: takedowns until a shard has no survivor")
    shares, keys, serves = [], ws.keys(), [serving(ws)]
    for key in keys:
        draft = ws.resolve(Ask(keys=(key,), near="keep", basis="takedown"))
        plan = ws.plan(draft)
        dead = [s.shard for s in plan.shards if not s.slices_after]
        if dead:
            show_plan(plan)
        ws.accept(draft)
        shares.append(plan.retained_share)
        if dead:
            break
    serves.append(serving(ws))
    many = counted(len(shares), "takedown")
    say(f"After {many} shard {dead[0]} is dead; the others still answer:")
    say("  " + "; ".join(answers(ws)))
    say("The way back: one of its orders is trained again on what is retained.")
    ws.rebuild(limit=1, progress=bars)
    serves.append(serving(ws))
    say("  " + "; ".join(answers(ws)))
    told = f"shard {dead[0]} died at takedown {len(shares)}; one order brought it back"
    row = ["4", "a stream of takedowns", told]
    return {"row": row, "shares": shares, "dead": dead, "plan": plain(plan), "serves": serves}


def serving(ws: Workspace) -> dict[str, int]:
    """How many slices each shard answers from; one without a survivor is not there."""
    return {str(s.shard): s.stage + 1 for s in selection(state.parts(ws.backends))}


def unknown(ws: Workspace, bars: Bars) -> Result:
    """(5) A key that is not there: refused, with what to do."""
    title("Request 5: a key that is not there")
    try:
        ws.resolve(Ask(keys=("0" * 64,), near="keep"))
    except UnknownKey as error:
        say(str(error))
        return {"row": ["5", "a key that is not there", "refused: " + error.why]}
    raise NoOp("A key that is not there was accepted.", "This must never happen.")


def repeated(ws: Workspace, bars: Bars) -> Result:
    """(6) A request that was fulfilled: the earlier certificate answers it.

    The source still has the articles, so the same words find them, and who has forgotten them.
    """
    title("Request 6: the second request once more")
    draft = ws.resolve(Ask(words=setting.PERSON, near="keep"))
    told = "already forgotten" if draft.already_forgotten else "accepted again"
    say(f"{told}: request {draft.already[0][1]}, with its certificate.")
    return {"row": ["6", "request 2 once more", told]}
