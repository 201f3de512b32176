"""Withdraw first, explain later: once accepted, no answer uses the records, come what may."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from tiny_workspace import (
    ROWS,
    ask,
    keys_in,
    kinds,
    new_workspace,
    reopened,
    served,
    some_key,
    statement,
    usable,
)

from rescind import acceptance, methods_of, state
from rescind.core.dataset import Split
from rescind.core.errors import (
    BadParameter,
    ErasureIncomplete,
    Exhausted,
    NoOp,
    Refused,
    RescindError,
    StaleVersion,
    UnknownKey,
    UnknownPlugin,
)
from rescind.core.guarantee import Empirical, Exact
from rescind.core.partition import Cell
from rescind.core.protocols import ModelHandle, Unlearned, Withdrawal
from rescind.core.run import Run, Snapshot
from rescind.live import LiveModel
from rescind.methods.retrain import Retrain
from rescind.resolve import Ask
from rescind.trainer import labels_of
from rescind.workspace import Workspace

ASKED = [{"text": ROWS[0]["text"]}, {"text": ROWS[1]["text"]}]
ALL = ("0.0", "0.1", "1.0", "1.1")


def uses(ws: Workspace, cell: str) -> bool:
    """Whether an answer given now would use a part made from the cell as it first was."""
    parts = LiveModel(ws.backends).ready()
    return any(f"{cell}#0" in labels_of(ws.backends, s) for s in parts)


def test_nothing_made_from_the_record_is_served_once_it_is_accepted(ws: Workspace) -> None:
    assert uses(ws, "0.0")
    before = ws.predict(ASKED)
    request = ws.request(ask(*some_key(ws, "0.0")))
    assert request.status == "withdrawn"
    assert request.withdrawn_at is not None
    assert request.milliseconds_to_withdraw is not None
    assert not uses(ws, "0.0")
    assert ws.predict(ASKED) != before
    sealed = state.sealed(ws.backends, request.id)
    assert len(sealed) == 3
    for part in sealed:
        artifact = ws.backends.artifacts.find(part.name)
        assert artifact is not None
        assert artifact.sealed


def test_the_plan_foretells_the_cut(ws: Workspace) -> None:
    draft = ws.resolve(ask(*some_key(ws, "0.0")))
    plan = ws.plan(draft)
    before = len(state.parts(ws.backends))
    request = ws.accept(draft)
    assert before - len(state.parts(ws.backends)) == plan.snapshots_cut == 3
    now = {s.shard: s.stage + 1 for s in served(ws)}
    assert {s.shard: s.slices_after for s in plan.shards} == now
    assert dataclasses.replace(plan, request=request.id) == ws.report(request.id).plan


STEPS = {
    "unlearn": "rescind.methods.s3t.S3T.unlearn",
    "evaluate": "rescind.evaluate.before_and_after",
    "prove": "rescind.replay.replay",
    "release": "rescind.steps._changes",
    "erase": "rescind.erasure._rewrite",
    "certify": "rescind.certify.sign_statement",
}


@pytest.mark.parametrize(
    ("step", "error"),
    [*((step, RescindError("It broke.")) for step in STEPS), ("evaluate", OSError("It broke."))],
)
def test_a_failing_step_leaves_the_cut_version_and_is_taken_up_again(
    step: str, error: Exception, ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = ws.request(ask(*some_key(ws, "0.0")))
    serving = served(ws)

    def broken(*arguments: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(STEPS[step], broken)
        with pytest.raises(type(error), match="It broke"):
            ws.process(request.id)

    failed = state.request(ws.backends, request.id)
    assert failed.status == "failed"
    last = list(ws.backends.ledger.entries(request.id))[-1]
    assert (last.kind, last.facts["step"]) == ("request.failed", step)
    assert type(error).__name__ in last.facts["reason"]
    assert served(reopened(ws)) == serving
    assert not uses(ws, "0.0")
    with pytest.raises(UnknownKey):
        ws.certificate(request.id)

    done = kinds(ws, request.id)
    assert statement(ws.process(request.id)).guarantee == Exact("never_saw")
    later = kinds(ws, request.id)[len(done) :]
    assert later[0] == "request.resumed"
    assert not set(later) & set(done)  # no finished step is done again
    assert state.request(ws.backends, request.id).status == "closed"


@dataclass(frozen=True, slots=True)
class ReturnsTheOriginal:
    """Claims to have unlearned and changes nothing."""

    def unlearn(self, model: ModelHandle, split: Split, run: Run) -> Unlearned:
        return Unlearned(model.parts, Exact("retrain"), from_scratch=True)


@dataclass(frozen=True, slots=True)
class CutsNothing(ReturnsTheOriginal):
    """A withdrawer that leaves everything in service."""

    def withdraw(self, parts: Sequence[Snapshot], cells: frozenset[Cell]) -> Withdrawal:
        return Withdrawal(tuple(parts), ())


def test_a_method_that_hands_back_the_original_is_a_no_op(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = methods_of.make
    lazy = ReturnsTheOriginal()
    monkeypatch.setattr(methods_of, "make", lambda n: lazy if n == "lazy" else real(n))
    request = ws.request(dataclasses.replace(ask(*some_key(ws, "0.0")), method="lazy"))
    assert request.status == "planned"
    assert request.milliseconds_to_withdraw is None  # nothing has been withdrawn
    with pytest.raises(NoOp, match="made from the forget set"):
        ws.process(request.id)


def test_a_withdrawal_that_does_not_withdraw_is_an_error_and_the_workspace_still_opens(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = methods_of.make
    monkeypatch.setattr(methods_of, "make", lambda n: CutsNothing() if n == "idle" else real(n))
    with pytest.raises(NoOp, match="left 3 snapshots in service"):
        ws.request(dataclasses.replace(ask(*some_key(ws, "0.0")), method="idle"))
    again = reopened(ws)
    [request] = again.requests()
    assert request.status == "planned"
    assert again.predict(ASKED)
    assert again.cancel(request.id).status == "cancelled"


def test_what_matches_nothing_is_an_error_and_changes_nothing(ws: Workspace) -> None:
    head = ws.head()
    with pytest.raises(NoOp, match="No record contains"):
        ws.resolve(Ask(words="Nebuchadnezzar", near="keep"))
    with pytest.raises(UnknownKey, match="No record of subject"):
        ws.resolve(Ask(subject="anna", near="keep"))
    with pytest.raises(Refused, match="names 0 of them"):
        ws.resolve(Ask())
    with pytest.raises(UnknownKey) as caught:
        ws.request(ask(*some_key(ws, "0.0"), "nobody", "no-one"))
    assert "nobody, no-one" in str(caught.value)
    assert "2 of 3 keys" in str(caught.value)
    assert ws.head() == head


def test_an_unknown_method_is_refused_before_any_entry(ws: Workspace) -> None:
    head = ws.head()
    with pytest.raises(UnknownPlugin):
        ws.request(dataclasses.replace(ask(*some_key(ws, "0.0")), method="scurb"))
    assert (ws.head(), ws.requests()) == (head, ())


@pytest.mark.parametrize("use", ["resolve", "version", "keys", "export", "rebuild", "run"])
def test_a_workspace_without_a_model_says_what_to_type(use: str, tmp_path: Path) -> None:
    ws = new_workspace(tmp_path / "ws")
    calls: dict[str, Callable[[], object]] = {
        "resolve": lambda: ws.resolve(ask("x")),
        "export": lambda: ws.export(tmp_path / "export", "the press"),
    }
    call: Callable[[], object] = calls[use] if use in calls else getattr(ws, use)
    with pytest.raises(BadParameter, match="rescind train"):
        call()


def test_words_find_their_records_and_are_stored_nowhere(ws: Workspace) -> None:
    draft = ws.resolve(Ask(words="anna", near="keep", accept_outage=True))
    assert draft.target.records == len([r for r in ROWS if "anna" in r["text"]])
    ws.accept(draft)
    assert "anna" not in "".join(str(e) for e in ws.backends.ledger.entries())


# --- everything is asked for


def test_a_request_for_everything_waits_until_the_outage_is_accepted(ws: Workspace) -> None:
    before = served(ws)
    request = ws.request(ask(*some_key(ws, *ALL)))
    assert request.status == "planned"
    assert ws.report(request.id).plan.outage
    with pytest.raises(Refused) as caught:
        ws.process(request.id)
    assert request.due_at in str(caught.value)
    assert "--accept-outage" in str(caught.value)
    assert served(reopened(ws)) == before  # opening does not withdraw what waits for a person
    assert ws.request(ask(*some_key(ws, *ALL))).id == request.id


def test_an_accepted_outage_a_rebuild_and_the_certificate_after_it(ws: Workspace) -> None:
    request = ws.request(ask(*some_key(ws, *ALL)))
    said = statement(ws.process(request.id, accept_outage=True))
    assert isinstance(said.guarantee, Empirical)
    assert served(ws) == ()
    with pytest.raises(Exhausted, match="rescind rebuild"):
        ws.predict(ASKED)
    with pytest.raises(Exhausted, match="rescind rebuild"):
        reopened(ws).predict(ASKED)

    assert ws.rebuild() == 4
    assert len(ws.predict(ASKED)) == 2
    assert len(state.parts(ws.backends)) == 8
    with pytest.raises(NoOp, match="No shard has an order"):
        ws.rebuild()

    later = statement(ws.process(ws.request(ask(*some_key(ws, "0.0"))).id))
    assert (later.proof.outcome, later.proof.compared) == ("identical", 5)
    assert later.guarantee == Exact("never_saw")


def test_every_single_record_can_be_forgotten_and_certified(ws: Workspace) -> None:
    request = ws.request(ask(*ws.keys(), outage=True))
    said = statement(ws.process(request.id))
    assert (usable(ws), served(ws), said.measurements) == (set(), (), ())
    assert said.unmeasured == "nothing_served"
    assert ws.remaining() == {}


def test_a_request_after_the_outage_has_nothing_to_compare_with(ws: Workspace) -> None:
    ws.process(ws.request(ask(*some_key(ws, *ALL), outage=True)).id)
    said = statement(ws.process(ws.request(ask(*some_key(ws, "0.0"), outage=True)).id))
    assert (said.unchanged, said.measurements) == ("not_served", ())
    assert said.unmeasured == "nothing_served"


def test_the_outage_may_be_accepted_with_the_request(ws: Workspace) -> None:
    request = ws.request(ask(*some_key(ws, *ALL), outage=True))
    assert request.status == "withdrawn"
    assert served(ws) == ()


def test_a_rebuild_ends_the_wait_for_an_outage(ws: Workspace) -> None:
    ws.process(ws.request(ask(*some_key(ws, "1.0", "1.1"))).id, replay=False)
    request = ws.request(ask(*some_key(ws, "0.0", "0.1")))
    assert (request.status, ws.report(request.id).plan.outage) == ("planned", True)
    ws.rebuild(shards=[1])
    ws.process(request.id, replay=False)
    assert {s.shard for s in served(ws)} == {1}
    assert not ws.report(request.id).plan.outage


def test_two_requests_do_not_end_the_service_together(ws: Workspace) -> None:
    """Each was planned when the other had not been withdrawn yet."""
    drafts = [ws.resolve(ask(*some_key(ws, f"{shard}.0", f"{shard}.1"))) for shard in (0, 1)]
    planned = []
    for draft in drafts:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(acceptance, "withdraw", lambda b, request: request)
            planned.append(ws.accept(draft))
    assert [r.status for r in planned] == ["planned", "planned"]
    assert not any(ws.report(r.id).plan.outage for r in planned)
    statuses = [r.status for r in reopened(ws).requests()]  # which goes on where it was
    assert sorted(statuses) == ["planned", "withdrawn"]
    assert served(ws)
    waiting = next(r for r in ws.requests() if r.status == "planned")
    with pytest.raises(Refused, match="accept-outage"):
        ws.process(waiting.id)


def test_rebuilding_brings_the_full_budget_back(ws: Workspace) -> None:
    ws.process(ws.request(ask(*some_key(ws, "0.0"))).id)
    assert len(state.parts(ws.backends)) == 5
    assert ws.rebuild(shards=[0]) == 2
    said = statement(ws.process(ws.request(ask(*keys_in(ws, "test")[:1])).id))
    assert said.guarantee == Exact("never_saw")
    assert (said.proof.sense, said.proof.compared) == ("retrain", 8)


@pytest.mark.parametrize("method", [Retrain(), None], ids=["retrain", "s3t"])
def test_a_withdrawal_while_something_trains_makes_it_stale(
    method: Retrain | None, ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read before the withdrawal must not pass for made after it."""
    other = reopened(ws)
    [key] = some_key(ws, "0.1")
    first = ws.request(ask(*some_key(ws, "0.0")))
    real = state.allowed
    asked: list[str] = []

    def allowed(b: object) -> object:
        found = real(ws.backends)
        if not asked:
            asked.append(key)
            with monkeypatch.context() as patch:
                patch.setattr(state, "allowed", real)
                other.request(ask(key, outage=True))
        return found

    with monkeypatch.context() as patch:
        patch.setattr(state, "allowed", allowed)
        if method is None:
            with pytest.raises(StaleVersion):
                ws.rebuild(shards=[0])
        else:
            with pytest.raises(StaleVersion):
                ws.process(first.id, method=method)
    assert not uses(ws, "0.1")
    assert not uses(ws, "0.0")
    assert statement(ws.process(first.id, method=method)).target.records == 1


