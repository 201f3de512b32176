"""What a provider signs: DSSE envelopes of canonical JSON, one payload type for each kind."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from rescind.core.canonical import build, dumps, plain
from rescind.core.certificate import Certificate
from rescind.core.errors import BadData, BadParameter, VerificationFailed
from rescind.proofs.reading import parse_json
from rescind.proofs.signing import (
    KeySigner,
    authenticated,
    from_envelope,
    new_private_key,
    public_pem,
    to_envelope,
)
from rescind.zk.entries import Receipt
from rescind.zk.picks import Pick, Taken
from rescind.zk.terms import Epoch, MaskOrder

T = TypeVar("T", Epoch, MaskOrder, Receipt, Pick, Taken)
KINDS: dict[type, str] = {
    Epoch: "mask-epoch",
    MaskOrder: "mask-order",
    Receipt: "mask-receipt",
    Pick: "mask-pick",
    Taken: "mask-opened",
}


def new_key(private: Path, public: Path) -> str:
    """Write a provider's key pair, the private half for the owner alone; the key's id.

    Raises:
        BadParameter: a file exists.
    """
    secret = new_private_key()
    for path, data, mode in (
        (private, secret.hex().encode(), 0o600),
        (public, public_pem(secret), 0o644),
    ):
        try:
            number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        except FileExistsError as error:
            raise BadParameter(f"{path} exists already.", do="Name a new file.") from error
        with os.fdopen(number, "wb") as handle:
            handle.write(data)
    return KeySigner(secret).key_id


def read_private(path: Path) -> KeySigner:
    """The signer of a private key file.

    Raises:
        BadParameter: there is none, or it holds no key.
    """
    try:
        return KeySigner(bytes.fromhex(path.read_text().strip()))
    except (OSError, ValueError) as error:
        raise BadParameter(
            f"{path} holds no private key.", do="`rescind zk key` makes one."
        ) from error


def sign(value: Epoch | MaskOrder | Receipt | Pick | Taken, signer: KeySigner) -> bytes:
    """The envelope of one of the kinds."""
    return sealed(_type(type(value)), dumps(plain(value)), signer)


def sealed(kind: str, payload: bytes, signer: KeySigner) -> bytes:
    """The envelope of a payload of a type."""
    signature = signer.sign(authenticated(kind, payload))
    envelope = to_envelope(Certificate(payload, (signature,), kind))
    return (json.dumps(envelope, indent=1) + "\n").encode()


def opened(kind: type[T], data: bytes, key: bytes) -> T:
    """What is signed in an envelope, by the key that the reader trusts.

    Raises:
        VerificationFailed: another kind, another signer, or a signature that does not hold.
        BadData: it is no such value.
    """
    try:
        envelope = from_envelope(parse_json(data))
    except ValueError as error:
        raise BadData(f"It is no JSON: {str(error)[:80]}.", do="Name the signed file.") from error
    if envelope.payload_type != _type(kind):
        raise _refused(f"It is of the type {envelope.payload_type}, not {_type(kind)}.")
    message = authenticated(envelope.payload_type, envelope.payload)
    if not any(_holds(bytes.fromhex(s.signature), message, key) for s in envelope.signatures):
        raise _refused("It is not signed by the key that you trust.")
    try:
        return build(kind, parse_json(envelope.payload))
    except (TypeError, KeyError, ValueError) as error:
        raise BadData(f"It says nothing of the kind: {str(error)[:80]}.") from error


def _holds(signature: bytes, message: bytes, key: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def _type(kind: type) -> str:
    return f"application/vnd.rescind.{KINDS[kind]}+json"


def _refused(what: str) -> VerificationFailed:
    return VerificationFailed(
        "signature", what, "Terms that nobody stands for can be anything.", "Ask the provider."
    )
