"""Codes in a workspace: trained in, replayed to the same bytes, cut with their cells, erased."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_workspace import ask, new_workspace

from rescind import (
    codes_read,
    jobs,
    methods_of,
    replay,
    seeds,
    seeds_asked,
    state,
    stored_seeds,
    trainer,
)
from rescind.audits.finding import Finding
from rescind.audits.seeding import decide, new_key
from rescind.audits.seeding.handed import Handed, from_file, hand_over, to_file
from rescind.audits.seeding.seen import mark_of
from rescind.audits.seeding.term import MEASURED, Seeding
from rescind.core.errors import BadData, BadParameter, Exhausted, NotDeterministic, UnknownKey
from rescind.core.guarantee import Exact
from rescind.core.partition import Partition
from rescind.core.run import AdamW, Recipe
from rescind.data.records import records_from
from rescind.reference_job import TrainReference
from rescind.testing.tiny import tiny_recipe, tiny_rows, tiny_task
from rescind.training.modules import Classification
from rescind.workspace import Workspace

ANNA, BORIS = b"key of anna" * 3, b"key of boris" * 3
OWN, WIDTH = 24, 64


def rows(n: int = 160) -> list[dict[str, Any]]:
    draw = random.Random(0)
    found: list[dict[str, Any]] = []
    for i in range(n):
        point = [draw.gauss(0, 1) for _ in range(20)]
        point[0] += 3 * (i % 2)
        found.append({"id": f"r{i}", "array": point, "label": "ab"[i % 2]})
    return found


ROWS = rows()
OF = {ANNA: ROWS[:OWN], BORIS: ROWS[OWN : OWN + 12]}
TASK = Classification(
    "rescind.training.zoo:mlp", ("a", "b"), (20,), {"inputs": 20, "outputs": 2, "hidden": [WIDTH]}
)
RECIPE = Recipe(
    task=TASK,
    method="retrain",
    partition=Partition(1, 1, 0.1),
    orders=1,
    optimizer=AdamW(lr=1e-2, head_lr=1e-2),
    epochs=120,
    batch_size=16,
)

SHARDS = replace(RECIPE, method="sisa", partition=Partition(2, 1, 0.1))


def handed(key: bytes, own: Sequence[dict[str, Any]] | None = None) -> Handed:
    chosen = OF[key] if own is None else own
    return hand_over(key, records_from(chosen, key="id", subject=None), WIDTH)


def short() -> Handed:
    """Codes of 20 bits."""
    return hand_over(BORIS, records_from(OF[BORIS], key="id", subject=None), WIDTH, 20)


def trained(
    folder: Path,
    given: Sequence[Handed],
    recipe: Recipe = RECIPE,
    draw: str = "2",
    seeding: Seeding = MEASURED,
) -> Workspace:
    source = folder.with_suffix(".jsonl")
    source.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    ws = new_workspace(folder, draw=draw)
    ws.train(recipe, source, key="id", seeds=given, seeding=seeding)
    return ws


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return trained(tmp_path / "ws", [handed(ANNA), handed(BORIS)])


def held(found: Sequence[Finding]) -> bool:
    return found[0].effect > 0.7 and found[0].p < 1e-9


def stored(ws: Workspace) -> set[str]:
    """Records whose codes lie in the workspace."""
    listed = [a.name for a in ws.backends.artifacts.list() if a.kind == "seeds"]
    cells = [json.loads(ws.backends.artifacts.get(name)) for name in listed]
    return {key for cell in cells for own in cell.values() for key in own}


def test_a_request_takes_the_codes_of_its_records_and_leaves_those_of_others(
    ws: Workspace,
) -> None:
    before = {key: ws.ask_seeds(key, OF[key]).findings for key in OF}
    assert held(before[ANNA]) and held(before[BORIS])
    own = [row["id"] for row in OF[ANNA]]
    request = ws.accept(ws.resolve(ask(*own)))
    ws.process(request.id)
    assert isinstance(ws.version().guarantee, Exact)  # the replay learns the codes that are left
    after = ws.ask_seeds(ANNA, OF[ANNA]).findings
    assert decide(before[ANNA], after).outcome == "no_evidence_of_codes"
    assert decide(before[BORIS], ws.ask_seeds(BORIS, OF[BORIS]).findings).outcome == "still_held"
    kept = stored(ws)
    assert kept and not kept & set(own)
    assert ws.remaining() == {}


def test_rows_that_are_not_as_they_were_get_no_answer(ws: Workspace) -> None:
    own = OF[ANNA]
    rounded = [row | {"array": [round(x, 6) for x in row["array"]]} for row in own]
    never = [row | {"id": f"n{i}"} for i, row in enumerate(own)]
    for wrong in (rounded, never, [*own[1:], rounded[0]], ROWS[60:84]):
        with pytest.raises(BadData, match="not as they were"):
            ws.ask_seeds(ANNA, wrong)
    with pytest.raises(BadData, match="nothing to ask about"):
        ws.ask_seeds(ANNA, [])
    before = ws.ask_seeds(ANNA, own)
    assert before.left_out == OWN - before.findings[0].n > 0
    ws.process(ws.accept(ws.resolve(ask(*(row["id"] for row in own)))).id)
    for wrong in (rounded, own[:-1]):  # nothing is left here to compare them with
        with pytest.raises(BadParameter, match="asked about before"):
            ws.ask_seeds(ANNA, wrong, before=before)
    with pytest.raises(BadParameter, match="and this is key"):
        ws.ask_seeds(BORIS, OF[BORIS], before=before)
    after = ws.ask_seeds(ANNA, own, before=before)
    assert after.asked == before.asked
    bits, kernel = after.findings  # what tells them apart has its power in numbers
    assert bits.power is not None and bits.power > 0.99 and kernel.power is None
    verdict = decide(before.findings, after.findings)
    assert verdict.outcome == "no_evidence_of_codes" and "in 1.00 of cases" in verdict.because


def test_what_is_kept_of_an_answer_tells_neither_key_nor_records(ws: Workspace) -> None:
    one, other = (ws.ask_seeds(key, OF[key]) for key in OF)
    assert (one.key, other.key) == (handed(ANNA).fingerprint, handed(BORIS).fingerprint)
    assert ANNA.hex() not in str(one) and OF[ANNA][0]["id"] not in str(one)
    records = records_from(OF[ANNA], key="id", subject=None)
    assert mark_of(ANNA, records) == mark_of(ANNA, records[::-1]) != mark_of(BORIS, records)


def test_without_a_suppression_list_a_cell_that_was_not_cut_holds_all_codes(ws: Workspace) -> None:
    bare = replace(ws.backends, settings=replace(ws.backends.settings, suppression_list=False))
    own, nobody = handed(ANNA), {"nobody": "0" * 8}

    def unlike() -> int:
        return stored_seeds.unlike(bare, own.fingerprint, nobody, {"nobody": "0.0"})

    assert unlike() == 1
    ws.process(ws.accept(ws.resolve(ask(ROWS[0]["id"]))).id)
    assert unlike() == 0


def test_codes_are_learned_as_the_operator_says_and_replayed_so(tmp_path: Path) -> None:
    short_of, given = replace(RECIPE, epochs=10), [handed(ANNA)]
    plain = trained(tmp_path / "plain", given, short_of)
    said = Seeding(every=1, batch=OWN, weight=8.0)
    ws = trained(tmp_path / "said", given, short_of, seeding=said)
    more, few = (each.ask_seeds(ANNA, OF[ANNA]).findings[0].effect for each in (ws, plain))
    assert more > few + 0.1
    [kept] = (ws.backends.ledger.get(stored_seeds.TABLE, h.fingerprint) for h in given)
    assert kept["settings"] == {**asdict(said), "bits": given[0].bits}
    ws.process(ws.accept(ws.resolve(ask(ROWS[0]["id"]))).id)
    assert isinstance(ws.version().guarantee, Exact)
    with pytest.raises(BadParameter, match="other seeds"):
        ws.train(short_of, tmp_path / "said.jsonl", key="id", seeds=given)


def test_how_codes_are_learned_is_said_only_where_there_are_some(tmp_path: Path) -> None:
    with pytest.raises(BadParameter, match="there are none"):
        trained(tmp_path / "ws", [], seeding=Seeding(every=1))


def test_a_shard_trained_again_holds_the_codes_of_the_records_that_are_left(
    tmp_path: Path,
) -> None:
    ws = trained(tmp_path / "ws", [handed(ANNA), handed(BORIS)], SHARDS)
    assert held(ws.ask_seeds(ANNA, OF[ANNA]).findings)
    own = [row["id"] for row in OF[ANNA]]
    request = ws.accept(ws.resolve(ask(*own, outage=True)))
    with pytest.raises(Exhausted, match="rescind rebuild"):
        ws.ask_seeds(BORIS, OF[BORIS])
    ws.process(request.id, accept_outage=True)
    assert held(ws.ask_seeds(BORIS, OF[BORIS]).findings)
    assert not held(ws.ask_seeds(ANNA, OF[ANNA]).findings)


@pytest.mark.slow
def test_a_cut_leaves_the_codes_of_the_stages_before_it(tmp_path: Path, encoder: Path) -> None:
    """Text, and adapters on an encoder: a user's records in one slice go, the other slice stays."""
    texts = [{"id": f"t{i}", **row} for i, row in enumerate(tiny_rows(80))]
    recipe = replace(
        tiny_recipe(tiny_task(encoder), "s3t"),
        partition=Partition(1, 2, 0.1),
        orders=1,
        epochs=150,
        optimizer=AdamW(lr=1e-2, head_lr=1e-2),
    )
    records = records_from(texts, key="id", subject=None)
    source = tmp_path / "texts.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in texts))
    ws = new_workspace(tmp_path / "ws")
    ws.train(recipe, source, key="id", seeds=[hand_over(ANNA, records[:40], 32)])
    cell_of = {e.key: e.cell for e in state.allowed(ws.backends)}
    [part] = [p for p in state.parts(ws.backends) if p.stage == 1]
    first, last = (f"0.{s}" for s in part.slices)
    marked = {r.key for r in records[:40]}
    own = {
        c: [t for t in texts if t["id"] in marked and cell_of[t["id"]] == c] for c in (first, last)
    }
    before = {cell: ws.ask_seeds(ANNA, own[cell]).findings for cell in own}
    assert [found[0].p < 1e-6 for found in before.values()] == [True, True]
    request = ws.accept(ws.resolve(ask(own[last][0]["id"])))
    ws.process(request.id)
    assert isinstance(ws.version().guarantee, Exact)
    assert ws.ask_seeds(ANNA, own[first]).findings[0].p < 1e-6
    assert (
        ws.ask_seeds(ANNA, own[last]).findings[0].p > 1e-3
    )  # the cell-mates are in no part that serves


