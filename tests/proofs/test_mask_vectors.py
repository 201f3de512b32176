"""The stored proofs of masks: both verifiers take them and find their challenges, and the prover
makes the same bytes from the same random ones.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from make_mask_vectors import HERE, WORLDS, Vector, expected, sha256, stored, write
from mask_worlds import proved, roots, second

from rescind.proofs.mask_proof import counted, independent, leaves, transform, turned
from rescind.proofs.mask_proof.proof_file import read
from rescind.proofs.mask_proof.transcript import Transcript
from rescind.proofs.mask_proof.verifier import verify

INDEPENDENT = Path(independent.__file__)
vector = cache(stored)


def recorded(
    monkeypatch: pytest.MonkeyPatch, kind: type, run: Callable[[], object]
) -> dict[str, Any]:
    """What a transcript of this class drew while ``run`` did, by label."""
    found: dict[str, Any] = {}
    columns = "drawn_columns" if hasattr(kind, "drawn_columns") else "columns"

    def kept(name: str, label: Callable[[Any], str]) -> None:
        original = getattr(kind, name)

        def method(self: Any, *given: Any) -> Any:
            found[label(given[0])] = drawn = original(self, *given)
            return drawn

        monkeypatch.setattr(kind, name, method)

    kept("elements", str)
    kept(columns, lambda _: "columns")
    run()
    return found


def assert_challenges(found: dict[str, Any], each: Vector) -> None:
    """They are those of the file."""
    numbers = np.array(found["factors"], dtype="<u8")
    assert [str(int(x)) for x in found["point"]] == each.expected["point"]
    assert [str(int(x)) for x in numbers[:6]] == each.expected["first_factors"]
    assert sha256(numbers.tobytes()) == each.expected["factors"]
    assert found["columns"] == each.expected["columns"]


@pytest.mark.parametrize("name", WORLDS)
def test_both_verifiers_take_a_stored_proof_and_find_its_challenges(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    each = vector(name)
    statement, public = each.made.statement, each.made.public
    first = recorded(monkeypatch, Transcript, lambda: verify(statement, public, each.proof))
    assert_challenges(first, each)
    own = independent._Transcript
    other = recorded(monkeypatch, own, lambda: second(statement, public, each.proof))
    assert_challenges(other, each)


@pytest.mark.parametrize("name", WORLDS)
def test_what_is_expected_follows_from_statement_and_proof(name: str) -> None:
    each = vector(name)
    found = expected(each.made.statement, read(each.made.statement, each.proof))
    assert found | {"proof": sha256(each.proof)} == each.expected


@pytest.mark.parametrize("name", WORLDS)
def test_the_prover_makes_the_same_bytes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    each = vector(name)
    left = iter(each.drawn)
    proved(each.made)  # compiling its loops asks for random bytes of its own
    assert roots(each.made).items() <= each.expected["roots"].items()
    monkeypatch.setattr(os, "urandom", lambda count: next(left))
    assert proved(each.made) == each.proof
    assert next(left, None) is None
    others = iter(each.drawn[::-1])
    monkeypatch.setattr(os, "urandom", lambda count: next(others))
    assert proved(each.made) != each.proof  # nothing else makes them


def test_the_prover_makes_the_same_bytes_without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    each = vector("thirds")
    loops = ((transform, "kernels"), (transform, "fourier"), (leaves, "hashing"))
    for module, name in (*loops, (turned, "blocks"), (counted, "blocks")):
        monkeypatch.setattr(module, name, None)
    left = iter(each.drawn)
    monkeypatch.setattr(os, "urandom", lambda count: next(left))
    assert proved(each.made) == each.proof


def test_the_files_are_what_the_generator_writes(tmp_path: Path) -> None:
    write(tmp_path)
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    kept = {path.name: path.read_bytes() for path in HERE.iterdir() if path.suffix != ".md"}
    assert made == kept and len(made) == 2 * len(WORLDS)


def test_the_second_verifier_is_small_and_shares_nothing() -> None:
    source = INDEPENDENT.read_text()
    assert len(source.splitlines()) < 400
    tree = ast.walk(ast.parse(source))
    imported = {
        name.split(".")[0]
        for node in tree
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [alias.name for alias in node.names]
        )
    }
    assert imported and imported <= set(sys.stdlib_module_names)
