"""What the page on cheats says is what is stored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rescind.testing.cheats import AUDITS, CHEATS, NOT_DETECTABLE, Count
from rescind.testing.cheats.matrix import NEW, SAME

ROOT = Path(__file__).parents[2]
FOUND: dict[str, Any] = json.loads((ROOT / "benchmarks/results/cheats.json").read_text())
PAGE = (ROOT / "docs/concepts/cheats.md").read_text()
BY_WORLD: dict[str, dict[str, list[str]]] = FOUND["caught_by_in_each_world"]


def test_it_is_the_whole_matrix_with_its_command() -> None:
    assert FOUND["command"] == "python benchmarks/cheats.py --size toy"
    assert set(FOUND["matrix"]) == {cheat.name for cheat in CHEATS} | {SAME, NEW}
    assert set(FOUND["audits"]) == {each.name for each in AUDITS}
    assert len(BY_WORLD) == 7
    assert (ROOT / "benchmarks/results/cheats.png").stat().st_size < 150_000


@pytest.mark.parametrize("world", BY_WORLD)
def test_in_each_world_a_cheat_is_caught_without_a_replay_or_said_not_to_be(world: str) -> None:
    passed = {name for name, audits in BY_WORLD[world].items() if not {*audits} - {"replay"}}
    assert passed <= set(NOT_DETECTABLE)


def test_the_bounds_are_those_of_the_counts() -> None:
    for name, told in FOUND["honest"].items():
        count = Count(told["flagged"], told["asked"])
        assert told["at_most"] == pytest.approx(count.at_most), name
        assert told["catches"] is count.catches is False


def test_what_the_page_says_of_honest_servers() -> None:
    honest = FOUND["honest"]
    most = max(
        (n for n in honest if not n.startswith("seeding")), key=lambda n: honest[n]["at_most"]
    )
    assert (most, honest[most]["flagged"], honest[most]["asked"]) == ("depth (CKA)", 6, 56)
    assert f"{honest[most]['at_most']:.2f}" == "0.20"
    assert "6 of 56, and the bound is .20" in PAGE
    anew = FOUND["matrix"][NEW]["depth (CKA)"]
    assert (anew["flagged"], anew["asked"], anew["catches"]) == (5, 28, True)
    assert "(5 of 28), where by the rule below it would catch honest retraining" in PAGE
    others = [n for n, c in FOUND["matrix"][NEW].items() if c["catches"] and n != "depth (CKA)"]
    assert others == [] and not any(c["catches"] for c in FOUND["matrix"][SAME].values())


def test_what_the_page_says_of_cheats() -> None:
    matrix, by = FOUND["matrix"], FOUND["caught_by"]
    assert all(f"| {cheat.name} |" in PAGE for cheat in CHEATS)
    assert matrix["margin fitted"]["U-LiRA"] == {
        **matrix["margin fitted"]["U-LiRA"],
        "flagged": 5,
        "asked": 14,
    }
    assert "Of the fitted margins it flagged 5 of 14" in PAGE
    for audit, told in (("new head", "*new head* (9 of 14)"), ("margin difference", "(11 of 14)")):
        count = matrix["margin fitted"][audit]
        assert f"({count['flagged']} of {count['asked']})" in told and told in PAGE
    for world, caught in BY_WORLD.items():
        seen = set(caught["margin fitted"]) - {"replay"}
        assert bool(seen) is (world != "adult, no norm"), world
        assert ("new head" in seen) <= (not world.startswith("adult")), world
    assert by["model swapped"] == ["release digest"]
    assert "seeding: kernel" in by["hidden units permuted"]
    assert "seeding: bits" not in by["hidden units permuted"]
    assert {"shadow difference", "new head"} <= set(by["codes scrubbed, data kept"])
    assert "near copies" in by["output filter"] and "utility" in by["first-order step only"]
    assert [name for name, audits in by.items() if "replay" not in audits] == ["model swapped"]
    for name in ("untouched model", "last layer only", "noise on weights", "read-out stripped"):
        assert matrix[name]["kinship"]["flagged"] == matrix[name]["kinship"]["asked"], name


def test_what_the_page_says_of_the_distilled_model() -> None:
    for world, caught in BY_WORLD.items():
        seen = set(caught["distilled"]) - {"replay"}
        assert bool(seen) is not world.startswith("fashion"), world
        if world.startswith("adult"):
            assert "margin difference" in seen
