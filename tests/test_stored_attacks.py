"""What the page of attacks says is what was stored, and both benchmarks run at small sizes."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.nn.utils import parameters_to_vector

from rescind.audits.one_run import epsilon_from_guesses
from rescind.metrics.statistics import clopper_pearson

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = (ROOT / "docs" / "concepts" / "attacks.md").read_text()
Script = Callable[[str], ModuleType]


def stored(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return found


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    """A benchmark as a module: they are no package, and one may import another."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    yield importlib.import_module
    for path in (ROOT / "benchmarks").glob("*.py"):
        sys.modules.pop(path.stem, None)


def test_every_attack_stands_on_the_page_with_its_rates() -> None:
    found = stored("membership_attacks")
    for row in found["rows"]:
        cells = [row["auc"]["mean"], *(row[f"tpr_at_{r}"]["mean"] for r in ("0.001", "0.01"))]
        ends = [row["tpr_at_0.001"][end] for end in ("lowest", "highest")]
        told = f"| {cells[0]:.3f} | {cells[1]:.2%} ({ends[0]:.2%} to {ends[1]:.2%}) |"
        assert f"| {row['attack']} {told} {cells[2]:.2%} |" in PAGE
    assert found["measured"]["models"] == 64 and found["measured"]["images"] == 10_000
    seconds = found["cpu_seconds"]
    minutes = (seconds["training"] + seconds["scoring"]) / 60
    assert minutes < 20 and f"{minutes:.1f} minutes of one core" in PAGE
    assert f"epsilon of at least {found['epsilon']['at_least']:.2f}" in PAGE
    assert "membership_attacks.png" in PAGE


def test_what_planted_records_show_stands_on_the_page() -> None:
    found = stored("planted_records")
    size = found["measured"]
    for row in found["rows"]:
        low, high, mean = min(row["epsilon"]), max(row["epsilon"]), fmean(row["epsilon"])
        bounds = [
            epsilon_from_guesses(right, size["guesses"], size["planted"], size["delta"])
            for right in row["right"]
        ]
        assert bounds == pytest.approx(row["epsilon"], abs=1e-3)
        assert len(bounds) == len(size["seeds"]) == 5
        told = [
            f"| {min(row['right'])} to {max(row['right'])} ",
            f"| {mean:.2f} ({low:.2f} to {high:.2f}) ",
            f"| {row['accuracy']:.1%} |",
        ]
        lines = [line for line in PAGE.splitlines() if line.endswith("".join(told))]
        assert any(
            f"| {row['network']}, {row['epochs']} epochs |" in line and row["model"] in line
            for line in lines
        ), row
    rows = {(r["network"], r["epochs"], r["model"]): r["epsilon"] for r in found["rows"]}
    assert min(rows["cnn", 24, "finetune"]) > 2
    assert max(rows["cnn", 24, "retrained without them"]) < 0.1


@pytest.mark.slow
def test_planted_records_are_told_from_those_whose_coin_fell_otherwise(script: Script) -> None:
    bench = script("planted_records")
    size = replace(bench.QUICK, planted=60, images=100)
    found = {row["model"]: row for row in bench.rows_of(size, *bench.UNLEARNED)}
    assert set(found) == {"as trained", "retrained without them", *bench.METHODS}
    assert found["as trained"]["right"][0] > found["retrained without them"]["right"][0]
    assert found["as trained"]["epsilon"][0] > 0


def test_what_u_lira_flags_stands_on_the_page() -> None:
    for row in stored("treated_shadows")["rows"]:
        cells = []
        for kind in ("untouched", "treated", "retrained"):
            hits, models, low, high = row[kind]
            assert [low, high] == pytest.approx(clopper_pearson(hits, models), abs=1e-3)
            cells.append(f"{hits} of {models} ({low:.2f} to {high:.2f})")
        name = f"[{row['method']}](../methods/{row['method']}.md)"
        told = " | ".join([name, *cells, f"{row['power']:.2f}", f"{row['trace']:.2f}"])
        assert f"| {told} |" in PAGE
        assert row["power"] < 0.605
    rows = {row["method"]: row for row in stored("treated_shadows")["rows"]}
    honest = {name: row["retrained"][0] for name, row in rows.items() if row["retrained"][0]}
    assert honest == {"negative_gradient": 4}
    pushed = rows.pop("negative_gradient")
    assert pushed["treated"][0] > pushed["untouched"][0]
    assert all(row["treated"] == row["untouched"] for row in rows.values())


