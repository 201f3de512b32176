"""Merkle trees as in RFC 6962, section 2.1: leaves and inner nodes are hashed in two domains."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from rescind.core.errors import BadParameter, VerificationFailed

Level = list[bytes]


def root(leaves: Sequence[str]) -> str:
    """The root over leaves in hex, in their order; no leaves give the SHA-256 of nothing.

    Raises:
        BadParameter: a leaf is not lower-case hex.
    """
    if not leaves:
        return hashlib.sha256().hexdigest()
    *_, top = _levels(leaves)
    return top[0].hex()


def inclusion(leaves: Sequence[str], index: int) -> tuple[str, ...]:
    """The siblings, from leaf to root, that lead from leaf ``index`` to the root.

    Raises:
        BadParameter: there is no such leaf, or a leaf is not lower-case hex.
    """
    if not 0 <= index < len(leaves):
        raise BadParameter(
            f"There is no leaf {index} among {len(leaves)}.", do="Count leaves from 0."
        )
    path = []
    for level in _levels(leaves):
        sibling = index ^ 1
        if sibling < len(level):
            path.append(level[sibling].hex())
        index //= 2
    return tuple(path)


def verify_inclusion(leaf: str, index: int, size: int, path: Sequence[str], root: str) -> None:
    """Return if ``path`` leads from this leaf, at this place of ``size``, to this root.

    Raises:
        VerificationFailed: it does not, or something in it is not lower-case hex.
    """
    if not 0 <= index < size:
        raise _refused(f"There is no leaf {index} in a tree of {size}.")
    try:
        node, siblings = leaf_of(leaf), [bytes_of(item) for item in path]
    except BadParameter as error:
        raise _refused(error.what) from error
    for on_left, sibling in zip(_sides(index, size, len(siblings)), siblings, strict=True):
        node = node_of(sibling, node) if on_left else node_of(node, sibling)
    if node.hex() != root:
        raise _refused(f"The path of leaf {index} leads to {node.hex()}, not to {root}.")


def _levels(leaves: Sequence[str]) -> Iterator[Level]:
    """All levels from the leaves up; the last node of an odd level moves up as it is."""
    level = [leaf_of(leaf) for leaf in leaves]
    yield level
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=False)
        level = [node_of(left, right) for left, right in pairs] + level[len(level) & ~1 :]
        yield level


def _sides(index: int, size: int, given: int) -> list[bool]:
    """For each step up that has a sibling, whether that sibling is on the left."""
    sides = []
    while size > 1:
        if index ^ 1 < size:
            sides.append(index % 2 == 1)
        index, size = index // 2, (size + 1) // 2
    if len(sides) != given:
        raise _refused(f"The path has {given} steps; this place in the tree has {len(sides)}.")
    return sides


def leaf_of(leaf: str) -> bytes:
    """The hash of a leaf."""
    return hashlib.sha256(b"\x00" + bytes_of(leaf)).digest()


def node_of(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def bytes_of(text: str) -> bytes:
    """Only one spelling of a hex text is taken: blanks and capitals would give two leaves one."""
    try:
        data = bytes.fromhex(text)
    except ValueError:
        data = b""
    if data.hex() != text:
        raise BadParameter(f"{text!r} is not lower-case hex.", do="Pass digests in hex.")
    return data


def _refused(what: str) -> VerificationFailed:
    return VerificationFailed(
        "inclusion", what, "So the leaf is not shown to be under this root.", "Ask for a new proof."
    )
