"""A lying method is caught, and says nothing about the honest one that runs after it."""

from __future__ import annotations

import lying_methods as lying
import pytest
from outsider import LYING, ask, assert_caught, assert_honest_method_passes, said, stale

from rescind import state
from rescind.core.errors import (
    BadData,
    DamagedArtifact,
    InsufficientEvidence,
    NoOp,
    NotDeterministic,
    Refused,
    RescindError,
    StaleVersion,
)
from rescind.core.guarantee import Empirical, Exact, Guarantee
from rescind.core.protocols import Unlearner
from rescind.core.run import Order
from rescind.methods.s3t import S3T
from rescind.resolve import Ask
from rescind.testing.trial import trained_keys
from rescind.workspace import Workspace, open_workspace

TRAINED = 8  # snapshots: 2 shards x 2 orders x 2 stages
LEFT = 5  # after the cut of one cell

# method, the error, the step that stops it, and words that no other check says
BEFORE_ANY_EVIDENCE: list[tuple[Unlearner, type[RescindError], str]] = [
    (lying.TrainsOnTheForgetSet(), BadData, "not in the retain set"),
    (lying.LaundersLineage(), NoOp, "copies of snapshots"),
    (lying.ReturnsForeignParts(), StaleVersion, "not made from what its cells hold"),
    (lying.DropsEverything(), Refused, "dropped all"),
    (lying.ReadsAfterReturning(), InsufficientEvidence, "after it had returned"),
    (lying.EditsWeightsInPlace(), DamagedArtifact, "does not hold the weights"),
]
BY_THE_REPLAY: list[Unlearner] = [
    lying.TrainsOnEverythingBehindTheHandle(),
    lying.EditsWeights(),
    lying.UsesAnotherSeed(),
    lying.InflatesAWeight(),
    lying.MislabelsASlice(),
]


@pytest.mark.parametrize(("method", "error", "words"), BEFORE_ANY_EVIDENCE)
def test_a_lie_is_caught_with_or_without_a_replay(
    method: Unlearner, error: type[RescindError], words: str, workspace: Workspace
) -> None:
    request = workspace.request(ask(workspace))
    with pytest.raises(error, match=words):
        workspace.process(request.id, method=method, replay=False)
    ruined = isinstance(method, lying.EditsWeightsInPlace)  # what it changed leaves service
    assert_caught(workspace, request.id, LEFT - ruined)
    assert_honest_method_passes(workspace, request.id)


@pytest.mark.parametrize("method", BY_THE_REPLAY, ids=lambda m: type(m).__name__)
def test_a_lie_that_only_the_replay_catches(method: Unlearner, workspace: Workspace) -> None:
    request = workspace.request(ask(workspace))
    with pytest.raises(NotDeterministic, match="gave other bytes"):
        workspace.process(request.id, method=method)
    assert_caught(workspace, request.id, LEFT)
    assert_honest_method_passes(workspace, request.id)


@pytest.mark.parametrize("method", BY_THE_REPLAY, ids=lambda m: type(m).__name__)
def test_without_a_replay_such_a_lie_earns_no_claim(
    method: Unlearner, workspace: Workspace
) -> None:
    request = workspace.request(ask(workspace))
    certificate = workspace.process(request.id, method=method, replay=False)
    assert isinstance(said(certificate).guarantee, Empirical)
    assert said(certificate).proof.outcome == "not_run"


def test_what_a_replay_refuted_is_destroyed(workspace: Workspace) -> None:
    store = workspace.backends.artifacts
    request = workspace.request(ask(workspace))
    with pytest.raises(NotDeterministic):
        workspace.process(request.id, method=lying.EditsWeights())
    assert store.find("snapshot/edited") is None


def test_returning_the_original_is_an_error(workspace: Workspace) -> None:
    request = workspace.request(ask(workspace, method="retrain"))
    with pytest.raises(NoOp, match="Handing back the original"):
        workspace.process(request.id, method=lying.ReturnsTheOriginal())
    request = state.request(workspace.backends, request.id)
    assert request.status == "failed"
    assert request.withdrawn_at is None  # a method that edits weights: the original answers on
    assert len(stale(workspace, request)) == TRAINED - LEFT
    assert workspace.backends.ledger.get("certificate", request.id) is None
    assert_honest_method_passes(workspace, request.id)


