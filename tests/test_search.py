from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from rescind.core.canonical import build, dumps, plain
from rescind.core.errors import (
    BadParameter,
    Diverged,
    Refused,
    StorageFailed,
    UnknownPlugin,
    UnsupportedModel,
)
from rescind.core.protocols import Unlearner
from rescind.core.search import BUDGET, Range, Search
from rescind.methods_of import METHODS, make
from rescind.search import NEVER, PARAMETERS, apart, ranges, search, settings

# these train exactly, or try the other methods, or have a bound instead of a choice
WITHOUT = {"retrain", "sisa", "s3t", "auto", "certified_removal"}
SEARCHED = sorted({*METHODS.names()} - WITHOUT)
EDITING = 18


def test_every_editing_method_declares_what_is_searched() -> None:
    assert [name for name in SEARCHED if not ranges(METHODS.load(name))] == []
    assert len(SEARCHED) >= EDITING


@pytest.mark.parametrize("name", sorted(WITHOUT & {*METHODS.names()}))
def test_the_others_get_one_trial_of_their_defaults(name: str) -> None:
    assert settings(METHODS.load(name)) == ({},)


@pytest.mark.parametrize("name", SEARCHED)
def test_the_ranges_hold_the_default_of_real_parameters(name: str) -> None:
    cls = METHODS.load(name)
    declared = ranges(cls)
    assert set(declared) <= {f.name for f in dataclasses.fields(cls)} - NEVER
    assert len(declared) <= PARAMETERS
    for parameter, values in declared.items():
        default = getattr(make(name), parameter)
        assert values.low <= default <= values.high
        assert isinstance(default, int) == (values.scale == "whole")


@pytest.mark.parametrize("name", SEARCHED)
@pytest.mark.parametrize("seed", [0, 1])
def test_every_setting_makes_the_method(name: str, seed: int) -> None:
    cls = METHODS.load(name)
    laid_out = settings(cls, BUDGET, seed)
    assert len(laid_out) == BUDGET
    assert make(name, laid_out[0]) == make(name)
    for setting in laid_out:
        made = make(name, json.loads(dumps(setting)))
        assert {n: getattr(made, n) for n in setting} == setting
        for parameter, values in ranges(cls).items():
            value = setting[parameter]
            assert values.low <= value <= values.high
            assert type(value) is (int if values.scale == "whole" else float)
            assert value == float(f"{value:.3g}")


def test_settings_depend_on_the_seed_and_the_method_alone() -> None:
    first = METHODS.load("scrub")
    assert settings(first, 8, 3) == settings(first, 8, 3)
    assert settings(first, 8, 3)[:4] == settings(first, 4, 3)
    assert settings(first, 8, 3)[1:] != settings(first, 8, 4)[1:]
    alike = METHODS.load("finetune"), METHODS.load("bad_teacher")
    assert ranges(alike[0]) == ranges(alike[1])
    assert settings(alike[0], 8, 3)[1:] != settings(alike[1], 8, 3)[1:]


def test_points_are_spread_more_evenly_than_draws() -> None:
    """Of eight points of the sequence each eighth of a range has one; seven are tried."""
    for seed in range(20):
        for name in ("ssd", "npo"):
            cls = METHODS.load(name)
            for parameter, values in ranges(cls).items():
                if values.scale == "whole":
                    continue
                tried = [s[parameter] for s in settings(cls, 8, seed)[1:]]
                shares = [share(value, values) for value in tried]
                assert len({math.floor(8 * (u + 1e-12)) for u in shares}) >= 6, (seed, shares)


def share(value: float, values: Range) -> float:
    """Where a value lies in its range: the inverse of ``Range.at``."""
    low, high = values.low, values.high
    if values.scale == "log":
        value, low, high = math.log(value), math.log(low), math.log(high)
    return (value - low) / (high - low)


@pytest.mark.parametrize("values", [Range(1e-4, 1e-2, "log"), Range(-2.0, 3.0)])
def test_a_range_goes_from_end_to_end_in_clean_numbers(values: Range) -> None:
    assert (values.at(0.0), values.at(1.0)) == (values.low, values.high)
    for i in range(101):
        found = values.at(i / 100)
        assert share(found, values) == pytest.approx(i / 100, abs=2e-3)
        assert found == float(f"{found:.3g}")


def test_whole_numbers_have_equal_shares() -> None:
    found = [Range(1, 5, "whole").at(i / 1000) for i in range(1000)]
    assert {n: found.count(n) for n in set(found)} == dict.fromkeys(range(1, 6), 200)
    assert Range(1, 5, "whole").at(1.0) == 5


