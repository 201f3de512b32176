"""Rows of a table from readings that are made up: all seeds and all retrained models count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from cloud_setting import MARGINS, TASK, cloud_setting

from rescind.benchmarks.class_measures import ClassMeasures
from rescind.benchmarks.lines import Table
from rescind.benchmarks.readings import CORRUPTED, FORGET, TEST, TEST_FORGET, Look, Looks
from rescind.benchmarks.result import Line
from rescind.benchmarks.scoring import CKA
from rescind.benchmarks.sets import Sets
from rescind.benchmarks.subjects import FREE, ORIGINAL_LINE, RANDOM_LINE, Subject
from rescind.metrics.equivalence import gap_interval

N = 80
GROUPS = ("even", "odd") * (N // 2)
SHOWN = {
    "forget loss": [0.5, 0.7, 0.6],
    "forget KLOM, median": [0.4],
}
LOSSES = [0.3, 0.4, 0.5, 0.4]


def answering(wrong: int) -> Look:
    """Logits that name the right class but for the first so many even examples."""
    labels = torch.zeros(N, dtype=torch.long)
    answers = torch.tensor([int(i % 2 == 0 and i // 2 < wrong) for i in range(N)])
    logits = torch.nn.functional.one_hot(answers, 4).float()
    return Look({"logits": logits, "labels": labels}, {})


def looks(wrong: int, seed: int, noise: float) -> Looks:
    """Features are the same for all models but for noise."""
    shared = torch.randn(N, 6, generator=torch.Generator().manual_seed(0))
    own = torch.randn(N, 6, generator=torch.Generator().manual_seed(seed))
    forget = Look({}, {"first": shared + noise * own})
    return {FORGET: forget, TEST: answering(wrong), CORRUPTED: answering(2 * wrong)}


def columns(accuracies: Sequence[float], shown: dict[str, list[float]]) -> dict[str, list[float]]:
    names = [m.metric for m in MARGINS] + ["test forget accuracy"]
    return {name: list(accuracies) for name in names} | shown


def table(**changes: Any) -> Table:
    sets = Sets({CORRUPTED: {}, TEST_FORGET: {}}, GROUPS, ClassMeasures(), TASK)
    rows = {ORIGINAL_LINE: (0, 0, 0), "scrub": (10, 4, 7), RANDOM_LINE: (40, 30, 40)}
    noises = {ORIGINAL_LINE: 0.9, "scrub": 0.5, RANDOM_LINE: 9.0}
    looked = {
        name: [looks(w, 10 * i + seed, noises[name]) for seed, w in enumerate(wrong)]
        for i, (name, wrong) in enumerate(rows.items(), 1)
    }
    anew = {"forget loss": LOSSES, "forget KLOM, median": [0.3]}
    found = Table(
        setting=cloud_setting(),
        forget=replace(cloud_setting().forget_sets[0], decides=False),
        sets=sets,
        references=[looks(w, 100 + w, 0.1) for w in (1, 2, 3, 0)],
        against=columns([0.5, 0.52, 0.51, 0.5], anew),
        retraining=replace(FREE, cpu_seconds=1.0),
        looked=looked,
        values={name: columns([0.6, 0.5, 0.55], SHOWN) for name in rows}
        | {RANDOM_LINE: columns([0.01, 0.02, 0.01], SHOWN)},
    )
    return replace(found, **changes)


def line(name: str = "scrub", given: Table | None = None) -> Line:
    subjects = {
        each: Subject([SimpleNamespace(weights=each)] * 3, FREE)  # type: ignore[list-item]
        for each in (ORIGINAL_LINE, "scrub", RANDOM_LINE)
    }
    found = (given or table()).lines(subjects, {})
    return next(each for each in found if each.name == name)


def test_a_shown_measure_has_welchs_interval_of_its_gap() -> None:
    shown = line().shown["forget loss"]
    assert shown.gap == pytest.approx(0.2)
    assert shown.interval == gap_interval([0.5, 0.7, 0.6], LOSSES)
    assert shown.interval is not None and shown.interval[0] < 0.2 < shown.interval[1]


def test_one_figure_for_all_models_has_no_interval() -> None:
    shown = line().shown["forget KLOM, median"]
    assert (shown.spread, shown.retrained_spread, shown.interval) == (None, None, None)


def test_a_layer_has_an_interval_of_its_gap_to_the_ceiling() -> None:
    (layer,) = line().layers
    assert layer.interval is not None
    assert layer.interval[0] < layer.gap < layer.interval[1] < 0.0


def test_damage_is_over_all_seeds_and_all_retrained_models() -> None:
    found = line().damage
    worst = next(c for c in found["clean"].changes if c.of == "worst")
    after, retrained = ([1 - w / 40 for w in wrong] for wrong in ((10, 4, 7), (1, 2, 3, 0)))
    assert worst.before == 1.0 and worst.after == pytest.approx(fmean(after))
    assert worst.retrained == pytest.approx(fmean(retrained))
    assert worst.beyond_interval == pytest.approx(gap_interval(after, retrained))
    noisy = next(c for c in found["corrupted"].changes if c.of == "worst")
    assert noisy.change == pytest.approx(2 * worst.change)


def test_seeds_have_scores_where_whole_classes_go_and_nowhere_else() -> None:
    assert set(line().seed_scores) == {"AGL"}  # no downstream set
    assert line().scores is not None
    sets = Sets({CORRUPTED: {}}, GROUPS, ClassMeasures(), TASK)
    other = line(given=table(sets=sets))
    assert other.scores is None and other.seed_scores == {}


def test_without_cka_there_is_no_profile() -> None:
    given = table()
    against, *values = (
        {name: each for name, each in columns.items() if name != CKA}
        for columns in (given.against, *given.values.values())
    )
    few = replace(given, against=against, values=dict(zip(given.values, values, strict=True)))
    assert line(given=few).layers == () and line().layers != ()
