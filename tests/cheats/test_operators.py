"""An operator with a database client, and one who holds every key."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from outsider import ask, failed_checks, said

from rescind import state
from rescind.certify import envelope_bytes
from rescind.core.canonical import dumps
from rescind.core.errors import LedgerInconsistent, RescindError, VerificationFailed
from rescind.core.evidence import Proof
from rescind.core.protocols import Entry, Write, chain_digest
from rescind.proofs.signing import to_envelope
from rescind.proofs.verifier import verify
from rescind.workspace import Workspace


@contextmanager
def database(workspace: Workspace) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(workspace.folder / "rescind.db")
    with connection:
        yield connection
    connection.close()


def test_history_that_was_edited_shows(workspace: Workspace) -> None:
    workspace.process(workspace.request(ask(workspace)).id)
    seq = next(e.seq for e in workspace.backends.ledger.entries() if e.kind == "proof.made")
    with database(workspace) as connection:
        connection.execute(
            "UPDATE entries SET body = replace(body, 'never_saw', 'retrain') WHERE seq = ?", (seq,)
        )
    with pytest.raises(LedgerInconsistent) as caught:
        workspace.verify()
    assert caught.value.at == seq


def test_an_entry_that_was_removed_shows(workspace: Workspace) -> None:
    workspace.process(workspace.request(ask(workspace)).id)
    with database(workspace) as connection:
        connection.execute("DELETE FROM entries WHERE kind = 'version.exported' OR seq = 6")
    with pytest.raises(LedgerInconsistent):
        workspace.verify()


def test_a_projection_that_was_edited_shows(workspace: Workspace) -> None:
    request = workspace.request(ask(workspace))
    with database(workspace) as connection:
        connection.execute("DELETE FROM state WHERE table_name = 'suppressed'")
    with pytest.raises(LedgerInconsistent, match="suppressed"):
        workspace.verify()
    with pytest.raises(RescindError):
        workspace.process(request.id)
    assert workspace.backends.ledger.get("certificate", request.id) is None


def test_nothing_is_signed_over_a_proof_written_past_the_ledger(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No replay was run; the table is made to say that one was."""
    from rescind import certify

    request = workspace.request(ask(workspace))
    honest = certify.certify

    def forge(b: object, of: object) -> object:
        version = state.version_by_id(
            workspace.backends, workspace.backends.ledger.get("claim", request.id)["version"]
        )
        proof = Proof("replay", "identical", "", "retrain", version.weights, 8, "here")
        with database(workspace) as connection:
            connection.execute(
                "UPDATE state SET value = ? WHERE table_name = 'proof'", (dumps(proof).decode(),)
            )
        return honest(workspace.backends, state.request(workspace.backends, request.id))

    monkeypatch.setattr(certify, "certify", forge)
    with pytest.raises(LedgerInconsistent, match="proof"):
        workspace.process(request.id, replay=False)
    assert workspace.backends.ledger.get("certificate", request.id) is None
    assert state.request(workspace.backends, request.id).status == "failed"


def test_an_old_certificate_does_not_answer_a_new_request(workspace: Workspace) -> None:
    first = workspace.request(ask(workspace))
    old = workspace.process(first.id)
    second = workspace.request(ask(workspace))
    write = Write("certificate", second.id, to_envelope(old))
    workspace.backends.ledger.append(Entry("certificate.issued", second.id, writes=(write,)))
    with pytest.raises(VerificationFailed, match=first.id):
        workspace.process(second.id)
    with pytest.raises(VerificationFailed, match=first.id):
        workspace.certificate(second.id)
    assert state.request(workspace.backends, second.id).status == "failed"
    assert said(old).request == first.id  # as anyone who is handed it can read


def rewrite_history(workspace: Workspace) -> None:
    """Who holds the file can leave out a step and compute every later digest anew."""
    entries, previous = list(workspace.backends.ledger.entries()), ""
    with database(workspace) as connection:
        for entry in entries:
            changed = entry if entry.seq != 3 else replace(entry, at="2020-01-01T00:00:00+00:00")
            changed = replace(changed, previous=previous)
            previous = chain_digest(changed)
            connection.execute(
                "UPDATE entries SET at = ?, previous = ?, digest = ? WHERE seq = ?",
                (changed.at, changed.previous, previous, entry.seq),
            )
        connection.execute("UPDATE meta SET value = ? WHERE name = 'head'", (previous,))


def test_a_whole_new_history_shows_only_against_a_head_kept_elsewhere(
    workspace: Workspace,
) -> None:
    certificate = workspace.process(workspace.request(ask(workspace)).id)
    rewrite_history(workspace)
    workspace.verify()  # by itself the new chain holds
    seq, head = said(certificate).ledger_seq, said(certificate).ledger_head
    now = {entry.seq: entry.digest for entry in workspace.backends.ledger.entries()}
    assert now[seq] != head  # the certificate that was handed out contradicts it
    check = verify(envelope_bytes(certificate), ledger_head=now[seq]).checks
    assert {c.name for c in check if c.outcome == "failed"} == {"ledger head"}


def test_who_holds_every_key_can_attest_a_lie_and_it_is_listed_as_attested(
    workspace: Workspace,
) -> None:
    """By design: a proof entered through the ledger is the signer's word, and is listed as such."""
    request = workspace.request(ask(workspace))
    certificate = workspace.process(request.id, replay=False)
    lie = replace(
        said(certificate),
        proof=Proof("replay", "identical", "", "never_saw", said(certificate).unlearned, 5, "x"),
    )
    from rescind.proofs.signing import sign_statement

    forged = sign_statement(lie, [workspace.backends.signer()])
    assert failed_checks(forged) == set()
    found = verify(envelope_bytes(forged))
    assert any(line.startswith("Replay: identical") for line in found.attested)
    assert "replay" not in {check.name for check in found.checks}
    assert any("run the replay again" in line for line in found.not_covered)