def test_an_end_that_has_more_digits_is_not_left() -> None:
    assert Range(0.12345, 0.12346).at(0.5) == 0.12345
    assert Range(0.1236, 0.1239).at(1.0) == 0.1239


@pytest.mark.parametrize(
    ("low", "high", "scale"),
    [
        (2.0, 1.0, "linear"),
        (1.0, 1.0, "linear"),
        (float("nan"), 1.0, "linear"),
        (0.0, float("inf"), "linear"),
        (0.0, 1.0, "log"),
        (1.0, 2.5, "whole"),
    ],
)
def test_a_range_that_cannot_be_searched_is_refused(low: float, high: float, scale: Any) -> None:
    with pytest.raises(BadParameter, match="cannot be searched"):
        Range(low, high, scale)


@dataclass(frozen=True)
class Few:
    """Three settings in all."""

    searched: ClassVar[Mapping[str, Range]] = {"steps": Range(1, 3, "whole")}
    steps: int = 2
    rate: float = 0.5
    seed: int = 0

    def unlearn(self) -> None: ...


def test_no_setting_comes_twice() -> None:
    assert settings(Few)[0] == {"steps": 2}
    assert sorted(s["steps"] for s in settings(Few)) == [1, 2, 3]


@pytest.mark.parametrize(
    ("declared", "says"),
    [
        ({"stepz": Range(1, 3, "whole")}, "stepz is no parameter"),
        ({"searched": Range(1, 3, "whole")}, "searched is no parameter"),
        ({"seed": Range(0, 9, "whole")}, "seed is never searched"),
        ({"steps": Range(3, 9, "whole")}, "steps is 2 by default, outside 3 to 9"),
        ({"steps": Range(1.0, 3.0)}, "steps is 2, which is no decimal number"),
        ({"rate": Range(0, 1, "whole")}, "rate is 0.5, which is no whole number"),
        (dict.fromkeys("abcde", Range(0, 1)), "5 are declared"),
    ],
)
def test_a_method_that_declares_nonsense_is_told(declared: dict[str, Range], says: str) -> None:
    cls = type("Odd", (Few,), {"searched": declared, "__module__": __name__})
    with pytest.raises(BadParameter, match=says):
        ranges(cls)


@pytest.mark.parametrize(("budget", "seed"), [(0, 0), (9, 0), (-1, 0), (8, -1)])
def test_more_than_eight_trials_are_refused(budget: int, seed: int) -> None:
    never = pytest.fail
    with pytest.raises(BadParameter, match="The budget is"):
        search("finetune", lambda m: never("tried"), budget=budget, seed=seed, seeds=(1,))


def test_a_budget_is_kept_and_told() -> None:
    tried: list[Unlearner] = []
    told: list[tuple[str, int, int]] = []

    def count(method: Unlearner) -> float:
        tried.append(method)
        return float(len(tried))

    found = search(
        "cf_k", count, budget=5, seed=2, seeds=(7, 8), progress=lambda *step: told.append(step)
    )
    assert len(tried) == len(found.trials) == 5
    assert told == [("search cf_k", i, 5) for i in range(1, 6)]
    assert (found.budget, found.seed, found.seeds) == (5, 2, (7, 8))
    assert tried == [make("cf_k", t.parameters) for t in found.trials]
    assert found.chosen == found.trials[0].parameters


def bowl(**best: float) -> Callable[[Any], float]:
    """How many orders of magnitude the parameters are from the best ones, the worst of them."""

    def distance(method: Any) -> float:
        return max(abs(math.log(getattr(method, n) / value)) for n, value in best.items())

    return distance


@pytest.mark.parametrize("lr", [1.5e-4, 4e-4, 3e-3, 8e-3])
def test_a_known_optimum_is_found_nearer_than_the_default(lr: float) -> None:
    for name in ("finetune", "negative_gradient", "npo"):
        for seed in range(5):
            found = search(name, bowl(lr=lr), seed=seed, seeds=(0,))
            distances = [t.distance for t in found.trials if t.distance is not None]
            assert len(distances) == BUDGET
            nearest = min(distances)
            assert nearest < distances[0]
            assert bowl(lr=lr)(make(name, found.chosen)) == nearest
            assert nearest < math.log(100) / 4  # a quarter of the range at most


def test_where_the_default_is_best_it_is_kept() -> None:
    found = search("ssd", bowl(alpha=5.0, dampening=1.0), seeds=(0,))
    assert found.chosen == {"alpha": 5.0, "dampening": 1.0}


