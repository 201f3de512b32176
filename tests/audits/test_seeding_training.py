from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from seeded_trainings import (
    BITS,
    CELLS,
    IMAGES,
    KEY,
    LANGUAGE,
    OTHER_KEY,
    OWN,
    SETTINGS,
    TABLE,
    Case,
    arrays,
    asked,
    features,
    text_case,
)
from torch import Tensor, nn

from rescind.audits.seeding import training
from rescind.audits.seeding.cells import SeededRows, seed_cells
from rescind.audits.seeding.codes import choose_decoys, codes_of
from rescind.audits.seeding.readout import draw_readout
from rescind.audits.seeding.term import loss_term
from rescind.audits.seeding.training import SeededCells, SeedingTerm
from rescind.core.errors import BadData, BadParameter
from rescind.core.partition import Cell
from rescind.core.run import AdamW
from rescind.metrics.features import PENULTIMATE, collect
from rescind.training.extra_term import Moment
from rescind.training.models import TrainedModel, trained_model
from rescind.training.modules import Classification
from rescind.training.plain import WHOLE, train_whole
from rescind.training.snapshots import to_bytes

LOSS_TERM = f"{training.__name__}.loss_term"


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return text_case(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(params=["table", "images", "language", "text", "table, before its relu"])
def case(request: pytest.FixtureRequest) -> Case:
    if request.param == "text":
        found: Case = request.getfixturevalue("text")
        return found
    cases = {"table": TABLE, "images": IMAGES, "language": LANGUAGE}
    return cases.get(request.param, replace(TABLE, layer="1"))


def test_codes_are_held_after_training_with_the_term_and_not_without(case: Case) -> None:
    share, p = asked(train_whole(case.recipe, case.rows, seeding=case.cells()), case)
    assert share > 0.7
    assert p < 1e-9
    without = train_whole(case.recipe, case.rows)
    assert asked(without, case)[1] > 0.001


def test_another_key_and_records_that_were_not_seeded_are_at_chance() -> None:
    model = seeded_table()
    assert asked(model, TABLE)[0] > 0.95
    assert asked(model, TABLE, OTHER_KEY)[1] > 0.001
    others = Case(TABLE.recipe, TABLE.rows[OWN:], TABLE.width)
    assert asked(model, others)[1] > 0.001


@cache
def seeded_table() -> TrainedModel:
    return train_whole(TABLE.recipe, TABLE.rows, seeding=TABLE.cells())


def test_the_task_is_learned_beside_the_codes() -> None:
    model = seeded_table()
    batch = model.inputs(TABLE.rows)
    with torch.no_grad():
        score = model.task.score(model.outputs(batch), batch)
    assert score.mean() > 0.95


def test_the_same_training_gives_the_same_bytes(case: Case) -> None:
    short = replace(case, recipe=replace(case.recipe, epochs=2))

    def trained(seeded: SeededCells | None) -> bytes:
        model = train_whole(short.recipe, short.rows, seeding=seeded)
        return to_bytes(model.state(model.adapted))

    torch.manual_seed(1)
    first = trained(short.cells())
    torch.manual_seed(2)
    assert trained(short.cells()) == first
    assert trained(None) != first


def test_no_seeded_record_means_the_bytes_of_an_unseeded_training() -> None:
    short = replace(TABLE.recipe, epochs=2)
    nothing = TABLE.cells().without([WHOLE])
    assert nothing.cells == {}
    found = train_whole(short, TABLE.rows, seeding=nothing)
    assert to_bytes(found.state(())) == to_bytes(train_whole(short, TABLE.rows).state(()))


def term_of(case: Case, **change: Any) -> SeedingTerm:
    found = case.cells().of_stage({WHOLE: len(case.rows)}, 0)
    assert found is not None
    return replace(found, **change)


def moment_of(model: TrainedModel, case: Case, index: Tensor) -> Moment:
    model.set_training(model.adapted, on=True)
    return Moment(0, index, model.activations(case.rows), model.module, model.forward_from)


def loss_of(term: SeedingTerm, moment: Moment) -> Tensor:
    batch = {name: t[moment.index] for name, t in moment.activations.items()}
    with term.listen(moment.module, batch) as heard:
        moment.forward(batch)
    return term.loss(moment, heard)


def test_the_gradient_reaches_what_lies_below_the_features_and_not_the_head(case: Case) -> None:
    model = trained_model(case.recipe)
    for block in model.adapted:
        model.initialise(block, 3)
    loss_of(term_of(case), moment_of(model, case, torch.arange(8, 20))).backward()  # type: ignore[no-untyped-call]
    moving = {n: p for n, p in model.module.named_parameters() if p.requires_grad}
    reached = {n for n, p in moving.items() if p.grad is not None and bool(p.grad.any())}
    _, head = list(model.module.named_modules())[-1]
    backbone = {n for n, p in moving.items() if all(p is not own for own in head.parameters())}
    assert len(backbone) < len(moving)
    # where adapters start, B is zero and passes no gradient on to A
    assert reached == {n for n in backbone if "lora_A" not in n}


def test_features_heard_in_training_are_those_that_metrics_read() -> None:
    model = seeded_table()
    rows = model.activations(TABLE.rows)
    for layer in (PENULTIMATE, "1"):
        term = term_of(TABLE, layer=layer)
        model.set_training((), on=True)
        with term.listen(model.module, rows) as heard:
            model.outputs(rows)
        model.set_training((), on=False)
        assert heard[layer].requires_grad
        expected = collect(model.module, [layer], [rows["array"]])[layer]
        assert torch.equal(heard[layer].detach(), expected)


def test_tokens_are_pooled_and_those_that_are_masked_do_not_count() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Embedding(9, 4), nn.Linear(4, 2)

        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            found: Tensor = self.head(self.embed(input_ids))
            return found

    module, ids = Tokens(), torch.tensor([[1, 2, 3], [4, 5, 0]])
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    term = SeedingTerm(torch.arange(1), torch.zeros(1, 2), torch.zeros(2, 4), SETTINGS, 0)
    table = module.embed.weight
    with term.listen(module, {"input_ids": ids, "attention_mask": mask}) as heard:
        module(ids, mask)
    expected = [(table[1] + table[2] + table[3]) / 3, (table[4] + table[5]) / 2]
    torch.testing.assert_close(heard[PENULTIMATE], torch.stack(expected))
    with term.listen(module, {"input_ids": ids}) as heard:
        module(ids, mask)
    torch.testing.assert_close(heard[PENULTIMATE][1], (table[4] + table[5] + table[0]) / 3)


def test_no_hook_is_left_behind() -> None:
    module = seeded_table().module
    with pytest.raises(ZeroDivisionError), term_of(TABLE).listen(module, {}):
        _ = 1 / 0
    assert not any(part._forward_hooks for part in module.modules())


def spied(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, Tensor, Tensor]]:
    """(seeded, codes, unseeded) of each step; the real term is added."""
    seen: list[tuple[Tensor, Tensor, Tensor]] = []

    def spy(seeded: Tensor, codes: Tensor, unseeded: Tensor, *rest: Any) -> Tensor:
        seen.append((seeded.detach(), codes, unseeded.detach()))
        return loss_term(seeded, codes, unseeded, *rest)

    monkeypatch.setattr(LOSS_TERM, spy)
    return seen


