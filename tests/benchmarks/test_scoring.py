from __future__ import annotations

from math import prod
from statistics import fmean, stdev

import pytest

from rescind.benchmarks.scoring import ACCURACIES, CKA, Columns, of_means, of_seeds
from rescind.metrics.scores import h_lr

ANSWERS: Columns = {
    "forget accuracy": [0.2, 0.4, 0.3],
    "retain accuracy": [0.9, 0.9, 0.9],
    "test forget accuracy": [0.1, 0.1, 0.1],
    "test accuracy": [0.8, 0.8, 0.8],
    CKA: [0.7, 0.5, 0.6],
    "k-NN shoes": [0.6, 0.7, 0.8],
    "forget KLOM, median": [0.5],
}
RETRAINED: Columns = {
    "forget accuracy": [0.3, 0.3],
    "retain accuracy": [0.9, 0.9],
    "test forget accuracy": [0.1, 0.1],
    "test accuracy": [0.8, 0.8],
    CKA: [0.79, 0.81],
    "k-NN shoes": [0.7, 0.7],
}
RANDOM: Columns = {CKA: [0.19, 0.21]}


def without(columns: Columns, *names: str) -> dict[str, list[float]]:
    return {name: list(each) for name, each in columns.items() if name not in names}


def test_the_score_of_means_is_the_product_of_its_parts() -> None:
    found = of_means(ANSWERS, RETRAINED, RANDOM)
    assert found.agl == pytest.approx(1.0)
    assert found.agl == pytest.approx(prod(part.factor for part in found.logit_parts))
    assert [part.name for part in found.logit_parts] == list(ACCURACIES)
    assert found.agr == pytest.approx((0.6 - 0.2) / 0.6)


def test_each_seed_has_its_own_scores_whose_mean_has_students_interval() -> None:
    """By hand; the first and second seed are each .1 off in forget accuracy, on either side."""
    agl = [0.9, 0.9, 1.0]
    agr = [0.5 / 0.6 * 0.9, 0.3 / 0.6 * 1.0, 0.4 / 0.6 * 0.9]
    both = [h_lr(a, b) for a, b in zip(agl, agr, strict=True)]
    found = of_seeds(ANSWERS, RETRAINED, RANDOM)
    assert list(found) == ["AGL", "AGR", "H-LR"]
    for name, seeds in (("AGL", agl), ("AGR", agr), ("H-LR", both)):
        half = 4.30265273 * stdev(seeds) / 3**0.5
        assert found[name].value == pytest.approx(fmean(seeds))
        ends = (max(fmean(seeds) - half, 0.0), min(fmean(seeds) + half, 1.0))
        assert found[name].interval == pytest.approx(ends)
    assert found["AGL"].interval is not None and found["AGL"].interval[1] == 1.0


def test_what_is_undefined_stays_so_in_every_seed() -> None:
    no_set = without(ANSWERS, "k-NN shoes")
    assert list(of_seeds(no_set, without(RETRAINED, "k-NN shoes"), RANDOM)) == ["AGL"]
    close = {**RETRAINED, CKA: [0.1, 0.3]}
    assert list(of_seeds(ANSWERS, close, RANDOM)) == ["AGL"]
    assert of_means(ANSWERS, close, RANDOM).agr is None
    assert list(of_seeds(without(ANSWERS, CKA), RETRAINED, RANDOM)) == ["AGL"]


def test_one_seed_has_a_score_and_no_interval() -> None:
    one = {name: each[:1] for name, each in ANSWERS.items()}
    found = of_seeds(one, RETRAINED, RANDOM)["H-LR"]
    assert found.value == of_means(one, RETRAINED, RANDOM).h_lr and found.interval is None
