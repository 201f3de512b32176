"""That a Merkle tree goes on from an earlier one: RFC 6962, 2.1.2, and RFC 9162, 2.1.4.2."""

from __future__ import annotations

from collections.abc import Sequence

from rescind.core.errors import BadParameter, VerificationFailed
from rescind.proofs.merkle import bytes_of, leaf_of, node_of


def consistency(leaves: Sequence[str], old: int) -> tuple[str, ...]:
    """The nodes that show that a tree of these leaves goes on from its first ``old`` (RFC 6962,
    2.1.2).

    Raises:
        BadParameter: there are not so many leaves, or a leaf is not lower-case hex.
    """
    if not 1 <= old <= len(leaves):
        raise BadParameter(
            f"A tree of {len(leaves)} leaves did not go on from {old}.", do="Name from 1 up."
        )
    return tuple(node.hex() for node in _subproof(old, [leaf_of(leaf) for leaf in leaves], True))


def verify_consistency(old: int, old_root: str, size: int, root: str, path: Sequence[str]) -> None:
    """Return if the tree of ``size`` leaves begins with the ``old`` leaves of the other root
    (RFC 9162, 2.1.4.2).

    Raises:
        VerificationFailed: that is not shown.
    """
    if not 1 <= old <= size:
        raise _refused(f"A tree of {size} leaves does not go on from one of {old}.")
    try:
        nodes = [bytes_of(item) for item in path]
    except BadParameter as error:
        raise _refused(error.what) from error
    if old == size:
        _same([], nodes, (old_root, old_root), (root, old_root))
        return
    if old & (old - 1) == 0:
        nodes = [bytes_of(old_root), *nodes]
    fn, sn = old - 1, size - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    before = after = nodes.pop(0) if nodes else b""
    while nodes and sn:
        node = nodes.pop(0)
        if fn & 1 or fn == sn:
            before, after = node_of(node, before), node_of(node, after)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            after = node_of(after, node)
        fn, sn = fn >> 1, sn >> 1
    _same(nodes, [b""] * sn, (before.hex(), old_root), (after.hex(), root))


def _same(left: list[bytes], more: list[bytes], *pairs: tuple[str, str]) -> None:
    if left or more or any(found != wanted for found, wanted in pairs):
        raise _refused("The path does not lead to both roots.")


def _subproof(old: int, nodes: list[bytes], whole: bool) -> list[bytes]:
    """SUBPROOF(m, D[n], b) of RFC 6962."""
    size = len(nodes)
    if old == size:
        return [] if whole else [_top(nodes)]
    half = 1 << (size - 1).bit_length() - 1
    if old <= half:
        return [*_subproof(old, nodes[:half], whole), _top(nodes[half:])]
    return [*_subproof(old - half, nodes[half:], False), _top(nodes[:half])]


def _top(level: list[bytes]) -> bytes:
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=False)
        level = [node_of(left, right) for left, right in pairs] + level[len(level) & ~1 :]
    return level[0]


def _refused(what: str) -> VerificationFailed:
    return VerificationFailed(
        "consistency",
        what,
        "So the later tree is not shown to go on from the earlier one.",
        "Ask for a new proof.",
    )
