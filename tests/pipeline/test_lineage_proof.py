"""The proof beside a certificate: committed prefixes, a cut cell, a record that is gone."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import tiny_workspace
from tiny_workspace import ask, keys_in

from rescind import absences, committed, proving, state
from rescind.backends import Backends
from rescind.committed import ledger_root
from rescind.core.canonical import digest, dumps, plain
from rescind.core.errors import (
    BadParameter,
    DamagedArtifact,
    InsufficientEvidence,
    VerificationFailed,
)
from rescind.core.protocols import Entry, Write, chain_digest
from rescind.core.request import Request
from rescind.data.manifest import leaves
from rescind.proofs import merkle
from rescind.proofs.commitments import KIND, facts_of
from rescind.proofs.lineage import check_consistency
from rescind.proofs.verifier import Verification, verify
from rescind.workspace import Workspace


@dataclass(frozen=True)
class Proved:
    """A closed request, the receipt of its record, and the proof with it."""

    ws: Workspace
    request: Request
    key: str
    receipt: bytes
    proof: bytes

    def seen(self, proof: bytes | None = None, receipt: bytes | None = None) -> dict[str, str]:
        found = verify(
            self.ws.certificate_file(self.request.id),
            proof=proof or self.proof,
            receipt=receipt or self.receipt,
        )
        return lineage_of(found)

    def changed(self, change: Callable[[dict[str, Any]], object]) -> dict[str, str]:
        value = json.loads(self.proof)
        change(value)
        return self.seen(proof=dumps(value))


def lineage_of(found: Verification) -> dict[str, str]:
    return {c.name: c.outcome for c in found.checks if c.name.startswith("lineage")}


ALL = {
    "lineage ledger",
    "lineage served",
    "lineage prefix",
    "lineage order",
    "lineage record",
}


@pytest.fixture(scope="module")
def proved(trained: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Proved:
    ws = tiny_workspace.copy(trained("s3t"), tmp_path_factory.mktemp("proved") / "ws")
    [key] = keys_in(ws, "0.1")[:1]
    receipt = proving.receipt(ws.backends, key)
    request = ws.request(ask(key))
    ws.process(request.id)
    request = state.request(ws.backends, request.id)
    return Proved(ws, request, key, receipt, proving.prove(ws.backends, request.id, receipt))


def test_the_served_model_is_a_committed_prefix_without_the_cut_cell(proved: Proved) -> None:
    assert proved.seen() == dict.fromkeys(ALL, "passed")
    found = verify(proved.ws.certificate_file(proved.request.id), proof=proved.proof)
    assert lineage_of(found)["lineage record"] == "not checked"
    assert any("never trained on" in line for line in found.not_covered)
    assert found.statement is not None and found.statement.guarantee.kind == "exact"
    assert len(proved.proof) < 16_384 and proved.key not in proved.proof.decode()
    proof = json.loads(proved.proof)
    assert any(set(part["part"]["slices"]) for part in proof["served"])
    assert all(part["index"] is not None for part in proof["served"])


def test_without_a_proof_nothing_is_said_of_it(proved: Proved) -> None:
    assert lineage_of(verify(proved.ws.certificate_file(proved.request.id))) == {}


def flip(text: str) -> str:
    return ("0" if text[0] != "0" else "1") + text[1:]


def at(*path: str | int) -> Callable[[dict[str, Any]], object]:
    """Change the value at a path: a digest by its first digit, a number by one."""

    def change(value: Any) -> None:
        for name in path[:-1]:
            value = value[name]
        old = value[path[-1]]
        value[path[-1]] = old + 1 if isinstance(old, int) else flip(old)

    return change


LIES: dict[str, tuple[str, Callable[[dict[str, Any]], object]]] = {
    "ledger size": ("lineage ledger", at("size")),
    "ledger root": ("lineage ledger", at("root")),
    "request": ("lineage ledger", at("request")),
    "path of an entry": ("lineage ledger", at("before", "path", 0)),
    "commitment to parts": ("lineage ledger", at("before", "entry", "facts", "parts")),
    "commitment after": ("lineage ledger", at("after", "entry", "facts", "parts")),
    "time of a commitment": ("lineage ledger", at("before", "entry", "at")),
    "entries swapped": (
        "lineage ledger",
        lambda p: p.update(before=p["after"], after=p["before"]),
    ),
    "weights of a part": ("lineage served", at("served", 0, "part", "digest")),
    "a part left out": ("lineage served", lambda p: p["served"].pop()),
    "place of a part": ("lineage prefix", at("served", 0, "index")),
    "path of a part": ("lineage prefix", at("served", 0, "path", 0)),
    "blocks of a part": ("lineage prefix", at("served", 0, "part", "blocks", 0, 0)),
    "commitment to orders": ("lineage ledger", at("before", "entry", "facts", "orders")),
    "place of an order": ("lineage order", at("served", 0, "planned", "index")),
    "path of an order": ("lineage order", at("served", 0, "planned", "path", 0)),
    "slices of an order": ("lineage order", at("served", 0, "planned", "order", "slices", 0)),
    "blocks of an order": ("lineage order", at("served", 0, "planned", "order", "blocks", 1, 0)),
    "another order": (
        "lineage order",
        lambda p: p["served"][0].update(planned=p["served"][-1]["planned"]),
    ),
    "absence": ("lineage record", at("absent", "salt")),
    "no absence": ("lineage record", lambda p: p.update(absent=None)),
    "another version": ("lineage", lambda p: p.update(version="lineage 3")),
    "another field": ("lineage", lambda p: p.update(more=1)),
    "no such field": ("lineage", lambda p: p.pop("served")),
}


@pytest.mark.parametrize("lie", LIES)
def test_each_changed_field_fails_its_check(proved: Proved, lie: str) -> None:
    failed, change = LIES[lie]
    assert proved.changed(change).get(failed) == "failed"


def test_a_part_that_is_called_a_later_one_is_not_passed_over(proved: Proved) -> None:
    found = proved.changed(lambda p: p["served"][0].update(index=None, path=[]))
    assert found["lineage prefix"] == found["lineage order"] == "not checked"
    assert found["lineage served"] == "passed"


def test_a_part_of_no_committed_order_is_not_passed_over(proved: Proved) -> None:
    found = proved.changed(lambda p: p["served"][0].update(planned=None))
    assert found["lineage order"] == "not checked" and found["lineage prefix"] == "passed"


def test_the_committed_orders_are_those_that_were_trained(proved: Proved) -> None:
    b = proved.ws.backends
    first = next(e for e in b.ledger.entries() if e.kind == KIND)
    trained = {(s.shard, s.order, s.slices, s.blocks) for s in state.run(b).checkpoints}
    planned = committed.orders(b)
    assert first.facts["planned"] == len(planned) == 4
    assert first.facts["orders"] == merkle.root(
        [digest([o.shard, o.index, o.slices, o.blocks]) for o in planned]
    )
    assert {(o.shard, o.index, o.slices, o.blocks) for o in planned} <= trained


def test_a_prefix_of_an_order_that_was_not_committed_to_is_refused(proved: Proved) -> None:
    """A server that cut a slice out of the middle: its weights are of an order of its own."""

    def skipped(proof: dict[str, Any]) -> None:
        order = proof["served"][0]["planned"]["order"]
        order["slices"] = order["slices"][::-1]

    assert proved.changed(skipped)["lineage order"] == "failed"


@pytest.mark.parametrize("field", ["key", "digest", "cell", "multiplicity"])
def test_a_changed_receipt_is_refused(proved: Proved, field: str) -> None:
    value = json.loads(proved.receipt)
    value[field] = value[field] + 1 if field == "multiplicity" else flip(value[field])
    assert proved.seen(receipt=dumps(value))["lineage record"] == "failed"


def test_a_kept_records_receipt_shows_no_deletion(proved: Proved) -> None:
    """Its key stands in the manifest after the erasure, so that its absence cannot be opened."""
    kept = keys_in(proved.ws, "1.0")[0]
    other = proving.receipt(proved.ws.backends, kept)
    assert proved.seen(receipt=other)["lineage record"] == "failed"
    with pytest.raises(BadParameter):
        proving.prove(proved.ws.backends, proved.request.id, other)


def test_a_model_that_still_serves_the_cell_fails(make: Callable[..., Workspace]) -> None:
    """A server that keeps the old parts and signs anyway: the path of its own part betrays it."""
    ws = make()
    [key] = keys_in(ws, "0.0")[:1]
    request = ws.request(ask(key))
    ws.process(request.id)
    value = json.loads(proving.prove(ws.backends, request.id))
    entry = value["after"]["entry"]
    cell = f"{value['served'][0]['part']['shard']}.{value['served'][0]['part']['slices'][0]}"
    entry["facts"]["cells"] = [cell]
    found = lineage_of(verify(ws.certificate_file(request.id), proof=dumps(value)))
    assert found["lineage prefix"] == "failed" and found["lineage ledger"] == "failed"


def test_parts_that_were_made_later_are_not_called_prefixes(make: Callable[..., Workspace]) -> None:
    ws = make("retrain")
    [key] = keys_in(ws, "0.0")[:1]
    request = ws.request(ask(key))
    ws.process(request.id)
    proof = proving.prove(ws.backends, request.id)
    found = lineage_of(verify(ws.certificate_file(request.id), proof=proof))
    assert found["lineage prefix"] == "not checked" and found["lineage served"] == "passed"


def test_a_receipt_from_before_other_erasures_still_serves(make: Callable[..., Workspace]) -> None:
    ws = make()
    first, second = keys_in(ws, "0.0")[0], keys_in(ws, "1.1")[0]
    receipt = proving.receipt(ws.backends, second)
    ws.process(ws.request(ask(first)).id)
    request = ws.request(ask(second))
    ws.process(request.id)
    proof = proving.prove(ws.backends, request.id, receipt)
    assert json.loads(proof)["receipted"] is not None
    found = lineage_of(verify(ws.certificate_file(request.id), proof=proof, receipt=receipt))
    assert found == dict.fromkeys(ALL, "passed")


def test_a_withdrawal_before_the_certificate_takes_nothing_from_the_proof(
    make: Callable[..., Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    ws = make()
    first, second = keys_in(ws, "0.0")[0], keys_in(ws, "1.0")[0]
    request = ws.request(ask(first))
    commit = committed.commit
    asked: list[Request] = []

    def late(b: Backends, about: Request | None = None) -> None:
        if not asked:
            asked.append(ws.request(ask(second)))
        commit(b, about)

    monkeypatch.setattr(committed, "commit", late)
    ws.process(request.id)
    proof = proving.prove(ws.backends, request.id)
    found = lineage_of(verify(ws.certificate_file(request.id), proof=proof))
    assert asked and found["lineage served"] == found["lineage prefix"] == "passed"
    assert found["lineage ledger"] == "passed"


def test_after_a_later_erasure_the_absence_is_still_opened(
    make: Callable[..., Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    ws = make()
    first, second, third = keys_in(ws, "0.0")[0], keys_in(ws, "1.1")[0], keys_in(ws, "1.0")[0]
    receipt, other = (proving.receipt(ws.backends, key) for key in (first, third))
    request = ws.request(ask(first))
    ws.process(request.id)
    ws.process(ws.request(ask(second)).id)
    proof = proving.prove(ws.backends, request.id, receipt)
    found = verify(ws.certificate_file(request.id), proof=proof, receipt=receipt)
    assert lineage_of(found) == dict.fromkeys(ALL, "passed")
    with pytest.raises(InsufficientEvidence, match="was not kept"):
        proving.prove(ws.backends, request.id, other)  # a record that was not asked for
    monkeypatch.setattr(absences, "MOST", 0)
    late = ws.request(ask(third))
    ws.process(late.id)
    assert ws.backends.artifacts.find(f"absence/{late.id}") is None
    proving.prove(ws.backends, late.id, other)
    ws.process(ws.request(ask(keys_in(ws, "0.0")[0])).id)  # rewrites the manifest, cuts no more
    with pytest.raises(InsufficientEvidence, match="up to 0"):
        proving.prove(ws.backends, late.id, other)


def test_what_is_kept_of_an_absence_is_encrypted_and_names_no_key(proved: Proved) -> None:
    b = proved.ws.backends
    name = f"absence/{proved.request.id}"
    stored = b.artifacts.get(name)
    assert proved.key.encode() not in stored and len(json.loads(stored)) == 1
    salt = json.loads(stored)[0]["salt"].encode()
    files = [p for p in proved.ws.folder.rglob("*") if p.is_file()]
    assert files and not any(salt in p.read_bytes() for p in files)
    assert all(not a.cells for a in b.artifacts.list() if a.kind == "absence")


def test_commitments_are_entered_when_what_may_serve_changes(
    make: Callable[..., Workspace],
) -> None:
    ws = make()
    kinds = [e.kind for e in ws.backends.ledger.entries()]
    assert kinds.count(KIND) == 1 and kinds[-1] == KIND
    [key] = keys_in(ws, "0.0")[:1]
    request = ws.request(ask(key))
    assert [e.kind for e in ws.backends.ledger.entries()].count(KIND) == 1
    ws.process(request.id)
    entries = list(ws.backends.ledger.entries())
    [after] = [e for e in entries if e.kind == KIND and e.request == request.id]
    assert after.facts["cells"] == ["0.0"]
    parts = merkle.root(
        [
            digest([s.shard, s.order, s.slices, s.blocks, s.digest, s.records])
            for s in state.parts(ws.backends)
        ]
    )
    assert after.facts["parts"] == parts


def test_a_later_ledger_goes_on_from_an_earlier_one(proved: Proved) -> None:
    b = proved.ws.backends
    size = b.ledger.head()[0]
    found = proving.consistency(b, 3)
    old, now = ledger_root(b, 3), ledger_root(b, size)
    check_consistency(dumps(found), old, now)
    lies: list[dict[str, object]] = [
        {"old": 4},
        {"size": 2},
        {"path": []},
        {"path": ["x"]},
        {"old": "3"},
    ]
    for wrong in lies:
        with pytest.raises(VerificationFailed):
            check_consistency(dumps(found | wrong), old, now)
    with pytest.raises(VerificationFailed):
        check_consistency(dumps(found), now, now)
    with pytest.raises(VerificationFailed):
        check_consistency(b"[]", old, now)
    statement = verify(proved.ws.certificate_file(proved.request.id)).statement
    assert statement is not None
    assert statement.ledger_root == ledger_root(b, statement.ledger_seq)


def test_an_entry_is_what_its_digest_says(proved: Proved) -> None:
    for entry in proved.ws.backends.ledger.entries():
        assert chain_digest(entry) == entry.digest and plain(entry)


def test_a_receipt_of_nothing_is_refused(proved: Proved) -> None:
    with pytest.raises(BadParameter):
        proving.receipt(proved.ws.backends, proved.key)
    with pytest.raises(BadParameter):
        proving.prove(proved.ws.backends, proved.request.id, b"{}")


def test_a_manifest_of_an_earlier_version_is_checked_its_old_way_until_it_is_rewritten(
    make: Callable[..., Workspace],
) -> None:
    ws = make()
    b, entries = ws.backends, state.manifest_entries(ws.backends)
    old = leaves(entries, lambda cell: b.keys.ensure(f"cell/{cell}"))
    now = replace(state.manifest(b), digest=merkle.root(old), depth=0, nonce="")
    b.ledger.append(Entry("test", None, {}, (Write("manifest", "current", plain(now)),)))
    ws.verify()
    [key] = keys_in(ws, "0.0")[:1]
    with pytest.raises(InsufficientEvidence, match="earlier version"):
        proving.receipt(b, key)
    wrong = replace(now, digest="0" * 64)
    b.ledger.append(Entry("test", None, {}, (Write("manifest", "current", plain(wrong)),)))
    with pytest.raises(DamagedArtifact):
        ws.verify()
    b.ledger.append(Entry("test", None, {}, (Write("manifest", "current", plain(now)),)))
    ws.process(ws.request(ask(key)).id)
    assert state.manifest(b).depth and b.keys.names("cell/") == ()
    ws.verify()


def test_a_receipt_of_another_requests_record_shows_nothing(make: Callable[..., Workspace]) -> None:
    """Its key is gone from the later manifest too, but no cell of its own was cut here."""
    ws = make()
    first, second = keys_in(ws, "0.0")[0], keys_in(ws, "1.1")[0]
    receipt = proving.receipt(ws.backends, first)
    ws.process(ws.request(ask(first)).id)
    request = ws.request(ask(second))
    ws.process(request.id)
    proof = proving.prove(ws.backends, request.id, receipt)
    found = verify(ws.certificate_file(request.id), proof=proof, receipt=receipt)
    assert lineage_of(found)["lineage record"] == "failed"
    assert any("which was not cut" in c.detail for c in found.checks)


def test_a_commitment_from_after_the_request_is_not_one_from_before(
    make: Callable[..., Workspace],
) -> None:
    ws = make()
    one, two = (ws.request(ask(keys_in(ws, cell)[0])) for cell in ("0.0", "1.1"))
    ws.process(one.id)
    ws.process(two.id)
    value = json.loads(proving.prove(ws.backends, two.id))
    statement = verify(ws.certificate_file(two.id)).statement
    assert statement is not None
    entries = [e for e in ws.backends.ledger.entries() if e.seq <= statement.ledger_seq]
    [late] = [e for e in entries if e.kind == KIND and e.request == one.id]
    assert value["before"]["entry"]["seq"] < late.seq < value["after"]["entry"]["seq"]
    path = merkle.inclusion([e.digest for e in entries], late.seq - 1)
    value["before"] = {"entry": plain(late), "path": list(path)}
    found = verify(ws.certificate_file(two.id), proof=dumps(value))
    assert lineage_of(found)["lineage ledger"] == "failed"
    assert any("after the request was received" in c.detail for c in found.checks)


def test_only_an_entry_of_its_kind_is_a_commitment(proved: Proved) -> None:
    [entry] = [e for e in proved.ws.backends.ledger.entries() if e.request and e.kind == KIND]
    assert facts_of(entry).cells == ("0.1",)
    for wrong in (replace(entry, kind="run.finished"), replace(entry, facts={"parts": 1})):
        with pytest.raises(VerificationFailed):
            facts_of(wrong)
