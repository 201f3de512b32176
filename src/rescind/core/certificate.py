"""The statement that is signed, and the envelope that carries its bytes unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rescind.core.audit import AuditVerdict
from rescind.core.control import Control
from rescind.core.evidence import ErasureReceipt, Measurement, Proof, Unmeasured
from rescind.core.guarantee import Guarantee
from rescind.core.judgement import Attempt, Judgement
from rescind.core.request import Goal, Target

Unchanged = Literal["no", "test_only", "not_served"]
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:rescind:deletion-certificate:1"
MASK_PREDICATE_TYPE = "urn:rescind:mask-certificate:1"  # what `rescind zk certify` signs
PAYLOAD_TYPE = "application/vnd.in-toto+json"
# younger than the first certificates: written only where they say something, absent in old ones
ADDED = ("judgement", "unjudged", "attempts", "controls", "audit", "ledger_root", "mask_seals")


@dataclass(frozen=True, slots=True)
class Statement:
    """All that a certificate says. ``scope`` lists what it does not cover.

    ``original``, ``unlearned`` and ``run`` are SHA-256 digests; ``unchanged`` says why the first
    two are equal where they are: no served snapshot had used the records. ``unmeasured`` says why
    the unlearned model has no measurement, where it has none. ``ledger_head`` and ``ledger_seq``
    name the last entry before signing, so that erasure provably came before it; ``ledger_root`` is
    the Merkle root over the digests of all entries up to it. ``judgement`` is
    the comparison with retrained models, else ``unjudged`` says why there is none; ``attempts`` are
    the methods that were tried, and ``controls`` were judged by the same rule as the model.
    ``audit`` is what the planned audits saw, and those that were added; None where none was run.
    ``mask_seals`` are salted SHA-256 digests of the orders to mask that were made of the records.
    """

    request: str
    model: str
    goal: Goal
    basis: str
    target: Target
    received_at: str
    withdrawn_at: str
    original: str
    unlearned: str
    unchanged: Unchanged
    run: str
    forgotten: str | None
    method: str
    parameters: Mapping[str, Any]
    guarantee: Guarantee
    measurements: tuple[Measurement, ...]
    unmeasured: Unmeasured
    proof: Proof
    erasure: ErasureReceipt
    ledger_seq: int
    ledger_head: str
    scope: tuple[str, ...]
    issued_at: str
    valid_until: str
    key_id: str
    judgement: Judgement | None = None
    unjudged: str = ""
    attempts: tuple[Attempt, ...] = ()
    controls: tuple[Control, ...] = ()
    audit: AuditVerdict | None = None
    ledger_root: str = ""
    mask_seals: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Signature:
    """An Ed25519 signature; ``public`` is the raw public key in hex: a hint, no authority."""

    key_id: str
    signature: str
    public: str


@dataclass(frozen=True, slots=True)
class Certificate:
    """A DSSE envelope: the bytes that were signed are the bytes that are verified."""

    payload: bytes
    signatures: tuple[Signature, ...]
    payload_type: str = PAYLOAD_TYPE
