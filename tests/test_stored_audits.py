"""What pages say of seeds left by methods, of other targets and of margins is what was stored, and
the benchmarks that stored it run at small sizes.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean
from types import ModuleType
from typing import Any

import pytest
import torch

from rescind.benchmarks.tried import editing
from rescind.metrics.statistics import clopper_pearson

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
CONTROLS = {"original (no-op)", "retrained without the records"}
WITH = "with codes"


def stored(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return found


def decimals(share: float, digits: int) -> str:
    """As pages write it: no 0 before the point."""
    return f"{share:.{digits}f}".removeprefix("0")


def page(name: str) -> str:
    return (ROOT / "docs" / "concepts" / f"{name}.md").read_text()


Script = Callable[[str], ModuleType]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    """A benchmark as a module: they are no package, and one may import another."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    yield importlib.import_module
    for name in (
        "seeding", "seeding_methods", "seeding_targets", "seeding_power", "honest_verdicts",
        "margin_difference", "margin_null", "shadow_null",
    ):  # fmt: skip
        sys.modules.pop(name, None)


def test_no_approximate_method_removes_the_codes_and_the_page_says_so() -> None:
    found = stored("seeding_methods")
    rows = {row["name"]: row for row in found["rows"]}
    assert set(rows) == {*editing("classes"), *CONTROLS} and found["refused"] == {}
    gone = rows.pop("retrained without the records")
    assert gone["outcomes"] == {"no_evidence_of_codes": 5}
    assert abs(gone["bits"]["mean"] - 0.5) < 0.02 and abs(gone["kernel_z"]["mean"]) < 1
    assert all(row["outcomes"] == {"still_held": 5} for row in rows.values())
    wrong = {name for name, row in rows.items() if row["own_accuracy"]["mean"] == 0.0}
    assert wrong == {"random_label", "salun", "pseudo_label"}
    text = page("seeding")
    for name, row in rows.items():
        told = name if name in CONTROLS else f"[{name}](../methods/{name}.md)"
        bits = f"{row['bits']['mean']:.3f}".lstrip("0")
        assert f"| {told} | {bits} | {row['kernel_z']['mean']:.1f} | held 5 |" in text


def test_a_method_is_added_only_to_the_models_that_are_stored(script: Script) -> None:
    methods, found = script("seeding_methods"), stored("seeding_methods")
    later = [row for row in found["rows"] if row["name"] in {*CONTROLS, "zk_apex"}]
    older = {**found, "rows": [row for row in found["rows"] if row["name"] != "zk_apex"]}
    added = {"rows": later, "refused": {}, "system": found["added"]["zk_apex"]}
    again = methods.joined(older, added)
    assert {row["name"]: row for row in again["rows"]} == {r["name"]: r for r in found["rows"]}
    other = [row | {"bits": {"mean": 0.9, "interval": None}} for row in later]
    with pytest.raises(ValueError, match="run all methods"):
        methods.joined(older, added | {"rows": other})


