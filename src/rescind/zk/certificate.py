"""The certificate of an order that was carried out: all a stranger needs beside proof and mask."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

from rescind.core.canonical import build, dumps, plain
from rescind.core.certificate import (
    MASK_PREDICATE_TYPE,
    PAYLOAD_TYPE,
    STATEMENT_TYPE,
)
from rescind.core.errors import BadData, BadParameter, RescindError, VerificationFailed
from rescind.proofs import verifier as deletion
from rescind.proofs.attested import readable
from rescind.proofs.mask_proof import soundness
from rescind.proofs.mask_proof.statement import Public, Statement
from rescind.proofs.mask_proof.verifier import verify as verify_proof
from rescind.proofs.reading import parse_json
from rescind.proofs.signing import KeySigner, from_envelope, key_id
from rescind.proofs.verifier import Check, Verification
from rescind.zk.check import Received, Verdict, belong_together, tied
from rescind.zk.entries import Receipt
from rescind.zk.picks import chances, check_taken
from rescind.zk.provider import check_slack
from rescind.zk.room import rooms, told
from rescind.zk.signed import sealed
from rescind.zk.spot import SpotCheck, not_covered, opened_line, shown
from rescind.zk.tensors import Tensors
from rescind.zk.terms import Commitment, Epoch, MaskOrder

CLAIM = (
    "Claim: empirical, because a mask and a compensation hide a class. In the benchmark of the"
    " method (benchmarks/zk_apex.py) .79 of it was back after 50 steps of training with some of its"
    " records, as much as of the original; of a retrained model .51."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """What is signed. ``proof`` is the SHA-256 of the proof file; ``key_id`` the signer's."""

    epoch: Epoch
    order: MaskOrder
    commitment: Commitment
    receipt: Receipt
    statement: Statement
    proof: str
    bits: float
    share: float
    issued_at: str
    key_id: str
    spot: SpotCheck | None = None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Brought:
    """What a reader has beside the certificate; ``seed`` opens the third root of ``model``, and
    ``opened`` are gradients that the client showed.
    """

    key: bytes | None = None
    proof: bytes | None = None
    public: Public | None = None
    model: Tensors | None = None
    seed: bytes | None = None
    opened: bytes | None = None


def issue(
    got: Received, verdict: Verdict, signer: KeySigner, spot: SpotCheck | None = None
) -> bytes:
    """The envelope of a certificate of what was checked (``check.check``, ``spot.check_spot``)."""
    said = Carried(
        epoch=got.epoch,
        order=got.order,
        commitment=got.commitment,
        receipt=got.receipt,
        statement=got.statement,
        proof=hashlib.sha256(got.proof).hexdigest(),
        bits=verdict.bits,
        share=verdict.share,
        issued_at=datetime.now(UTC).isoformat(timespec="seconds"),
        key_id=signer.key_id,
        spot=spot,
    )
    subject = {"name": said.commitment.client, "digest": {"sha256": said.statement.post}}
    payload = dumps(
        {
            "_type": STATEMENT_TYPE,
            "subject": [subject],
            "predicateType": MASK_PREDICATE_TYPE,
            "predicate": plain(said),
        }
    )
    return sealed(PAYLOAD_TYPE, payload, signer)


def verify(envelope: bytes, brought: Brought) -> Verification:
    """Check a certificate as received; whatever is wrong becomes a failed check, and what a reader
    did not bring is not checked.

    Raises:
        BadParameter: a model without its seed, or the other way round.
    """
    if (brought.model is None) != (brought.seed is None):
        raise BadParameter(
            "A model is compared with the seed of its root.",
            "One without the other shows nothing.",
            "Give --model and --opening together.",
        )
    certificate = from_envelope(parse_json(envelope))
    outer = [each(certificate, brought.key) for each in deletion.ENVELOPE_CHECKS.values()]
    try:
        said = _read(certificate.payload)
    except VerificationFailed as error:
        return Verification(
            (*outer, Check("statement", "failed", readable(error.what))), (), (), None
        )
    if said.spot is None and brought.opened is not None:
        raise BadParameter("The certificate is without a spot check.", do="Leave --spot out.")
    checks = CHECKS if said.spot is None else CHECKS | {"spot": _spot}
    inner = [_made(name, check, said, brought) for name, check in checks.items()]
    signed = all(each.outcome != "failed" for each in outer)
    attested = tuple(_attested(said)) if signed else ()
    left = not_covered(said.spot if signed else None)
    return Verification((*outer, *inner), attested, left, None)


def _read(payload: bytes) -> Carried:
    try:
        header: Any = parse_json(payload)
        body = header["predicate"]
        # certificates from before spot checks have none
        names = [f.name for f in fields(Carried) if f.name in body or f.name != "spot"]
        said = build(Carried, {name: body[name] for name in names})
        post = said.statement.post
        subject = [{"name": said.commitment.client, "digest": {"sha256": post}}]
        if header["_type"] != STATEMENT_TYPE or header["subject"] != subject:
            raise ValueError("its subject is not the root of the new weights")
    except (ValueError, TypeError, KeyError, AttributeError, RescindError) as error:
        raise VerificationFailed(
            "statement",
            f"The certificate says nothing that can be read: {str(error)[:120]}.",
            "So it cannot be told what is certified.",
            "Ask the signer for a certificate of this schema, or update rescind.",
        ) from error
    return said


