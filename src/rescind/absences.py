"""Where forgotten records would stand in the manifest, kept so that it can be shown later."""

from __future__ import annotations

import json

from rescind import erasure
from rescind.backends import Backends
from rescind.core.canonical import build, dumps, plain
from rescind.core.errors import InsufficientEvidence, VerificationFailed
from rescind.core.request import Request
from rescind.proofs.key_tree import Place, TreeHead, verify_absent
from rescind.sealing import open_keys

MOST = 1_000  # records of a request: 1.5 megabytes; whoever asks for more asks in time


def keep(b: Backends, request: Request, committed: TreeHead) -> None:
    """Store the openings of a request's records in the manifest after its erasure: the next one
    destroys the secret that they need.

    They are salted hashes, made from no record's content, so that no later erasure takes them; they
    are encrypted, as whoever guesses a key could compare its place. Where there are more than
    ``MOST`` records, or the manifest has changed since the commitment, none is kept.
    """
    keys = open_keys(b.keys, request)
    if len(keys) > MOST:
        return
    tree = erasure.key_tree(b)
    if tree.head != committed:
        return
    found = []
    for key in keys:
        try:
            found.append(plain(tree.absent(key)))
        except InsufficientEvidence:
            continue  # another key has its place, one of 2^16
    b.artifacts.put(_name(request.id), "absence", dumps(found), frozenset())


def kept(b: Backends, request_id: str, head: TreeHead, key: str) -> Place | None:
    """The opening that was kept for a key, if one was."""
    if b.artifacts.find(_name(request_id)) is None:
        return None
    for value in json.loads(b.artifacts.get(_name(request_id))):
        place: Place = build(Place, value)
        try:
            verify_absent(head, key, place)
        except VerificationFailed:
            continue
        return place
    return None


def _name(request_id: str) -> str:
    return f"absence/{request_id}"
