from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from cloud_setting import cloud_bench, cloud_setting

from rescind.benchmarks import models, part, subjects
from rescind.benchmarks.across import TOO_FEW
from rescind.benchmarks.class_measures import transfer
from rescind.benchmarks.deep import deep_columns
from rescind.benchmarks.part import run_part
from rescind.benchmarks.readings import Look
from rescind.benchmarks.result import Line, Part
from rescind.benchmarks.subjects import (
    ANEW_LINE,
    LAST_LINE,
    ORIGINAL_LINE,
    PLANTED_LINE,
    RANDOM_LINE,
)
from rescind.core.errors import BadData, BadParameter, StorageFailed
from rescind.core.judgement import Gap
from rescind.metrics.features import PENULTIMATE
from rescind.training import plain

SETTING = cloud_setting()
CONTROLS = {ORIGINAL_LINE, RANDOM_LINE, LAST_LINE, PLANTED_LINE, ANEW_LINE}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield tmp_path_factory.mktemp("cells")


@pytest.fixture(scope="module")
def red(folder: Path) -> Part:
    return run_part(cloud_bench(folder, SETTING), SETTING.forget_sets[0])


def line(found: Part, name: str) -> Line:
    return next(each for each in found.lines if each.name == name)


def gap(found: Line, metric: str) -> Gap:
    assert found.judgement is not None
    return next(each for each in found.judgement.gaps if each.metric == metric)


def test_every_table_holds_all_methods_and_all_controls(red: Part) -> None:
    assert {each.name for each in red.lines if each.control} == CONTROLS
    assert {each.name for each in red.lines if not each.control} == set(SETTING.methods)


def test_the_original_is_a_no_op_that_is_listed_and_never_ranked(red: Part) -> None:
    original = line(red, ORIGINAL_LINE)
    assert original.unchanged and original.judgement is not None
    assert original.judgement.verdict == "not_admissible"
    assert set(original.ranks.values()) == {None}
    assert [each.name for each in red.lines if each.unchanged] == [ORIGINAL_LINE]


def test_random_weights_forget_and_are_not_admissible(red: Part) -> None:
    found = line(red, RANDOM_LINE)
    assert found.judgement is not None and found.judgement.verdict == "not_admissible"
    assert not gap(found, "test accuracy").equivalent


def test_retrained_models_of_other_seeds_are_near(red: Part) -> None:
    for metric in ("forget accuracy", "retain accuracy", "test accuracy"):
        assert gap(line(red, ANEW_LINE), metric).equivalent


def test_the_planted_head_passes_output_metrics(red: Part) -> None:
    planted = line(red, PLANTED_LINE)
    for metric in ("forget accuracy", "retain accuracy", "test accuracy"):
        assert gap(planted, metric).equivalent
    shown = planted.shown["forget KL to retrained"]
    assert shown.value < 0.2 * line(red, ORIGINAL_LINE).shown["forget KL to retrained"].value


def test_methods_that_differ_give_different_numbers(red: Part) -> None:
    told = [
        tuple(each.value for each in line(red, name).shown.values()) for name in SETTING.methods
    ]
    assert len(set(told)) == len(SETTING.methods)


def test_scores_stand_with_all_their_parts_where_a_class_goes(red: Part) -> None:
    scores = line(red, "finetune").scores
    assert scores is not None
    assert [p.name for p in scores.logit_parts] == ["FA", "RA", "TFA", "TRA"]
    assert any("left or right" in p.name for p in scores.representation_parts)


def test_zrf_stands_beside_that_of_retrained_models(red: Part) -> None:
    random, original = (line(red, n).shown["forget ZRF"] for n in (RANDOM_LINE, ORIGINAL_LINE))
    assert random.value > original.value > 0.3  # 1 - log 2 is the least that there is
    assert original.retrained == random.retrained


def test_damage_is_told_clean_and_corrupted_beside_retraining(red: Part) -> None:
    assert set(line(red, "finetune").damage) == {"clean", "corrupted"}
    groups = line(red, "finetune").damage["clean"].after.groups
    assert [each.name for each in groups] == ["even", "odd"]


