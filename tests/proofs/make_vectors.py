"""Write the test vectors: good certificates, and bad ones named after their lie.

Keys, times and weights are fixed, so that the same bytes come out each time. Each bad vector is
properly signed where the lie is in the content, and differs from a good one in that lie alone.
"""

from __future__ import annotations

import hashlib
import json
import struct
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from audited_vectors import audited

from rescind.core.canonical import dumps
from rescind.core.certificate import PAYLOAD_TYPE, Certificate, Statement
from rescind.core.evidence import ErasureReceipt, Measurement, Proof
from rescind.core.guarantee import Certified, Empirical, Exact, Sense
from rescind.core.request import Target
from rescind.proofs.export_digest import read_export
from rescind.proofs.merkle import root
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
    "export_of_another_name": "model",
    "no_request": "evidence",
    "for_no_record": "evidence",
    "more_test_records_than_records": "evidence",
    "fewer_copies_than_records": "evidence",
    "missing_evidence": "evidence",
    "missing_erasure": "evidence",
    "erasure_left_something": "evidence",
    "replay_of_other_weights": "evidence",
    "identical_yet_never_run": "evidence",
    "nothing_on_the_list_of_the_forgotten": "evidence",
    "no_op": "evidence",
    "no_op_called_test_only": "evidence",
    "unchanged_yet_other": "evidence",
    "withdrawn_before_received": "evidence",
    "value_outside_interval": "evidence",
    "accuracy_above_one": "evidence",
    "accuracy_interval_beyond_one": "evidence",
    "accuracy_changed_by_more_than_all": "evidence",
    "agreement_below_zero": "evidence",
    "measured_without_a_test_record": "evidence",
    "served_yet_called_unserved": "evidence",
    "claim_stronger_than_evidence": "claim",
    "sense_upgraded": "claim",
    "certified_by_a_replay_that_never_saw": "claim",
    "certified_with_a_negative_epsilon": "claim",
    "certified_with_a_negative_delta": "claim",
    "certified_with_a_delta_above_one": "claim",
    "certified_under_no_assumption": "claim",
    "audits_against_their_results": "evidence",
    "an_audit_against_its_numbers": "evidence",
    "supported_by_an_added_audit_alone": "evidence",
    "certified_despite_a_residue": "claim",
}

# folders beside a good certificate, each for its lie; the first is no lie
EXPORTS: dict[str, Callable[[Path], object]] = {
    "golden_with_recipe": lambda f: _put(f / "recipe.json", "{}\n"),
    "unnamed_pickle": lambda f: _put(f / "pytorch_model.bin", NOBODY_S),
    "unnamed_in_capitals": lambda f: _put(f / "x.SAFETENSORS", NOBODY_S),
    "unnamed_in_a_folder": lambda f: _put(f / "sub" / "x.safetensors", NOBODY_S),
    "weights_in_a_folder_called_recipe": lambda f: _put(f / "recipe.json" / "x.bin", NOBODY_S),
    "parts_twice": lambda f: _reword(f, '"parts"', '"parts": [],\n "parts"'),
    "another_model_named": lambda f: _reword(f, '"news"', '"weather"'),
}
NOBODY_S = "weights that nobody certified\n"

EXPECTED = {
    "at": AT,
    "ledger_head": HEAD,
    "fails": LIES,
    "exports_fail": {name: "model" for name in EXPORTS if not name.startswith("golden")},
}


def write(folder: Path) -> None:
    """Write all vectors, the export they certify, false exports, the public key and the lies."""
    write_export(folder / "export")
    write_false_exports(folder / "exports")
    weights = read_export(folder / "export").weights
    for name, data in vectors(weights).items():
        (folder / f"{name}.json").write_bytes(data)
    (folder / "key.pem").write_bytes(public_pem(SIGNER.private))
    (folder / "expected.json").write_text(json.dumps(EXPECTED, indent=1, sort_keys=True) + "\n")


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


