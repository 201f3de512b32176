"""A receipt shows offline that just this commitment's entry stands under a root of the ledger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from parties import client, made

from rescind import proving
from rescind.backends import Backends
from rescind.core.canonical import build, dumps, plain
from rescind.core.errors import VerificationFailed
from rescind.core.protocols import Entry
from rescind.proofs.consistency import verify_consistency
from rescind.proofs.reading import parse_json
from rescind.workspace import new_workspace
from rescind.zk.client import commit
from rescind.zk.entries import Receipt, included
from rescind.zk.receipts import enter

OTHER = "ab" * 32


def entered(folder: Path, before: int) -> tuple[Backends, Receipt]:
    b = new_workspace(folder).backends
    for number in range(before):
        b.ledger.append(Entry("noted", None, {"number": number}))
    committed, _ = commit(made().epoch, client().weights, client().gradients)
    return b, enter(b, made().epoch, committed, "anna")


@pytest.mark.parametrize("before", [0, 1, 2, 6, 7])
def test_it_holds_at_every_place(tmp_path: Path, before: int) -> None:
    b, receipt = entered(tmp_path / "provider", before)
    shown = included(receipt)
    assert f"entry {receipt.seq}," in shown and receipt.root in shown
    assert receipt.root == proving.ledger_root(b, b.ledger.head()[0])
    b.ledger.append(Entry("noted", None, {"number": 99}))
    later = proving.consistency(b, receipt.seq)
    root = proving.ledger_root(b, b.ledger.head()[0])
    path = later["path"]
    assert later["old_root"] == receipt.root and isinstance(path, list)
    verify_consistency(receipt.seq, receipt.root, receipt.seq + 1, root, path)


def up(receipt: Receipt) -> Receipt:
    return replace(receipt, path=(receipt.path[1], receipt.path[0], *receipt.path[2:]))


CHEATS: dict[str, Callable[[Receipt, Receipt], Receipt]] = {
    "moved": lambda own, other: replace(own, seq=own.seq - 1),
    "moved on": lambda own, other: replace(own, seq=own.seq + 1),
    "another place, and its path": lambda own, other: replace(
        own, seq=other.seq, path=other.path, root=other.root
    ),
    "root of another ledger": lambda own, other: replace(own, root=other.root),
    "root and path of another ledger": lambda own, other: replace(
        own, root=other.root, path=other.path
    ),
    "path cut": lambda own, other: replace(own, path=own.path[:-1]),
    "no path": lambda own, other: replace(own, path=()),
    "path longer": lambda own, other: replace(own, path=(*own.path, OTHER)),
    "path turned": lambda own, other: up(own),
    "path of no hex": lambda own, other: replace(own, path=("x", *own.path[1:])),
    "previous": lambda own, other: replace(own, previous=OTHER),
    "entry": lambda own, other: replace(own, entry=OTHER),
    "time": lambda own, other: replace(own, at=other.at),
    "client": lambda own, other: replace(own, client=OTHER),
    "commitment": lambda own, other: replace(own, commitment=OTHER),
    "epoch": lambda own, other: replace(own, epoch=OTHER),
    "of before there were roots": lambda own, other: replace(own, previous="", root="", path=()),
}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Receipt, Receipt]:
    at = tmp_path_factory.mktemp("receipts")
    found = entered(at / "one", 5)[1], entered(at / "two", 4)[1]
    assert all(included(r) for r in found) and len(found[0].path) >= 3
    return found


@pytest.mark.parametrize("cheat", CHEATS)
def test_a_changed_receipt_does_not_hold(two: tuple[Receipt, Receipt], cheat: str) -> None:
    with pytest.raises(VerificationFailed) as error:
        included(CHEATS[cheat](*two))
    assert error.value.check == "receipt"


def test_a_receipt_of_before_is_read_and_told_apart(two: tuple[Receipt, Receipt]) -> None:
    old = plain(two[0])
    for name in ("previous", "root", "path"):
        del old[name]
    found = build(Receipt, parse_json(dumps(old)))
    with pytest.raises(VerificationFailed, match="no path to a root"):
        included(found)
