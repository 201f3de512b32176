"""What the verifier says with less brought along, and that no input makes it fall over."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make_vectors import AT, HEAD, HERE, OTHER, SIGNER, STRANGER, golden

from rescind.core.canonical import dumps
from rescind.core.certificate import Certificate, Statement
from rescind.core.errors import BadParameter, VerificationFailed
from rescind.core.evidence import ErasureReceipt
from rescind.core.guarantee import Certified
from rescind.core.request import Target
from rescind.proofs.export_digest import read_export
from rescind.proofs.reading import LARGEST
from rescind.proofs.signing import (
    authenticated,
    from_envelope,
    load_public,
    sign_statement,
    to_envelope,
)
from rescind.proofs.verifier import Verification, verify

NOW = datetime.fromisoformat(AT)
KEY = load_public((HERE / "key.pem").read_bytes())
BYTES = (HERE / "golden_exact_never_saw.json").read_bytes()
CERTIFICATE = from_envelope(json.loads(BYTES))
EXACT = golden(read_export(HERE / "export").weights)
EXAMPLES = settings(max_examples=300, deadline=None)


def outcomes(found: Verification) -> dict[str, str]:
    return {c.name: c.outcome for c in found.checks}


def details(found: Verification) -> dict[str, str]:
    return {c.name: c.detail for c in found.checks}


def signed(statement: Statement) -> bytes:
    return sealed(sign_statement(statement, [SIGNER]))


def sealed(certificate: Certificate) -> bytes:
    return dumps(to_envelope(certificate))


def test_with_nothing_brought_along_nothing_is_taken_for_checked() -> None:
    found = verify(BYTES, at=NOW)
    found.require()
    assert {n for n, o in outcomes(found).items() if o == "not checked"} == {
        "signer",
        "model",
        "ledger head",
    }
    said = details(found)
    assert said["signer"] == f"signed by {SIGNER.key_id}; you have not pinned this key"
    assert "independent of the signer" in said["ledger head"]
    assert HEAD in said["ledger head"]


def test_now_is_the_default_time() -> None:
    now = datetime.now(UTC)
    early, late = (now - timedelta(days=2)).isoformat(), (now - timedelta(days=1)).isoformat()
    over = (now + timedelta(days=1)).isoformat()
    before = replace(EXACT, received_at=early, withdrawn_at=early, issued_at=early)
    assert outcomes(verify(signed(replace(before, valid_until=over))))["validity"] == "passed"
    assert outcomes(verify(signed(replace(before, valid_until=late))))["validity"] == "failed"


@pytest.mark.parametrize("edge", [EXACT.issued_at, EXACT.valid_until])
def test_validity_includes_both_ends(edge: str) -> None:
    at = datetime.fromisoformat(edge)
    assert outcomes(verify(BYTES, at=at))["validity"] == "passed"
    outside = -1 if edge == EXACT.issued_at else 1
    at += timedelta(microseconds=outside)
    assert outcomes(verify(BYTES, at=at))["validity"] == "failed"


def test_other_zones_are_the_same_time() -> None:
    there = replace(EXACT, received_at="2026-03-01T10:00:00+01:00")  # 09:00 UTC
    verify(signed(there), at=NOW).require()
    later = replace(EXACT, received_at="2026-03-01T08:30:00-01:00")  # 09:30 UTC
    assert outcomes(verify(signed(later), at=NOW))["evidence"] == "failed"


def test_what_is_attested_and_what_is_not_covered() -> None:
    statement = replace(
        EXACT,
        forgotten=None,
        target=Target("subject", 2, 3, near_kept=4, exact_kept=1, searched=False),
        erasure=ErasureReceipt({"snapshot": 7}, {}, encrypted=False, recipients=("backup 7",)),
    )
    found = verify(signed(statement), key=KEY, at=NOW)
    attested, outside = "\n".join(found.attested), "\n".join(found.not_covered)
    for number in ("9 stored snapshots", "destroyed 7 snapshot", "0.91", "0.87 to 0.94", "n = 222"):
        assert number in attested
    assert "It is not hidden that a deletion happened" in attested
    for open_point in (
        *statement.scope,
        "backup 7",
        "not encrypted",
        "4 near",
        "pretrained base",
        "nobody could look",
    ):
        assert open_point in outside
    assert "no list of what was forgotten" in outside
    assert found.statement == statement


def test_nothing_is_attested_where_the_signature_fails() -> None:
    for name in ("changed_byte", "no_signature", "wrong_signer", "missing_field"):
        found = verify((HERE / f"{name}.json").read_bytes(), key=KEY, at=NOW)
        assert found.attested == ()
        assert found.statement is None
        assert found.not_covered


def test_a_certified_claim_without_retraining_is_refused() -> None:
    claim = Certified(1.0, 1e-5, "convex loss")
    found = verify(signed(replace(EXACT, guarantee=claim)), at=NOW)
    assert outcomes(found)["claim"] == "failed"


def test_a_certified_claim_of_impossible_numbers_is_refused_beside_a_retraining() -> None:
    retrain = replace(EXACT, proof=replace(EXACT.proof, sense="retrain"))
    found = verify(signed(replace(retrain, guarantee=Certified(-1.0, -5.0, ""))), at=NOW)
    assert [c.name for c in found.checks if c.outcome == "failed"] == ["claim"]
    verify(signed(replace(retrain, guarantee=Certified(0.0, 1.0, "none needed"))), at=NOW).require()


def test_a_second_signature_must_hold_too_and_either_key_may_be_pinned() -> None:
    both = sign_statement(EXACT, [SIGNER, STRANGER])
    pinned = bytes.fromhex(both.signatures[1].public)
    verify(sealed(both), key=pinned, at=NOW).require()
    forged = replace(both.signatures[1], signature=both.signatures[0].signature)
    one_bad = replace(both, signatures=(both.signatures[0], forged))
    assert outcomes(verify(sealed(one_bad), key=KEY, at=NOW))["signature"] == "failed"


def test_the_pinned_key_is_compared_and_not_its_name() -> None:
    """A stranger who signs under the name and the public key of another is not that other."""
    honest, own = (
        CERTIFICATE.signatures[0],
        sign_statement(replace(EXACT, key_id=STRANGER.key_id), [STRANGER]),
    )
    named = replace(own, signatures=(replace(own.signatures[0], key_id=honest.key_id),))
    assert outcomes(verify(sealed(named), key=KEY, at=NOW))["signer"] == "failed"
    masked = replace(own, signatures=(replace(own.signatures[0], public=honest.public),))
    assert outcomes(verify(sealed(masked), key=KEY, at=NOW))["signature"] == "failed"


def test_a_borrowed_name_is_seen_without_a_pinned_key() -> None:
    own = STRANGER.sign(authenticated(CERTIFICATE.payload_type, CERTIFICATE.payload))
    borrowed = replace(CERTIFICATE, signatures=(replace(own, key_id=SIGNER.key_id),))
    found = verify(sealed(borrowed), at=NOW)
    assert [c.name for c in found.checks if c.outcome == "failed"] == ["key"]


def test_signed_text_cannot_draw_on_the_terminal() -> None:
    evil = "fine\n\x1b[2Jsigner: passed\u202e"
    found = verify(signed(replace(EXACT, basis=evil, scope=(evil * 100,))), at=NOW)
    lines = (*found.attested, *found.not_covered, *details(found).values())
    assert all(line.isprintable() and len(line) <= 600 for line in lines)


def test_wrong_arguments_are_the_readers_error() -> None:
    with pytest.raises(BadParameter, match="32"):
        verify(BYTES, key=b"short")
    with pytest.raises(BadParameter, match="zone"):
        verify(BYTES, at=datetime(2026, 6, 1))


def test_a_damaged_export_is_a_failed_check(tmp_path: Path) -> None:
    found = verify(BYTES, model=tmp_path, at=NOW)
    assert outcomes(found)["model"] == "failed"
    assert "selection.json" in details(found)["model"]


def test_a_changed_weight_is_a_failed_check(tmp_path: Path) -> None:
    for path in (HERE / "export").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    verify(BYTES, model=tmp_path, at=NOW).require()
    shard = tmp_path / "shard_0.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1] + b"\x01")
    assert outcomes(verify(BYTES, model=tmp_path, at=NOW))["model"] == "failed"


@pytest.mark.parametrize(
    "change",
    [
        {"request": ""},
        {"target": Target("records", 0, 0)},
        {"target": Target("records", 0, 0, test_records=1)},
        {"target": Target("records", 2, 3, test_records=99)},
        {"target": Target("records", 5, 0)},
        {"measurements": (replace(EXACT.measurements[0], n=0),)},
        {"measurements": (replace(EXACT.measurements[0], interval=(0.94, 0.87)),)},
        {"withdrawn_at": "2026-03-01T10:00:01+00:00"},
    ],
)
def test_incoherent_evidence_is_a_failed_check(change: dict[str, Any]) -> None:
    found = verify(signed(replace(EXACT, **change)), at=NOW)
    assert [c.name for c in found.checks if c.outcome == "failed"] == ["evidence"]


def test_only_one_spelling_of_the_public_key() -> None:
    (signature,) = CERTIFICATE.signatures
    capitals = replace(signature, public=signature.public.upper())
    found = verify(sealed(replace(CERTIFICATE, signatures=(capitals,))), key=KEY, at=NOW)
    assert outcomes(found)["signature"] == "failed"


def refused(found: Verification) -> None:
    with pytest.raises(VerificationFailed):
        found.require()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"\x00",
        b"\xff\xfe",
        b"[" * 200_000,
        b'{"a":' * 50_000,
        b"9" * 10_000,
        b'{"payload":"' + b"A" * 1000 + b'"}',
        BYTES + b" " * LARGEST,
    ],
)
def test_garbage_is_one_failed_check(data: bytes) -> None:
    found = verify(data, key=KEY, model=HERE / "export", ledger_head=HEAD, at=NOW)
    assert [c.name for c in found.checks if c.outcome == "failed"] == ["envelope"]
    assert {c.outcome for c in found.checks if c.name != "envelope"} == {"not checked"}
    refused(found)


@EXAMPLES
@given(st.integers(0, len(CERTIFICATE.payload) - 1), st.integers(1, 255))
def test_no_changed_byte_of_the_payload_verifies(place: int, flip: int) -> None:
    changed = bytearray(CERTIFICATE.payload)
    changed[place] ^= flip
    found = verify(sealed(replace(CERTIFICATE, payload=bytes(changed))), at=NOW)
    assert outcomes(found)["signature"] == "failed"
    refused(found)


def test_no_changed_bit_of_the_signature_verifies() -> None:
    (signature,) = CERTIFICATE.signatures
    raw = bytes.fromhex(signature.signature)
    for place in range(len(raw) * 8):
        changed = bytearray(raw)
        changed[place // 8] ^= 1 << place % 8
        other = replace(signature, signature=changed.hex())
        found = verify(sealed(replace(CERTIFICATE, signatures=(other,))), at=NOW)
        assert outcomes(found)["signature"] == "failed"


@EXAMPLES
@given(st.integers(0, len(BYTES) - 1), st.integers(0, 255))
def test_a_changed_byte_of_the_file_is_refused_or_changes_nothing(place: int, byte: int) -> None:
    changed = BYTES[:place] + bytes([byte]) + BYTES[place + 1 :]
    found = verify(changed, key=KEY, model=HERE / "export", ledger_head=HEAD, at=NOW)
    if any(c.outcome == "failed" for c in found.checks):
        refused(found)
    else:
        assert from_envelope(json.loads(changed)) == CERTIFICATE


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@EXAMPLES
@given(st.data())
def test_any_value_in_any_place_of_a_signed_statement_is_judged(data: st.DataObject) -> None:
    payload = json.loads(CERTIFICATE.payload)
    holder = payload
    while True:
        place = data.draw(st.sampled_from(sorted(holder) if isinstance(holder, dict) else [0]))
        inner = holder[place]
        if not isinstance(inner, (dict, list)) or not inner or data.draw(st.booleans()):
            break
        holder = inner
    holder[place] = data.draw(JSON)
    body = json.dumps(payload).encode()
    message = authenticated(CERTIFICATE.payload_type, body)
    anew = replace(CERTIFICATE, payload=body, signatures=(SIGNER.sign(message),))
    found = verify(sealed(anew), model=HERE / "export", at=NOW)
    assert outcomes(found)["signature"] == "passed"
    lines = (*found.attested, *found.not_covered, *details(found).values())
    assert all(line.isprintable() for line in lines)
    if body != CERTIFICATE.payload:
        refused(verify(sealed(replace(anew, signatures=CERTIFICATE.signatures)), at=NOW))


@EXAMPLES
@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_judged(data: bytes) -> None:
    refused(verify(data, key=KEY, at=NOW))


def test_verifying_imports_neither_torch_nor_numpy() -> None:
    code = (
        "import sys; import rescind.proofs.verifier, rescind.proofs.merkle;"
        "sys.exit(bool({'torch', 'numpy', 'safetensors', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_other_weights_than_the_replays_fail_even_when_all_else_agrees() -> None:
    found = verify(signed(replace(EXACT, proof=replace(EXACT.proof, weights=OTHER))), at=NOW)
    assert [c.name for c in found.checks if c.outcome == "failed"] == ["evidence"]