def write_false_exports(folder: Path) -> None:
    """The certified export over and over, each time with one change."""
    for name, change in EXPORTS.items():
        write_export(folder / name)
        change(folder / name)


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _reword(folder: Path, old: str, new: str) -> None:
    path = folder / "selection.json"
    path.write_text(path.read_text().replace(old, new, 1))


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
        "export_of_another_name": replace(exact, model="weather"),
        "older_ledger": replace(exact, ledger_seq=12, ledger_head=OTHER),
        "missing_evidence": replace(exact, measurements=()),
        "golden_no_test_record": replace(exact, measurements=(), unmeasured="no_test_record"),
        "measured_without_a_test_record": replace(exact, unmeasured="no_test_record"),
        "served_yet_called_unserved": replace(exact, measurements=(), unmeasured="nothing_served"),
        "missing_erasure": replace(empirical, erasure=ErasureReceipt()),
        "erasure_left_something": replace(
            empirical, erasure=replace(exact.erasure, left=("snapshot 0/1/2",))
        ),
        "identical_yet_never_run": replace(
            exact, proof=replace(exact.proof, reason="it was never run")
        ),
        "nothing_on_the_list_of_the_forgotten": replace(exact, forgotten=root(())),
        "no_request": replace(exact, request=""),
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
    certified = _certified(retrain)
    statements |= _miscounted(exact) | _mismeasured(exact) | certified
    statements |= audited(exact, certified["golden_certified"])
    signed = {name: _sealed(sign_statement(s, [SIGNER])) for name, s in statements.items()}
    return signed | _around(exact) | _inside(exact)


def _miscounted(exact: Statement) -> dict[str, Statement]:
    """Targets that no draft of a request can have."""
    target = exact.target
    return {
        "for_no_record": replace(exact, target=replace(target, records=0)),
        "more_test_records_than_records": replace(exact, target=replace(target, test_records=99)),
        "fewer_copies_than_records": replace(exact, target=replace(target, copies=1)),
    }


def _mismeasured(exact: Statement) -> dict[str, Statement]:
    """All that this version measures, then each with a value that it cannot have."""
    was = Measurement("test_accuracy", "news-1", 0.93, (0.89, 0.96), 222)
    now = Measurement("test_accuracy", "news-2", 0.91, (0.87, 0.94), 222, "original")
    change = Measurement("accuracy_change", "news-2", -0.02, (-0.05, 0.01), 222, "original")
    same = Measurement("agreement", "news-2", 0.97, (0.94, 0.99), 222, "original")
    above = replace(now, value=1.2, interval=(0.87, 1.25))
    beyond = replace(now, interval=(0.87, 1.04))
    below = replace(same, value=-0.1, interval=(-0.2, 0.99))
    worse = replace(change, value=-1.5, interval=(-1.6, 0.01))
    found = {
        "golden_all_measurements": (was, now, change, same),
        "accuracy_above_one": (was, above, change, same),
        "accuracy_interval_beyond_one": (was, beyond, change, same),
        "accuracy_changed_by_more_than_all": (was, now, worse, same),
        "agreement_below_zero": (was, now, change, below),
    }
    return {name: replace(exact, measurements=measured) for name, measured in found.items()}


def _certified(retrain: Statement) -> dict[str, Statement]:
    """The claim that is about numbers, with and without a replay beside it, and in empty words."""
    claim = Certified(1.0, 1e-5, "the loss is convex")
    good = replace(retrain, guarantee=claim)
    not_run = Proof("replay", "not_run", "the method claims no exactness")
    return {
        "golden_certified": good,
        "golden_certified_without_a_replay": replace(good, proof=not_run),
        "certified_by_a_replay_that_never_saw": replace(
            good, proof=replace(good.proof, sense="never_saw")
        ),
        "certified_with_a_negative_epsilon": replace(good, guarantee=replace(claim, epsilon=-1.0)),
        "certified_with_a_negative_delta": replace(good, guarantee=replace(claim, delta=-5.0)),
        "certified_with_a_delta_above_one": replace(good, guarantee=replace(claim, delta=9.0)),
        "certified_under_no_assumption": replace(good, guarantee=replace(claim, assumption="")),
    }


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
