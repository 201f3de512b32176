"""Audits of a request: planned first, run once, told in the certificate, erased at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from judged_workspace import ask_for, facts, judged_workspace, keys_of, named
from noisy_points import ASKED, asked, noisy_workspace, some_keys
from test_auto import searches
from tiny_workspace import ask, checked, keys_in, kinds, some_key, statement

from rescind import audit_case, audit_job, audit_planning, auditing, state
from rescind.audits.finding import Finding
from rescind.audits.margin_audit import MarginAudit
from rescind.audits.membership_audit import MembershipAudit
from rescind.audits.results import result_of
from rescind.core.audit import ACCESS, Access, AuditPlan, AuditResult, AuditVerdict, Case
from rescind.core.certificate import Certificate
from rescind.core.errors import (
    BadData,
    BadParameter,
    ErasureIncomplete,
    InsufficientEvidence,
    Refused,
    StaleVersion,
    UnknownKey,
    UnknownPlugin,
)
from rescind.core.guarantee import Empirical, Exact
from rescind.core.protocols import Entry
from rescind.core.request import Request
from rescind.methods.auto import Auto
from rescind.workspace import Workspace

Make = Callable[..., Workspace]
MEMBERSHIP_ONLY = 3.0  # seconds: margins would take longer
LOWERED = Empirical("an audit found a residue of the records: margins")


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only audits for which no further model is trained."""
    monkeypatch.setattr(audit_case.AUDITS, "names", lambda: ["margins", "membership"])


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return noisy_workspace(tmp_path / "ws")


def planned(ws: Workspace, request: Request, budget: float = 600.0) -> AuditPlan:
    return ws.plan_audits(budget, request.id)[request.id]


def outcomes(found: AuditVerdict) -> dict[str, str]:
    return {r.audit: r.outcome for r in found.results}


def lines(certificate: Certificate) -> str:
    return "\n".join(checked(certificate).attested)


# --- the plan ---


def test_a_plan_is_recorded_with_its_seeds_before_anything_is_unlearned(ws: Workspace) -> None:
    first, second = asked(ws, "finetune"), ask_for(ws, keys_in(ws, "0.0")[:6], "finetune")
    made = ws.plan_audits(600.0)
    assert set(made) == {first.id, second.id}
    plan = made[first.id]
    assert [c.audit for c in plan.choices] == ["membership", "margins"]  # the cheapest first
    assert audit_planning.planned(ws.backends, first.id) == plan
    seeds = {c.seed for p in made.values() for c in p.choices}
    assert len(seeds) == 4
    [entry, _] = facts(ws, "audits.planned")
    assert entry["audits"] == ["membership", "margins"]
    assert (entry["level"], entry["budget_seconds"]) == (0.05, 600.0)
    assert ws.report(first.id).audit_plan == plan
    assert ws.plan_audits(600.0) == {}


def test_a_second_plan_is_refused_before_and_after_unlearning(ws: Workspace) -> None:
    request = asked(ws, "finetune")
    planned(ws, request)
    with pytest.raises(Refused, match="planned already"):
        planned(ws, request)
    ws.audit(request.id)
    with pytest.raises(Refused, match="is unlearned; audits are planned before"):
        planned(ws, request)
    assert len(facts(ws, "audits.planned")) == 1


def test_what_the_budget_does_not_pay_for_is_left_out_and_told(ws: Workspace) -> None:
    plan = planned(ws, asked(ws, "finetune"), MEMBERSHIP_ONLY)
    assert [c.audit for c in plan.choices] == ["membership"]
    assert set(plan.left_out) == {"margins"}
    assert plan.left_out["margins"].endswith("and the budget is 3 s")


def test_models_retrained_for_several_audits_are_paid_once(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_planning, "_seconds_each", lambda b, progress: (1e-5, 1e-4))
    monkeypatch.setattr(audit_case.AUDITS, "names", lambda: ["relearning", "retrained"])
    first, second = asked(ws, "finetune"), ask_for(ws, keys_in(ws, "0.0")[:ASKED], "finetune")
    both = {c.audit: c.seconds for c in planned(ws, first).choices}
    monkeypatch.setattr(audit_case.AUDITS, "names", lambda: ["relearning"])
    alone = planned(ws, second).choices[0].seconds
    assert set(both) == {"relearning", "retrained"}
    assert both["retrained"] - 1.0 == pytest.approx(alone - both["relearning"])


