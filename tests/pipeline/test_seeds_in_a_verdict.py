"""Codes in the one verdict: read before the erasure, for models of one part and of several."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from test_seeds import ANNA, OF, RECIPE, ROWS, SHARDS, handed, trained
from tiny_workspace import ask

from rescind import audit_case
from rescind.audits.seeding_audit import BITS_ALONE, REORDERED
from rescind.core.audit import AuditVerdict
from rescind.core.run import Recipe
from rescind.training.modules import Classification
from rescind.workspace import Workspace

CHEAT = f"{Path(__file__).with_name('permutes_units.py')}:PermutesUnits"
NETWORK = "rescind.testing.cheats.networks:mlp"


@pytest.fixture(autouse=True)
def seeds_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_case.AUDITS, "names", lambda: ["seeds"])


def audited(ws: Workspace, own: list[str], method: str) -> tuple[str, AuditVerdict]:
    request = ws.accept(ws.resolve(replace(ask(*own, outage=True), method=method)))
    ws.plan_audits(60.0, request.id)
    return request.id, ws.audit(request.id)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "method", "outcome"),
    [
        (RECIPE, "retrain", "removed_supported"),
        (RECIPE, "finetune", "residue_found"),
        (SHARDS, "sisa", "removed_supported"),
    ],
)
def test_codes_are_asked_for_within_the_verdict(
    tmp_path: Path, recipe: Recipe, method: str, outcome: str
) -> None:
    ws = trained(tmp_path / "ws", [handed(ANNA)], recipe)
    request, found = audited(ws, [row["id"] for row in OF[ANNA]], method)
    [result] = found.results
    assert (result.audit, result.outcome, found.outcome) == ("seeds", outcome, outcome)
    assert result.effect is not None and (result.effect > 0.6) == (outcome == "residue_found")
    ws.process(request, accept_outage=True)
    assert ws.remaining() == {}


@pytest.mark.parametrize(("own", "outcome"), [(24, "residue_found"), (12, "removed_supported")])
def test_hidden_units_in_another_order_are_seen_from_twenty_records_on(
    tmp_path: Path, own: int, outcome: str
) -> None:
    task = Classification(NETWORK, ("a", "b"), (20,), {"inputs": 20, "classes": 2})
    ws = trained(tmp_path / "ws", [handed(ANNA)], replace(RECIPE, task=task, method="finetune"))
    _, found = audited(ws, [row["id"] for row in OF[ANNA][:own]], CHEAT)
    [result] = found.results
    assert (result.outcome, BITS_ALONE in result.told) == (outcome, own < 20)
    if own < 20:
        assert any("another order" in line for line in found.not_claimable)
    else:
        assert REORDERED in result.told and result.unit == "standard deviations from chance"


def test_a_request_without_codes_plans_no_such_audit(tmp_path: Path) -> None:
    ws = trained(tmp_path / "ws", [handed(ANNA)])
    request = ws.accept(ws.resolve(ask(ROWS[-1]["id"])))
    plan = ws.plan_audits(60.0, request.id)[request.id]
    assert plan.choices == ()
    assert plan.left_out == {"seeds": "none of the records was seeded"}