def test_codes_in_other_targets_and_in_stages_are_as_the_page_says() -> None:
    rows, text = stored("seeding_targets")["rows"], page("seeding")
    none = {"no_evidence_of_codes"}
    for row in rows:
        [outcome] = set(row["outcomes"])  # the same in all seeds
        said = f"{'held' if outcome == 'still_held' else 'none'} {row['seeds']} of {row['seeds']}"
        low, high = row["interval"]
        ends = f"{decimals(low, 3)} to {decimals(min(high, 1.0), 3)}"
        one = decimals(row["one_record_by_readings"], 2)
        told = f"| {row['model']} | {decimals(row['bits'], 3)} ({ends}) | {one} |"
        assert f"{told} {max(row['kernel_p']):.3g} | {said} |" in text
        assert outcome in ("still_held", *none) and row["seeds"] == (
            10 if row["world"].startswith("news") else 5
        )
    gone = {row["model"] for row in rows if set(row["outcomes"]) == none}
    other = "stage 1, records of slice 2"
    never = "both stages without codes, records of slice 2"
    assert gone == {"retrained without the records", "all data, no codes", other, never}
    held = [row for row in rows if row["model"] not in gone]
    assert min(row["bits"] for row in held) >= 0.9
    assert min(row["one_record_by_readings"] for row in held) >= 0.9
    assert {row["five_records_by_readings"] for row in held} == {1.0}
    priced = [row for row in rows if "times_the_training" in row]
    assert [row["world"].split(",")[0] for row in priced] == ["adult", "language", "news"]
    for row in priced:
        time, points = row["times_the_training"], row["points_of_accuracy"]
        (low, high), (worst, best) = time["interval"], points["interval"]
        told = f"{time['mean']:.2f} ({low:.2f} to {high:.2f})"
        assert f"| {told} | {points['mean']:+.2f} ({worst:+.2f} to {best:+.2f}) |" in text
        assert 1.10 < time["mean"] <= 1.25 and points["mean"] >= -0.5
    staged = priced[2]["points_of_accuracy"]
    assert f"loss of ten trainings is {decimals(-staged['mean'], 2)}" in text
    assert f"by the interval it may be {-staged['interval'][0]:.1f}." in text
    [second] = [row for row in rows if row["model"] == "stage 2, records of slice 2"]
    assert sum(p < 0.01 for p in second["kernel_p"]) == 8 and "in eight of ten trainings" in text
    adult = rows[0]
    assert (adult["world"], adult["model"]) == ("adult, Classification", "before")
    assert (adult["seeding"]["bits"], adult["seeding"]["every"]) == (20, 8)
    one, counted = adult["one_record_by_readings"], adult["told_by_one_record"]
    assert f"told in {one:.2f}".replace("0.", ".") + " of the cases by its readings" in text
    assert f"in {counted:.2f}".replace("0.", ".") + " by the count of its bits" in text
    assert adult["bits"] >= 0.9 and one >= 0.9 and adult["five_records_by_readings"] == 1.0
    assert [row["one_record_by_readings"] for row in rows[1:3]] == [0.0, 0.0]


def test_how_often_each_test_sees_codes_is_as_the_page_says() -> None:
    rows, text = stored("seeding_power")["rows"], page("seeding")
    lines: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        lines.setdefault((row["network"], row["models_are"], row["test"]), []).append(row)
        for share in [row["rejected"], *([row["at_0.05"]] if "at_0.05" in row else [])]:
            interval = clopper_pearson(share["hits"], share["models"])
            assert share["interval"] == pytest.approx(interval, abs=1e-4)
    for (network, kind, test), own in lines.items():
        honest = kind != "with codes"
        hits = [(row["at_0.05"] if honest else row["rejected"])["hits"] for row in own]
        cells = ["-"] * (7 - len(hits)) + [str(hit) for hit in hits]
        level = "0.05" if honest else f"{own[0]['level']:g}"
        assert f"| {network} | {kind} | {test} | {level} | {' | '.join(cells)} |" in text
    kernel = [row["rejected"]["hits"] for row in lines["cnn", "with codes", "kernel"]]
    assert kernel == [4, 24, 40]  # of 40: nearly blind at 20 records, three in five at 30
    sure = lines["cnn", "with codes", "ask"]
    assert {row["rejected"]["hits"] for row in sure} == {40}
    assert f"lower bound is {decimals(sure[0]['rejected']['lower_95'], 2)}" in text
    assert [row["rejected"]["hits"] for row in lines["cnn", "with codes", "bits"]][:2] == [38, 40]
    normed = [row for row in rows if row["network"] == "cnn, batch norm"]
    told = [r["rejected"]["hits"] for r in normed if (r["test"], r["models_are"]) == ("ask", WITH)]
    assert told == [10] * 7
    without = [row for row in rows if row["models_are"] != WITH]
    assert not any(row["rejected"]["hits"] for row in without if row["test"] == "ask")
    for network, them in (("cnn", "forty"), ("cnn, batch norm", "the ten")):
        most = max(row["at_0.05"]["upper_95"] for row in without if row["network"] == network)
        assert f"{decimals(most, 3)} of {them}" in text
    assert (RESULTS / "seeding_power.png").stat().st_size < 150_000


def test_a_record_is_told_from_its_neighbours_as_the_page_says() -> None:
    text, seeds = page("seeding"), stored("seeding")["seeds"]
    for what in ("own", "nearest other training image", "own, shifted with noise"):
        share = fmean(one["neighbourhood"][what] for one in seeds)
        assert decimals(share, 2 if what != "own" else 3) in text
    near = fmean(one["neighbourhood"]["nearest other training image"] for one in seeds)
    assert f"nearest other image matched {decimals(near, 2)} of its bits" in text


