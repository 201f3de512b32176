"""Digests of columns and of pairs of nodes are those of ``hashlib``, whatever comes when."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from importlib import import_module

import numba
import numpy as np
import pytest
from llvmlite import binding

from rescind.proofs.mask_proof import leaves
from rescind.proofs.mask_proof.columns import check_column, commit
from rescind.proofs.mask_proof.field import P
from rescind.proofs.mask_proof.leaves import Apart, Together, parents
from rescind.proofs.mask_proof.transform import code_words

DRAW = np.random.default_rng(0)
HASHING = import_module("rescind.proofs.mask_proof.hashing")


@pytest.mark.parametrize("tag", ["aux", "post", "weights", "gradients", "of six", "x" * 29])
@pytest.mark.parametrize("counts", [(16, 16, 3), (1,), (5, 16, 8, 2), (6,), (7,), (8,)])
@pytest.mark.parametrize("size", [64, 96])
def test_columns_side_by_side_have_the_digests_of_hashlib(
    tag: str, counts: Sequence[int], size: int
) -> None:
    """Heads of all lengths modulo 8, and columns that end anywhere in a block."""
    salts, head = DRAW.bytes(32 * 4 * size), b"\x00" + tag.encode() + b"\n"
    one, other = Apart(head, salts), Together(HASHING, head, salts)
    whole = []
    for count in counts:
        numbers = DRAW.integers(0, P, (4, count, size), dtype=np.uint64)
        whole.append(numbers)
        for each in (one, other):
            each.room[:, each.first : each.first + count] = numbers
            each.take(count)
    found = other.digests()
    assert found == one.digests()
    column = np.concatenate(whole, 1)[1, :, 5].astype("<u8").tobytes()
    place = 4 * 5 + 1
    salt = salts[32 * place : 32 * (place + 1)]
    assert found[32 * place : 32 * (place + 1)] == hashlib.sha256(head + salt + column).digest()


@pytest.mark.parametrize("pairs", [1, 15, 16, 17, 4112])
def test_parents_have_the_digests_of_hashlib(pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = DRAW.bytes(64 * pairs)
    wanted = [hashlib.sha256(b"\x01" + nodes[64 * i : 64 * i + 64]).digest() for i in range(pairs)]
    assert parents(nodes) == b"".join(wanted)
    monkeypatch.setattr(leaves, "hashing", None)
    assert parents(nodes) == b"".join(wanted)


@pytest.mark.parametrize("own", [False, True])
def test_both_kinds_of_rounds_give_the_digests_of_hashlib(
    own: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sixteen columns side by side, and by the processor's own instructions where it has them."""
    if own and not binding.get_host_cpu_features().get("sha"):
        pytest.skip("this processor has no instructions for SHA-256")
    monkeypatch.setattr(HASHING.own_rounds, "better", lambda features: own)
    absorb = numba.njit(HASHING.absorb.py_func)  # compiled here and now
    rows = DRAW.integers(0, 2**63, (25, 48), dtype=np.uint64)
    state = HASHING.start(48)
    absorb(state, rows, 3, 24)
    assert ("sha256rnds2" in "".join(absorb.inspect_asm().values())) == own
    for column, found in enumerate(np.split(np.frombuffer(HASHING.digests(state), np.uint8), 48)):
        data = rows[:, column].astype("<u8").tobytes()[3 : 3 + 192]
        assert found.tobytes() == _without_end(data)


def _without_end(data: bytes) -> bytes:
    """The state of SHA-256 after whole blocks, worked out word by word."""
    state = [int(word) for word in HASHING.START]
    for start in range(0, len(data), 64):
        words = list(struct.unpack(">16I", data[start : start + 64]))
        a, b, c, d, e, f, g, h = state
        for t in range(64):
            if t >= 16:
                x, y = words[t - 15], words[t - 2]
                words.append(
                    words[t - 16]
                    + (_turned(x, 7) ^ _turned(x, 18) ^ x >> 3)
                    + words[t - 7]
                    + (_turned(y, 17) ^ _turned(y, 19) ^ y >> 10)
                    & 2**32 - 1
                )
            one = h + (_turned(e, 6) ^ _turned(e, 11) ^ _turned(e, 25)) + (e & f ^ ~e & g)
            one += HASHING.ROUNDS[t] + words[t]
            two = (_turned(a, 2) ^ _turned(a, 13) ^ _turned(a, 22)) + (a & b ^ a & c ^ b & c)
            a, b, c, d, e, f, g, h = one + two & 2**32 - 1, a, b, c, d + one & 2**32 - 1, e, f, g
        state = [x + y & 2**32 - 1 for x, y in zip(state, (a, b, c, d, e, f, g, h), strict=True)]
    return struct.pack(">8I", *state)


def _turned(word: int, by: int) -> int:
    return (word >> by | word << 32 - by) & 2**32 - 1


@pytest.mark.parametrize("size", [64, 96])
def test_each_column_is_under_the_root(size: int) -> None:
    """In a tree of 384 leaves a node lacks its sibling, which 32 zeros stand in for."""
    rows = DRAW.integers(0, P, (3, size), dtype=np.uint64)
    made, words = commit("aux", [rows], None, b"seed"), code_words(rows)
    tree = made.tree()
    assert (tree.root, tree.levels[0], len(made.leaves)) == (made.root, made.leaves, 128 * size)
    for column in (0, 1, 4 * size - 1):
        path = tree.path(column)
        assert len(path) == (4 * size - 1).bit_length()
        numbers = words[:, column].astype("<u8").tobytes()
        check_column("aux", column, numbers, tree.salt(column), path, tree.root)
    assert (bytes(32) in tree.path(4 * size - 1)) == (size == 96)