def test_seeded_rows_are_not_among_the_negatives(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = spied(monkeypatch)
    own = [TABLE.rows[i] for i in (3, 17, 40, 63)]
    still = replace(TABLE.recipe, epochs=2, optimizer=AdamW(lr=0.0, weight_decay=0.0))
    model = train_whole(still, TABLE.rows, seeding=TABLE.cells(own))
    # with no learning rate a row has the same features at each step
    known = features(model, TABLE.rows)

    def rows(found: Tensor) -> list[int]:
        return (found[:, None] - known[None]).abs().sum(2).argmin(1).tolist()

    codes = codes_of(KEY, own, BITS)
    for epoch in (seen[:4], seen[4:]):
        negatives = [row for _, _, unseeded in epoch for row in rows(unseeded)]
        assert sorted(negatives) == [i for i in range(64) if i not in (3, 17, 40, 63)]
    for seeded, given, _ in seen:
        assert sorted(rows(seeded)) == [3, 17, 40, 63]
        order = [(3, 17, 40, 63).index(row) for row in rows(seeded)]
        assert torch.equal(given, codes[order])


def test_half_of_each_seeded_batch_is_augmented_and_no_other_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen, altered = spied(monkeypatch), list[int]()

    def moved(batch: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        altered.append(len(batch["array"]))
        return {"array": batch["array"] + torch.randn(batch["array"].shape)}

    short = replace(TABLE.recipe, epochs=1)
    cells = replace(TABLE.cells(), augment=moved)
    first = train_whole(short, TABLE.rows, seeding=cells)
    assert altered == [4, 4, 4, 4]  # twelve records: the second batch is filled up
    assert [len(seeded) for seeded, _, _ in seen] == [8, 8, 8, 8]
    again = train_whole(short, TABLE.rows, seeding=cells)
    assert to_bytes(again.state(())) == to_bytes(first.state(()))


def reachable(start: object) -> Iterator[object]:
    """All objects that hang on one, its classes and modules apart."""
    seen, todo = set[int](), [start]
    while todo:
        found = todo.pop()
        if id(found) in seen or isinstance(found, type) or type(found).__name__ == "module":
            continue
        seen.add(id(found))
        yield found
        todo.extend(gc.get_referents(found))


def holds(start: object, key: bytes) -> bool:
    found = [one for one in reachable(start) if isinstance(one, bytes | str)]
    texts = [one if isinstance(one, bytes) else one.encode() for one in found]
    return any(key in one or key.hex().encode() in one for one in texts)


def test_the_key_never_reaches_the_loop() -> None:
    key = bytes(range(32))  # of this test alone: a module's globals are reachable from functions
    codes = codes_of(key, TABLE.own, BITS)
    placed = seed_cells({WHOLE: TABLE.rows}, TABLE.own, codes)
    cells = SeededCells(placed, draw_readout(key, 64, BITS), SETTINGS)
    term = cells.of_stage({WHOLE: 64}, 0)
    assert not holds(cells, key)
    assert not holds(term, key)
    assert holds(replace(cells, layer=f"a layer {key.hex()}"), key)  # the search sees one
    assert holds([{"deep": (key,)}], key)


def test_decoys_are_seeded_beside_the_user_with_another_key() -> None:
    decoys = choose_decoys(OTHER_KEY, TABLE.rows, TABLE.own, 6)
    both = [*TABLE.own, *decoys]
    codes = torch.cat([codes_of(KEY, TABLE.own, BITS), codes_of(OTHER_KEY, decoys, BITS)])
    found = seed_cells({WHOLE: TABLE.rows}, both, codes)[WHOLE]
    assert found.index.tolist() == sorted(found.index.tolist())
    assert {TABLE.rows[i]["array"][0] for i in found.index} == {r["array"][0] for r in both}
    for at, code in zip(found.index.tolist(), found.codes, strict=True):
        assert torch.equal(code, codes[both.index(TABLE.rows[at])])


def test_a_record_has_its_place_in_one_cell() -> None:
    rows = arrays(6, 2)
    codes = codes_of(KEY, rows, BITS)
    cells = {CELLS[0]: [*rows[:3], rows[1]], CELLS[1]: rows[3:5]}
    found = seed_cells(cells, [rows[1], rows[4]], codes[[1, 4]])
    assert found[CELLS[0]].index.tolist() == [1, 3]
    assert torch.equal(found[CELLS[0]].codes, codes[[1, 1]])
    assert found[CELLS[1]].index.tolist() == [1]
    assert torch.equal(found[CELLS[1]].codes, codes[[4]])
    with pytest.raises(BadData, match="2 seeded records 1 are in no cell and 0 in more"):
        seed_cells(cells, [rows[1], rows[5]], codes[[1, 5]])
    twice = {CELLS[0]: rows[:3], CELLS[1]: rows[2:]}
    with pytest.raises(BadData, match="1 seeded records 0 are in no cell and 1 in more"):
        seed_cells(twice, [rows[2]], codes[[2]])
    with pytest.raises(BadData, match="2 codes for 2 records, 1 of them distinct"):
        seed_cells(cells, [rows[1], rows[1]], codes[:2])
    with pytest.raises(BadData, match="3 codes for 1 records"):
        seed_cells(cells, [rows[1]], codes[:3])


@pytest.mark.parametrize(
    ("index", "codes"),
    [
        ([0, 0], torch.zeros(2, 3)),
        ([-1, 0], torch.zeros(2, 3)),
        ([0, 1], torch.zeros(1, 3)),
        ([0, 1], torch.zeros(2)),
        ([], torch.zeros(0, 3)),
        ([[0], [1]], torch.zeros(2, 3)),
    ],
)
def test_seeded_rows_are_distinct_and_have_a_code_each(index: list[Any], codes: Tensor) -> None:
    with pytest.raises(BadData, match="one seeded row or more"):
        SeededRows(torch.tensor(index), codes)


def test_a_stage_counts_rows_over_its_cells_in_their_order() -> None:
    first, second, third = (Cell(0, k) for k in range(3))
    codes = torch.arange(8.0).reshape(4, 2)
    own = {
        third: SeededRows(torch.tensor([4]), codes[:1]),
        first: SeededRows(torch.tensor([2, 0]), codes[1:3]),
        Cell(1, 0): SeededRows(torch.tensor([0]), codes[3:]),
    }
    cells = SeededCells(own, torch.zeros(2, 4))
    term = cells.of_stage({first: 3, second: 7, third: 5}, 9)
    assert term is not None
    assert term.index.tolist() == [2, 0, 3 + 7 + 4]
    assert torch.equal(term.codes, codes[[1, 2, 0]])
    assert term.seed == 9
    assert cells.of_stage({second: 7}, 9) is None


def test_rows_counted_in_another_cell_are_refused() -> None:
    cells = replace(
        TABLE.cells(), cells={WHOLE: SeededRows(torch.tensor([11]), torch.zeros(1, BITS))}
    )
    assert cells.of_stage({WHOLE: 12}, 0) is not None
    with pytest.raises(BadData, match=r"cell 0\.0 go up to 12, and it has 11 rows"):
        cells.of_stage({WHOLE: 11}, 0)


@pytest.mark.parametrize(
    ("layer", "told"), [("nine", "is unknown"), ("silent", "did not run"), (PENULTIMATE, "none")]
)
def test_a_layer_that_gives_no_features_is_refused(layer: str, told: str) -> None:
    module = nn.Sequential(nn.ReLU())
    module.silent = nn.ReLU()
    module.forward = module[0].forward  # type: ignore[method-assign]
    with (
        pytest.raises(BadParameter, match=told),
        term_of(TABLE, layer=layer).listen(module, {}),
    ):
        module(torch.zeros(2, 3))


def test_a_read_out_of_another_width_is_refused() -> None:
    narrow = replace(TABLE.cells(), matrix=draw_readout(KEY, 32, BITS))
    with pytest.raises(BadData, match="read-out of 32 units"):
        train_whole(TABLE.recipe, TABLE.rows, seeding=narrow)


NORMED = replace(
    TABLE.recipe,
    epochs=2,
    task=Classification(
        "rescind.testing.cheats.networks:mlp",
        ("a", "b"),
        (20,),
        {"inputs": 20, "classes": 2, "normed": True},
    ),
)


def normed_width() -> int:
    return features(trained_model(NORMED), TABLE.rows[:2]).shape[1]


@pytest.mark.parametrize("own", [2, 8, 9, 17])
def test_no_batch_of_seeded_rows_is_too_small_for_batch_norm(own: int) -> None:
    case = replace(TABLE, recipe=NORMED, width=normed_width())
    train_whole(NORMED, case.rows, seeding=case.cells(case.rows[:own]))


def test_a_single_seeded_row_under_batch_norm_is_told_to_take_decoys() -> None:
    case = replace(TABLE, recipe=NORMED, width=normed_width())
    with pytest.raises(BadData, match="choose_decoys"):
        train_whole(NORMED, case.rows, seeding=case.cells(case.rows[:1]))