def test_how_often_verdicts_accuse_honest_servers_is_as_the_page_says() -> None:
    found, text = stored("honest_verdicts"), page("cheats")
    rows = {row["method"]: row for row in found["rows"]}
    methods = ["retrain", "finetune", "eu_k", "ssd", "negative_gradient", "influence"]
    assert [*rows] == methods and found["level"] == 0.05
    outcomes = ("residue_found", "removed_supported", "no_power")
    lines: dict[str, list[str]] = {}
    for method, row in rows.items():
        for who, told in {"the verdict": row["verdict"], **row["audits"]}.items():
            low, high = clopper_pearson(told["residue"], told["asked"], 0.9)
            assert [told["at_least"], told["at_most"]] == pytest.approx([low, high], abs=1e-4)
            assert told["asked"] == sum(told["outcomes"].values()) == (10, 30)[method == "retrain"]
            cell = " / ".join(str(told["outcomes"].get(name, 0)) for name in outcomes)
            at_most = f" ({decimals(told['at_most'], 2)})" if method == "retrain" else ""
            lines.setdefault(who, ["not asked"] * 6)[methods.index(method)] = cell + at_most
    for who, cells in lines.items():
        assert f"| {who} | {' | '.join(cells)} |" in text
    honest = rows["retrain"]["verdict"]
    assert honest["at_least"] < 0.05  # so few requests do not contradict the level
    accused = min(rows[method]["verdict"]["at_least"] for method in methods[1:])
    assert accused > honest["residue"] / honest["asked"]


@pytest.mark.slow
def test_requests_are_asked_and_told_at_the_quick_size(script: Script, tmp_path: Path) -> None:
    verdicts = script("honest_verdicts")
    found = verdicts.verdicts("retrain", verdicts.QUICK, tmp_path)
    row = verdicts.row_of("retrain", found)
    assert set(row["audits"]) == {
        "membership", "margins", "retrained", "shadows", "relearning", "quantisation",
    }  # fmt: skip
    assert row["verdict"]["asked"] == 1 and sum(row["verdict"]["outcomes"].values()) == 1
    assert verdicts.verdicts("retrain", verdicts.QUICK, tmp_path) == found


@pytest.mark.slow
def test_the_benchmark_of_power_runs_at_its_quick_size(script: Script, tmp_path: Path) -> None:
    power = script("seeding_power")
    rows = power.rows_of(power.QUICK, tmp_path)
    told = {(r["network"], r["models_are"], r["test"], r["n"]): r["rejected"]["hits"] for r in rows}
    assert told["cnn", power.WITH, "ask", 20] == 2 and told["cnn", power.HONEST, "ask", 20] == 0
    assert told[power.BATCH_NORM, power.WITH, "readings", 20] == 1
    assert power.rows_of(power.QUICK, tmp_path) == rows


@pytest.mark.slow
def test_the_benchmark_of_methods_runs_at_its_toy_size(script: Script, tmp_path: Path) -> None:
    methods = script("seeding_methods")
    found = methods.run(methods.images.SIZES["toy"], tmp_path)
    rows = {row["name"]: row for row in found["rows"]}
    assert rows["original (no-op)"]["outcomes"] == {"still_held": 1}
    assert rows["retrained without the records"]["outcomes"] == {"no_evidence_of_codes": 1}
    # an edit of the head alone leaves the features, which hold the codes, as they are
    assert rows["eu_k"]["bits"] == rows["original (no-op)"]["bits"]
    assert methods.run(methods.images.SIZES["toy"], tmp_path) == found


def test_weights_come_back_from_the_package_as_they_went_in(script: Script) -> None:
    methods = script("seeding_methods")
    model, images = methods.images.new_cnn(3), torch.randn(4, 1, 28, 28)
    packed = methods.packaged(model)
    assert torch.equal(packed.module(images), model(images))
    assert torch.equal(methods.unpacked(packed)(images), model(images))