def test_a_request_for_a_concept_plans_none_and_says_why(tmp_path: Path) -> None:
    workspace = judged_workspace(tmp_path)
    request = ask_for(workspace, keys_of(workspace), goal="concept")
    plan = planned(workspace, request)
    assert plan.choices == ()
    assert plan.left_out == dict.fromkeys(("margins", "membership"), audit_planning.CONCEPT)


@pytest.mark.parametrize(
    ("access", "fit"),
    [
        ("answers", {"membership"}),
        ("weights", {"membership", "margins"}),
        ("data", {"membership", "margins", "retrained", "shadows"}),
    ],
)
def test_audits_that_need_more_access_are_left_out_and_told(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch, access: Access, fit: set[str]
) -> None:
    names = ["margins", "membership", "retrained", "shadows"]
    monkeypatch.setattr(audit_case.AUDITS, "names", lambda: names)
    request = asked(ws, "finetune")
    plan = ws.plan_audits(1e6, request.id, access=access)[request.id]
    assert {c.audit for c in plan.choices} == fit
    assert audit_planning.planned(ws.backends, request.id) == plan
    assert [f["access"] for f in facts(ws, "audits.planned")] == [plan.access] == [access]
    for name, why in plan.left_out.items():
        least: Access = "weights" if name == "margins" else "data"
        assert why == f"it needs {ACCESS[least]}, and the access planned for is {ACCESS[access]}"


def test_access_that_there_is_none_of_is_refused(ws: Workspace) -> None:
    with pytest.raises(BadParameter, match="The access is 'all'"):
        ws.plan_audits(600.0, asked(ws, "finetune").id, access="all")  # type: ignore[arg-type]


# --- what they decide ---


def test_a_retrained_model_is_supported_and_stays_exact(ws: Workspace) -> None:
    request = asked(ws, "retrain")
    plan = planned(ws, request)
    found = ws.audit(request.id)
    assert found.outcome == "removed_supported"
    assert outcomes(found)["margins"] == "removed_supported"
    assert {r.audit: r.seed for r in found.results} == {c.audit: c.seed for c in plan.choices}
    assert state.request(ws.backends, request.id).status == "unlearned"
    assert len(named(ws, "audit")) == 1
    said = statement(certificate := ws.process(request.id))
    assert said.guarantee == Exact("retrain")
    assert said.audit == found
    assert "Audited: removed supported." in lines(certificate)
    assert named(ws, "audit") == set()
    assert said.erasure.destroyed["audit"] == 1
    assert ws.remaining() == {}
    assert ws.audit(found.version) == ws.audit(request.id) == found


def test_an_edit_that_does_too_little_lowers_the_claim(ws: Workspace) -> None:
    request = asked(ws, "finetune")
    planned(ws, request)
    said = statement(certificate := ws.process(request.id))
    assert said.audit is not None and said.audit.outcome == "residue_found"
    assert said.guarantee == LOWERED
    assert "Audited: residue found." in lines(certificate)
    assert ws.report(request.id).audit == said.audit
    order = [k for k in kinds(ws, request.id) if k.startswith(("audit", "model", "proof"))]
    assert order.count("audit.run") == 2
    assert order.index("audit.done") < order.index("proof.made")


def test_a_residue_beside_equal_bytes_is_told_and_lowers_nothing(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MembershipAudit, "audit", alarmed)
    request = asked(ws, "retrain")
    planned(ws, request, MEMBERSHIP_ONLY)
    said = statement(certificate := ws.process(request.id))
    assert said.audit is not None and said.audit.outcome == "residue_found"
    assert said.guarantee == Exact("retrain")
    assert "Audited: residue found." in lines(certificate)


def alarmed(
    self: MembershipAudit, case: Case, *, level: float, tests: int, seed: int
) -> AuditResult:
    """An audit that sees a residue in any model."""
    seen = Finding(
        audit="membership",
        null="no_trace",
        n=case.sizes.forget,
        p=1e-4,
        effect=0.9,
        interval=(0.8, 0.95),
        unit="AUC",
        level=level,
        power=1.0,
    )
    return result_of(seen, "", seed)


def test_without_a_plan_there_are_none_and_the_certificate_says_so(ws: Workspace) -> None:
    request = asked(ws, "finetune")
    with pytest.raises(InsufficientEvidence, match="was planned") as caught:
        ws.audit(request.id)
    assert "--audit-budget" in caught.value.do
    assert state.request(ws.backends, request.id).status == "planned"
    said = statement(certificate := ws.process(request.id))
    assert said.audit is None
    assert "Audits: none was planned before the model was unlearned." in lines(certificate)
    with pytest.raises(UnknownKey, match="been run"):
        ws.audit(request.id)
    with pytest.raises(UnknownKey, match="made by no request"):
        ws.audit("v1")


