"""What benchmarks measure of classifiers, regressors and language models, on made-up answers."""

from __future__ import annotations

import math
from statistics import fmean

import pytest
import torch
from torch import Tensor

from rescind.benchmarks.class_measures import ClassMeasures
from rescind.benchmarks.groups import GROUP, by_group, large, places
from rescind.benchmarks.number_measures import NumberMeasures
from rescind.benchmarks.readings import FORGET, RETAIN, TEST, Batch, Look, Looks
from rescind.benchmarks.token_measures import SUFFIX, TokenMeasures, endings
from rescind.metrics.features import PENULTIMATE
from rescind.training.modules import CausalLM, Regression

NAMES = ("day", "night")
NUMBERS = Regression("rescind.training.zoo:mlp", (1,), tolerance=0.5)


def drawn(n: int, seed: int) -> Tensor:
    return torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def numbers(n: int, seed: int, noise: float, groups: bool = False) -> Look:
    """Predictions that are off by noise; every second example is of the night."""
    targets = drawn(n, 1)
    batch = {"labels": targets, "array": targets}
    if groups:
        batch[GROUP] = torch.arange(n) % 2
    outputs = NumberMeasures().reduce(NUMBERS, targets + noise * drawn(n, seed), batch)
    return Look(outputs, {PENULTIMATE: drawn(4 * n, seed).reshape(n, 4)})


def regressor(forget: float, seed: int = 2) -> Looks:
    """A model that is off by ``forget`` on the forget set and by one elsewhere."""
    return {
        FORGET: numbers(40, seed, forget),
        RETAIN: numbers(60, seed + 1, 1.0),
        TEST: numbers(50, seed + 2, 1.0, groups=True),
    }


def test_errors_of_a_regressor_are_those_by_hand() -> None:
    looks = regressor(0.3)
    found = NumberMeasures(NAMES).alone(looks)
    errors = 0.3 * drawn(40, 2)
    assert found["forget rmse"] == pytest.approx(float((errors**2).mean().sqrt()))
    assert found["forget mean error"] == pytest.approx(float(errors.mean()))
    assert found["forget absolute error, 50 %"] == pytest.approx(float(errors.abs().median()), 0.1)
    assert found["forget within tolerance"] == float((errors.abs() <= 0.5).float().mean())
    night = drawn(50, 4)[1::2]
    assert found["test rmse, night"] == pytest.approx(float((night**2).mean().sqrt()))
    worst = max(found["test rmse, day"], found["test rmse, night"])
    assert found["test rmse, worst group"] == worst


def test_small_errors_on_forget_examples_give_them_away() -> None:
    known, unseen = (NumberMeasures().alone(regressor(e)) for e in (0.05, 1.0))
    assert known["membership by error"] > 0.9
    assert 0.3 < unseen["membership by error"] < 0.7
    assert "test rmse, worst group" not in known


def test_a_regressor_that_remembers_is_farther_from_retrained_than_another_seed() -> None:
    retrained, measures = regressor(1.0), NumberMeasures()
    known, other = (measures.beside(regressor(e, 9), retrained) for e in (0.05, 1.0))
    for name in ("Kolmogorov-Smirnov", "Wasserstein"):
        assert known[f"forget errors, {name}"] > 2 * other[f"forget errors, {name}"]
    same = measures.beside(retrained, retrained)
    assert same["forget rms difference to retrained"] == same["test errors, Wasserstein"] == 0.0
    assert same["forget CKA to retrained"] == pytest.approx(1.0)
    pairs = zip(drawn(40, 9), drawn(40, 2), strict=True)
    gap = fmean((float(a) - float(b)) ** 2 for a, b in pairs) ** 0.5
    assert other["forget rms difference to retrained"] == pytest.approx(gap)


def test_subgroups_that_are_too_small_have_no_error_of_their_own() -> None:
    groups = ["b"] * 30 + ["a"] * 31 + ["c"] * 29
    assert large(groups) == ("a", "b")
    assert large(["a"] * 90) == ()
    assert places(["c", "b", "a"], ("a", "b")).tolist() == [-1, 1, 0]


def test_the_figure_of_a_subgroup_is_of_its_examples_only() -> None:
    values = torch.tensor([1.0, 9.0, 3.0, 100.0])
    found = by_group("loss", values, torch.tensor([0, 1, 0, -1]), NAMES, lambda v: float(v.mean()))
    assert found == {"loss, day": 2.0, "loss, night": 9.0, "loss, worst group": 9.0}
    assert by_group("loss", values, torch.zeros(4), (), lambda v: float(v.mean())) == {}