def test_margins_meet_and_miss_what_their_page_says() -> None:
    found, text = stored("margin_difference"), page("margins")
    for row in found["rows"]:
        told = ("rejected", "rejected_by_the_mean", "rejected_with_a_hard_record")
        for share in (row[name] for name in told if row.get(name)):
            _check(share)
    at = {(r["audit"], r["models_are"], r["n"]): r for r in found["rows"]}
    for target in found["targets"]:
        if "power_wanted" in target:
            row = at[target["audit"], target["models_are"], target["n"]]
            assert target["power"] == row["rejected"]["share"]
            assert target["met"] == (target["power"] >= target["power_wanted"])
        else:
            kinds = target["models_are"]
            own = [at["margins", kind, target["n"]]["sets_rejected"] for kind in kinds]
            hits, sets = (sum(o[part] for o in own) for part in ("hits", "sets"))
            assert (hits, sets) == (target["hits"], target["sets"])
            upper = clopper_pearson(hits, sets, 0.9)[1]
            assert f"{target['upper_95']:.3f} for {target['n']}" in text
            assert target["upper_95"] == pytest.approx(upper, abs=1e-4)
            assert target["met"] == (upper <= target["false_positives_at_most"])
    for (audit, kind, n), row in at.items():
        share, (low, high) = row["rejected"]["share"], row["rejected"]["interval"]
        assert f"| {audit} | {kind} | {n} | {share:.2f} ({low:.2f} to {high:.2f}) |" in text
    assert all(target["met"] for target in found["targets"])
    cut = at["margins", "cut", 100]
    assert cut["extent_mean"] < 0.5 < cut["rejected"]["share"]  # found, and told as a part
    held = {key: row["interval_holds_truth"] for key, row in at.items() if key[0] == "margins"}
    others = [f"{held['margins', 'other_seed', n]['share']:.2f}" for n in (1, 5, 20, 50, 100)]
    assert f"{', '.join(others[:-1])} and {others[-1]} of them" in text
    batches = [f"{held['margins', 'same_batches', n]['share']:.2f}" for n in (5, 20)]
    assert f"in {batches[0]} at five and {batches[1]} at 20" in text
    assert f"no other record gone in {held['margins', 'these_alone', 5]['share']:.2f}" in text
    low = {k[1:]: share["share"] for k, share in held.items() if "kept" in k[1] and share}
    assert {at for at, share in low.items() if share < 0.9} == {("these_alone, records kept", 1)}
    eight = at["8 shadows", "kept", 100]["rejected"]
    assert (eight["hits"], eight["models"], eight["interval"][1]) == (
        2,
        16,
        pytest.approx(0.38, abs=0.005),
    )
    price = stored("backdoor")["price"]["ratios"]
    assert all(price[name]["met"] for name in price if price[name]["goal"])
    for name in ("retraining / margins", "backdoors with training / margins"):
        assert f"{price[name]['seen']:.1f} times" in text


def test_small_models_that_kept_all_are_accused_at_the_level() -> None:
    found, text = stored("margin_null"), page("margins")
    for row in found["rows"]:
        for name in ("accused", "said_to_have_risen", "accused_by_the_mean"):
            _check(row[name])
            assert row[name]["models"] == 400
        if row["level"] == 0.05:
            assert row["accused"]["upper_95"] <= 0.10
            shown = [row[name] for name in ("accused", "accused_by_the_mean")]
            cells = " | ".join(f"{s['share']:.3f} ({s['upper_95']:.3f})" for s in shown)
            assert f"| {row['n']} | {cells} |" in text
    assert found["met"] is True


def test_shadow_models_accuse_at_the_level_and_support_nothing_that_was_never_there() -> None:
    found, text = stored("shadow_null"), page("margins")
    for row in found["rows"]:
        _check(row["rejected"])
        _check(row["supported"])
        assert row["rejected"]["models"] == 240 == sum(row["outcomes"].values())
        cells = [
            f"{row[name]['share']:.3f} ({row[name]['upper_95']:.3f})"
            for name in ("rejected", "supported")
        ]
        told = f"| {row['records_are']} | {row['n']} | {' | '.join(cells)} |"
        assert f"{told} {row['power_stated']:.2f} |" in text
        if row["records_are"] != "removed":
            assert row["supported"]["upper_95"] <= 0.10
    kept = [row for row in found["rows"] if row["records_are"] == "kept"]
    assert found["met"] is all(row["rejected"]["upper_95"] <= 0.10 for row in kept)


def _check(share: dict[str, Any]) -> None:
    hits, models = share["hits"], share["models"]
    assert share["share"] == pytest.approx(hits / models, abs=1e-4)
    assert share["interval"] == pytest.approx(clopper_pearson(hits, models), abs=1e-4)
    assert share["upper_95"] == pytest.approx(clopper_pearson(hits, models, 0.9)[1], abs=1e-4)


