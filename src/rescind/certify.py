"""Step 10: lower the claim to what the evidence carries, say it, and sign the bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from rescind import absences, auditing, committed, state
from rescind.backends import Backends
from rescind.core.audit import AuditVerdict
from rescind.core.canonical import build, digest, plain
from rescind.core.certificate import Certificate, Statement, Unchanged
from rescind.core.errors import InsufficientEvidence, UnknownKey, VerificationFailed
from rescind.core.evidence import ErasureReceipt, Evaluation, Proof
from rescind.core.guarantee import Certified, Empirical, Exact, Guarantee, compose
from rescind.core.protocols import Entry, Write
from rescind.core.request import Request
from rescind.core.version import ModelVersion
from rescind.proofs.attested import STANDING
from rescind.proofs.claims import supported
from rescind.proofs.reading import read_statement
from rescind.proofs.signing import from_envelope, sign_statement, to_envelope
from rescind.sealing import open_keys

# the methods of ours that measure their bound before they claim it; no evidence could show that
# another's did, and a claim by itself certifies nothing
MEASURED = frozenset({"certified_removal"})


def certify(b: Backends, request: Request) -> Certificate:
    """Issue the certificate of an erased request; one that is there already is returned as it is.

    Raises:
        InsufficientEvidence: nothing was measured, and no reason given.
        LedgerInconsistent: the ledger was changed by something other than an entry.
        VerificationFailed: the one that is there is another request's.
    """
    if b.ledger.get("certificate", request.id) is not None:
        return load(b, request.id)
    _check_suppressed(b, request)
    committed.commit(b, request)
    absences.keep(b, request, committed.last(b).manifest)
    b.ledger.verify()  # what is signed is read from projections that only entries may have changed
    b.ledger.checkpoint()  # before it says "destroyed", no deleted row may linger in the log
    statement = _statement(b, request)
    certificate = sign_statement(statement, [b.signer()])
    envelope = to_envelope(certificate)
    version = state.version_by_id(b, _claim(b, request)["version"])
    certified = plain(version) | {"guarantee": plain(statement.guarantee)}
    writes = (
        Write("certificate", request.id, envelope),
        Write("version", version.id, certified),
    )
    facts = {"digest": digest(envelope), "guarantee": plain(statement.guarantee)}
    b.ledger.append(Entry("certificate.issued", request.id, facts, writes))
    return certificate


def _check_suppressed(b: Backends, request: Request) -> None:
    suppressed = b.ledger.items("suppressed")
    leaves = (state.suppression_leaf(b, key) for key in open_keys(b.keys, request))
    gone = sum(leaf not in suppressed for leaf in leaves)
    if gone and b.settings.suppression_list:
        raise InsufficientEvidence(
            f"{gone} records of request {request.id} are not on the suppression list.",
            "Something took them off, and a re-import could bring them back.",
            "Look for it in the ledger, then restore a backup with `rescind restore`.",
        )


def load(b: Backends, request_id: str) -> Certificate:
    """The certificate of a request.

    Raises:
        UnknownKey: none was issued.
        VerificationFailed: what is stored is another request's.
    """
    envelope = b.ledger.get("certificate", request_id)
    if envelope is None:
        raise UnknownKey(
            f"Request {request_id} has no certificate.",
            do=f"`rescind process {request_id}` makes one.",
        )
    certificate = from_envelope(envelope)
    about = read_statement(certificate.payload).request
    if about != request_id:
        raise VerificationFailed(
            "request",
            f"The certificate stored for request {request_id} is that of request {about}.",
            "A certificate speaks for one request.",
            "Check the ledger with `rescind db verify`.",
        )
    return certificate


def envelope_bytes(certificate: Certificate) -> bytes:
    """The file a stranger receives."""
    return json.dumps(to_envelope(certificate), indent=2, sort_keys=True).encode() + b"\n"


def _claim(b: Backends, request: Request) -> dict[str, Any]:
    claim: dict[str, Any] = b.ledger.get("claim", request.id)
    return claim


def guarantee_from(data: Mapping[str, Any]) -> Guarantee:
    """A claim as a method stored it."""
    kinds: dict[str, type[Guarantee]] = {
        "exact": Exact,
        "certified": Certified,
        "empirical": Empirical,
    }
    return build(kinds[data["kind"]], data)


def _statement(b: Backends, request: Request) -> Statement:
    run, claim = state.run(b), _claim(b, request)
    version = state.version_by_id(b, claim["version"])
    proof = build(Proof, b.ledger.get("proof", request.id))
    erasure = build(ErasureReceipt, b.ledger.get("erasure", request.id))
    after = build(Evaluation, b.ledger.get("evaluation", request.id)["after"])
    before = build(Evaluation, b.ledger.get("evaluation", request.id)["before"])
    if not after.measurements and after.unmeasured == "no":
        raise InsufficientEvidence("Nothing was measured.", do="Run `rescind process` again.")
    seen = auditing.told(b, request.id)
    now = datetime.now(UTC)
    seq, head = b.ledger.head()
    return Statement(
        request=request.id,
        model=request.model,
        goal=request.goal,
        basis=request.basis,
        target=request.target,
        received_at=request.received_at,
        withdrawn_at=request.withdrawn_at or "",
        original=claim["original"],
        unlearned=version.weights,
        unchanged=_unchanged(request, claim["original"], version.weights),
        run=digest(plain(run)),
        forgotten=version.forgotten,
        method=claim["method"],
        parameters=claim["parameters"],
        guarantee=_guarantee(b, claim, version, proof, erasure, seen),
        measurements=(*before.measurements, *after.measurements),
        unmeasured=after.unmeasured,
        proof=proof,
        erasure=erasure,
        ledger_seq=seq,
        ledger_head=head,
        scope=scope(b, request),
        issued_at=now.isoformat(),
        valid_until=(now + timedelta(days=b.settings.validity_days)).isoformat(),
        key_id=b.signer().key_id,
        judgement=after.judgement,
        unjudged=after.unjudged,
        attempts=after.attempts,
        controls=after.controls,
        audit=seen,
        ledger_root=committed.ledger_root(b, seq),
        mask_seals=committed.mask_seals(b, request.id),
    )


def _unchanged(request: Request, original: str, unlearned: str) -> Unchanged:
    """Why the served weights are what they were: nothing served had used the records."""
    if original != unlearned:
        return "no"
    return "test_only" if request.cells == {"test"} else "not_served"


def _guarantee(
    b: Backends,
    claim: Mapping[str, Any],
    version: ModelVersion,
    proof: Proof,
    erasure: ErasureReceipt,
    audit: AuditVerdict | None,
) -> Guarantee:
    """The method's claim, composed and lowered; certificates of other versions raise nothing.

    An identical replay started from raw rows without anything ever forgotten and trained all that
    is served, so it stands alone; without one the parent's guarantee counts too.
    """
    claimed = guarantee_from(claim["guarantee"])
    if isinstance(claimed, Certified) and claim["method"] not in MEASURED:
        claimed = Empirical("the bound of this method was not measured by code of this package")
    carried = supported(claimed, proof, erasure, audit)
    if isinstance(carried, Empirical):
        return carried  # what is missing now says more than what was missing earlier
    earlier = state.version_by_id(b, version.parent).guarantee if version.parent else None
    alone = proof.outcome == "identical" or bool(claim["from_scratch"])
    return supported(compose(earlier, claimed, from_scratch=alone), proof, erasure, audit)


def scope(b: Backends, request: Request) -> tuple[str, ...]:
    """What this certificate does not cover, as far as this request is concerned."""
    target = request.target
    found = list(STANDING)
    kept = target.near_kept + target.exact_kept
    if kept:
        found.append(f"{kept} duplicates of the forget set stay in the retain set by choice.")
    if not target.searched:
        found.append("Duplicates were not looked for: the source could not be read.")
    parent = state.parent(b)
    if parent:
        found.append(
            "The workspace that this one was copied from, and other copies of it: each keeps its"
            f" own records until it is asked. Its ledger head was {parent}."
        )
    if not b.settings.suppression_list:
        found.append("The suppression list is off: a re-import could bring the records back.")
    if not b.settings.encrypt:
        found.append("Encryption at rest is off: destroyed means unlinked, no key was deleted.")
    return tuple(found)
