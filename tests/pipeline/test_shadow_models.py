"""Shadow models of an audit in a workspace: what each had, and that nothing of them outlives it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from judged_workspace import named
from noisy_points import asked, noisy_workspace

from rescind import audit_case
from rescind.backends import Backends
from rescind.core.audit import MODELS, Case, Sizes
from rescind.core.protocols import Progress
from rescind.core.run import Order
from rescind.shadow_models import ShadowDraws, TrainShadow
from rescind.training import stages
from rescind.workspace import Workspace


@pytest.fixture(autouse=True)
def shadows_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_case.AUDITS, "names", lambda: ["shadows"])


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return noisy_workspace(tmp_path / "ws")


@pytest.mark.slow
def test_a_retrained_model_is_judged_and_the_shadows_are_gone(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, made = list[Case](), list[str]()
    loaded = audit_case._loaded

    def keep(b: Backends, name: str, sizes: Sizes) -> Case:
        read.append(loaded(b, name, sizes))
        made.extend(named(ws, "reference"))
        return read[-1]

    monkeypatch.setattr(audit_case, "_loaded", keep)
    request = asked(ws, "retrain")
    ws.plan_audits(600.0, request.id)
    found = ws.audit(request.id)
    [result] = found.results
    assert (result.audit, result.refused) == ("shadows", "")
    assert result.p is not None and result.power is not None
    assert len(made) == MODELS and named(ws, "reference") == set()
    [case] = read
    assert case.inside is not None and case.shadows is not None
    mixed = ~case.inside.all(0)
    assert int(mixed.sum()) <= 2 * int(case.requested.sum())
    assert 0.2 < float(case.inside[:, case.requested].double().mean()) < 0.8
    # a shadow's own records have higher scores in it, so that the mask is that of the training
    own = case.shadows[:, mixed] - case.shadows[:, mixed].mean(0)
    had = case.inside[:, mixed]
    assert float(own[had].mean()) > float(own[~had].mean())
    ws.process(request.id)
    assert ws.remaining() == {}


@pytest.mark.slow
def test_a_killed_audit_goes_on_with_the_shadows_that_are_there(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    request, ran = asked(ws, "retrain"), list[int]()
    run = TrainShadow.run

    def stopped(job: TrainShadow, progress: Progress) -> dict[str, object]:
        if len(ran) == 3:
            raise KeyboardInterrupt
        ran.append(job.index)
        return run(job, progress)

    ws.plan_audits(600.0, request.id)
    with monkeypatch.context() as patched:
        patched.setattr(TrainShadow, "run", stopped)
        with pytest.raises(KeyboardInterrupt):
            ws.audit(request.id)
    assert len(named(ws, "reference")) == 3
    fresh, train = list[Order](), stages.train_order

    def counted(model: object, recipe: object, order: Order, *rest: Any) -> None:
        fresh.append(order)
        train(model, recipe, order, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(stages, "train_order", counted)
    assert ws.audit(request.id).results[0].refused == ""
    assert len(fresh) == MODELS - 3


@pytest.mark.slow
def test_an_erasure_finds_shadows_that_were_left(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = asked(ws, "retrain")
    ws.plan_audits(600.0, request.id)
    monkeypatch.setattr(audit_case, "destroy_trained", lambda b, choices: None)
    ws.audit(request.id)
    assert len(named(ws, "reference")) == MODELS
    ws.process(request.id)
    assert named(ws, "reference") == set()
    assert ws.remaining() == {}


def test_draws_follow_from_the_seed_and_the_record_alone() -> None:
    one, other = ShadowDraws(1), ShadowDraws(2)
    keys = [f"k{i}" for i in range(400)]
    assert one.candidates(keys[:10], keys[10:]) == one.candidates(keys[:10], keys[:9:-1])
    assert len(one.candidates(keys[:10], keys[10:])) == 20
    halves = [sum(one.has(m, k) for k in keys) for m in range(8)]
    assert all(150 < half < 250 for half in halves)
    assert [one.has(0, k) for k in keys] != [other.has(0, k) for k in keys]
    assert [one.has(0, k) for k in keys] != [one.has(1, k) for k in keys]