def test_taking_the_record_off_the_suppression_list_is_caught(workspace: Workspace) -> None:
    request = workspace.request(ask(workspace))
    with pytest.raises(InsufficientEvidence, match="suppression list"):
        workspace.process(request.id, method=lying.WritesToTheLedger())
    assert_caught(workspace, request.id, LEFT)
    kinds = [entry.kind for entry in workspace.backends.ledger.entries()]
    assert "housekeeping" in kinds  # and the ledger shows who did it and when


LOWERED: list[tuple[Unlearner, Guarantee]] = [
    (S3T(), Exact("never_saw")),
    (lying.ClaimsRetraining(), Exact("never_saw")),
    (lying.TrainsAnotherLayout(), Exact("never_saw")),
    (lying.AddsAnOrder(), Exact("never_saw")),
]


@pytest.mark.parametrize(("method", "carried"), LOWERED)
def test_a_claim_is_lowered_to_what_the_replay_carries(
    method: Unlearner, carried: Guarantee, workspace: Workspace
) -> None:
    request = workspace.request(ask(workspace))
    certificate = workspace.process(request.id, method=method)
    assert said(certificate).guarantee == carried
    assert state.version(workspace.backends).guarantee == carried


def test_a_layout_that_shrinks_with_the_cuts_earns_no_stronger_claim(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A method that lays out is asked for its orders once, before any request, not afterwards."""
    request = workspace.request(ask(workspace))
    longest = {(p.shard, p.order): p for p in state.parts(workspace.backends)}
    left = tuple(Order(p.shard, p.order, p.slices, p.blocks) for p in longest.values())
    monkeypatch.setattr(S3T, "orders", lambda self, recipe, n_blocks: left)
    certificate = workspace.process(request.id, method=lying.ClaimsRetraining())
    assert said(certificate).guarantee == Exact("never_saw")


@pytest.mark.parametrize("replay", [True, False])
def test_a_certified_claim_without_a_proof_is_lowered(replay: bool, workspace: Workspace) -> None:
    request = workspace.request(ask(workspace))
    certificate = workspace.process(request.id, method=lying.ClaimsACertificate(), replay=replay)
    assert isinstance(said(certificate).guarantee, Empirical)


WITHDRAWERS = [lying.KeepsEverything, lying.CutsTheWrongShard, lying.LosesParts]


@pytest.mark.parametrize("method", WITHDRAWERS)
def test_a_withdrawal_that_does_not_withdraw_is_caught(method: type, workspace: Workspace) -> None:
    wanted = ask(workspace, method=f"{LYING}:{method.__name__}")
    with pytest.raises(NoOp):
        workspace.request(wanted)
    [request] = workspace.requests()
    assert (request.status, request.withdrawn_at) == ("planned", None)
    assert len(state.parts(workspace.backends)) == TRAINED
    with pytest.raises(NoOp):
        workspace.process(request.id)
    assert workspace.backends.ledger.get("certificate", request.id) is None


def test_such_a_method_does_not_lock_the_workspace(workspace: Workspace) -> None:
    with pytest.raises(NoOp):
        workspace.request(ask(workspace, method=f"{LYING}:KeepsEverything"))
    workspace.backends.ledger.close()
    again = open_workspace(workspace.folder)
    [request] = again.requests()
    again.cancel(request.id)
    honest = again.request(ask(again))
    assert honest.status == "withdrawn"
    assert_honest_method_passes(again, honest.id)


def test_a_second_request_after_a_cheat_forgets_both_records(workspace: Workspace) -> None:
    keys = trained_keys(workspace)
    first = workspace.request(ask(workspace))
    with pytest.raises(NotDeterministic):
        workspace.process(first.id, method=lying.UsesAnotherSeed())
    second = workspace.request(Ask(keys=(keys[-1],), near="keep"))
    assert said(workspace.process(first.id, method=S3T())).guarantee == Exact("never_saw")
    assert_honest_method_passes(workspace, second.id)
    assert not set(keys[:1] + keys[-1:]) & set(workspace.keys())
