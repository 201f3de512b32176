"""What benchmarks/store.py keeps of a result, and how large it is. All numbers are made up."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import made_up
import pytest

from rescind.benchmarks.depth import depths
from rescind.benchmarks.result import Line, Part
from rescind.benchmarks.subjects import LAST_LINE
from rescind.training import low_rank

FOLDER = Path(__file__).parents[2] / "benchmarks"


def script(name: str) -> ModuleType:
    """A script as a module: benchmarks are no package."""
    spec = importlib.util.spec_from_file_location(f"{name}_script", FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def store() -> ModuleType:
    return script("store")


@pytest.fixture(scope="module")
def kept(store: ModuleType) -> Any:
    return store.compact(made_up.result())


def rows(part: Any) -> dict[str, Any]:
    return {row["name"]: row for row in part["lines"]}


def made(part: Part, name: str) -> Line:
    return next(each for each in part.lines if each.name == name)


def test_a_row_keeps_what_documents_quote(kept: Any) -> None:
    row = rows(kept["parts"][0])["scrub"]
    assert row["verdict"] == "admissible" and row["share_of_retraining"] == 0.12
    assert set(row["gaps"]) == {m.metric for m in made_up.MARGINS}
    assert row["ranks"]["balanced"] == 2 and row["parameters"] == {"lr": 0.01, "epochs": 1}
    assert set(row["scores"]) == {"AGL", "AGR", "H-LR"}
    refused = rows(kept["parts"][0])["influence"]
    assert refused["verdict"] == "refused" and "Fisher" in refused["because"]
    assert rows(kept["parts"][0])["no-op"]["parameters"] == {}


def test_a_row_keeps_the_intervals_of_its_scores(kept: Any) -> None:
    row, line = rows(kept["parts"][0])["scrub"], made(made_up.part(), "scrub")
    for name, found in line.seed_scores.items():
        assert row["seed_scores"][name]["mean"] == pytest.approx(found.value, rel=1e-2)
        assert row["seed_scores"][name]["interval"] == pytest.approx(found.interval, rel=1e-3)
    undefined = rows(kept["parts"][2])["scrub"]
    assert set(undefined["seed_scores"]) == {"AGL"} and undefined["scores"]["AGR"] is None


@pytest.mark.parametrize("inputs", ["clean", "corrupted"])
@pytest.mark.parametrize("of", ["worst", "disparity"])
def test_a_row_keeps_who_pays_beside_retraining(kept: Any, inputs: str, of: str) -> None:
    found = rows(kept["parts"][0])["scrub"]["damage"][inputs]
    assert set(found) == {"worst", "disparity"}
    change = next(c for c in made(made_up.part(), "scrub").damage[inputs].changes if c.of == of)
    for name in ("before", "after", "retrained", "change", "retrained_change", "beyond"):
        assert found[of][name] == pytest.approx(getattr(change, name), rel=1e-3, abs=1e-12)
    assert found[of]["beyond_interval"] == pytest.approx(change.beyond_interval, rel=1e-3)


def test_a_row_keeps_the_last_layers(kept: Any) -> None:
    found = rows(kept["parts"][0])["ssd"]["layers"]
    assert list(found) == list(made_up.LAYERS[-3:])
    layer = made(made_up.part(), "ssd").layers[-1]
    assert found["pool"] == pytest.approx(layer.normalised, rel=1e-2)


def test_a_part_keeps_its_time_and_what_shallow_edits_pass(kept: Any) -> None:
    part = kept["parts"][0]
    assert part["cpu_seconds"] == 4320.0 and part["search_cpu_seconds"] == 0.0
    (told,), (found,) = part["depth"], depths(made_up.part())
    assert (told["name"], told["told"]) == (LAST_LINE, found.told)
    assert (told["passes_outputs"], told["passes_features"]) == (False, False)
    assert kept["parts"][1]["depth"][0]["passes_features"] == "no power"


def test_each_search_is_kept_once_with_all_its_trials(kept: Any) -> None:
    named = [(each["model"], each["method"]) for each in kept["searches"]]
    assert sorted(named) == sorted((m, n) for m in ("resnet", "vit") for n in made_up.METHODS)
    first, second, third = kept["searches"][0]["trials"]
    assert first == {"parameters": {"lr": 0.000123456789, "epochs": 2}, "distance": 3.25}
    assert second["chosen"] is True and second["distance"] == 0.875
    assert third["failure"].startswith("the loss is not finite") and "distance" not in third


def test_the_file_is_the_same_json_with_a_row_a_line(store: ModuleType, kept: Any) -> None:
    text = store.laid_out(kept)
    assert json.loads(text) == kept
    lines = [line for line in text.splitlines() if '"name": "scrub"' in line]
    assert len(lines) == 4 and all(json.loads(line.rstrip(",")) for line in lines)


def test_fourteen_parts_of_23_rows_stay_below_a_megabyte(store: ModuleType) -> None:
    part = made_up.part()
    many = [ln for ln in part.lines if ln.name in made_up.METHODS]
    more = tuple(replace(ln, name=f"{ln.name} again") for ln in many[:8])
    parts = tuple(
        replace(part, forget_set=f"class {i}", lines=(*part.lines, *more)) for i in range(14)
    )
    found = store.compact(replace(made_up.result(), parts=parts))
    assert {len(each["lines"]) for each in found["parts"]} == {23}
    assert len(store.laid_out(found)) < 1_000_000


def test_a_picture_names_its_goal(kept: Any) -> None:
    title = script("draw_bench").title(kept["parts"][0])
    assert title == "resnet, random 10 %\ngoal: remove the influence of the records"
    assert script("draw_bench").title(kept["parts"][0] | {"goal": "concept"}).endswith("a concept")


def test_parts_of_before_stay_unless_they_are_there_anew(store: ModuleType, kept: Any) -> None:
    first, *others = kept["parts"]
    old = {**kept, "parts": [{**first, "seeds": 99}, {**first, "forget_set": "another"}]}
    found = store.joined(kept, old)["parts"]
    assert found == [first, *others, {**first, "forget_set": "another"}]
    assert store.joined(kept, {}) == store.joined(kept, kept) == kept
    stopped = {"not_applicable": ["scrub stopped"], "command": "another", "system": kept["system"]}
    found = store.joined(kept, stopped)
    assert found["not_applicable"][-1] == "scrub stopped"
    assert found["command"].endswith("\nanother") and found["system"] == kept["system"]


def test_a_margin_is_four_of_the_largest_deviation_rounded_up_and_never_below_two_hundredths() -> (
    None
):
    width = script("margins").width
    assert (width([0.005, 0.019]), width([0.001]), width([0.0076])) == (0.08, 0.02, 0.04)


def test_an_edit_with_adapters_is_an_edit_with_adapters(monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory that is measured is that of the rank that is named."""
    ranks: list[int] = []
    real = low_rank.low_rank

    def seen(module: Any, rank: int, seed: int) -> Any:
        ranks.append(rank)
        return real(module, rank, seed)

    monkeypatch.setattr(low_rank, "low_rank", seen)
    memory = script("lora_memory")
    monkeypatch.setattr(memory, "SIZES", {"vocabulary": 256, "width": 32, "depth": 2, "length": 32})
    assert memory.peak("npo", 8)["rank"] == 8
    assert ranks == [8, 8]