# --- holds and endings


def test_a_hold_keeps_the_cut_parts_unserved_and_blocks_who_needs_them_gone(ws: Workspace) -> None:
    first = ws.request(ask(*some_key(ws, "0.0")))
    held = ws.reject(first.id, "litigation 7/2026")
    assert (held.status, held.resume) == ("held", "withdrawn")
    assert not uses(reopened(ws), "0.0")
    with pytest.raises(Refused, match="litigation 7/2026"):
        ws.process(first.id)
    sealed = {s.name for s in state.sealed(ws.backends, first.id)}

    second = ws.request(ask(*some_key(ws, "0.1"), outage=True))
    with pytest.raises(ErasureIncomplete, match="litigation 7/2026") as caught:
        ws.process(second.id)
    assert first.id in str(caught.value)
    assert set(caught.value.left) & sealed
    assert "litigation 7/2026" in " ".join(ws.remaining().values())
    assert all(ws.backends.artifacts.find(name) for name in sealed)
    assert not uses(ws, "0.1")

    assert ws.lift(first.id).status == "withdrawn"
    assert statement(ws.process(first.id)).target.records == 1
    assert statement(ws.process(second.id)).target.records == 1
    assert ws.remaining() == {}


def test_a_failed_request_can_be_held_and_goes_on_where_it_failed(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = ws.request(ask(*some_key(ws, "0.0")))

    def broken(*arguments: object) -> None:
        raise RescindError("It broke.")

    with monkeypatch.context() as patch:
        patch.setattr("rescind.replay.replay", broken)
        with pytest.raises(RescindError, match="broke"):
            ws.process(request.id)
    ws.reject(request.id, "audit")
    assert ws.lift(request.id).status == "unlearned"
    ws.process(request.id)


def test_a_hold_survives_a_crash_before_the_seal(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger, not a mark on the artifact, says who needs a cut part."""
    [key] = some_key(ws, "0.0")
    with monkeypatch.context() as patch:
        patch.setattr(type(ws.backends.artifacts), "seal", lambda self, names: None)
        first = ws.request(ask(key))
    ws.reject(first.id, "litigation")
    second = ws.request(ask(*some_key(ws, "0.1"), outage=True))
    with pytest.raises(ErasureIncomplete, match="litigation"):
        ws.process(second.id)
    names = [s.name for s in state.sealed(ws.backends, first.id)]
    again = reopened(ws).backends.artifacts
    assert all(a is not None and a.sealed for a in map(again.find, names))


def test_only_a_held_request_can_be_lifted(ws: Workspace) -> None:
    request = ws.request(ask(*some_key(ws, "0.0")))
    with pytest.raises(Refused, match="not on hold"):
        ws.lift(request.id)


@pytest.mark.parametrize("how", ["cancel", "reject"])
def test_before_its_withdrawal_a_request_can_end(how: str, ws: Workspace) -> None:
    keys = some_key(ws, *ALL)
    request = ws.request(ask(*keys))
    assert ws.backends.keys.names("request") == (f"request/{request.id}",)
    ended = getattr(ws, how)(request.id, "a mistake")
    assert ended.status == {"cancel": "cancelled", "reject": "rejected"}[how]
    assert ws.backends.keys.names("request") == ()
    with pytest.raises(Refused, match="a mistake"):
        ws.process(request.id)
    with pytest.raises(BadParameter):
        getattr(ws, how)(request.id, "twice")
    assert ws.predict(ASKED)
    again = ws.request(ask(*keys))
    assert (again.status, again.id == request.id) == ("planned", False)


def test_after_its_withdrawal_it_cannot_be_cancelled(ws: Workspace) -> None:
    request = ws.request(ask(*some_key(ws, "0.0")))
    with pytest.raises(Refused, match="never undone"):
        ws.cancel(request.id)
    assert state.request(ws.backends, request.id).status == "withdrawn"


# --- asking again


def test_asking_twice_is_one_request_and_one_withdrawal(ws: Workspace) -> None:
    [key] = some_key(ws, "0.0")
    draft = ws.resolve(ask(key))
    first = ws.accept(draft)
    assert ws.accept(draft).id == first.id
    assert ws.request(ask(key)).id == first.id
    ws.process(first.id)
    parts = state.parts(ws.backends)
    assert ws.accept(draft).status == "closed"
    assert ws.request(ask(key)).id == first.id
    assert state.parts(ws.backends) == parts
    assert kinds(ws).count("parts.withdrawn") == 1
    assert ws.process(first.id) == ws.certificate(first.id)


def test_an_open_and_a_closed_request_answer_already_forgotten(ws: Workspace) -> None:
    [key] = some_key(ws, "0.0")
    request = ws.request(ask(key))
    for _ in ("open", "closed"):
        draft = ws.resolve(ask(key))
        assert draft.already_forgotten
        assert draft.already == ((key, request.id),)
        ws.process(request.id)


def test_what_several_requests_forgot_names_them_all(ws: Workspace) -> None:
    one, two = some_key(ws, "0.0", "1.0")
    requests = [ws.request(ask(one)), ws.request(ask(two, outage=True))]
    with pytest.raises(NoOp) as caught:
        ws.request(ask(one, two))
    assert all(r.id in str(caught.value) for r in requests)


def test_a_partial_overlap_forgets_what_is_left(ws: Workspace) -> None:
    one, two = keys_in(ws, "0.0")[:2]
    first = ws.request(ask(one))
    draft = ws.resolve(ask(one, two))
    assert (draft.keys, draft.already) == ((two,), ((one, first.id),))
    assert draft.target.records == 1
    second = ws.accept(draft)
    ws.process(first.id)
    assert statement(ws.process(second.id)).target.records == 1


def test_a_draft_that_another_request_overtook_is_refused(ws: Workspace) -> None:
    one, two = keys_in(ws, "0.0")[:2]
    draft = ws.resolve(ask(one, two))
    ws.request(ask(one))
    head = ws.head()
    with pytest.raises(Refused, match="1 of 2 records were forgotten since"):
        ws.accept(draft)
    assert ws.head() == head
