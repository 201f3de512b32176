"""The tree against RFC 6962's own recursive definition, for every size and place up to 17."""

from __future__ import annotations

import hashlib

import pytest

from rescind.core.errors import BadParameter, VerificationFailed
from rescind.proofs import merkle
from rescind.proofs.consistency import consistency, verify_consistency
from rescind.proofs.merkle import inclusion, root, verify_inclusion

SIZES = range(18)


def leaves_of(size: int) -> list[str]:
    return [hashlib.sha256(bytes([n])).hexdigest() for n in range(size)]


def oracle(leaves: list[str]) -> bytes:
    """MTH of RFC 6962, section 2.1."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + bytes.fromhex(leaves[0])).digest()
    k = 1 << ((len(leaves) - 1).bit_length() - 1)
    return hashlib.sha256(b"\x01" + oracle(leaves[:k]) + oracle(leaves[k:])).digest()


def oracle_path(index: int, leaves: list[str]) -> list[str]:
    """PATH of RFC 6962, section 2.1.1."""
    if len(leaves) <= 1:
        return []
    k = 1 << ((len(leaves) - 1).bit_length() - 1)
    if index < k:
        return [*oracle_path(index, leaves[:k]), oracle(leaves[k:]).hex()]
    return [*oracle_path(index - k, leaves[k:]), oracle(leaves[:k]).hex()]


@pytest.mark.parametrize("size", SIZES)
def test_root_and_paths_are_those_of_the_rfc(size: int) -> None:
    leaves = leaves_of(size)
    assert root(leaves) == oracle(leaves).hex()
    for index in range(size):
        assert list(inclusion(leaves, index)) == oracle_path(index, leaves)


@pytest.mark.parametrize("size", SIZES)
def test_every_leaf_verifies_in_its_place_and_nowhere_else(size: int) -> None:
    leaves = leaves_of(size)
    top = root(leaves)
    for index, leaf in enumerate(leaves):
        path = inclusion(leaves, index)
        verify_inclusion(leaf, index, size, path, top)
        for other in range(-1, size + 1):
            if other != index:
                with pytest.raises(VerificationFailed):
                    verify_inclusion(leaf, other, size, path, top)


@pytest.mark.parametrize("size", [1, 2, 3, 8, 13])
def test_a_tampered_proof_is_refused(size: int) -> None:
    leaves = leaves_of(size)
    top, foreign = root(leaves), "ab" * 32
    for index, leaf in enumerate(leaves):
        path = inclusion(leaves, index)
        changed = [(*path[:n], foreign, *path[n + 1 :]) for n in range(len(path))]
        shortened = [path[:-1]] if path else []
        for bad in [*changed, *shortened, (*path, foreign), ("no hex", *path[1:])]:
            with pytest.raises(VerificationFailed):
                verify_inclusion(leaf, index, size, bad, top)
        with pytest.raises(VerificationFailed):
            verify_inclusion(foreign, index, size, path, top)
        with pytest.raises(VerificationFailed):
            verify_inclusion(leaf, index, size, path, foreign)


def test_known_answers() -> None:
    # certificate-transparency-go, merkle test vectors: no leaf, and one empty leaf
    assert root([]) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert root([""]) == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"


def test_an_inner_node_does_not_pass_for_a_leaf() -> None:
    first, second = leaves_of(2)
    joined = "".join(
        hashlib.sha256(b"\x00" + bytes.fromhex(leaf)).hexdigest() for leaf in (first, second)
    )
    assert root([joined]) != root([first, second])


@pytest.mark.parametrize("leaf", ["AB", "a", "zz", "ab cd", " ab", "é"])
def test_only_one_spelling_of_a_leaf(leaf: str) -> None:
    with pytest.raises(BadParameter):
        root([leaf])


@pytest.mark.parametrize("index", [-1, 3])
def test_no_such_leaf(index: int) -> None:
    with pytest.raises(BadParameter, match="no leaf"):
        inclusion(leaves_of(3), index)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 21])
def test_a_tree_goes_on_from_each_of_its_beginnings(size: int) -> None:
    leaves = [hashlib.sha256(bytes([n])).hexdigest() for n in range(size)]
    now = merkle.root(leaves)
    for old in range(1, size + 1):
        before, path = merkle.root(leaves[:old]), consistency(leaves, old)
        verify_consistency(old, before, size, now, path)
        wrong = [
            (old, before, size, now, (*path, leaves[0])),
            (old, merkle.root(leaves[1 : old + 1] or ["00"]), size, now, path),
            (old, before, size, leaves[0], path),
            (old + 1, before, size, now, path),
            (0, before, size, now, path),
        ]
        if path:
            wrong += [
                (old, before, size, now, path[:-1]),
                (old, before, size, now, (leaves[0], *path[1:])),
            ]
        if size > 1:
            for case in wrong:
                with pytest.raises(VerificationFailed):
                    verify_consistency(*case)
    for old in (0, size + 1):
        with pytest.raises(BadParameter):
            consistency(leaves, old)
