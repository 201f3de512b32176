"""Write the test vectors: good certificates, and bad ones named after their lie.

Keys, times and weights are fixed, so that the same bytes come out each time. Each bad vector is
properly signed where the lie is in the content, and differs from a good one in that lie alone.
"""

from __future__ import annotations

import hashlib
import json
import struct
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from rescind.core.canonical import dumps
from rescind.core.certificate import PAYLOAD_TYPE, Certificate, Statement
from rescind.core.evidence import ErasureReceipt, Measurement, Proof
from rescind.core.guarantee import Empirical, Exact, Sense
from rescind.core.request import Target
from rescind.proofs.export_digest import exported_weights
from rescind.proofs.signing import (
    KeySigner,
    authenticated,
    public_pem,
    sign_statement,
    to_envelope,
)

HERE = Path(__file__).parent / "vectors"
# private keys for tests, public on purpose: anybody can sign with them
SIGNER = KeySigner(hashlib.sha256(b"rescind test vectors: the signer").digest())
STRANGER = KeySigner(hashlib.sha256(b"rescind test vectors: a stranger").digest())
AT = "2026-06-01T00:00:00+00:00"
HEAD = hashlib.sha256(b"entry 41").hexdigest()
OTHER = hashlib.sha256(b"something else").hexdigest()

# the check that each bad vector must fail, and no other
LIES: dict[str, str] = {
    "foreign_payload_type": "envelope",
    "not_an_envelope": "envelope",
    "changed_byte": "signature",
    "no_signature": "signature",
    "wrong_signer": "signer",
    "mislabelled_key": "key",
    "foreign_key_named": "key",
    "swapped_subject": "statement",
    "missing_field": "statement",
    "missing_erasure_list": "statement",
    "foreign_predicate_type": "statement",
    "expired": "validity",
    "not_yet_valid": "validity",
    "swapped_model": "model",
    "older_ledger": "ledger head",
    "missing_evidence": "evidence",
    "missing_erasure": "evidence",
    "erasure_left_something": "evidence",
    "replay_of_other_weights": "evidence",
    "no_op": "evidence",
    "no_op_called_test_only": "evidence",
    "unchanged_yet_other": "evidence",
    "withdrawn_before_received": "evidence",
    "value_outside_interval": "evidence",
    "measured_without_a_test_record": "evidence",
    "served_yet_called_unserved": "evidence",
    "claim_stronger_than_evidence": "claim",
    "sense_upgraded": "claim",
}


def write(folder: Path) -> None:
    """Write all vectors, the export they certify, the public key and the list of lies."""
    write_export(folder / "export")
    weights = exported_weights(folder / "export")
    for name, data in vectors(weights).items():
        (folder / f"{name}.json").write_bytes(data)
    (folder / "key.pem").write_bytes(public_pem(SIGNER.private))
    expected = {"at": AT, "ledger_head": HEAD, "fails": LIES}
    (folder / "expected.json").write_text(json.dumps(expected, indent=1, sort_keys=True) + "\n")


