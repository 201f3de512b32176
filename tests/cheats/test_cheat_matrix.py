"""The matrix: cheats are caught or said not to be, honest retraining is not, rows are resumed."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from cheat_world import recipe, tiny

from rescind.benchmarks.cells import Cells
from rescind.metrics.statistics import clopper_pearson
from rescind.testing.cheats import (
    AUDITS,
    CHEATS,
    LEVEL,
    NOT_DETECTABLE,
    Audit,
    Bench,
    Count,
    Reading,
    Row,
    Size,
    World,
    caught_by,
    counts,
    honest,
)
from rescind.testing.cheats.matrix import NEW, SAME
from rescind.testing.cheats.panel import Panel, Side, half, rank
from rescind.testing.cheats.statistics import higher
from rescind.training.modules import Classification

SMALL = Size(references=20, halves=6, servers=2, treated=2, honest=3)
TRAINS_AGAIN = {each.name for each in AUDITS if each.access == "training"}
PROVES = {each.name for each in AUDITS if each.access in ("certificate", "training")}


def silent(what: str, done: int, total: int) -> None:
    """Nobody listens."""


def bench(folder: Path, *, normed: bool = False, coded: bool = False) -> Bench:
    return Bench(tiny(folder, normed=normed, coded=coded), SMALL, silent)


pytestmark = pytest.mark.slow  # the small bench takes half a minute


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    return bench(tmp_path_factory.mktemp("matrix"), coded=True).rows()


def neither_caught_nor_told(rows: Sequence[Row]) -> list[str]:
    """Cheats that pass all audits but the replay, and are not said to."""
    found = caught_by(rows)
    return [
        name
        for name, audits in found.items()
        if not set(audits) - TRAINS_AGAIN and name not in NOT_DETECTABLE
    ]


def test_every_cheat_is_caught_or_said_not_to_be(rows: list[Row]) -> None:
    assert set(caught_by(rows)) == {cheat.name for cheat in CHEATS}
    assert neither_caught_nor_told(rows) == []
    assert all(len(reason) > 80 for reason in NOT_DETECTABLE.values())


def test_a_cheat_that_nobody_catches_is_seen(rows: list[Row]) -> None:
    """What the test above would say if audits were blind."""
    blind = [
        replace(row, readings={n: r and replace(r, p=1.0) for n, r in row.readings.items()})
        for row in rows
    ]
    left = {cheat.name for cheat in CHEATS} - set(NOT_DETECTABLE)
    assert set(neither_caught_nor_told(blind)) == left


def test_a_replay_refutes_every_claim_but_that_of_a_swapped_model(rows: list[Row]) -> None:
    by = caught_by(rows)
    assert [name for name, audits in by.items() if "replay" not in audits] == ["model swapped"]
    assert by["model swapped"] == ("release digest",)
    assert "manifest" in by["another manifest"]
    assert [name for name, audits in by.items() if "manifest" in audits] == ["another manifest"]


def test_no_op_is_seen_where_weights_are_those_of_the_original(rows: list[Row]) -> None:
    by = caught_by(rows)
    own = {"untouched model", "output filter"}
    assert {name for name, audits in by.items() if "no-op" in audits} == own


def test_each_audit_sees_the_cheat_that_is_made_for_it(rows: list[Row]) -> None:
    by = caught_by(rows)
    assert "near copies" in by["output filter"]
    assert "replay" in by["margin fitted"] and "margin fitted" in NOT_DETECTABLE
    assert {"LiRA", "margin difference", "kinship"} <= set(by["untouched model"])
    assert "kinship" in by["last layer only"]


def test_permuted_units_pass_the_bits_that_the_original_holds(rows: list[Row]) -> None:
    by = caught_by(rows)
    assert "seeding: bits" in by["untouched model"]
    assert "seeding: bits" not in by["hidden units permuted"]
    assert {"LiRA", "kinship"} <= set(by["hidden units permuted"])


def test_honest_retraining_is_flagged_no_more_than_the_level_explains(rows: list[Row]) -> None:
    found = honest(rows)
    assert set(found) == {each.name for each in AUDITS}
    assert [name for name, count in found.items() if count.catches] == []
    assert all(found[name].flagged == 0 for name in PROVES)
    for count in found.values():
        assert count.asked == 2 * SMALL.honest
        assert count.at_most == clopper_pearson(count.flagged, count.asked, 0.9)[1]
    table = counts(rows)
    assert {SAME, NEW} <= set(table)
    assert table[SAME]["replay"] == Count(0, SMALL.honest)


def test_a_row_is_kept_and_not_worked_out_again(tmp_path: Path) -> None:
    asked = []

    def counted(panel: Panel, case: object) -> Reading:
        asked.append(case)
        return Reading(0.5, 1.0, "as told")

    one = replace(
        bench(tmp_path),
        size=Size(2, 2, 1, 1, 1),
        audits=(Audit("counted", "answers", counted), Audit("none", "answers", lambda p, c: None)),
        cheats=CHEATS[:1],
    )
    first = one.rows()
    again = replace(one).rows()
    assert again == first and len(asked) == 3
    assert first[0].readings == {"counted": Reading(0.5, 1.0, "as told"), "none": None}
    assert set(honest(first, one.audits)) == {"counted"}


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    one = replace(
        bench(tmp_path),
        size=Size(2, 2, 1, 1, 1),
        progress=lambda *step: told.append(step),
        audits=(Audit("a", "answers", lambda p, c: Reading(1.0 if p.world else 0.0, 0.0)),),
        cheats=CHEATS[:1],
    )
    one.rows()
    assert ("clouds: references", 1, 2) in told
    assert told[-1] == ("clouds: all servers", 3, 3)


def test_without_codes_their_cheat_and_their_audits_are_not_asked(tmp_path: Path) -> None:
    codes = tuple(each for each in AUDITS if each.name.startswith("seeding"))
    coded = tuple(cheat for cheat in CHEATS if cheat.coded)
    one = replace(bench(tmp_path), size=Size(2, 2, 1, 1, 1), audits=codes, cheats=coded)
    found = one.rows()
    assert coded and {row.server for row in found} == {SAME, NEW}
    assert all(reading is None for row in found for reading in row.readings.values())
    assert honest(found, codes) == {}


def test_shadow_models_see_half_of_the_pool_and_all_else(tmp_path: Path) -> None:
    world = tiny(tmp_path)
    masks = torch.stack([half(world, i) for i in range(20)])
    assert bool(masks[:, ~world.pool].all())
    assert masks[:, world.pool].sum(1).tolist() == [30] * 20
    assert not torch.equal(masks[0], masks[1])


# --- the p that counts models ---


@pytest.mark.parametrize("side", ["high", "low", "both"])
def test_each_of_twenty_one_models_is_rejected_once_in_turn(side: Side) -> None:
    """The level over all choices of the one that is asked about: exact, by enumeration."""
    values = torch.randn(21, generator=torch.Generator().manual_seed(5)).exp().tolist()
    p = [rank(v, values[:i] + values[i + 1 :], side) for i, v in enumerate(values)]
    assert sorted(p) == pytest.approx([k / 21 for k in range(1, 22)])
    assert sum(x < LEVEL for x in p) == 1


def test_the_side_is_the_one_that_is_asked() -> None:
    null = [0.0, 1.0, 2.0]
    assert rank(9.0, null, "high") == 0.25 and rank(9.0, null, "low") == 1.0
    assert rank(-9.0, null, "low") == 0.25 and rank(-9.0, null, "both") == 0.25
    assert rank(9.0, null, "both") == 0.25 and rank(1.0, null, "both") > 0.5
    assert rank(2.0, null, "high") == 0.5  # a tie counts against the claim


def test_mean_ranks_are_those_of_all_choices() -> None:
    inside, outside = torch.tensor([3.0, 5.0]), torch.tensor([1.0, 2.0, 5.0, 0.0])
    both: list[float] = torch.cat([inside, outside]).tolist()
    pairs = [sum(a > b for b in outside) + sum(a == b for b in outside) / 2 for a in inside]
    p, area = higher(inside, outside)
    assert area == pytest.approx(float(sum(pairs)) / 8)

    def score(chosen: tuple[int, ...]) -> float:
        rest = [float(both[i]) for i in range(6) if i not in chosen]
        return sum((both[i] > b) + (both[i] == b) / 2 for i in chosen for b in rest)

    every = [score(chosen) for chosen in itertools.combinations(range(6), 2)]
    exact = sum(s >= score((0, 1)) for s in every) / len(every)
    assert p == pytest.approx(exact, abs=0.04)


# --- on real data: what continuous integration has of the stored matrix ---


@pytest.mark.parametrize("normed", [False, True], ids=["no norm", "batch norm"])
def test_the_reduced_matrix_on_adult(normed: bool, tmp_path: Path) -> None:
    from rescind.benchmarks.adult import Adult
    from rescind.data.adult import CLASSES, WIDTH

    setting = Adult(quick_people=900).setting(quick=True)
    world = World(
        name="adult",
        recipe=replace(recipe(normed, 40), task=_task(WIDTH, CLASSES, normed), batch_size=64),
        train=setting.train,
        asked=frozenset(r.key for r in setting.forget_sets[0].records),
        others=frozenset(r.key for r in setting.searched.records),
        outside=setting.test,
        public=setting.validation,
        cells=Cells(tmp_path),
    )
    found = Bench(world, Size(20, 8, 2, 2, 3), silent).rows()
    assert neither_caught_nor_told(found) == []
    assert [name for name, count in honest(found).items() if count.catches] == []
    assert set(caught_by(found)) == {cheat.name for cheat in CHEATS if not cheat.coded}


def _task(width: int, classes: tuple[str, ...], normed: bool) -> Classification:
    arguments = {"inputs": width, "classes": len(classes), "normed": normed}
    return Classification("rescind.testing.cheats.networks:mlp", classes, (width,), arguments)