def test_what_is_rebuilt_and_its_controls_stand_on_the_page() -> None:
    found = stored("reconstructor")
    for name, row in found["table"].items():
        told = ", ".join(one.replace("_", " ") for one in row["told"])
        assert f"| {name} | {told} | {row['cosine']:.2f} | {row['cosine_of_zeros']:.2f} |" in PAGE
        assert ("resembles" in told) == (name == "one record each: first-order step only")
    leaked = [one["cosine"] for one in found["as_released_fed_with_zeros"]]
    assert {f"{cosine:.2f}" for cosine in leaked} == {"0.89"}
    assert (RESULTS / "reconstructor.png").exists()


def test_the_attacks_run_at_a_small_size_and_go_on(script: Script, tmp_path: Path) -> None:
    attacks = script("membership_attacks")
    size = attacks.Size(images=400, population=150, models=16, attacked=2, epochs=2)
    found, again = (attacks.result(size, tmp_path) for _ in range(2))
    names = {row["attack"] for row in found["rows"]}
    assert names >= {"LiRA", "LiRA, offline", "RMIA", "RMIA, offline", "population: loss"}
    for one, other in zip(found["rows"], again["rows"], strict=True):
        assert one | {"cpu_seconds": 0} == other | {"cpu_seconds": 0}
        assert one["tpr_at_0.001"] is None  # two hundred unseen images cannot show it
        assert one["curve_of_one_model"][-1] == [1.0, 1.0]
    assert again["cpu_seconds"]["training"] >= found["cpu_seconds"]["training"] > 0
    assert found["epsilon"] == again["epsilon"]


@pytest.mark.slow
def test_u_lira_is_measured_at_a_small_size(script: Script, tmp_path: Path) -> None:
    treated = script("treated_shadows")
    size = treated.Size(images=900, epochs=1, requests=1, asked=5, originals=1, retrained=1)
    found = treated.result(size, tmp_path)
    assert [row["method"] for row in found["rows"]] == list(treated.METHODS)
    assert all(row["retrained"][1] == 1 for row in found["rows"])


def test_records_that_are_masked_have_no_part_in_a_training_and_all_others_have(
    script: Script, tmp_path: Path
) -> None:
    servers, shadows = script("pair_servers"), script("treated_shadows")
    table = shadows.table(shadows.Size(images=200, epochs=1), tmp_path)
    rows = torch.arange(200) == 5

    def weights(given: Any, masked: torch.Tensor) -> torch.Tensor:
        return parameters_to_vector(servers.masked(given, masked, 3).module.parameters())

    plain = parameters_to_vector(table.trained(torch.ones_like(rows), 3).module.parameters())
    assert torch.equal(weights(table, ~rows & rows), plain)
    without = weights(table, rows)
    assert not torch.equal(without, plain)
    records = [*table.records[:5], table.records[6], *table.records[6:]]
    other = replace(table, records=records)
    assert torch.equal(weights(other, rows), without)


def spread(values: Sequence[float], digits: int = 2) -> str:
    """The mean over originals, and the lowest and highest."""
    ends = (fmean(values), min(values), max(values))
    mean, low, high = (f"{round(value, digits) + 0.0:.{digits}f}" for value in ends)
    return f"{mean} ({low} to {high})"


def flagged(found: Mapping[str, Sequence[float | None]]) -> str:
    """How many originals; of them all, which a sentence beside the tables says the intervals of."""
    assert len(found["p"]) == 5
    return str(sum(p is not None and p < 0.05 for p in found["p"]))


def told_by_each(found: Sequence[str]) -> str:
    """Outcomes, in the order in which originals first have them."""
    counts = {name: found.count(name) for name in dict.fromkeys(found)}
    return ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in counts.items())