def classifier(n: int, forget: int, sure: float = 0.0) -> Looks:
    """Logits of three classes; those of forget examples are ``sure`` higher at the label."""

    def look(count: int, seed: int, sure: float) -> Look:
        labels = torch.arange(count) % 3
        logits = drawn(3 * count, seed).reshape(count, 3)
        logits[torch.arange(count), labels] += sure
        return Look({"logits": logits, "labels": labels}, {})

    return {FORGET: look(forget, 1, sure), RETAIN: look(n, 2, 0.0), TEST: look(n, 3, 0.0)}


def test_what_needs_many_examples_is_measured_where_there_are_many() -> None:
    few, many = (ClassMeasures().alone(classifier(*sizes)) for sizes in ((80, 74), (1_000, 100)))
    found = "members found at 1 % false positives"
    assert found in many and found not in few
    for sizes in ((999, 100), (1_000, 99)):
        assert found not in ClassMeasures().alone(classifier(*sizes))
    assert "test calibration error" in few and "forget calibration error" not in few
    for name in (FORGET, RETAIN, TEST):
        assert 0.0 < many[f"{name} calibration error"] < 1.0
        assert 0.0 < many[f"{name} Brier score"] < 2.0


def test_scores_of_membership_see_examples_that_the_model_is_sure_of() -> None:
    blind, seen = (ClassMeasures().alone(classifier(1_000, 200, s)) for s in (0.0, 6.0))
    assert seen["membership by modified entropy"] > 0.9
    assert 0.4 < blind["membership by modified entropy"] < 0.6
    found = "members found at 1 % false positives"
    assert seen[found] > 0.5 and blind[found] < 0.1


def texts(hits: Tensor, ids: Tensor, groups: bool = False) -> Look:
    """A model that gives the true byte .9 where it hits, and else another one."""
    vocabulary, count, length = 8, *ids.shape
    guess = torch.where(hits, ids[:, 1:], (ids[:, 1:] + 1) % vocabulary)
    logits = torch.full((count, length, vocabulary), math.log(0.1 / 7))
    logits[:, :-1].scatter_(2, guess.unsqueeze(2), math.log(0.9))
    batch: Batch = {"input_ids": ids, "labels": ids}
    if groups:
        batch[GROUP] = torch.arange(count) % 2
    task = CausalLM("rescind.training.zoo:gpt", length)
    return Look(TokenMeasures().reduce(task, logits, batch), {})


def language(length: int) -> Looks:
    """Of four forget texts one is known by heart, one but for its end, and one's end alone."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(8, (4, length), generator=generator)
    hits = torch.zeros(4, length - 1, dtype=torch.bool)
    hits[0], hits[1, :-3], hits[2, -3:] = True, True, True
    test = torch.zeros_like(hits)
    test[::2] = True  # every text of the day
    found = {FORGET: texts(hits, ids), RETAIN: texts(hits, ids), TEST: texts(test, ids, True)}
    for name, batch in endings({"input_ids": ids, "labels": ids}).items():
        known = torch.full_like(hits, name == "ending 0")
        found[name] = texts(known, batch["input_ids"])
    return found


def test_a_text_counts_as_memorised_if_its_last_bytes_are_known_in_a_row() -> None:
    found = TokenMeasures().alone(language(SUFFIX + 8))
    assert found["forget memorised share"] == 0.25
    assert found["test memorised share"] == 0.5
    assert "forget memorised share" not in TokenMeasures().alone(language(SUFFIX))


def test_closeness_is_below_one_where_the_true_ending_is_known() -> None:
    found = TokenMeasures().alone(language(SUFFIX + 8))
    assert found["forget truth ratio"] < 0.1
    assert found["forget truth closeness"] == pytest.approx(found["forget truth ratio"])


def test_the_loss_of_each_topic_stands_beside_that_of_all() -> None:
    found = TokenMeasures(NAMES).alone(language(SUFFIX + 8))
    assert found["test loss, day"] < found["test loss"] < found["test loss, night"]
    assert found["test loss, worst group"] == found["test loss, night"]
    assert found["test loss, day"] == pytest.approx(-math.log(0.9), rel=1e-5)