Rule = Callable[[Carried, Brought], str | None]


def _made(name: str, check: Rule, said: Carried, brought: Brought) -> Check:
    """One check: passed with what it showed, failed, or not made."""
    try:
        shown = check(said, brought)
    except (VerificationFailed, BadData, BadParameter) as error:
        return Check(name, "failed", readable(error.what))
    return (
        Check(name, "not checked", MISSING[name]) if shown is None else Check(name, "passed", shown)
    )


def _terms(said: Carried, brought: Brought) -> str:
    if said.spot is not None:
        check_taken(said.spot.taken, said.commitment, said.receipt, said.statement.sketches)
    return "; ".join(
        belong_together(said.epoch, said.order, said.commitment, said.receipt, said.statement)
    )


def _key(said: Carried, brought: Brought) -> str | None:
    if brought.key is None:
        return None
    if said.key_id != key_id(brought.key):
        raise BadParameter(f"It names the signer {said.key_id[:16]}, not the key you pinned.")
    return "it names the signer you pinned"


def _mask(said: Carried, brought: Brought) -> str | None:
    if brought.public is None:
        return None
    brought.public.check(said.statement)
    return "mask and gradient are those that the statement names"


def _numbers(said: Carried, brought: Brought) -> str | None:
    """No more is claimed than the statement gives."""
    if brought.public is None:
        return None
    brought.public.check(said.statement)
    bits = round(soundness.bits(said.statement), 1)
    share = round(check_slack(said.statement, brought.public), 4)
    if (bits, share) != (said.bits, said.share):
        raise BadData(
            f"It says {said.bits} bits and a residual of {said.share} of the pull; the statement"
            f" gives {bits} and {share}."
        )
    left = told(rooms(said.statement, brought.public))
    return (
        f"{bits} bits of soundness per attempt, {soundness.after_hashes(said.statement):.2g} for a"
        f" cheat with 2^64 hashes; an accepted residual is at most {share:.2%} of the pull;"
        f" {readable('; '.join(f'{name.lower()}: {text}' for name, text in left.items()))}"
    )


def _proof(said: Carried, brought: Brought) -> str | None:
    if brought.proof is None or brought.public is None:
        return None
    if hashlib.sha256(brought.proof).hexdigest() != said.proof:
        raise BadData("The proof is another file than the one that was certified.")
    verify_proof(said.statement, brought.public, brought.proof)
    masked = f"{len(said.statement.exceptions)} of {said.statement.blocks} blocks were masked only"
    return f"the order was carried out on what was committed to; {masked}"


def _model(said: Carried, brought: Brought) -> str | None:
    return None if brought.model is None else tied(said.statement, brought.model, brought.seed)


def _spot(said: Carried, brought: Brought) -> str | None:
    """The proof itself is the check of that name."""
    if said.spot is None or brought.opened is None or brought.proof is None:
        return None
    shown(said.statement, said.spot.taken, brought.proof, brought.opened)
    return opened_line(said.spot.taken.pick)


def _attested(said: Carried) -> Iterator[str]:
    order, receipt = said.order, said.receipt
    yield CLAIM
    yield (
        f"Order: to forget a {order.goal}, along a direction that its provider says it made of"
        f" {order.records} records."
    )
    yield readable(
        f"Commitment: entered in the provider's ledger as entry {receipt.seq} at {receipt.at},"
        f" before the order was published."
    )
    if said.spot is not None:
        yield from _spotted(said.spot)
    yield readable(f"Issued at {said.issued_at} by {said.key_id}.")


def _spotted(spot: SpotCheck) -> Iterator[str]:
    pick, done = spot.taken.pick, spot.recomputed
    yield readable(
        f"Spot check: the provider drew {', '.join(map(str, pick.numbers))} of {pick.sketches}"
        f" gradients as entry {pick.seq}, after the commitment; the client's were entered at"
        f" {spot.taken.at} as entry {spot.taken.seq}, before the order was published."
    )
    yield from chances(pick)
    if done is not None:
        yield (
            f"Recomputed by the signer from {done.records} different records: at most {done.units}"
            f" units of 8 bits off, in {done.share:.2%} of the numbers."
        )


CHECKS: dict[str, Rule] = {
    "key": _key,
    "terms": _terms,
    "mask": _mask,
    "numbers": _numbers,
    "proof": _proof,
    "model": _model,
}
MISSING = {
    "key": "no key was pinned",
    "mask": "no mask was given: --mask",
    "numbers": "they need the mask: --mask",
    "proof": "it needs proof and mask: --proof, --mask",
    "model": "no file of new weights was given: --model with --opening",
    "spot": "it needs the opened gradients and the proof: --spot, --proof",
}
