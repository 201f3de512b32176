"""An order from a request: whose it may be, what it is made of, and what erases it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from requested_workspace import RECIPE, clouds, concept, keys_of, stored, workspace

from rescind import editing, pipeline, state, steps
from rescind.committed import mask_seals
from rescind.core.errors import BadParameter, Refused, StaleVersion, UnsupportedModel
from rescind.core.partition import Partition
from rescind.core.request import Request
from rescind.methods.zk_apex.fisher import mean_gradient, sketches
from rescind.methods.zk_apex.method import ZkApex
from rescind.methods.zk_apex.seen import look
from rescind.proofs.reading import read_statement
from rescind.resolve import Ask
from rescind.workspace import Workspace
from rescind.zk import receipts, signed
from rescind.zk.check import Received, check
from rescind.zk.client import commit, compensate, prove_once
from rescind.zk.kept import Choices, Kept
from rescind.zk.provider import Wish, make
from rescind.zk.requested import order, order_files
from rescind.zk.tensors import load_public, masked, whole_direction

CHOICES = Choices(bits=40.0, alpha=0.02)


def ordered(ws: Workspace, request: Request) -> Kept:
    return order(ws.backends, request.id, CHOICES)[0]


def written(ws: Workspace, request: Request, out: Path, choices: Choices = CHOICES) -> Any:
    private = ws.folder / "provider.key"
    if not private.exists():
        signed.new_key(private, ws.folder / "provider.pem")
    return order_files(ws.folder, request.id, private, out, choices)


def rows_of(label: str | None, keys: set[str]) -> list[dict[str, Any]]:
    found = [r for r in clouds() if r["id"] in keys and (label is None or r["label"] == label)]
    return sorted(found, key=lambda r: str(r["id"]))


def test_mask_and_gradient_are_those_of_the_method(tmp_path: Path) -> None:
    """Beside a reading of the rows as they were handed over, not as the workspace reads them."""
    ws = workspace(tmp_path / "ws")
    request = concept(ws)
    kept = ordered(ws, request)
    b, keys = ws.backends, set(ws.keys())
    trained = {e.key for e in state.allowed(b) if e.cell != "test"} & keys
    model = editing.load(b, state.run(b), state.parts(b)[0])
    forget = model.inputs(rows_of("red", trained))
    retain = model.inputs([r for r in rows_of(None, trained) if r["label"] != "red"])
    found = look(ZkApex(), model, forget, retain)
    named, method = found.weights, ZkApex()
    masks = method.masks(model, forget, retain, list(named.values()))
    pulls = mean_gradient(model, forget, list(named.values()))
    terms, size = kept.epoch.tensors, kept.epoch.block
    by_name = {n: m.numpy() for n, m in zip(named, masks, strict=True)}
    assert (kept.public.mask == masked(by_name, terms, size)).all() and kept.public.mask.any()
    wanted = {n: g.numpy() for n, g in zip(named, pulls, strict=True)}
    assert (kept.public.direction == whole_direction(wanted, terms, size)).all()
    assert kept.order.records == len(forget["labels"]) == len(keys_of(ws, "red")) >= 500
    assert kept.order.goal == "concept"


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda ws: Ask(keys=tuple(keys_of(ws, "red"))), "'records', with"),
        (lambda ws: Ask(keys=tuple(keys_of(ws, "red")), goal="concept"), "'records', with"),
        (lambda ws: Ask(subject="anna"), "'subject', with 580"),
        (lambda ws: Ask(concept="blue"), "'concept', with"),
        (lambda ws: Ask(concept="grey"), "'subject', with 520"),
    ],
    ids=["records", "records as a concept", "subject", "few", "a class of one subject"],
)
def test_only_a_concept_of_many_records_is_published(tmp_path: Path, ask: Any, said: str) -> None:
    ws = workspace(tmp_path / "ws")
    request = ws.request(replace(ask(ws), near="keep"))
    with pytest.raises(BadParameter, match="would show them") as error:
        written(ws, request, tmp_path / "out")
    assert said in str(error.value)
    assert not (tmp_path / "out").exists() and not stored(ws)
    assert not mask_seals(ws.backends, request.id)
    assert not ws.backends.ledger.items("export")


def test_it_is_destroyed_with_its_request_and_leaves_its_seal(tmp_path: Path) -> None:
    ws = workspace(tmp_path / "ws")
    request = concept(ws)
    found = written(ws, request, tmp_path / "out")
    assert len(stored(ws)) == 3
    assert set(stored(ws).values()) == {frozenset({"0.0#0"})}
    said = read_statement(ws.process(request.id).payload)
    assert said.mask_seals == (found["seal"],)
    assert said.erasure.destroyed["mask"] == 3 and not stored(ws) and not ws.remaining()
    assert any("mask and gradient of epoch" in name for name in said.erasure.recipients)
    named = {load_public(tmp_path / "out/mask.npz").digests()[n] for n in (0, 1)}
    ledger = str([(e.facts, e.writes) for e in ws.backends.ledger.entries()])
    assert found["seal"] in ledger and not any(digest in ledger for digest in named)
    with pytest.raises(Refused, match="is closed"):
        written(ws, request, tmp_path / "again")


@pytest.mark.parametrize("label", ["red", "green"])
def test_a_later_request_for_one_of_its_records_destroys_it(tmp_path: Path, label: str) -> None:
    """Red ones are forgotten, green ones retained: the mask is made of both."""
    ws = workspace(tmp_path / "ws")
    request = concept(ws)
    first = written(ws, request, tmp_path / "out")
    one = ws.request(Ask(keys=(keys_of(ws, label)[0],), near="keep"))
    said = read_statement(ws.process(one.id).payload)
    assert said.erasure.destroyed["mask"] == 3 and not stored(ws) and not ws.remaining()
    assert said.mask_seals == () and len(said.erasure.recipients) == 1
    second = written(ws, request, tmp_path / "second")
    assert second["records"] == first["records"] - (label == "red")
    if label == "green":  # of a red one the rows that are left tell the method too little
        both = read_statement(ws.process(request.id).payload).mask_seals
        assert both == (first["seal"], second["seal"])


def test_what_another_request_has_withdrawn_is_not_used(tmp_path: Path) -> None:
    """Neither is an order found again that was made of it, before its erasure."""
    ws = workspace(tmp_path / "ws")
    request = concept(ws)
    first = ordered(ws, request)
    one = ws.request(Ask(keys=(keys_of(ws, "red")[0],), near="keep"))
    steps.unlearn(ws.backends, one, None, pipeline.silent)
    second = ordered(ws, request)
    assert second.order.records == first.order.records - 1
    assert second.order.seal != first.order.seal
    assert mask_seals(ws.backends, request.id) == (first.order.seal, second.order.seal)


def test_asked_again_it_writes_the_same_order(tmp_path: Path) -> None:
    ws = workspace(tmp_path / "ws")
    request = concept(ws)
    one = written(ws, request, tmp_path / "one")
    two = written(ws, request, tmp_path / "two")
    for name in ("epoch.json", "order.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    masks = [load_public(tmp_path / n / "mask.npz") for n in ("one", "two")]
    assert (masks[0].mask == masks[1].mask).all()
    assert (masks[0].direction == masks[1].direction).all()
    assert one["seal"] == two["seal"] and len(mask_seals(ws.backends, request.id)) == 1
    with pytest.raises(Refused, match="other choices"):
        written(ws, request, tmp_path / "three", replace(CHOICES, alpha=0.03))
    with pytest.raises(BadParameter, match="exists already"):
        written(ws, request, tmp_path / "two")
    assert len(ws.backends.ledger.items("export")) == 2


def test_after_the_withdrawal_it_is_of_the_model_before_and_stale_at_once(tmp_path: Path) -> None:
    """SISA takes the one model away when the request is accepted; clients still have theirs."""
    ws = workspace(tmp_path / "ws")
    model = state.parts(ws.backends)[0]
    request = concept(ws, method="sisa")
    assert request.status == "withdrawn" and not state.parts(ws.backends)
    ordered(ws, request)
    assert state.original(ws.backends, request.id) == (model,)
    assert len(stored(ws)) == 3 and all({"0.0#0"} <= cells for cells in stored(ws).values())
    assert set(stored(ws)) <= set(ws.remaining())
    said = read_statement(ws.process(request.id).payload)
    assert said.guarantee.kind == "exact" and len(said.mask_seals) == 1
    assert not stored(ws) and not ws.remaining()


def test_between_edit_and_erasure_it_is_of_the_model_before_too(tmp_path: Path) -> None:
    ws = workspace(tmp_path / "ws")
    b, request = ws.backends, concept(ws)
    first = ordered(ws, request)
    b.artifacts.destroy(list(stored(ws)))
    steps.unlearn(b, request, None, pipeline.silent)
    again = ordered(ws, request)
    assert (again.public.mask == first.public.mask).all()
    assert (again.public.direction == first.public.direction).all()
    assert again.order.salt != first.order.salt
    assert ordered(ws, request).order == again.order
    ws.process(request.id)
    assert not stored(ws) and not ws.remaining()


def test_a_withdrawal_meanwhile_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws = workspace(tmp_path / "ws")
    request = concept(ws)
    one = ws.request(Ask(keys=(keys_of(ws, "green")[0],), near="keep"))

    def overtaken(*given: Any) -> Any:
        steps.unlearn(ws.backends, one, None, pipeline.silent)
        return make(*given)

    monkeypatch.setattr("rescind.zk.from_workspace.make", overtaken)
    with pytest.raises(StaleVersion):
        written(ws, request, tmp_path / "out")
    assert not stored(ws) and not mask_seals(ws.backends, request.id)
    assert not (tmp_path / "out").exists()


def test_after_a_crash_the_seal_is_entered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a certificate would say nothing of an order that is there."""
    ws = workspace(tmp_path / "ws")
    request, ledger = concept(ws), type(ws.backends.ledger)
    append = ledger.append

    def killed(self: Any, entry: Any) -> Any:
        if entry.kind == "mask.sealed":
            raise KeyboardInterrupt
        return append(self, entry)

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "append", killed)
        with pytest.raises(KeyboardInterrupt):
            ordered(ws, request)
    assert len(stored(ws)) == 3 and not mask_seals(ws.backends, request.id)
    kept = ordered(ws, request)
    assert mask_seals(ws.backends, request.id) == (kept.order.seal,)
    ordered(ws, request)
    assert mask_seals(ws.backends, request.id) == (kept.order.seal,)


