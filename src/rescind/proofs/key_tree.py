"""A Merkle tree in which a key has one place, so that it can be shown to hold it, or not to.

The place of a key is the first ``depth`` bits of a hash of it. A leaf, and the root of each empty
subtree, is hashed with a secret salt: a path tells of other keys neither what they are nor whether
they are there. Sparse trees of this kind: Laurie and Kasper, "Revocation transparency", 2012;
hidden empty subtrees as in CONIKS, Melara et al., USENIX Security 2015.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass

from rescind.core.errors import BadParameter, InsufficientEvidence, VerificationFailed

_LEAF, _NODE, _EMPTY = b"\x10", b"\x11", b"\x12"
_SPARE = 16  # bits of depth beyond those of the number of keys: one in 2^16 absences has no place
DEEPEST = 64


@dataclass(frozen=True, slots=True)
class TreeHead:
    """What is published: the root, how many bits place a key, and what keys are hashed with."""

    root: str
    depth: int
    nonce: str


@dataclass(frozen=True, slots=True)
class Place:
    """An opened place: the salt of its leaf, or of the empty subtree that covers it, and the
    siblings from there up; one a level.
    """

    salt: str
    path: tuple[str, ...]


class KeyTree:
    """The tree over contents by key; the same contents, secret and nonce give the same root.

    Args:
        contents: what stands at each key, as bytes.
        secret: 32 bytes that salts follow from.
        nonce: public; two keys must not have one place under it (``draw``).

    Raises:
        BadParameter: two keys have one place.
    """

    def __init__(self, contents: Mapping[str, bytes], secret: bytes, nonce: str) -> None:
        self._secret, self._nonce = secret, nonce
        bits = len(contents).bit_length()
        self.depth = min(DEEPEST, max(bits + _SPARE, 2 * bits - 2))  # or two keys often meet
        placed = sorted((place_of(key, nonce, self.depth), key) for key in contents)
        self._places = [place for place, _ in placed]
        self._leaves = [(key, contents[key]) for _, key in placed]
        if len(set(self._places)) < len(placed):
            raise BadParameter("Two keys have one place in the tree.", do="Draw another nonce.")
        self._known: dict[tuple[int, int], bytes] = {}
        self.head = TreeHead(self._node(0, len(placed), 0, 0).hex(), self.depth, nonce)

    @classmethod
    def draw(cls, contents: Mapping[str, bytes], secret: bytes) -> KeyTree:
        """The tree under the first nonce that gives each key a place of its own."""
        for n in range(64):
            try:
                return cls(contents, secret, hashlib.sha256(b"nonce%d" % n + secret).hexdigest())
            except BadParameter:
                continue
        raise BadParameter("64 nonces gave two keys one place.", do="Draw another secret.")

    def present(self, key: str) -> Place:
        """The opened leaf of a key.

        Raises:
            BadParameter: the tree does not hold it.
        """
        place = place_of(key, self._nonce, self.depth)
        at = bisect_left(self._places, place)
        if at == len(self._places) or self._places[at] != place or self._leaves[at][0] != key:
            raise BadParameter(f"The tree does not hold {key!r}.", do="Name a key that it holds.")
        return Place(self._salt(b"leaf", key.encode()).hex(), self._siblings(place, self.depth))

    def absent(self, key: str) -> Place:
        """The opened empty subtree where a key would stand.

        Raises:
            BadParameter: the tree holds the key.
                InsufficientEvidence: another key has its place.
        """
        place = place_of(key, self._nonce, self.depth)
        low, high, prefix = 0, len(self._places), 0
        for level in range(self.depth + 1):
            if low == high:
                return Place(self._empty_salt(level, prefix).hex(), self._siblings(place, level))
            if level < self.depth:
                prefix, low, high = self._below(place, level, prefix, low, high)
        if self._leaves[low][0] == key:
            raise BadParameter(f"The tree holds {key!r}.", do="Its absence cannot be shown.")
        raise InsufficientEvidence(
            "Another key has the same place in the tree.", do="The next version has other places."
        )

    def _siblings(self, place: int, level: int) -> tuple[str, ...]:
        """Beside the way from the root to ``level``, from below."""
        found, low, high, prefix = [], 0, len(self._places), 0
        for at in range(level):
            mid = bisect_left(self._places, (2 * prefix + 1) << (self.depth - at - 1), low, high)
            if place >> (self.depth - at - 1) & 1:
                found.append(self._node(low, mid, at + 1, 2 * prefix))
                low, prefix = mid, 2 * prefix + 1
            else:
                found.append(self._node(mid, high, at + 1, 2 * prefix + 1))
                high, prefix = mid, 2 * prefix
        return tuple(node.hex() for node in reversed(found))

    def _below(
        self, place: int, level: int, prefix: int, low: int, high: int
    ) -> tuple[int, int, int]:
        bit = place >> (self.depth - level - 1) & 1
        mid = bisect_left(self._places, (2 * prefix + 1) << (self.depth - level - 1), low, high)
        return (2 * prefix + 1, mid, high) if bit else (2 * prefix, low, mid)

    def _node(self, low: int, high: int, level: int, prefix: int) -> bytes:
        """The root of the subtree with this prefix, which holds leaves ``low`` to ``high``."""
        if low == high:
            return _hashed(_EMPTY, self._empty_salt(level, prefix))
        if high - low == 1:
            return self._chain(low, level)
        if (level, prefix) not in self._known:
            mid = bisect_left(self._places, (2 * prefix + 1) << (self.depth - level - 1), low, high)
            left = self._node(low, mid, level + 1, 2 * prefix)
            right = self._node(mid, high, level + 1, 2 * prefix + 1)
            self._known[level, prefix] = _hashed(_NODE, left, right)
        return self._known[level, prefix]

    def _chain(self, at: int, level: int) -> bytes:
        """A leaf that is alone below ``level``, with empty subtrees beside its way up."""
        place, (key, content) = self._places[at], self._leaves[at]
        node = _hashed(_LEAF, self._salt(b"leaf", key.encode()), content)
        sha, salt = hashlib.sha256, self._empty_salt
        for below in range(self.depth, level, -1):
            beside = sha(_EMPTY + salt(below, place ^ 1)).digest()
            node = sha(_NODE + (beside + node if place & 1 else node + beside)).digest()
            place >>= 1
        return node

    def _empty_salt(self, level: int, prefix: int) -> bytes:
        return self._salt(b"none", b"%d/%d" % (level, prefix))

    def _salt(self, what: bytes, of: bytes) -> bytes:
        return hashlib.blake2b(what + of, key=self._secret, digest_size=32).digest()


def place_of(key: str, nonce: str, depth: int) -> int:
    """The first ``depth`` bits of the hash of a key."""
    found = hashlib.sha256(b"rescind key\n" + nonce.encode() + b"\n" + key.encode()).digest()
    return int.from_bytes(found[:8], "big") >> (64 - depth)


def verify_present(head: TreeHead, key: str, content: bytes, found: Place) -> None:
    """Return if this content stands at the place of this key.

    Raises:
        VerificationFailed: it does not.
    """
    if len(found.path) != head.depth:
        raise _refused(f"The path has {len(found.path)} steps; a leaf has {head.depth}.")
    _climb(head, key, _hashed(_LEAF, _bytes(found.salt), content), found)


def verify_absent(head: TreeHead, key: str, found: Place) -> None:
    """Return if nothing stands at the place of this key.

    Raises:
        VerificationFailed: that is not shown.
    """
    _climb(head, key, _hashed(_EMPTY, _bytes(found.salt)), found)


def _climb(head: TreeHead, key: str, node: bytes, found: Place) -> None:
    if not 1 <= head.depth <= DEEPEST or len(found.path) > head.depth:
        raise _refused(f"A tree of depth {head.depth} has no path of {len(found.path)} steps.")
    place = place_of(key, head.nonce, head.depth) >> (head.depth - len(found.path))
    for sibling in map(_bytes, found.path):
        node = _hashed(_NODE, *((sibling, node) if place & 1 else (node, sibling)))
        place >>= 1
    if node.hex() != head.root:
        raise _refused("The path does not lead to the root.")


def _hashed(what: bytes, *parts: bytes) -> bytes:
    return hashlib.sha256(what + b"".join(parts)).digest()


def _bytes(text: str) -> bytes:
    try:
        data = bytes.fromhex(text)
    except ValueError:
        data = b""
    if len(data) != 32 or data.hex() != text:
        raise _refused("A salt or a sibling is no 32 bytes in lower-case hex.")
    return data


def _refused(what: str) -> VerificationFailed:
    return VerificationFailed(
        "manifest",
        what,
        "So it is not shown what the manifest says of the key.",
        "Ask for a new proof.",
    )
