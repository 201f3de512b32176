"""The record keys of an open request, encrypted under the request's own key (rule 4).

Destroying that key at the close makes the ciphertext in the append-only ledger unreadable.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from rescind.core.canonical import dumps
from rescind.core.dataset import Key
from rescind.core.errors import DamagedArtifact
from rescind.core.request import Request
from rescind.storage.keys import KeyStore


def seal_keys(keys: KeyStore, request_id: str, record_keys: Sequence[Key]) -> str:
    """Encrypt the record keys with AES-256-GCM under a key made for this request."""
    nonce = secrets.token_bytes(12)
    cipher = AESGCM(keys.ensure(f"request/{request_id}"))
    sealed = cipher.encrypt(nonce, dumps(sorted(record_keys)), request_id.encode())
    return base64.b64encode(nonce + sealed).decode()


def open_keys(keys: KeyStore, request: Request) -> tuple[Key, ...]:
    """The record keys of a request that is not closed.

    Raises:
        DamagedArtifact: the ciphertext does not open under the request's key.
    """
    sealed = base64.b64decode(request.sealed_keys)
    cipher = AESGCM(keys.get(f"request/{request.id}"))
    try:
        data = cipher.decrypt(sealed[:12], sealed[12:], request.id.encode())
    except InvalidTag:
        raise DamagedArtifact(
            f"The keys of request {request.id} cannot be opened.",
            "The request's key or the ledger entry was changed.",
            "Restore a backup with `rescind restore`, then `rescind db verify`.",
        ) from None
    return tuple(json.loads(data))