def test_what_cannot_be_written_leaves_no_file_and_no_copy_to_recall(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws = workspace(tmp_path / "ws")
    request = concept(ws)

    def full(path: Path, public: object) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("rescind.zk.files.save_public", full)
        with pytest.raises(OSError, match="No space"):
            written(ws, request, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir()) and not ws.backends.ledger.items("export")
    written(ws, request, tmp_path / "out")
    for name in ("order.json", "mask.npz"):
        assert (tmp_path / "out" / name).stat().st_mode & 0o077 == 0
    assert len(ws.backends.ledger.items("export")) == 1


def test_a_client_carries_it_out_and_proves_it(tmp_path: Path) -> None:
    ws = workspace(tmp_path / "ws")
    request = concept(ws)
    kept = ordered(ws, request)
    b = ws.backends
    model = editing.load(b, state.run(b), state.parts(b)[0])
    own = model.inputs([r for r in clouds() if r["label"] != "red"])
    named = {t.name: dict(model.module.named_parameters())[t.name] for t in kept.epoch.tensors}
    seen = sketches(model, own, list(named.values()), seed=7)
    weights = {n: w.detach().numpy() for n, w in named.items()}
    gradients = {n: g.numpy() for n, g in zip(named, seen, strict=True)}
    committed, opening = commit(kept.epoch, weights, gradients)
    receipt = receipts.enter(b, kept.epoch, committed, "anna")
    new, _ = compensate(kept.epoch, kept.order, kept.public, weights, gradients)
    statement, proof, _ = prove_once(
        kept.epoch, kept.order, kept.public, weights, gradients, opening, lambda *told: None
    )
    got = Received(kept.epoch, kept.order, committed, receipt, statement, kept.public, proof)
    assert check(got).bits > 39.5
    assert any((np.asarray(new[n]) != weights[n]).any() for n in new)


def test_an_orders_choices_are_those_of_a_wish() -> None:
    """What `rescind zk order` and `rescind zk mask` take where nothing is said."""
    for name in ("alpha", "reached", "bits"):
        assert getattr(Choices(), name) == getattr(Wish(goal="class", records=500), name)


def test_a_model_of_several_parts_has_no_mask(tmp_path: Path) -> None:
    sharded = replace(RECIPE, method="sisa", partition=Partition(2, 1, 0.1))
    ws = workspace(tmp_path / "ws", sharded)
    request = concept(ws, method="sisa")
    with pytest.raises(UnsupportedModel, match="The model has 2 parts"):
        ordered(ws, request)
    assert not stored(ws)