def write_export(folder: Path) -> None:
    """Two shards, each a safetensors file with one tensor of two floats."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for shard, slices in ((0, [2, 0]), (1, [1])):
        header = b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
        file = f"shard_{shard}.safetensors"
        data = struct.pack("<Q", len(header)) + header + struct.pack("<2f", shard, 0.5)
        (folder / file).write_bytes(data)
        parts.append({"shard": shard, "slices": slices, "file": file, "records": 40 + shard})
    selection = {"model": "news", "version": "news-2", "run": OTHER, "parts": parts}
    (folder / "selection.json").write_text(json.dumps(selection, indent=1) + "\n")


def golden(weights: str) -> Statement:
    """The exact certificate of a truncated S3T."""
    sense: Sense = "never_saw"
    return Statement(
        request="r-0001",
        model="news",
        goal="influence",
        basis="GDPR Art. 17(1)(b)",
        target=Target("records", records=2, copies=3),
        received_at="2026-03-01T09:00:00+00:00",
        withdrawn_at="2026-03-01T09:00:01+00:00",
        original=hashlib.sha256(b"the original weights").hexdigest(),
        unlearned=weights,
        unchanged="no",
        run=hashlib.sha256(b"the run").hexdigest(),
        forgotten=hashlib.sha256(b"the suppression list").hexdigest(),
        method="s3t",
        parameters={},
        guarantee=Exact(sense),
        measurements=(Measurement("accuracy", "news-2", 0.91, (0.87, 0.94), 222),),
        unmeasured="no",
        proof=Proof("replay", "identical", "", sense, weights, 9, "x86_64, 1 thread"),
        erasure=ErasureReceipt({"snapshot": 7}, {"manifest": 1}),
        ledger_seq=41,
        ledger_head=HEAD,
        scope=("Exports made before the request.",),
        issued_at="2026-03-01T10:00:00+00:00",
        valid_until="2027-03-01T10:00:00+00:00",
        key_id=SIGNER.key_id,
    )


def vectors(weights: str) -> dict[str, bytes]:
    """Name to envelope in JSON."""
    exact = golden(weights)
    retrain = replace(
        exact,
        method="retrain",
        guarantee=Exact("retrain"),
        proof=replace(exact.proof, sense="retrain"),
    )
    not_run = Proof("replay", "not_run", "asked for --no-replay")
    empirical = replace(
        exact, guarantee=Empirical("the replay was not run: asked for --no-replay"), proof=not_run
    )
    statements = {
        "golden_exact_never_saw": exact,
        "golden_exact_retrain": retrain,
        "golden_empirical": empirical,
        "expired": replace(exact, valid_until="2026-05-31T23:59:59+00:00"),
        "not_yet_valid": replace(exact, issued_at="2026-06-01T00:00:01+00:00"),
        "swapped_model": replace(exact, unlearned=OTHER, proof=replace(exact.proof, weights=OTHER)),
        "older_ledger": replace(exact, ledger_seq=12, ledger_head=OTHER),
        "missing_evidence": replace(exact, measurements=()),
        "golden_no_test_record": replace(exact, measurements=(), unmeasured="no_test_record"),
        "measured_without_a_test_record": replace(exact, unmeasured="no_test_record"),
        "served_yet_called_unserved": replace(exact, measurements=(), unmeasured="nothing_served"),
        "missing_erasure": replace(empirical, erasure=ErasureReceipt()),
        "erasure_left_something": replace(
            empirical, erasure=replace(exact.erasure, left=("snapshot 0/1/2",))
        ),
        "replay_of_other_weights": replace(exact, proof=replace(exact.proof, weights=OTHER)),
        "golden_not_served": replace(exact, original=weights, unchanged="not_served"),
        "golden_test_only": replace(
            exact,
            original=weights,
            unchanged="test_only",
            target=replace(exact.target, test_records=2),
        ),
        "no_op": replace(exact, original=weights),
        "no_op_called_test_only": replace(exact, original=weights, unchanged="test_only"),
        "golden_not_served_empirical": replace(empirical, original=weights, unchanged="not_served"),
        "unchanged_yet_other": replace(exact, unchanged="not_served"),
        "withdrawn_before_received": replace(exact, withdrawn_at="2026-03-01T08:59:59+00:00"),
        "value_outside_interval": replace(
            exact, measurements=(replace(exact.measurements[0], value=0.99),)
        ),
        "claim_stronger_than_evidence": replace(exact, proof=not_run),
        "sense_upgraded": replace(exact, guarantee=Exact("retrain")),
    }
    signed = {name: _sealed(sign_statement(s, [SIGNER])) for name, s in statements.items()}
    return signed | _around(exact) | _inside(exact)


def _around(exact: Statement) -> dict[str, bytes]:
    """Lies in the envelope and in who signs."""
    good = sign_statement(exact, [SIGNER])
    foreign = "application/json"
    payload = good.payload
    relabelled = to_envelope(good)
    relabelled["signatures"][0]["keyid"] = STRANGER.key_id
    # a key id of its own beside a true signature: the statement, as signed, names SIGNER's
    unnamed = replace(exact, key_id=STRANGER.key_id)
    return {
        "wrong_signer": _sealed(sign_statement(replace(exact, key_id=STRANGER.key_id), [STRANGER])),
        "changed_byte": _sealed(replace(good, payload=payload.replace(b"17(1)(b)", b"17(1)(d)"))),
        "no_signature": _sealed(replace(good, signatures=())),
        "foreign_payload_type": _sealed(_signed(payload, foreign)),
        "not_an_envelope": payload,
        "mislabelled_key": dumps(relabelled),
        "foreign_key_named": _sealed(_signed(_edited(unnamed, {}))),
    }


def _inside(exact: Statement) -> dict[str, bytes]:
    """Statements that ``sign_statement`` would not write, properly signed."""
    subject = [{"name": "news", "digest": {"sha256": OTHER}}]
    wider = {
        "predicate.reviewed_by": "a later version of the schema",
        "predicate.proof.hardware": "also later",
        "annotations": {"note": "beside the predicate"},
    }
    edits: dict[str, dict[str, Any]] = {
        "golden_with_unknown_field": wider,
        "swapped_subject": {"subject": subject},
        "foreign_predicate_type": {"predicateType": "https://slsa.dev/provenance/v1"},
        "missing_field": {"predicate.method": None},
        "missing_erasure_list": {"predicate.erasure.left": None},
    }
    return {name: _sealed(_signed(_edited(exact, edit))) for name, edit in edits.items()}


def _edited(statement: Statement, edits: dict[str, Any]) -> bytes:
    """The payload with members set by their dotted place, or taken out where None."""
    signer = SIGNER if statement.key_id == SIGNER.key_id else STRANGER
    header = json.loads(sign_statement(statement, [signer]).payload)
    for place, value in edits.items():
        *parents, last = place.split(".")
        holder = header
        for parent in parents:
            holder = holder[parent]
        holder.pop(last, None)
        if value is not None:
            holder[last] = value
    return dumps(header)


def _signed(payload: bytes, kind: str = PAYLOAD_TYPE) -> Certificate:
    return Certificate(payload, (SIGNER.sign(authenticated(kind, payload)),), kind)


def _sealed(certificate: Certificate) -> bytes:
    return dumps(to_envelope(certificate))


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
