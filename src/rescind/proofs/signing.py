"""Sign and read certificates: Ed25519 over a DSSE envelope that holds an in-toto statement.

DSSE protocol v1.0.2 (github.com/secure-systems-lab/dsse); in-toto attestation framework, Statement
v1 (github.com/in-toto/attestation).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from rescind.core.canonical import Json, dumps, plain
from rescind.core.certificate import (
    ADDED,
    PAYLOAD_TYPE,
    PREDICATE_TYPE,
    STATEMENT_TYPE,
    Certificate,
    Signature,
    Statement,
)
from rescind.core.errors import BadParameter, VerificationFailed
from rescind.core.protocols import Signer
from rescind.proofs.reading import LARGEST, parse_json
from rescind.proofs.reading import read_statement as read_statement

ASK_FOR_PEM = "Pass the public key that the signer published, a file with BEGIN PUBLIC KEY."


@dataclass(frozen=True, slots=True)
class KeySigner:
    """Signs with a raw 32-byte Ed25519 private key, which no ``repr`` shows."""

    private: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.private) != 32:
            raise BadParameter(
                f"A private key has 32 bytes; this one has {len(self.private)}.",
                do="Make one with new_private_key().",
            )

    @property
    def key_id(self) -> str:
        """SHA-256 in hex of the raw public key."""
        return key_id(self._key.public_key().public_bytes_raw())

    def sign(self, message: bytes) -> Signature:
        """The signature over the message as it is; callers encode it first."""
        public = self._key.public_key().public_bytes_raw()
        return Signature(key_id(public), self._key.sign(message).hex(), public.hex())

    @property
    def _key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.private)


def new_private_key() -> bytes:
    """32 raw bytes from the operating system's randomness."""
    return Ed25519PrivateKey.generate().private_bytes_raw()


def key_id(public: bytes) -> str:
    """The name of a key: SHA-256 in hex of its 32 raw public bytes."""
    return hashlib.sha256(public).hexdigest()


def public_pem(private: bytes) -> bytes:
    """The file to publish: SubjectPublicKeyInfo in PEM of the public half of a raw private key."""
    return pem_of(Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw())


def pem_of(public: bytes) -> bytes:
    """The same for a raw public key."""
    found = Ed25519PublicKey.from_public_bytes(public)
    return found.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def load_public(pem: bytes) -> bytes:
    """The 32 raw bytes of the Ed25519 public key in a PEM file.

    Raises:
        BadParameter: the file is empty, a private key, no PEM, or holds another kind of key.
    """
    if not pem.strip():
        raise BadParameter("The key file is empty.", do=ASK_FOR_PEM)
    if b"PRIVATE KEY" in pem:
        raise BadParameter(
            "The key file holds a private key.", "It can sign and must stay secret.", ASK_FOR_PEM
        )
    try:
        public = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BadParameter("The key file holds no readable public key.", do=ASK_FOR_PEM) from error
    if not isinstance(public, Ed25519PublicKey):
        kind = type(public).__name__.strip("_")
        raise BadParameter(
            f"The key file holds an {kind}.", "Certificates are signed with Ed25519.", ASK_FOR_PEM
        )
    return public.public_bytes_raw()


def authenticated(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: what is signed, so that the type is signed too."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign_statement(statement: Statement, signers: Sequence[Signer]) -> Certificate:
    """Write the statement as an in-toto Statement v1 in canonical JSON and sign it by all signers.

    Raises:
        BadParameter: no signer, or none of them is the statement's ``key_id``.
        VerificationFailed: a reader would refuse the statement, so it is not signed.
    """
    if statement.key_id not in {signer.key_id for signer in signers}:
        raise BadParameter(
            f"The statement names the key {statement.key_id}.",
            f"None of the {len(signers)} signers holds it.",
            "Set key_id to that of the signer.",
        )
    subject = {"name": statement.model, "digest": {"sha256": statement.unlearned}}
    payload = dumps(
        {
            "_type": STATEMENT_TYPE,
            "subject": [subject],
            "predicateType": PREDICATE_TYPE,
            "predicate": _predicate(statement),
        }
    )
    read_statement(payload)
    message = authenticated(PAYLOAD_TYPE, payload)
    return Certificate(payload, tuple(signer.sign(message) for signer in signers))


def _predicate(statement: Statement) -> dict[str, Json]:
    """All fields, of the younger ones those that say something."""
    said: dict[str, Json] = plain(statement)
    return {name: value for name, value in said.items() if name not in ADDED or value}


def to_envelope(certificate: Certificate) -> dict[str, Json]:
    """The DSSE JSON envelope; ``public`` beside each signature is our hint, which DSSE allows."""
    return {
        "payload": _encode(certificate.payload),
        "payloadType": certificate.payload_type,
        "signatures": [
            {"keyid": s.key_id, "sig": _encode(bytes.fromhex(s.signature)), "public": s.public}
            for s in certificate.signatures
        ],
    }


def predicate_type(envelope: bytes) -> str:
    """What the bytes of an envelope say that they are about, or nothing; none of it is checked."""
    if len(envelope) > LARGEST:
        return ""
    try:
        header = parse_json(from_envelope(parse_json(envelope)).payload)
    except (ValueError, VerificationFailed):
        return ""
    return str(header.get("predicateType")) if isinstance(header, dict) else ""


def from_envelope(envelope: object) -> Certificate:
    """The certificate in a DSSE envelope; its payload keeps every byte, known or not.

    Raises:
        VerificationFailed: a member is missing, of the wrong type, or not plain base64.
    """
    if not isinstance(envelope, dict):
        raise _refused("It is not a JSON object.")
    kind, signatures = envelope.get("payloadType"), envelope.get("signatures")
    if not isinstance(kind, str) or not kind.isascii():
        raise _refused("Its payloadType is missing or no plain text.")
    if not isinstance(signatures, list):
        raise _refused("Its signatures are missing or no list.")
    payload = _decode(envelope.get("payload"), "payload")
    return Certificate(payload, tuple(_signature(item) for item in signatures), kind)


def _signature(item: object) -> Signature:
    if not isinstance(item, dict):
        raise _refused("A signature is not a JSON object.")
    name, public = item.get("keyid"), item.get("public")
    if not isinstance(name, str) or not isinstance(public, str):
        raise _refused("A signature lacks its keyid or its public key.")
    return Signature(name, _decode(item.get("sig"), "sig").hex(), public)


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decode(text: object, name: str) -> bytes:
    """Strict on purpose: base64 has several spellings of some bytes, and one is enough."""
    data = b""
    try:
        data = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except ValueError as error:
        raise _refused(f"Its {name} is not base64.") from error
    if not data or _encode(data) != text:
        raise _refused(f"Its {name} is missing or not plain base64.")
    return data


def _refused(what: str) -> VerificationFailed:
    return VerificationFailed(
        "envelope",
        f"This is no certificate: {what}",
        "A certificate is a DSSE envelope in JSON.",
        "Ask the sender for the file as it was issued.",
    )