def test_alignment_comes_back_with_the_initialisation_alone() -> None:
    rows, text = stored("influence_alignment")["rows"], page("margins")
    at = {(r["way"], r["n"], r["models_are"]): r["rejected"] for r in rows}
    assert {one["models"] for one in at.values()} == {20}
    starts, ends = ("another seed", "same initialisation"), ("gone", "kept")
    order = [f"{start}, records {end}" for end in ends for start in starts]
    for way, n in {(way, n) for way, n, _ in at}:
        hits = [str(at[way, n, kind]["hits"]) for kind in order]
        assert f"| {way} | {n} | {' | '.join(hits)} |" in text
    seen = {key for key, one in at.items() if one["interval"][0] > 0.05}
    same = "same initialisation, records gone"
    assert seen == {("all weights", 20, same), ("all weights", 100, same), ("by layer", 100, same)}


@pytest.mark.slow
def test_the_benchmark_of_margins_runs_at_a_tiny_size(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    margins = script("margin_difference")
    monkeypatch.setattr(margins, "POOL", 200)
    monkeypatch.setattr(margins, "REQUESTS", (5, 20))
    monkeypatch.setattr(margins, "TARGETS", {("8 shadows", "other_seed", 20): 0.85})
    sizes = margins.Sizes(700, 300, 2, 1, 2, 2, 1, 2)
    cells = margins.Cells(tmp_path, sizes)
    found = margins.result(cells, "here")
    kinds = {(row["audit"], row["models_are"]) for row in found["rows"]}
    assert kinds == {
        *(("margins", k) for k in ("kept", "other_seed", "same_seed", "same_batches", "cut")),
        ("margins", "these_alone"),
        *(("margins", f"{k}, records kept") for k in ("other_seed", "these_alone", "cut")),
        *((f"{n} shadows", kind) for n in (4, 8) for kind in ("kept", "other_seed")),
    }
    removed = next(m for m in margins.models(sizes) if m.kind == "other_seed")
    asked = set(margins.asked(sizes, removed, 20))
    assert len(asked) == 20 and asked <= set(removed.gone) and max(removed.gone) < 200
    assert not set(margins.asked(sizes, removed, 20, removed=False)) & set(removed.gone)
    few = next(m for m in margins.models(sizes) if m.kind == "these_alone")
    assert set(margins.asked(sizes, few, 5)) == set(few.gone)
    cut = next(m for m in margins.models(sizes) if m.kind == "cut")
    assert set(margins.asked(sizes, cut, 20)) <= set(cut.gone)
    assert not set(margins.asked(sizes, cut, 20, removed=False)) & set(cut.gone)
    files = sorted(tmp_path.iterdir())
    times = [path.stat().st_mtime_ns for path in files]
    assert margins.result(margins.Cells(tmp_path, sizes), "here") == found
    assert [path.stat().st_mtime_ns for path in sorted(tmp_path.iterdir())] == times


@pytest.mark.slow
def test_the_benchmark_of_the_null_asks_each_model_once_of_each_size(script: Script) -> None:
    null = script("margin_null")
    size = null.Size(images=600, first=0, originals=1, others=2, epochs=1)
    data = null.cell_data(null.trained_model(null.RECIPE), null.load("train", size.images))
    found = null.one_original(data, size, 0)
    assert [p["n"] for p in found] == [*null.REQUESTS] * 2
    assert all(0 < p[name] <= 1 for p in found for name in ("p", "p_rose", "p_mean"))
    assert {row["accused"]["models"] for row in null.rows(found)} == {2}


@pytest.mark.slow
def test_the_benchmark_of_shadows_asks_the_audit_of_a_request(script: Script) -> None:
    null = script("shadow_null")
    size = null.Size(images=600, first=0, groups=1, epochs=1)
    data = null.cell_data(null.trained_model(null.RECIPE), null.load("train", size.images))
    found = null.one_group(data, size, 0)
    assert [(one["kind"], one["n"]) for one in found] == [
        (kind, n) for n in null.REQUESTS for kind in null.KINDS
    ]
    assert all(0 < one["p"] <= 1 and 0 <= one["power"] <= 1 for one in found)
    assert {row["supported"]["models"] for row in null.rows(found)} == {1}