# --- exploratory ---


def test_an_added_audit_lowers_a_claim(ws: Workspace) -> None:
    request = asked(ws, "finetune")
    planned(ws, request, MEMBERSHIP_ONLY)
    assert ws.audit(request.id).outcome == "no_power"
    added = ws.audit(request.id, add=["margins", "margins"])  # once is enough
    assert added.outcome == "residue_found"
    assert len(added.results) == 2
    assert not [line for line in added.not_claimable if "was not run" in line]
    assert {r.audit: r.exploratory for r in added.results} == {"membership": False, "margins": True}
    said = statement(certificate := ws.process(request.id))
    assert (said.audit, said.guarantee) == (added, LOWERED)
    assert "Added afterwards, can only lower: audit margins" in lines(certificate)
    assert named(ws, "audit") == set()


def test_an_added_audit_supports_nothing_and_takes_no_residue_back(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = asked(ws, "retrain")
    planned(ws, request, MEMBERSHIP_ONLY)
    assert ws.audit(request.id).outcome == "no_power"
    added = ws.audit(request.id, add=["margins"])
    assert outcomes(added)["margins"] == "removed_supported"
    assert added.outcome == "no_power"
    with monkeypatch.context() as patch:
        patch.setattr(MembershipAudit, "audit", alarmed)
        assert ws.audit(request.id, add=["membership"]).outcome == "residue_found"
    assert ws.audit(request.id, add=["margins"]).outcome == "residue_found"
    with pytest.raises(UnknownPlugin):
        ws.audit(request.id, add=["no_such"])
    said = statement(ws.process(request.id))
    assert said.audit is not None and said.audit.outcome == "residue_found"
    with pytest.raises(Refused, match="is closed"):
        ws.audit(request.id, add=["margins"])


# --- broken runs ---


def test_a_run_that_breaks_goes_on_with_the_next_audit(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = asked(ws, "finetune")
    plan = planned(ws, request)
    calls = list[str]()
    real = {kind: kind.audit for kind in (MembershipAudit, MarginAudit)}

    def counted(kind: type[Any], name: str) -> Callable[..., AuditResult]:
        def run(self: Any, case: Case, **options: Any) -> AuditResult:
            calls.append(name)
            if calls == ["membership", "margins"]:
                raise OSError("the disk is full")
            return real[kind](self, case, **options)

        return run

    monkeypatch.setattr(MembershipAudit, "audit", counted(MembershipAudit, "membership"))
    monkeypatch.setattr(MarginAudit, "audit", counted(MarginAudit, "margins"))
    with pytest.raises(OSError, match="full"):
        ws.process(request.id)
    failed = state.request(ws.backends, request.id)
    assert (failed.status, failed.resume) == ("failed", "unlearned")
    [entry] = facts(ws, "request.failed")
    assert entry["step"] == "audit"
    said = statement(ws.process(request.id))
    assert calls == ["membership", "margins", "margins"]
    assert [f["audit"] for f in facts(ws, "audit.run")] == ["membership", "margins"]
    assert said.audit is not None
    assert [r.seed for r in said.audit.results] == [c.seed for c in plan.choices]
    assert named(ws, "audit") == set()


# --- other shapes of requests ---


def test_a_cut_model_is_asked_for_membership_alone(tmp_path: Path) -> None:
    workspace = judged_workspace(tmp_path, method="sisa", shards=2)
    request = ask_for(workspace, keys_of(workspace, cell="0.0")[:6])
    plan = planned(workspace, request)
    assert [c.audit for c in plan.choices] == ["membership"]
    assert "a part was cut or trained anew" in plan.left_out["margins"]
    found = workspace.audit(request.id)
    [only] = found.results
    assert (only.audit, only.n, only.refused) == ("membership", 6, "")
    assert only.p is not None
    said = statement(workspace.process(request.id))
    assert said.audit == found and isinstance(said.guarantee, Exact)


def test_a_part_that_is_cut_is_seen_in_the_model_itself(make: Make) -> None:
    workspace = make()
    request = workspace.request(ask(*some_key(workspace, "0.1")))
    found = workspace.audit(request.id, add=["margins", "membership"])
    told = {r.audit: r.refused for r in found.results}
    assert "a part was cut or trained anew" in told["margins"]
    assert "5 records each" in told["membership"]
    assert found.outcome == "no_power"


def test_test_records_alone_were_never_learned(ws: Workspace) -> None:
    request = ask_for(ws, keys_in(ws, "test")[:8], "finetune")
    plan, why = (
        planned(ws, request),
        ("all 8 are test records, which nothing was trained on: no evidence of presence before"),
    )
    assert plan.choices == ()
    assert plan.left_out == dict.fromkeys(("margins", "membership"), why)
    told = ws.audit(request.id)
    assert (told.outcome, told.because) == ("no_power", f"No audit was run: {why}.")
    added = ws.audit(request.id, add=["membership"])
    assert [r.told for r in added.results] == [f"not run: {why}"]
    said = statement(ws.process(request.id))
    assert said.unchanged == "test_only"
    assert said.audit == added and added.outcome == "no_power"


# --- Auto ---


def test_auto_passes_over_a_model_in_which_an_audit_finds_a_residue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EU-k of all layers is retraining in the weights: beside retrained models it is admissible."""
    levels, seeds = list[float](), list[int]()

    def first_alarmed(self: MembershipAudit, case: Case, **options: Any) -> AuditResult:
        levels.append(options["level"])
        seeds.append(options["seed"])
        seen = alarmed(self, case, **options)
        return seen if len(levels) == 1 else replace(seen, p=0.5, outcome="removed_supported")

    monkeypatch.setattr(MembershipAudit, "audit", first_alarmed)
    workspace = judged_workspace(tmp_path)
    request = ask_for(workspace, keys_of(workspace))
    plan = planned(workspace, request, MEMBERSHIP_ONLY)
    assert [c.audit for c in plan.choices] == ["membership"]
    auto = Auto(methods=("finetune", "eu_k"), parameters=str(searches(tmp_path)))
    said = statement(workspace.process(request.id, method=auto))
    assert [(a.method, a.round, a.outcome) for a in said.attempts] == [
        ("finetune", "first", "not_admissible"),
        ("eu_k", "first", "admissible"),
        ("eu_k", "fresh", "residue_found"),
        ("retrain", "exact", "exact"),
    ]
    assert "membership: it saw a residue" in said.attempts[2].because
    [candidate] = facts(workspace, "audits.candidate")
    assert candidate["seeds"] == {"membership": seeds[0]}
    assert seeds[1] == plan.choices[0].seed != seeds[0]  # what chose does not decide
    assert levels == [0.05, 0.05]  # a smaller one for the candidate would find fewer residues
    assert said.audit is not None and said.audit.outcome == "removed_supported"
    assert said.guarantee == Exact("retrain")
    assert named(workspace, "audit") == set()
    assert workspace.remaining() == {}


def test_a_candidate_has_seeds_of_its_own_however_often_it_is_asked(ws: Workspace) -> None:
    request = asked(ws, "finetune")
    plan = planned(ws, request)
    b = ws.backends

    def seeds(candidate: str) -> list[int]:
        return [c.seed for c in auditing._for_candidate(b, request, plan, candidate)]

    first = seeds("basis/finetune")
    assert seeds("basis/finetune") == first  # a process that was killed goes on with the same
    others = [seeds("basis/eu_k"), seeds("later/finetune")]
    assert len({s for each in (first, *others) for s in each}) == 6
    assert not {s for each in (first, *others) for s in each} & {c.seed for c in plan.choices}
    assert [f["candidate"] for f in facts(ws, "audits.candidate")] == [
        "basis/finetune",
        "basis/eu_k",
        "later/finetune",
    ]


# --- a deletion never waits for its audits, and no choice follows what was seen ---


def test_records_that_another_erasure_took_away_are_told_and_the_request_is_closed(
    tmp_path: Path,
) -> None:
    ws = judged_workspace(tmp_path / "ws", method="sisa", shards=3)
    first, second = (ask_for(ws, keys_in(ws, cell)[:6]) for cell in ("0.0", "1.0"))
    ws.plan_audits(600.0)
    ws.process(first.id)
    found = statement(ws.process(second.id)).audit
    assert found is not None and found.outcome == "no_power"
    assert {r.refused for r in found.results} == {"the records cannot be read again"}


def test_a_lost_original_stops_no_deletion_and_destroys_no_new_model(ws: Workspace) -> None:
    request = asked(ws, "retrain")
    planned(ws, request)
    ws.backends.artifacts.destroy([s.name for s in state.parts(ws.backends)])
    found = statement(ws.process(request.id))
    assert isinstance(found.guarantee, Exact) and found.audit is not None
    assert {r.refused for r in found.audit.results} == {"a model that is compared is lost"}


def test_a_model_that_draws_its_answers_is_not_audited_and_its_deletion_goes_on(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    request, steady = asked(ws, "finetune"), audit_job._pass

    def drawn(model: Any, batch: Any, features: bool) -> Any:
        outputs, heard = steady(model, batch, features)
        return outputs + 0.1 * torch.randn_like(outputs), heard

    planned(ws, request)
    monkeypatch.setattr(audit_job, "_pass", drawn)
    found = statement(ws.process(request.id)).audit
    assert found is not None and found.outcome == "no_power"
    told = {r.refused for r in found.results}
    assert told == {"A model answers the same records differently each time it is asked"}


@pytest.mark.slow
def test_what_was_seen_in_a_model_that_is_given_up_stays_in_the_certificate(
    ws: Workspace,
) -> None:
    request = asked(ws, "finetune")
    assert ws.audit(request.id, add=["margins"]).outcome == "residue_found"
    others = [k for k in keys_in(ws, "0.0") if k not in set(some_keys(ws))][:6]
    with pytest.raises(ErasureIncomplete):  # it waits for the first, whose model is stale now
        ws.process(ask_for(ws, others, "retrain").id)
    with pytest.raises(StaleVersion):
        ws.process(request.id)
    with pytest.raises(Refused, match="before a model is made"):
        planned(ws, request, MEMBERSHIP_ONLY)
    certificate = ws.process(request.id)
    found = statement(certificate).audit
    assert found is not None and (found.outcome, found.results) == ("no_power", ())
    assert found.earlier == ("residue_found",)
    assert "given up: residue found" in lines(certificate)


def test_what_was_left_out_of_the_plan_is_not_claimed(ws: Workspace) -> None:
    request = asked(ws, "retrain")
    planned(ws, request, MEMBERSHIP_ONLY)
    told = statement(ws.process(request.id)).audit
    assert told is not None
    assert [line for line in told.not_claimable if line.startswith("margins was not run: ")]


@pytest.mark.parametrize("error", [BadData, ValueError, ZeroDivisionError])
@pytest.mark.parametrize("where", ["audit", "refuses"])
def test_the_words_of_a_foreign_audit_stay_out_of_the_ledger_and_it_holds_up_nothing(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch, error: type[Exception], where: str
) -> None:
    request = asked(ws, "retrain")
    planned(ws, request)
    monkeypatch.setattr(audit_case.AUDITS, "make", lambda name, settings: Talkative(error, where))
    told = statement(ws.process(request.id)).audit
    assert told is not None
    assert {r.refused for r in told.results} == {f"{error.__name__} in the audit"}
    assert "Jane Doe" not in str(list(ws.backends.ledger.entries(request.id)))


@dataclass(frozen=True)
class Talkative:
    """An audit of somebody else's, with a bug."""

    error: type[Exception]
    where: str
    needs: frozenset[str] = frozenset()

    def refuses(self, sizes: object) -> str:
        if self.where == "refuses":
            raise self.error("The record of Jane Doe is odd.")
        return ""

    def audit(self, case: Case, *, level: float, tests: int, seed: int) -> AuditResult:
        raise self.error("The record of Jane Doe is odd.")


@pytest.mark.slow
def test_models_retrained_for_an_audit_are_gone_after_it(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_case.AUDITS, "names", lambda: ["retrained"])
    request = asked(ws, "retrain")
    planned(ws, request)
    assert set(outcomes(ws.audit(request.id))) == {"retrained"}
    assert facts(ws, "references.trained")
    assert named(ws, "reference") == set()


@pytest.mark.parametrize("kind", ["version.created", "method.attempted"])
def test_nothing_is_planned_once_a_model_was_made_or_tried(ws: Workspace, kind: str) -> None:
    """As a process that was killed while it tried again leaves the request: planned once more."""
    request = asked(ws, "retrain")
    ws.backends.ledger.append(Entry(kind, request.id))
    assert state.request(ws.backends, request.id).status == "planned"
    with pytest.raises(Refused, match="before a model is made"):
        planned(ws, request)