def test_of_equals_the_first_is_chosen() -> None:
    found = search("finetune", lambda m: 1.0, seeds=(0,))
    assert found.chosen == found.trials[0].parameters
    later = iter([2.0, 1.0, 3.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    found = search("finetune", lambda m: next(later), seeds=(0,))
    assert found.chosen == found.trials[1].parameters


def test_failures_are_written_down_and_do_not_win() -> None:
    def distance(method: Any) -> float:
        if method.lr > 2e-3:
            raise Diverged("The loss is nan.", "It grew.", "Use a smaller lr.")
        return bowl(lr=9e-3)(method)

    found = search("finetune", distance, seeds=(0,))
    failed = [t for t in found.trials if t.failure]
    assert failed and all(t.parameters["lr"] > 2e-3 for t in failed)
    assert {(t.distance, t.failure) for t in failed} == {
        (None, "Diverged: The loss is nan. It grew. Use a smaller lr.")
    }
    assert found.chosen["lr"] == max(t.parameters["lr"] for t in found.trials if not t.failure)


@pytest.mark.parametrize("cheat", [float("nan"), -1.0, float("-inf"), float("inf")])
def test_a_distance_that_is_none_does_not_win(cheat: float) -> None:
    """Each of them sorts before, or beside, a true distance somewhere."""
    found = search("finetune", lambda m: cheat if m.epochs > 1 else 3.0, seeds=(0,))  # type: ignore[attr-defined]
    assert found.chosen["epochs"] == 1
    assert {t.failure for t in found.trials if t.parameters["epochs"] > 1} == {
        f"The distance is {cheat}."
    }
    with pytest.raises(Diverged, match="None of 8 trials has a distance"):
        search("finetune", lambda m: cheat, seeds=(0,))


def test_where_all_fail_the_last_error_says_why() -> None:
    def unsupported(method: Unlearner) -> float:
        raise UnsupportedModel("The task answers with numbers.")

    with pytest.raises(UnsupportedModel, match="answers with numbers"):
        search("salun", unsupported, seeds=(0,))
    errors = iter([*[UnsupportedModel("no")] * 6, Refused("no weight"), Refused("none at all")])

    def refused(method: Unlearner) -> float:
        raise next(errors)

    with pytest.raises(Refused, match="none at all"):
        search("salun", refused, seeds=(0,))


def test_unsupported_by_some_settings_is_no_end() -> None:
    def some(method: Any) -> float:
        if method.k > 1:
            raise UnsupportedModel("The model has one layer.")
        return float(method.k)

    found = search("cf_k", some, seeds=(0,))
    assert found.chosen["k"] == 1
    assert any(t.failure.startswith("UnsupportedModel") for t in found.trials)


@pytest.mark.parametrize("error", [StorageFailed("The disk is full."), KeyError("a bug")])
def test_what_no_setting_causes_ends_the_search(error: Exception) -> None:
    """A full disk is no property of a setting: written down as one it would choose another."""
    outcomes: Iterator[float | Exception] = iter([1.0, error])

    def distance(method: Unlearner) -> float:
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    with pytest.raises(type(error)):
        search("finetune", distance, seeds=(0,))


def test_a_method_without_ranges_is_tried_once() -> None:
    found = search("retrain", lambda m: 0.25, seeds=(0,))
    assert [(t.parameters, t.distance) for t in found.trials] == [({}, 0.25)]
    assert found.chosen == {}


def test_an_unknown_method_and_no_seeds_are_refused() -> None:
    with pytest.raises(UnknownPlugin):
        search("finetuna", lambda m: 0.0, seeds=(0,))
    with pytest.raises(BadParameter, match="names no seeds"):
        search("finetune", lambda m: 0.0, seeds=())


def test_a_search_is_read_back_as_it_was_written() -> None:
    def distance(method: Any) -> float:
        if method.max_epochs == 3:
            raise Diverged("The loss is nan.")
        return 2.0 if method.max_epochs == 1 else 1.0

    found = search("scrub", distance, seed=4, seeds=(3, 5))
    read = build(Search, json.loads(dumps(found)))
    assert read == found
    assert plain(read) == plain(found)
    assert make("scrub", read.chosen) == make("scrub", found.chosen)


def test_seeds_that_were_searched_on_may_not_be_reported() -> None:
    apart((1, 2), (3, 4))
    apart((1, 2), ())
    with pytest.raises(BadParameter, match="The seeds 2, 5 were searched on"):
        apart((5, 1, 2), (2, 2, 9, 5))