def test_costs_are_counted(red: Part) -> None:
    cost = line(red, "finetune").cost
    assert cost is not None and cost.steps > 0 and cost.bytes_read > 0 and cost.cpu_seconds > 0
    retain = 180
    assert red.retraining.steps == 6 * -(-retain // 16)
    assert red.retraining.bytes_read == 6 * retain * 8 * 4


def test_the_biased_cka_gives_unrelated_features_more_than_ours(red: Part) -> None:
    assert red.floor.examples == 60 and red.floor.width == 24
    assert red.floor.biased > 0.1 > abs(red.floor.unbiased)


def test_where_the_original_is_inside_the_band_nothing_has_power(folder: Path) -> None:
    found = run_part(cloud_bench(folder, SETTING), SETTING.forget_sets[1])
    verdicts = {e.name: e.judgement.verdict for e in found.lines if e.judgement is not None}
    assert verdicts[ORIGINAL_LINE] == "no_power"
    assert verdicts["finetune"] == "no_power"
    assert all(each.scores is None for each in found.lines)


def test_one_record_is_too_few_for_cka_and_the_part_says_so(folder: Path) -> None:
    found = run_part(cloud_bench(folder, SETTING), SETTING.forget_sets[2])
    assert found.references == 3 and not found.decides
    assert "forget CKA to retrained is not measured" in found.notes[0]
    assert "forget CKA to retrained" not in {m.metric for m in found.margins}


def test_a_second_run_computes_no_model_and_finds_the_same(
    folder: Path, red: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a cell that was there is computed again")

    monkeypatch.setattr(plain, "train_whole", refuse)
    monkeypatch.setattr(models, "_edit", refuse)
    again = run_part(cloud_bench(folder, SETTING), SETTING.forget_sets[0])
    same = {"cpu_seconds": 0.0, "metrics_share": 0.0}
    assert dataclasses.replace(again, **same) == dataclasses.replace(red, **same)  # type: ignore[arg-type]


def test_a_seed_that_was_searched_on_is_never_reported(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part, "SEEDS", (100,))
    with pytest.raises(BadParameter, match="100"):
        run_part(cloud_bench(folder, SETTING), SETTING.forget_sets[0])


def test_three_references_show_and_decide_nothing(tmp_path: Path) -> None:
    shown = cloud_setting(decides=False, methods=("finetune",))
    found = run_part(cloud_bench(tmp_path, shown), shown.forget_sets[0])
    assert {e.judgement.verdict for e in found.lines if e.judgement} == {"display_only"}
    assert not any(rank for e in found.lines for rank in e.ranks.values())


@pytest.mark.slow
def test_deep_measures_stand_beside_those_of_retrained_models(folder: Path) -> None:
    found = run_part(cloud_bench(folder, SETTING, deep=True), SETTING.forget_sets[0])
    shown = line(found, ORIGINAL_LINE).shown
    before = shown["relearning: score before"]
    assert before.value > 0.9 and before.retrained < 0.1
    assert "linear probe left or right" in shown and "half-width of CKA's interval" in shown


def test_a_method_whose_models_cannot_be_measured_costs_its_own_row_only(
    tmp_path: Path, red: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One seed gives logits that are no numbers; weights were finite, the sum in a layer is not."""
    made = subjects.subjects

    def broken(*given: Any) -> Any:
        found, refused = made(*given)
        module = found["finetune"].models[1].model.module
        last = [m for m in module.modules() if isinstance(m, torch.nn.Linear)][-1]
        with torch.no_grad():
            last.weight.fill_(3e38)
        return found, refused

    monkeypatch.setattr(part, "subjects", broken)
    found = run_part(cloud_bench(tmp_path, SETTING), SETTING.forget_sets[0])
    assert line(found, "finetune").judgement is None
    assert "cannot be measured" in line(found, "finetune").refused
    assert gap(line(found, "eu_k"), "test accuracy") == gap(line(red, "eu_k"), "test accuracy")


def test_a_control_that_cannot_be_measured_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = subjects.subjects

    def broken(*given: Any) -> Any:
        found, refused = made(*given)
        module = found[ORIGINAL_LINE].models[0].model.module
        with torch.no_grad():
            [m for m in module.modules() if isinstance(m, torch.nn.Linear)][-1].weight.fill_(3e38)
        return found, refused

    monkeypatch.setattr(part, "subjects", broken)
    with pytest.raises(BadData):
        run_part(cloud_bench(tmp_path, SETTING), SETTING.forget_sets[0])


def test_deep_measures_that_one_row_lacks_are_told(
    folder: Path, red: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def lacking(*given: Any) -> Any:
        asked.append(given)
        if len(asked) == 2:
            raise BadData("Features are constant.")
        return deep_columns(*given)

    monkeypatch.setattr(part, "deep_columns", lacking)
    found = run_part(cloud_bench(folder, SETTING, deep=True), SETTING.forget_sets[0])
    notes = [n for n in found.notes if n.startswith("Deep measures")]
    assert notes == [f"Deep measures of {RANDOM_LINE} are missing: Features are constant."]
    assert len(found.lines) == len(red.lines)


def test_what_needs_eight_models_is_told_where_there_are_three(red: Part) -> None:
    assert TOO_FEW in red.notes


def test_a_full_disk_is_no_refusal_of_a_method(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = cloud_bench(tmp_path, SETTING)
    assert bench.searched.cpu_seconds > 0

    def full(*_: object) -> None:
        raise StorageFailed("The disk is full.")

    monkeypatch.setattr(models, "_edit", full)
    with pytest.raises(StorageFailed):
        run_part(bench, SETTING.forget_sets[0])


def test_what_was_there_already_counts_what_it_took(red: Part, folder: Path) -> None:
    again = run_part(cloud_bench(folder, SETTING), SETTING.forget_sets[0])
    assert again.search_cpu_seconds == red.search_cpu_seconds > 0
    assert again.cpu_seconds > 11 * red.retraining.cpu_seconds  # 8 references, 3 anew


def test_features_that_are_all_zero_are_guessed() -> None:
    features, labels = torch.randn(40, 4), torch.arange(40) % 2
    features[labels == 0, 0] += 50.0
    features[labels == 1, 1] += 50.0

    def share(kept: torch.Tensor) -> float:
        return transfer(Look({"downstream": labels}, {PENULTIMATE: kept}))

    lost = features.clone()
    lost[0] = 0.0  # one of eight queries
    assert share(features) == 1.0
    assert share(lost) == pytest.approx(7 / 8 + 1 / 16)
    assert share(torch.zeros(40, 4)) == 0.5
