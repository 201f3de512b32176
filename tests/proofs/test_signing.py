"""Keys, the envelope, and what may be signed and read."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from make_vectors import HERE, OTHER, SIGNER, STRANGER, golden

from rescind.core.canonical import dumps
from rescind.core.certificate import PAYLOAD_TYPE
from rescind.core.errors import BadParameter, VerificationFailed
from rescind.core.protocols import Signer
from rescind.proofs.reading import parse_json
from rescind.proofs.signing import (
    KeySigner,
    authenticated,
    from_envelope,
    key_id,
    load_public,
    new_private_key,
    public_pem,
    read_statement,
    sign_statement,
    to_envelope,
)

GOLDEN = golden(OTHER)


def test_dsse_example() -> None:
    # DSSE v1.0.2, protocol.md, test vectors
    got = authenticated("http://example.com/HelloWorld", b"hello world")
    assert got == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert authenticated("é", b"") == b"DSSEv1 2 \xc3\xa9 0 "


def test_signature_is_over_the_encoding_and_not_the_payload() -> None:
    signer: Signer = KeySigner(new_private_key())
    certificate = sign_statement(replace(GOLDEN, key_id=signer.key_id), [signer])
    (signature,) = certificate.signatures
    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signature.public))
    message = authenticated(PAYLOAD_TYPE, certificate.payload)
    public.verify(bytes.fromhex(signature.signature), message)
    assert signature.key_id == signer.key_id == key_id(public.public_bytes_raw())


def test_private_key_is_in_no_repr_and_of_one_length() -> None:
    private = new_private_key()
    assert private != new_private_key()
    assert repr(KeySigner(private)) == "KeySigner()"
    for wrong in (b"", private[:31], private + b"\0"):
        with pytest.raises(BadParameter, match="32 bytes"):
            KeySigner(wrong)


def test_statement_comes_back_and_bytes_are_kept() -> None:
    certificate = sign_statement(GOLDEN, [STRANGER, SIGNER])
    again = from_envelope(json.loads(json.dumps(to_envelope(certificate), indent=2)))
    assert again == certificate
    assert read_statement(again.payload) == GOLDEN
    assert [s.key_id for s in again.signatures] == [STRANGER.key_id, SIGNER.key_id]


def test_unknown_fields_survive_reading_and_writing() -> None:
    data = (HERE / "golden_with_unknown_field.json").read_bytes()
    certificate = from_envelope(parse_json(data))
    assert b'"reviewed_by"' in certificate.payload
    assert dumps(to_envelope(certificate)) == data


def test_nobody_signs_for_another_or_what_no_reader_would_take() -> None:
    for signers in ([], [STRANGER]):
        with pytest.raises(BadParameter, match="names the key"):
            sign_statement(GOLDEN, signers)
    with pytest.raises(VerificationFailed, match="SHA-256"):
        sign_statement(replace(GOLDEN, unlearned="news-2"), [SIGNER])
    with pytest.raises(VerificationFailed, match="time zone"):
        sign_statement(replace(GOLDEN, issued_at="2026-03-01T10:00:00"), [SIGNER])


def test_public_key_file() -> None:
    private = new_private_key()
    pem = public_pem(private)
    assert pem.startswith(b"-----BEGIN PUBLIC KEY-----")
    assert key_id(load_public(pem)) == KeySigner(private).key_id
    assert load_public(b"\n" + pem + b"\n") == load_public(pem)


@cache
def wrong_key_files() -> dict[str, tuple[bytes, str]]:
    def public(key: Any) -> bytes:
        return bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))

    secret = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    rsa_key = rsa.generate_private_key(65537, 2048)
    pem = public_pem(new_private_key())
    return {
        "empty": (b"", "empty"),
        "blank": (b" \n", "empty"),
        "private": (secret, "private key"),
        "rsa": (public(rsa_key), "RSAPublicKey"),
        "elliptic curve": (public(ec.generate_private_key(ec.SECP256R1())), "PublicKey"),
        "raw": (b"\x07" * 32, "no readable"),
        "cut": (pem[:60], "no readable"),
        "text": (b"ssh-ed25519 AAAA me@here", "no readable"),
    }


@pytest.mark.parametrize("name", list(wrong_key_files()))
def test_wrong_key_files_are_named(name: str) -> None:
    pem, said = wrong_key_files()[name]
    with pytest.raises(BadParameter, match=said) as caught:
        load_public(pem)
    assert "BEGIN PUBLIC KEY" in caught.value.do


ENVELOPE = to_envelope(sign_statement(GOLDEN, [SIGNER]))
SIGNATURE = ENVELOPE["signatures"][0]


@pytest.mark.parametrize(
    "envelope",
    [
        None,
        [],
        "text",
        {},
        {**ENVELOPE, "payload": None},
        {**ENVELOPE, "payload": ""},
        {**ENVELOPE, "payload": "é"},
        {**ENVELOPE, "payload": ENVELOPE["payload"] + "\n"},
        {**ENVELOPE, "payload": "eyJ9"[:3]},
        {**ENVELOPE, "payload": "eyJ9eR=="},
        {**ENVELOPE, "payloadType": 7},
        {**ENVELOPE, "payloadType": "\ud800"},
        {**ENVELOPE, "signatures": {}},
        {**ENVELOPE, "signatures": [None]},
        {**ENVELOPE, "signatures": [{**SIGNATURE, "sig": 5}]},
        {**ENVELOPE, "signatures": [{**SIGNATURE, "keyid": None}]},
        {**ENVELOPE, "signatures": [{**SIGNATURE, "public": None}]},
    ],
)
def test_malformed_envelopes_are_refused(envelope: object) -> None:
    with pytest.raises(VerificationFailed) as caught:
        from_envelope(envelope)
    assert caught.value.check == "envelope"


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":1,"a":2}',
        b"NaN",
        b"[-Infinity]",
        b"1e999",
        b'"\\ud800"',
        b"\xff",
        b"[" * 100_000,
        b"1" * 5000,
        b"",
        b"{} {}",
        b"\xef\xbb\xbf{}",
    ],
)
def test_json_that_two_readers_may_read_differently_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):
        parse_json(text)


def broken(place: str, value: object) -> bytes:
    payload = json.loads(sign_statement(GOLDEN, [SIGNER]).payload)
    *parents, last = place.split(".")
    holder = payload["predicate"]
    for parent in parents:
        holder = holder[int(parent)] if isinstance(holder, list) else holder[parent]
    if value is ...:
        del holder[last]
    else:
        holder[int(last) if isinstance(holder, list) else last] = value
    return json.dumps(payload).encode()


PREDICATE = json.loads(sign_statement(GOLDEN, [SIGNER]).payload)["predicate"]
NESTED = ("target", "proof", "erasure", "guarantee")
PLACES = [*PREDICATE, *(f"{name}.{field}" for name in NESTED for field in PREDICATE[name])]
PLACES += [f"measurements.0.{field}" for field in PREDICATE["measurements"][0]]


@pytest.mark.parametrize("place", PLACES)
def test_every_field_must_be_there_and_of_its_type(place: str) -> None:
    wrong: list[object] = [..., [{}], {"kind": []}, {"a": [1]}, 1e300]
    fitting: dict[str, list[object]] = {"parameters": wrong[2:4], "measurements.0.value": [1e300]}
    for value in wrong:
        if value in fitting.get(place, []):
            read_statement(broken(place, value))
            continue
        with pytest.raises(VerificationFailed) as caught:
            read_statement(broken(place, value))
        assert caught.value.check == "statement"


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("erasure.left", ""),
        ("erasure.left", {}),
        ("erasure.destroyed", {"snapshot": -1}),
        ("erasure.destroyed", {"snapshot": 1.5}),
        ("erasure.rewritten", [["manifest", 1]]),
        ("scope", "all of it"),
        ("measurements.0.interval", [0.1, 0.2, 0.3]),
        ("measurements.0.interval", [10**400, 0.2]),
        ("guarantee", "exact"),
        ("guarantee", {"kind": "exact", "sense": "retrain", "except_for": "shard 3"}),
        ("guarantee", {"kind": "perfect"}),
        ("target.records", -1),
        ("target.records", True),
        ("measurements.0.n", True),
        ("measurements.0.value", True),
        ("ledger_seq", 41.0),
        ("unlearned", "AB" * 32),
        ("unlearned", "ab" * 32 + "\n"),
        ("valid_until", "never"),
        ("valid_until", "2027-03-01T10:00:00"),
    ],
)
def test_values_that_would_mislead_are_refused(place: str, value: object) -> None:
    with pytest.raises(VerificationFailed):
        read_statement(broken(place, value))


def test_deep_parameters_are_refused_without_a_traceback() -> None:
    deep = b'"parameters":' + b'{"a":' * 900 + b"1" + b"}" * 900
    payload = sign_statement(GOLDEN, [SIGNER]).payload.replace(b'"parameters":{}', deep)
    with pytest.raises(VerificationFailed, match="nested"):
        read_statement(payload)


def test_the_suppression_list_may_be_off_and_nothing_else_absent() -> None:
    assert read_statement(broken("forgotten", None)).forgotten is None
    for place in ("original", "run", "ledger_head", "key_id", "proof", "erasure"):
        with pytest.raises(VerificationFailed):
            read_statement(broken(place, None))