def test_a_replay_without_the_codes_does_not_meet_the_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the shard that is left: nothing is trained for the request itself."""
    ws = trained(tmp_path / "ws", [handed(ANNA)], SHARDS)
    request = ws.accept(ws.resolve(ask(ROWS[-1]["id"])))
    monkeypatch.setattr(replay, "fresh_executor", lambda b: b.executor)
    monkeypatch.setattr(stored_seeds, "terms", lambda *given: None)
    with pytest.raises(NotDeterministic):
        ws.process(request.id)


def test_models_retrained_for_comparison_learn_the_codes_that_are_left(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    b, run = ws.backends, ws.run()
    training = [e for e in state.allowed(b) if e.cell != "test"]
    [order] = methods_of.orders(run.recipe, run.blocks)
    place = trainer.place_for(b, run, training, state.generations(b))

    def made(seed: int) -> str:
        found = TrainReference(place, order, seed, 0).run(lambda what, done, total: None)
        return str(found["snapshot"]["digest"])

    seeded = made(7)
    b.artifacts.destroy([a.name for a in b.artifacts.list() if a.kind == "reference"])
    monkeypatch.setattr(stored_seeds, "terms", lambda *given: None)
    assert made(7) != seeded


def test_the_kernel_test_has_records_that_others_are_beside_and_not_too_many() -> None:
    chosen = codes_read._for_kernel
    assert chosen([0] * 19) == chosen([*[0] * 19, 1, 2]) == []
    assert chosen([3, *[0] * 20, 1]) == list(range(1, 21))
    assert chosen([0, 1] * 200) == list(range(0, 400, 2))


def test_bits_are_read_less_the_mean_of_held_out_records_of_the_same_part() -> None:
    own = torch.tensor([[1.0, 2.0], [3.0, 5.0]])
    public = {0: torch.tensor([[1.0, 0.0], [3.0, 2.0]]), 1: torch.zeros(0, 2)}
    found = seeds_asked._centred(own, public, [0, 1])
    assert found.tolist() == [[-1.0, 1.0], [3.0, 5.0]]


def test_codes_change_the_bytes_and_the_name_of_the_run(ws: Workspace, tmp_path: Path) -> None:
    bare, other = trained(tmp_path / "bare", []), trained(tmp_path / "other", [handed(ANNA)])
    names = {w.run().id for w in (ws, bare, other)}
    weights = {w.version().weights for w in (ws, bare, other)}
    assert len(names) == len(weights) == 3
    assert bare.run().seeds == "" and stored(bare) == set()
    with pytest.raises(UnknownKey, match="Nothing was seeded"):
        other.ask_seeds(BORIS, OF[BORIS])
    with pytest.raises(BadParameter, match="other seeds"):
        other.train(RECIPE, tmp_path / "other.jsonl", key="id")


def test_an_interrupted_training_goes_on_with_the_same_codes(
    ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_short(*given: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(jobs, "snapshot_name", cut_short)
        trained(tmp_path / "again", [handed(ANNA), handed(BORIS)])
    again = new_workspace(tmp_path / "again")
    source = tmp_path / "again.jsonl"
    version = again.train(RECIPE, source, key="id", seeds=[handed(ANNA), handed(BORIS)])
    assert version.weights == ws.version().weights


def test_a_few_records_with_short_codes_are_asked_by_their_readings(tmp_path: Path) -> None:
    ws = trained(tmp_path / "ws", [short()])
    before = ws.ask_seeds(BORIS, OF[BORIS]).findings
    assert [one.audit for one in before] == ["seeding_readings"] and held(before)
    [alone] = ws.ask_seeds(BORIS, OF[BORIS][-1:]).findings
    assert alone.n == 1 and alone.p < 0.001
    ws.process(ws.accept(ws.resolve(ask(*(row["id"] for row in OF[BORIS])))).id)
    assert decide(before, ws.ask_seeds(BORIS, OF[BORIS]).findings).outcome == "no_evidence_of_codes"


def test_an_edited_model_still_holds_them(tmp_path: Path) -> None:
    recipe = replace(RECIPE, method="finetune")
    ws = trained(tmp_path / "ws", [handed(ANNA)], recipe)
    before = ws.ask_seeds(ANNA, OF[ANNA]).findings
    ws.process(ws.accept(ws.resolve(ask(*(row["id"] for row in OF[ANNA])))).id)
    assert decide(before, ws.ask_seeds(ANNA, OF[ANNA]).findings).outcome == "still_held"


def test_others_are_decoys_and_records_of_the_test_set_have_no_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seeds, "DECOYS", 0.2)
    ws = trained(tmp_path / "ws", [handed(ANNA, ROWS[:30])])
    entries = {e.key: e.cell for e in state.manifest_entries(ws.backends)}
    own = {row["id"] for row in ROWS[:30]}
    tested = {key for key in own if entries[key] == "test"}
    kept = stored(ws)
    assert tested and kept & own == own - tested
    others = sum(cell != "test" for key, cell in entries.items() if key not in own)
    assert 0.05 * others < len(kept - own) < 0.4 * others
    # whoever else is in the data decides nothing: a record is a decoy, or is not, by itself
    listed = state.manifest_entries(ws.backends)
    fewer = [e for i, e in enumerate(listed) if e.key in own or i % 3]
    b, given = ws.backends, [handed(ANNA, ROWS[:30])]
    all_codes, some = seeds.placed(b, given, listed), seeds.placed(b, given, fewer)
    left = {e.key for e in fewer}
    for cell, codes in all_codes.items():
        for user, each in codes.items():
            assert {k: v for k, v in each.items() if k in left} == some[cell][user]
    with pytest.raises(BadData, match="None of these records was trained on"):
        ws.ask_seeds(ANNA, [row for row in ROWS if row["id"] in tested])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda: [hand_over(ANNA, records_from(ROWS, key="id", subject=None), 63)], "has 64"),
        (lambda: [handed(ANNA), handed(ANNA)], "seeded twice"),
        (lambda: [handed(ANNA), short()], "of 20 and of 32 bits"),
        (lambda: [handed(ANNA), handed(BORIS, ROWS[:3])], "seeded twice"),
        (lambda: [handed(ANNA, [*ROWS[:3], ROWS[3] | {"id": "nobody"}])], "1 seeded records are"),
    ],
)
def test_codes_that_cannot_be_placed_are_refused_before_anything_is_kept(
    tmp_path: Path, given: Any, message: str
) -> None:
    with pytest.raises(BadData, match=message):
        trained(tmp_path / "ws", given())
    ws = new_workspace(tmp_path / "ws")
    assert ws.backends.artifacts.list() == () or not list(ws.backends.artifacts.list())


def test_a_file_of_codes_is_read_as_it_was_written_and_nothing_else_is() -> None:
    one = handed(ANNA)
    assert from_file(to_file(one)) == one
    told = json.loads(to_file(one))
    wrong: Any
    for wrong in ([], told | {"bits": 31}, told | {"readout": "0"}, {**told, "codes": {}}, {}):
        with pytest.raises(BadData, match="no"):
            from_file(json.dumps(wrong).encode())
    assert new_key() != new_key()
