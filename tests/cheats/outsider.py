"""What somebody sees who can only ask: the request, its certificate, and the model's answers."""

from __future__ import annotations

from pathlib import Path

from rescind import state, trainer
from rescind.certify import envelope_bytes
from rescind.core.certificate import Certificate, Statement
from rescind.core.guarantee import Exact
from rescind.core.request import Request
from rescind.methods.retrain import Retrain
from rescind.proofs.reading import read_statement
from rescind.proofs.verifier import verify
from rescind.resolve import Ask
from rescind.testing.trial import trained_keys
from rescind.workspace import Workspace

ROW = {"text": "anna match goal team coach league"}
LYING = Path(__file__).with_name("lying_methods.py")


def ask(workspace: Workspace, method: str | None = None, record: int = 0) -> Ask:
    return Ask(keys=(trained_keys(workspace)[record],), near="keep", method=method)


def said(certificate: Certificate) -> Statement:
    return read_statement(certificate.payload)


def failed_checks(certificate: Certificate, model: Path | None = None) -> set[str]:
    found = verify(envelope_bytes(certificate), model=model)
    return {check.name for check in found.checks if check.outcome == "failed"}


def stale(workspace: Workspace, request: Request) -> list[str]:
    """Parts in service that were made from the records of the request."""
    b = workspace.backends
    return [s.name for s in state.parts(b) if trainer.labels_of(b, s) & request.labels]


def assert_caught(workspace: Workspace, request_id: str, parts: int) -> None:
    """Failed, uncertified, the cut version answering; the honest method then gets through."""
    request = state.request(workspace.backends, request_id)
    assert request.status == "failed"
    assert workspace.backends.ledger.get("certificate", request_id) is None
    assert len(state.parts(workspace.backends)) == parts
    assert not stale(workspace, request)
    workspace.backends.ledger.verify()


def assert_honest_method_passes(workspace: Workspace, request_id: str) -> None:
    certificate = workspace.process(request_id, method=Retrain())
    assert said(certificate).guarantee == Exact("retrain")
    assert failed_checks(certificate) == set()
    assert workspace.remaining() == {}
    assert len(workspace.predict([ROW])) == 1
    workspace.verify()
