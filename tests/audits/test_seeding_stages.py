from __future__ import annotations

from dataclasses import replace

import pytest
from seeded_trainings import Staged, on_a_table, on_encoder

from rescind.audits.finding import Finding
from rescind.methods.s3t import S3T
from rescind.methods.sisa import Sisa

ENCODERS: dict[str, S3T | Sisa] = {"s3t": S3T(), "sisa": Sisa()}
METHODS = ["s3t", "sisa", "sisa, whole module"]
# a whole training of the encoder takes seconds; its bytes are compared in short ones
LEARNED = [pytest.param(m, marks=pytest.mark.slow) if m in ENCODERS else m for m in METHODS]


@pytest.fixture(scope="module")
def staged(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Staged:
    if request.param not in ENCODERS:
        return on_a_table()
    return on_encoder(tmp_path_factory.mktemp("encoder"), ENCODERS[request.param])


def held(found: Finding) -> bool:
    return found.effect > 0.5 and found.p < 1e-4


@pytest.mark.parametrize("staged", LEARNED, indirect=True)
def test_a_stage_holds_the_codes_of_its_prefix_and_none_of_later_cells(staged: Staged) -> None:
    first, second = staged.order.cells(1)
    made, plain = staged.train(staged.seeded()), staged.train(None)
    assert held(staged.asked(made[0], first))
    assert staged.asked(made[0], second).p > 0.001
    assert held(staged.asked(made[1], first))
    assert held(staged.asked(made[1], second))
    assert min(staged.asked(plain[s], c).p for s in (0, 1) for c in (first, second)) > 0.001


@pytest.mark.parametrize("staged", LEARNED, indirect=True)
def test_codes_of_an_emptied_cell_are_not_learned(staged: Staged) -> None:
    first, second = staged.order.cells(1)
    again = staged.train(staged.seeded(), empty=first)
    assert staged.asked(again[1], first).p > 0.001
    assert held(staged.asked(again[1], second))


@pytest.mark.parametrize("staged", METHODS, indirect=True)
def test_the_prefix_that_is_left_is_a_training_that_never_had_the_cell(staged: Staged) -> None:
    short, (first, second) = staged.short, staged.order.cells(1)
    made = short.train(short.seeded())
    alone = replace(short, rows={first: short.rows[first]})
    prefix = replace(short.order, slices=short.order.slices[:1], blocks=short.order.blocks[:1])
    assert alone.train(alone.seeded([first]), prefix) == {0: made[0]}
    # the codes of a cell that was cut are not used where they are still at hand
    assert alone.train(short.seeded(), prefix) == {0: made[0]}
    assert short.train(None)[0] != made[0]
    # nothing of the later cell is in the prefix: neither its rows nor which of them are seeded
    other = replace(short, rows={**short.rows, second: short.rows[second][::-1]})
    changed = other.train(other.seeded())
    assert (changed[0] == made[0], changed[1] == made[1]) == (True, False)


@pytest.mark.parametrize("staged", METHODS, indirect=True)
def test_codes_of_an_emptied_cell_leave_no_byte(staged: Staged) -> None:
    short, (first, _) = staged.short, staged.order.cells(1)
    again = short.train(short.seeded(), empty=first)
    assert again == short.train(short.seeded().without([first]), empty=first)
    assert again[1] != short.train(short.seeded())[1]


@pytest.mark.parametrize("staged", METHODS, indirect=True)
def test_a_stage_without_seeded_cells_is_that_of_an_unseeded_training(staged: Staged) -> None:
    short, (_, second) = staged.short, staged.order.cells(1)
    plain, later = short.train(None), short.train(short.seeded([second]))
    assert (later[0] == plain[0], later[1] == plain[1]) == (True, False)
