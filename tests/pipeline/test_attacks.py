"""U-LiRA, rounding and relearning in a workspace: run as planned, resumed, and erased."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from judged_workspace import ask_for, judged_workspace, keys_of, named
from noisy_points import asked, noisy_workspace
from tiny_workspace import statement

from rescind import attacks_read, audit_case, audit_planning, treated_models
from rescind.backends import Backends
from rescind.core.audit import MODELS, AuditResult, Case, Sizes
from rescind.core.errors import Diverged
from rescind.core.protocols import Progress
from rescind.core.request import Request
from rescind.methods.auto import Auto
from rescind.methods.finetune import FineTune
from rescind.shadow_models import TrainShadow
from rescind.treat_job import TreatShadow
from rescind.workspace import Workspace


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return noisy_workspace(tmp_path / "ws")


def only(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """These audits, with seeds that are the same each time: an honest model is flagged at the
    level, and a test must not be.
    """
    monkeypatch.setattr(audit_planning, "fresh_seed", lambda: 5)
    monkeypatch.setattr(audit_case.AUDITS, "names", lambda: list(names))


def run(ws: Workspace, request: Request) -> dict[str, AuditResult]:
    ws.plan_audits(3000.0, request.id)
    return {r.audit: r for r in ws.audit(request.id).results}


@pytest.mark.slow
def test_a_weak_method_is_found_by_models_that_it_has_treated_and_they_are_gone(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, "u_lira")
    made, treated = list[str](), list[Any]()
    loaded, treat = audit_case._loaded, TreatShadow._treat

    def keep(b: Backends, name: str, sizes: Sizes) -> Case:
        made.extend(named(ws, "reference"))
        return loaded(b, name, sizes)

    def watched(job: TreatShadow, desk: Any) -> None:
        treated.append((job.method, job.parameters["epochs"]))
        treat(job, desk)

    monkeypatch.setattr(audit_case, "_loaded", keep)
    monkeypatch.setattr(TreatShadow, "_treat", watched)
    request = asked(ws, "finetune")
    ws.plan_audits(600.0, request.id)
    said = statement(ws.process(request.id, method=FineTune(epochs=2))).audit
    assert said is not None
    [result] = said.results
    assert (result.audit, result.outcome, result.refused) == ("u_lira", "residue_found", "")
    assert result.power is not None and result.power > 0.8
    assert treated == [("finetune", 2)] * MODELS  # the method as it made the model
    assert len(made) == 2 * MODELS and named(ws, "reference") == set()
    assert ws.remaining() == {} and named(ws, "audit") == set()


@pytest.mark.slow
def test_a_killed_audit_goes_on_with_what_is_there_and_an_erasure_finds_what_is_left(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, "u_lira")
    request, ran, trained = asked(ws, "finetune"), list[int](), list[int]()
    treat, train = TreatShadow._treat, TrainShadow.run

    def stopped(job: TreatShadow, desk: Any) -> None:
        if len(ran) == 3:
            raise KeyboardInterrupt
        ran.append(job.index)
        treat(job, desk)

    ws.plan_audits(600.0, request.id)
    with monkeypatch.context() as patched:
        patched.setattr(TreatShadow, "_treat", stopped)
        with pytest.raises(KeyboardInterrupt):
            ws.audit(request.id)
    assert len(named(ws, "reference")) == MODELS + 3

    def counted(job: TrainShadow, progress: Progress) -> dict[str, Any]:
        from rescind.jobs import open_desk

        if open_desk(job.place).b.artifacts.find(job.name) is None:
            trained.append(job.index)
        return train(job, progress)

    def again(job: TreatShadow, desk: Any) -> None:
        ran.append(job.index)
        treat(job, desk)

    monkeypatch.setattr(TrainShadow, "run", counted)
    monkeypatch.setattr(TreatShadow, "_treat", again)
    monkeypatch.setattr(audit_case, "destroy_trained", lambda b, choices: None)
    assert ws.audit(request.id).results[0].refused == ""
    assert trained == [] and sorted(ran) == list(range(MODELS))
    assert len(named(ws, "reference")) == 2 * MODELS
    ws.process(request.id)
    assert named(ws, "reference") == set() and ws.remaining() == {}


def test_methods_that_train_anew_or_are_chosen_later_are_not_run_on_shadows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, "u_lira")
    ws = judged_workspace(tmp_path / "ws")
    told = {}
    for i, method in enumerate(("retrain", "auto")):
        request = ask_for(ws, keys_of(ws, "green")[5 * i : 5 * i + 5], method)
        told[method] = ws.plan_audits(600.0, request.id)[request.id].left_out["u_lira"]
    assert told == {"retrain": treated_models.ANEW, "auto": treated_models.CHOSEN_LATER}


@pytest.mark.slow
def test_a_method_that_refuses_a_shadow_model_takes_no_other_audit_with_it(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, "membership", "u_lira")
    monkeypatch.setattr(TrainShadow, "run", lambda job, progress: _refuse())
    found = run(ws, asked(ws, "finetune"))
    assert found["u_lira"].refused == "Diverged when the method was run on shadow models"
    assert found["membership"].refused == "" and found["membership"].p is not None


def _refuse() -> None:
    raise Diverged("Step 3 gave a loss that is no finite number.")


@pytest.mark.slow
def test_a_candidate_of_auto_is_not_asked_by_a_method_that_is_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, "u_lira")
    ws = judged_workspace(tmp_path / "ws")
    request = ask_for(ws, keys_of(ws, "green")[:4], "finetune")
    cases, read = list[Case](), audit_case.read_case

    def kept(*given: Any) -> Case:
        cases.append(read(*given))
        return cases[-1]

    monkeypatch.setattr("rescind.auditing.audit_case.read_case", kept)
    monkeypatch.setattr(audit_case.AUDITS.load("u_lira"), "refuses", lambda audit, s: s.untreated)
    ws.plan_audits(600.0, request.id)
    ws.process(request.id, method=Auto(methods=("eu_k",)))
    assert cases and all(c.sizes.untreated for c in cases)


@pytest.mark.slow
def test_rounding_and_relearning_of_single_records_find_nothing_and_say_why(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, "quantisation", "relearning")
    monkeypatch.setattr(attacks_read, "DRAWS", 99)
    found = run(ws, request := asked(ws, "finetune"))
    assert found["quantisation"].outcome == "no_power" and found["quantisation"].refused == ""
    assert found["quantisation"].power == 0.0
    assert "before any step" in found["relearning"].refused
    assert named(ws, "reference") == set()
    ws.process(request.id)
    assert ws.remaining() == {}


@pytest.mark.slow
@pytest.mark.parametrize(("method", "outcome"), [("finetune", "residue_found"), ("retrain", "")])
def test_relearning_of_a_whole_class_sees_an_edit_that_did_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, outcome: str
) -> None:
    only(monkeypatch, "relearning")
    ws = judged_workspace(tmp_path / "ws")
    found = run(ws, ask_for(ws, keys_of(ws), method))["relearning"]
    assert found.refused == "" and found.power is not None
    assert (found.outcome == "residue_found") == (outcome == "residue_found")
    assert "models that hide whole classes" in found.told


def test_several_parts_are_refused_before_anything_is_trained(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    only(monkeypatch, "quantisation", "relearning", "u_lira")
    ws = judged_workspace(tmp_path / "ws", method="sisa", shards=2)
    request = ask_for(ws, keys_of(ws, cell="0.0")[:5])
    plan = ws.plan_audits(600.0, request.id)[request.id]
    assert plan.choices == () and set(plan.left_out) == {"quantisation", "relearning", "u_lira"}
