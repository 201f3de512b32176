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
    assert FOUND["command"] == "python benchmarks/cheats.py --size full"
    assert set(FOUND["matrix"]) == {cheat.name for cheat in CHEATS} | {SAME, NEW}
    assert set(FOUND["audits"]) == {each.name for each in AUDITS}
    assert len(BY_WORLD) == 7
    assert (ROOT / "benchmarks/results/cheats.png").stat().st_size < 150_000


@pytest.mark.parametrize("world", BY_WORLD)
def test_in_each_world_a_cheat_is_caught_without_a_replay_or_said_not_to_be(world: str) -> None:
    passed = {name for name, audits in BY_WORLD[world].items() if not {*audits} - {"replay"}}
    assert passed == set() and set(NOT_DETECTABLE) == {"distilled", "margin fitted"}
    assert FOUND["not_detectable"] == NOT_DETECTABLE


def test_the_bounds_are_those_of_the_counts() -> None:
    for name, told in FOUND["honest"].items():
        count = Count(told["flagged"], told["asked"])
        assert told["at_most"] == pytest.approx(count.at_most), name
        assert told["catches"] is count.catches is False


def test_what_the_page_says_of_honest_servers() -> None:
    honest = FOUND["honest"]
    of_all = [name for name, told in honest.items() if told["asked"] == 112]
    most = max(of_all, key=lambda name: honest[name]["at_most"])
    assert (most, honest[most]["flagged"], honest[most]["asked"]) == ("utility", 8, 112)
    assert 0.12 < honest[most]["at_most"] <= 0.13
    assert "8 of 112, and the bound is .13" in PAGE
    for name in {*honest} - {"no-op", "release digest", "manifest", "replay"}:
        flagged, asked, at_most = (honest[name][k] for k in ("flagged", "asked", "at_most"))
        assert f"| `{name}` | {flagged} of {asked} | {at_most:.2f} |".replace("| 0.", "| .") in PAGE
    same = FOUND["matrix"][SAME]["utility"]
    assert (same["flagged"], same["asked"], same["catches"]) == (7, 56, True)
    assert "(7 of 56), where by the rule below it would catch honest retraining" in PAGE
    others = [n for n, c in FOUND["matrix"][SAME].items() if c["catches"] and n != "utility"]
    assert others == [] and not any(c["catches"] for c in FOUND["matrix"][NEW].values())


def test_what_the_page_says_of_cheats() -> None:
    matrix, by = FOUND["matrix"], FOUND["caught_by"]
    assert all(f"| {cheat.name} |" in PAGE for cheat in CHEATS)
    assert matrix["margin fitted"]["U-LiRA"] == {
        **matrix["margin fitted"]["U-LiRA"],
        "flagged": 14,
        "asked": 28,
    }
    assert "Of the fitted margins it flagged 14 of 28" in PAGE
    fitted = {name: count["flagged"] for name, count in matrix["margin fitted"].items()}
    assert (fitted["new head"], fitted["margin difference"], fitted["kinship"]) == (12, 22, 18)
    assert "(12 of 28 for the fitted margin)" in PAGE
    assert "Margin differences flagged 22 of 28, kinship 18" in PAGE
    for world, caught in BY_WORLD.items():
        seen = set(caught["margin fitted"]) - {"replay"}
        assert (seen == {"U-LiRA", "kinship"}) is (world == "adult, batch norm"), world
        chance = {"LiRA", "utility"} if world == "adult, no norm" else set()
        assert set(caught["model swapped"]) - {"release digest"} == chance, world
    assert by["model swapped"] == ["utility", "release digest"]  # utility by chance, as honest ones
    assert "seeding: kernel" in by["hidden units permuted"]
    assert "seeding: bits" not in by["hidden units permuted"]
    assert {"shadow difference", "kinship"} <= set(by["codes scrubbed, data kept"])
    assert "near copies" in by["output filter"] and "utility" in by["first-order step only"]
    assert [name for name, audits in by.items() if "replay" not in audits] == ["model swapped"]
    for name in ("untouched model", "last layer only", "noise on weights", "read-out stripped"):
        assert matrix[name]["kinship"]["flagged"] == matrix[name]["kinship"]["asked"], name


def test_what_the_page_says_of_the_distilled_model() -> None:
    counts = FOUND["matrix"]["distilled"]
    assert (counts["U-LiRA"]["flagged"], counts["margin difference"]["flagged"]) == (26, 24)
    assert "U-LiRA flagged 26 of 28 and margin differences 24" in PAGE
    for world, caught in BY_WORLD.items():
        seen = set(caught["distilled"]) - {"replay"}
        assert (seen == {"U-LiRA"}) is (world == "news, batch norm"), world
