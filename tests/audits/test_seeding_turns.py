"""Several users' codes in one training: whose turn it is, and what one user alone changes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from seeded_trainings import BITS, OTHER_KEY, SETTINGS, TABLE, asked, features

from rescind.audits.seeding.bits import matched_bits
from rescind.audits.seeding.cells import seed_cells
from rescind.audits.seeding.codes import codes_of
from rescind.audits.seeding.handed import hand_over, matrix_of, packed, unpacked
from rescind.audits.seeding.readout import draw_readout, read_bits
from rescind.audits.seeding.term import Seeding
from rescind.audits.seeding.training import SeededCells, SeedingTerm
from rescind.audits.seeding.turns import Turns, UsersInTurn
from rescind.core.errors import BadParameter
from rescind.data.records import records_from
from rescind.training.extra_term import Moment
from rescind.training.plain import WHOLE, train_whole
from rescind.training.snapshots import to_bytes

THEIRS = TABLE.rows[12:32]


def other_user() -> SeededCells:
    placed = seed_cells({WHOLE: TABLE.rows}, THEIRS, codes_of(OTHER_KEY, THEIRS, BITS))
    return SeededCells(placed, draw_readout(OTHER_KEY, TABLE.width, BITS), SETTINGS)


def test_each_record_has_as_many_turns_whoever_it_belongs_to() -> None:
    users = UsersInTurn((TABLE.cells(), other_user()))
    turns = users.of_stage({WHOLE: len(TABLE.rows)}, 0)
    assert isinstance(turns, Turns)
    # 12 records are two batches of eight, 20 are three
    assert [turns.turn(n) for n in range(7)] == [
        (0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (0, 2), (0, 3),
    ]  # fmt: skip


def test_a_term_is_asked_for_its_own_next_step(monkeypatch: pytest.MonkeyPatch) -> None:
    asked_for = list[tuple[int, int]]()

    def loss(term: SeedingTerm, moment: Moment, heard: object) -> torch.Tensor:
        asked_for.append((len(term.index), moment.step))
        return torch.zeros(())

    monkeypatch.setattr(SeedingTerm, "loss", loss)
    users = [
        replace(user, settings=replace(user.settings, every=4))
        for user in (TABLE.cells(), other_user())
    ]
    turns = UsersInTurn(tuple(users)).of_stage({WHOLE: len(TABLE.rows)}, 0)
    assert isinstance(turns, Turns)
    for step in range(0, 24, 4):
        turns.loss(Moment(step, torch.zeros(0), {}, torch.nn.Identity(), len), {})  # type: ignore[arg-type]
    assert asked_for == [(12, 0), (12, 4), (20, 0), (20, 4), (20, 8), (12, 8)]


def test_one_user_alone_is_trained_as_without_turns() -> None:
    short = replace(TABLE.recipe, epochs=3)
    alone = train_whole(short, TABLE.rows, seeding=TABLE.cells())
    nobody = TABLE.cells().without([WHOLE])
    both = train_whole(short, TABLE.rows, seeding=UsersInTurn((TABLE.cells(), nobody)))
    assert to_bytes(both.state(())) == to_bytes(alone.state(()))
    assert UsersInTurn(()).of_stage({WHOLE: 3}, 0) is None


def test_both_users_find_their_codes_and_not_each_others() -> None:
    recipe = replace(TABLE.recipe, epochs=150)
    model = train_whole(recipe, TABLE.rows, seeding=UsersInTurn((TABLE.cells(), other_user())))
    assert asked(model, TABLE)[1] < 1e-9
    theirs = features(model, THEIRS)
    shown = read_bits(theirs, draw_readout(OTHER_KEY, TABLE.width, BITS))
    assert matched_bits(shown, codes_of(OTHER_KEY, THEIRS, BITS)).p < 1e-9
    assert asked(model, TABLE, OTHER_KEY)[1] > 1e-3


def test_users_are_seeded_alike() -> None:
    with pytest.raises(BadParameter, match="other settings"):
        UsersInTurn((TABLE.cells(), replace(TABLE.cells(), settings=Seeding(every=9, bits=BITS))))


def test_what_is_handed_over_gives_the_matrix_and_the_codes_of_the_key() -> None:
    records = records_from(TABLE.own, key=None, subject=None)
    handed = hand_over(OTHER_KEY, records, 40, 32)
    assert torch.equal(matrix_of(handed.readout, 32, 40), draw_readout(OTHER_KEY, 40, 32))
    codes = codes_of(OTHER_KEY, [r.row for r in records], 32).int().tolist()
    assert [unpacked(handed.codes[r.key], 32) for r in records] == codes
    assert packed([0, 0, 0, 0, 1]) == "10" and unpacked("10", 5) == [0, 0, 0, 0, 1]
    assert OTHER_KEY.hex() not in repr(handed)