def rows_of_pairs(found: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Server and cells of every line of the four tables."""
    alone = "the original alone"
    for server, row in found["update"].items():
        if server != alone:
            areas = [spread(row[name], 3) for name in ("drop", "after")]
            yield server, *areas, f"{fmean(row['accuracy']):.1%}"
    for server, row in found["inversion"].items():
        if server != alone:
            names = [name for name in ("effect", "likeness", "of_the_class") if name in row]
            cells = [spread(row[name]) for name in names] or ["", "", ""]
            yield server, told_by_each(row["told"]), *cells
    for server, row in found["relearning, one class"].items():
        three, eight = row["beside 3"], row["beside 8"]
        before = spread(eight["start"])
        yield (
            server,
            before,
            str(sum(eight["open"])),
            spread(eight["doublings"]),
            flagged(three),
            flagged(eight),
        )
    few = found["rounding, few records"]
    for server, row in found["rounding, one class"].items():
        cells = []
        for each in (row, few.get(server)):
            three, eight = (each[f"beside {n}"] if each else {} for n in (3, 8))
            cells += [spread(eight["effect"]), flagged(three), flagged(eight)] if each else [""] * 3
        yield server, *cells


def test_what_pairs_relearning_and_rounding_tell_stands_on_the_page() -> None:
    found = stored("pair_attacks")
    names = {name for name in found["update"] if (ROOT / f"docs/methods/{name}.md").exists()}
    assert len(names) == 5
    for server, *cells in rows_of_pairs(found):
        name = f"[{server}](../methods/{server}.md)" if server in names else server
        assert f"| {' | '.join([name, *cells])} |" in PAGE
    for hits, told in enumerate(
        ("for none", "for one", "for two", "for three", "for four", "for all five")
    ):
        low, high = clopper_pearson(hits, 5)
        assert f"{low:.2f} to {high:.2f} {told}" in PAGE
    assert f"{sum(found['cpu_seconds']) / 60:.0f} minutes of one core" in PAGE
    size = found["measured"]
    assert [len(size["seeds"]), size["images"], size["many"], size["few"]] == [5, 3000, 100, 20]


def test_what_the_page_concludes_of_pairs_is_what_was_stored() -> None:
    found = stored("pair_attacks")
    update, inversion = found["update"], found["inversion"]
    assert update["untouched"]["after"] == update["the original alone"]["area"]
    retrained = [name for name in update if name.startswith("retrained")]
    assert len(retrained) == 3
    for name in retrained:
        assert min(update[name]["drop"]) > max(update[name]["after"])
    for name in ("finetune", "cf_k", "ssd"):
        assert min(update[name]["drop"]) < 0.5 < max(update[name]["drop"])
    steps, loss = inversion["one step up its loss"]["told"], inversion["the original alone"]["loss"]
    told = [one == "residue_found" for one in steps]
    assert told == [one > 2e-6 for one in loss] and sum(told) == 3
    for name in ("negative_gradient", "influence"):
        assert [one == "residue_found" for one in inversion[name]["told"]] == told
    held = found["relearning, one class"]["ssd"]["beside 8"]
    assert max(held["p"]) < 0.01 and sum(held["open"]) == 1
    for row in found["relearning, few records"].values():
        for beside in row.values():
            assert beside["doublings"] == [None] * 5
            assert all("before any step" in one for one in beside["refused"])


@pytest.mark.slow
def test_pairs_are_attacked_at_a_small_size_and_go_on(script: Script, tmp_path: Path) -> None:
    pairs = script("pair_attacks")
    found, again = (pairs.result(pairs.QUICK, tmp_path) for _ in range(2))
    assert found == again  # the second reads what the first left
    assert found["update"]["untouched"]["drop"] == [0.5]
    assert found["inversion"]["untouched"] == {"told": ["nothing to invert"]}
    assert set(stored("pair_attacks")) == set(found)
    for attack in ("relearning, one class", "rounding, one class", "rounding, few records"):
        assert set(found[attack]) == set(stored("pair_attacks")[attack])
    assert found["relearning, one class"]["untouched"]["beside 3"]["open"] == [True]
    for request in ("one class", "few records"):
        hidden = found[f"rounding, {request}"]["edited below half a step of rounding"]
        assert hidden["beside 3"]["p"][0] < 0.05


def test_what_triggers_and_margins_told_of_each_server_stands_on_the_page() -> None:
    found = stored("backdoor")
    for server, row in found["table"].items():
        told = [
            ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in row[audit].items())
            for audit in ("backdoor", "margins")
        ]
        assert (
            f"| {server} | {row['rate']:.2f} | {' | '.join(told)} | {row['extent']:.2f} |" in PAGE
        )
    table = {name: (row["backdoor"], row["margins"]) for name, row in found["table"].items()}
    vanished, kept = {"removed_supported": 3}, {"residue_found": 3}
    assert table["left out what has the trigger, kept the rest"] == (vanished, {"nothing_seen": 3})
    assert table["removed all of the user, a stranger has the trigger"] == (kept, {"as_removed": 3})
    gone = [m for name, (_, m) in table.items() if "remove" in name or "without" in name]
    assert [sum(m["as_removed"] for m in gone), 3 * len(gone)] == [8, 9]
    ratios = {name: each["seen"] for name, each in found["price"]["ratios"].items()}
    assert f"{ratios['backdoors with training / margins']:.1f} times less" in PAGE
    assert f"({ratios['reading of the backdoor alone / margins']:.2f} times)" in PAGE


def test_how_much_stacks_of_shadow_models_take_stands_on_the_page() -> None:
    networks = stored("shadow_training")["networks"]
    for kind, told in (("cnn", "0.98 to 1.06"), ("resnet", "0.75 to 0.93")):
        ways = [w for name, n in networks.items() if kind in name for w in n["ways"].items()]
        times = [way["times_the_loop"] for name, way in ways if name != "loop"]
        assert f"{min(times):.2f} to {max(times):.2f}" == told
        assert f"{told} times" in PAGE
