"""A request on a linear model, from its acceptance to a certificate of (epsilon, delta)."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tiny_workspace import new_workspace, statement

from rescind import state
from rescind.core.certificate import Statement
from rescind.core.errors import InsufficientEvidence, UnsupportedModel
from rescind.core.guarantee import Certified, Empirical
from rescind.core.partition import Partition
from rescind.core.run import AdamW, Recipe
from rescind.methods.certified_removal import SEEDED, CertifiedRemoval
from rescind.resolve import Ask
from rescind.training.modules import Classification
from rescind.workspace import Workspace


def points(n: int = 60) -> list[dict[str, object]]:
    draw = random.Random(0)
    return [
        {
            "id": f"p{i}",
            "array": [(1.0 if i % 2 else -1.0) + draw.gauss(0, 0.6), draw.gauss(0, 0.6)],
            "label": "ab"[i % 2],
        }
        for i in range(n)
    ]


def trained(folder: Path, hidden: tuple[int, ...] = ()) -> Workspace:
    arguments = {"inputs": 2, "outputs": 2, "hidden": hidden}
    recipe = Recipe(
        task=Classification("rescind.training.zoo:mlp", ("a", "b"), (2,), arguments),
        method="certified_removal",
        partition=Partition(1, 1, 0.2),
        orders=1,
        epochs=4,
        batch_size=8,
        optimizer=AdamW(lr=1e-2),
    )
    workspace = new_workspace(folder)
    workspace.train(recipe, points(), key="id", store=True)
    return workspace


def forget(ws: Workspace, method: CertifiedRemoval | None = None) -> Statement:
    """Ask for one record and process it; every check of the certificate has passed."""
    key = next(e.key for e in state.allowed(ws.backends) if e.cell != "test")
    request = ws.request(Ask(keys=(key,), near="keep"))
    return statement(ws.process(request.id, method=method))


def test_a_release_under_secret_noise_is_certified(tmp_path: Path) -> None:
    ws = trained(tmp_path)
    said = forget(ws, CertifiedRemoval(epsilon=0.5, delta=1e-6))
    assert isinstance(said.guarantee, Certified)
    assert (said.guarantee.epsilon, said.guarantee.delta) == (0.5, 1e-6)
    assert "l2 = 0.01" in said.guarantee.assumption
    assert said.proof.outcome == "not_run"
    assert said.erasure.left == ()
    assert said.original != said.unlearned
    assert ws.remaining() == {}
    assert len(ws.predict(points()[:4])) == 4


def test_every_later_request_has_a_claim_of_its_own(tmp_path: Path) -> None:
    """It starts from a release, and after a seed too: the bound holds from wherever it starts."""
    ws = trained(tmp_path)
    methods = (None, CertifiedRemoval(seed=0), None)
    said = [forget(ws, method) for method in methods]
    assert [s.guarantee.kind for s in said] == ["certified", "empirical", "certified"]
    assert len({s.unlearned for s in said}) == 3


def test_under_noise_from_a_seed_it_is_empirical(tmp_path: Path) -> None:
    said = forget(trained(tmp_path), CertifiedRemoval(seed=7))
    assert said.guarantee == Empirical(SEEDED)
    assert said.parameters["seed"] == 7


def test_a_claim_is_lowered_while_something_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Erasure decides, since no replay does."""
    ws = trained(tmp_path)
    monkeypatch.setattr("rescind.proofs.claims.erased", lambda receipt: 0)
    monkeypatch.setattr("rescind.proofs.coherence.RULES", {})
    assert forget(ws).guarantee == Empirical("nothing was destroyed or rewritten")


def test_a_bound_that_is_too_large_leaves_the_model_and_the_request_open(tmp_path: Path) -> None:
    ws = trained(tmp_path)
    served = state.parts(ws.backends)
    with pytest.raises(InsufficientEvidence, match="more steps"):
        forget(ws, CertifiedRemoval(sigma=1e-15))
    assert state.parts(ws.backends) == served
    [request] = state.requests(ws.backends)
    assert request.status == "failed"
    assert statement(ws.process(request.id)).guarantee.kind == "certified"


def test_a_model_with_a_hidden_layer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match="Never"):
        forget(trained(tmp_path, hidden=(4,)))
