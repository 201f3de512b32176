"""Verify a certificate offline and say apart what was checked, what is attested, what is neither.

A check never trusts a field beside the signed bytes: the public key in the envelope is a hint, and
without a pinned key the check ``signer`` stays "not checked".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from rescind.core.certificate import PAYLOAD_TYPE, Certificate, Signature, Statement
from rescind.core.errors import BadParameter, DamagedArtifact, VerificationFailed
from rescind.proofs import claims, lineage, mask_seal
from rescind.proofs.attested import attested_by_signer, describe, not_covered, readable
from rescind.proofs.coherence import contradictions
from rescind.proofs.export_digest import read_export
from rescind.proofs.lineage import check_consistency as check_consistency
from rescind.proofs.reading import LARGEST, moment, parse_json, read_header, read_statement
from rescind.proofs.signing import authenticated, from_envelope, key_id
from rescind.proofs.verification import Check as Check
from rescind.proofs.verification import Verification as Verification


@dataclass(frozen=True, slots=True)
class Case:
    """A readable certificate and what the reader brought to compare it with."""

    certificate: Certificate
    header: Mapping[str, Any]
    statement: Statement
    model: Path | None
    ledger_head: str | None
    at: datetime


def verify(
    envelope: bytes,
    *,
    key: bytes | None = None,
    model: Path | None = None,
    ledger_head: str | None = None,
    at: datetime | None = None,
    proof: bytes | None = None,
    receipt: bytes | None = None,
    order: bytes | None = None,
    mask: tuple[str, str] | None = None,
) -> Verification:
    """Check a certificate as received; whatever is wrong with it becomes a failed check.

    Args:
        envelope: the file's bytes.
        key: the raw 32-byte public key that the reader trusts (``load_public`` reads one).
        model: the exported folder to compare with.
        ledger_head: a head that an independent source recorded.
        at: the time for which validity is asked; now where absent.
        proof: the proof of lineage beside it, as `rescind prove` wrote it.
        receipt: of a record, to look for in that proof.
        order: the provider's order.json, to open a seal with.
        mask: digests of mask and gradient (``Public.digests``), to compare with that order.

    Raises:
        BadParameter: the key has not 32 bytes, or ``at`` names no time zone.
    """
    _check_arguments(key, at)
    try:
        certificate = _open(envelope)
    except VerificationFailed as error:
        return _stopped((Check("envelope", "failed", readable(error.what)),))
    outer = tuple(check(certificate, key) for check in ENVELOPE_CHECKS.values())
    try:
        header, statement = read_header(certificate.payload), read_statement(certificate.payload)
    except VerificationFailed as error:
        return _stopped((*outer, Check("statement", "failed", readable(error.what))))
    now = datetime.now(UTC) if at is None else at
    case = Case(certificate, header, statement, model, ledger_head, now)
    checks = outer + tuple(check(case) for check in STATEMENT_CHECKS.values())
    checks += tuple(mask_seal.checks(statement, order, mask))
    open_ = not_covered(statement)
    if proof is not None:
        checks += lineage.checks(statement, proof, receipt)
        open_ = (*lineage.NOT_COVERED, *open_)
    signed = all(check.outcome != "failed" for check in outer)
    said = attested_by_signer(statement) if signed else ()
    return Verification(checks, said, open_, statement if signed else None)


def _check_arguments(key: bytes | None, at: datetime | None) -> None:
    if key is not None and len(key) != 32:
        raise BadParameter(
            f"The pinned key has {len(key)} bytes, not 32.", do="Read it with load_public()."
        )
    if at is not None and at.tzinfo is None:
        raise BadParameter(f"The time {at.isoformat()} names no zone.", do="Add one, such as Z.")


def _open(envelope: bytes) -> Certificate:
    if len(envelope) > LARGEST:
        raise VerificationFailed("envelope", f"It is larger than {LARGEST} bytes.")
    try:
        value = parse_json(envelope)
    except ValueError as error:
        raise VerificationFailed("envelope", f"It is not JSON: {str(error)[:80]}.") from error
    return from_envelope(value)


def _stopped(checks: tuple[Check, ...]) -> Verification:
    """What is left when the rest cannot be read."""
    done = {check.name for check in checks}
    names = [name for name in (*ENVELOPE_CHECKS, *STATEMENT_CHECKS) if name not in done]
    last = checks[-1].name
    rest = tuple(Check(n, "not checked", f"the {last} could not be read") for n in names)
    return Verification(checks + rest, (), not_covered(None), None)


def _judge(name: str, problems: list[str], passed: str) -> Check:
    """Failed with every problem, or passed."""
    if problems:
        return Check(name, "failed", readable("; ".join(problems)))
    return Check(name, "passed", readable(passed))


def check_envelope(certificate: Certificate, key: bytes | None) -> Check:
    """The envelope is DSSE and its payload an in-toto statement."""
    kind = certificate.payload_type
    problems = [] if kind == PAYLOAD_TYPE else [f"its payload is {kind}, not {PAYLOAD_TYPE}"]
    return _judge("envelope", problems, "a DSSE envelope with an in-toto statement")


def check_signature(certificate: Certificate, key: bytes | None) -> Check:
    """Every signature holds over the received bytes under the public key beside it."""
    message = authenticated(certificate.payload_type, certificate.payload)
    problems = [
        f"the signature of {s.key_id} does not hold over these bytes"
        for s in certificate.signatures
        if not _holds(s, message)
    ]
    if not certificate.signatures:
        problems = ["there is no signature"]
    return _judge("signature", problems, "every signature holds over the bytes as received")


def check_signer(certificate: Certificate, key: bytes | None) -> Check:
    """The key that the reader pinned is among those whose signatures were checked."""
    names = ", ".join(s.key_id for s in certificate.signatures) or "nobody"
    if key is None:
        detail = f"signed by {names}; you have not pinned this key"
        return Check("signer", "not checked", readable(detail))
    if not certificate.signatures:
        return Check("signer", "not checked", "there is no signature to look at")
    pinned = key in [_raw(s) for s in certificate.signatures]
    problems = [] if pinned else [f"signed by {names}, but you pinned {key_id(key)}"]
    return _judge("signer", problems, f"signed by {key_id(key)}, the key you pinned")


def check_key(case: Case) -> Check:
    """Each key id is the hash of its public key, and the statement names one of them."""
    names = [s.key_id for s in case.certificate.signatures]
    problems = [
        f"{s.key_id} is not the id of the public key beside it"
        for s in case.certificate.signatures
        if key_id(_raw(s)) != s.key_id
    ]
    if names and case.statement.key_id not in names:
        problems.append(f"the statement names the key {case.statement.key_id}, which did not sign")
    return _judge("key", problems, "the key ids belong to the public keys")


def check_statement(case: Case) -> Check:
    """The in-toto subject is the model, and the digest, that the statement is about."""
    said = case.statement
    subject = [{"name": said.model, "digest": {"sha256": said.unlearned}}]
    same = case.header.get("subject") == subject
    problems = [] if same else ["its subject is not the model that the statement certifies"]
    return _judge("statement", problems, f"it certifies {said.model}, {said.unlearned}")


def check_validity(case: Case) -> Check:
    """The certificate was issued by then and has not expired."""
    said, at = case.statement, case.at
    problems = []
    if at < moment(said.issued_at):
        problems.append(f"it is not valid before {said.issued_at}")
    if at > moment(said.valid_until):
        problems.append(f"it expired at {said.valid_until}")
    return _judge("validity", problems, f"valid from {said.issued_at} to {said.valid_until}")


def check_model(case: Case) -> Check:
    """The exported folder holds the certified weights under the certified name, and no more."""
    if case.model is None:
        return Check("model", "not checked", "no exported folder was given to compare with")
    try:
        found = read_export(case.model)
    except DamagedArtifact as error:
        return _judge("model", [error.what], "")
    said, problems = case.statement, []
    if found.model != said.model:
        problems.append(f"the folder calls its model {found.model}, not {said.model}")
    if found.weights != said.unlearned:
        problems.append(f"the folder holds {found.weights}, not {said.unlearned}")
    return _judge("model", problems, f"the folder holds {found.weights}, as certified")


def check_ledger_head(case: Case) -> Check:
    """The certificate stands on the ledger that an independent source saw."""
    said = case.statement
    source = "a head tells something only if it comes from a source independent of the signer"
    if case.ledger_head is None:
        detail = f"{source}; this one names {said.ledger_head} at entry {said.ledger_seq}"
        return Check("ledger head", "not checked", detail)
    same = case.ledger_head == said.ledger_head
    problems = [] if same else [f"it names {said.ledger_head}, not the head you gave; {source}"]
    return _judge("ledger head", problems, f"it names the head you gave; {source}")


def check_evidence(case: Case) -> Check:
    """Request, replay, erasure and measurements are there and do not contradict one another."""
    problems = contradictions(case.statement)
    return _judge("evidence", problems, "request, replay, erasure and measurements are coherent")


def check_claim(case: Case) -> Check:
    """The claim is no stronger than the evidence in the certificate carries."""
    said = case.statement
    carried = claims.supported(said.guarantee, said.proof, said.erasure, said.audit)
    problems = (
        [] if carried == said.guarantee else [f"the evidence carries only: {describe(carried)}"]
    )
    return _judge("claim", problems, f"the evidence carries the claim {said.guarantee.kind}")


def _holds(signature: Signature, message: bytes) -> bool:
    try:
        public = Ed25519PublicKey.from_public_bytes(_raw(signature))
        public.verify(bytes.fromhex(signature.signature), message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _raw(signature: Signature) -> bytes:
    """The public key beside a signature, or nothing where it is no lower-case hex."""
    try:
        raw = bytes.fromhex(signature.public)
    except ValueError:
        return b""
    return raw if raw.hex() == signature.public else b""


ENVELOPE_CHECKS: dict[str, Callable[[Certificate, bytes | None], Check]] = {
    "envelope": check_envelope,
    "signature": check_signature,
    "signer": check_signer,
}
STATEMENT_CHECKS: dict[str, Callable[[Case], Check]] = {
    "key": check_key,
    "statement": check_statement,
    "validity": check_validity,
    "model": check_model,
    "ledger head": check_ledger_head,
    "evidence": check_evidence,
    "claim": check_claim,
}
