"""The tree by key: what it holds can be shown, what it does not hold too, and nothing else."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescind.core.errors import BadParameter, InsufficientEvidence, VerificationFailed
from rescind.proofs.key_tree import (
    KeyTree,
    Place,
    TreeHead,
    place_of,
    verify_absent,
    verify_present,
)

SECRET = b"s" * 32
KEYS = st.sets(st.text(max_size=8), max_size=40)


def tree_of(keys: set[str], secret: bytes = SECRET) -> KeyTree:
    return KeyTree.draw({k: f"content of {k}".encode() for k in keys}, secret)


@given(KEYS, st.text(max_size=8))
def test_each_key_is_shown_present_or_absent(keys: set[str], asked: str) -> None:
    tree = tree_of(keys)
    for key in keys:
        verify_present(tree.head, key, f"content of {key}".encode(), tree.present(key))
    if asked in keys:
        with pytest.raises(BadParameter):
            tree.absent(asked)
    else:
        verify_absent(tree.head, asked, tree.absent(asked))
        with pytest.raises(BadParameter):
            tree.present(asked)


def brute_force(keys: set[str], head: TreeHead) -> str:
    """All places of a shallow tree, one by one, with the salts that paths open."""
    tree = tree_of(keys)
    assert tree.head == head
    level = []
    by_place = {place_of(k, head.nonce, head.depth): k for k in keys}
    for place in range(2**head.depth):
        if place in by_place:
            found = tree.present(by_place[place])
            content = f"content of {by_place[place]}".encode()
            level.append(hashlib.sha256(b"\x10" + bytes.fromhex(found.salt) + content).digest())
        else:
            level.append(b"")
    depth = head.depth
    while len(level) > 1:
        depth -= 1
        level = [
            parent(tree, depth, i, level[2 * i], level[2 * i + 1]) for i in range(len(level) // 2)
        ]
    return level[0].hex()


def parent(tree: KeyTree, depth: int, index: int, left: bytes, right: bytes) -> bytes:
    """Empty where both are; an empty child beside a full one is hashed with its own salt."""
    if not left and not right:
        return b""
    pair = [
        node or hashlib.sha256(b"\x12" + tree._empty_salt(depth + 1, 2 * index + bit)).digest()
        for bit, node in enumerate((left, right))
    ]
    return hashlib.sha256(b"\x11" + b"".join(pair)).digest()


def test_the_root_is_that_of_all_places_one_by_one() -> None:
    keys = {"a", "b", "c"}
    head = tree_of(keys).head
    assert head.depth == 18 and brute_force(keys, head) == head.root


def test_no_changed_opening_is_taken() -> None:
    tree = tree_of({"a", "b", "c", "d", "e"})
    found, gone = tree.present("a"), tree.absent("z")
    refused = [
        ("b", b"content of a", found),
        ("a", b"content of b", found),
        ("a", b"content of a", replace(found, salt="00" * 32)),
        ("a", b"content of a", replace(found, path=found.path[:-1])),
        ("a", b"content of a", replace(found, path=(*found.path, "00" * 32))),
        ("a", b"content of a", replace(found, path=("zz", *found.path[1:]))),
        ("z", b"", gone),
    ]
    for key, content, place in refused:
        with pytest.raises(VerificationFailed):
            verify_present(tree.head, key, content, place)
    for key, place in (("a", gone), ("z", found), ("z", replace(gone, path=gone.path[1:]))):
        with pytest.raises(VerificationFailed):
            verify_absent(tree.head, key, place)
    with pytest.raises(VerificationFailed):
        verify_absent(replace(tree.head, depth=0), "z", Place(gone.salt, ()))


def test_a_path_tells_nothing_that_the_secret_does_not_give() -> None:
    """Other salts, other siblings: none of them could be guessed from the keys alone."""
    one, two = tree_of({"a", "b"}), tree_of({"a", "b"}, b"t" * 32)
    assert one.head.root != two.head.root
    assert not set(one.present("a").path) & set(two.present("a").path)
    assert not set(one.present("a").path) & {hashlib.sha256(b"\x12").hexdigest()}


def test_two_keys_in_one_place_draw_another_nonce() -> None:
    keys = {str(n): b"" for n in range(3000)}
    tree = KeyTree.draw(keys, SECRET)
    places = {place_of(k, tree.head.nonce, tree.depth) for k in keys}
    assert len(places) == len(keys)
    shallow = KeyTree(dict.fromkeys("ab", b""), SECRET, "n")
    met = next(k for k in map(str, range(10**7)) if place_of(k, "n", 18) == place_of("a", "n", 18))
    with pytest.raises(InsufficientEvidence):
        shallow.absent(met)
    with pytest.raises(BadParameter, match="one place"):
        KeyTree({"a": b"", met: b""}, SECRET, "n")
