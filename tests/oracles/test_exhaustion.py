"""The simulation of benchmarks/exhaustion.py against list-by-list truncation and exact theory."""

from __future__ import annotations

import importlib.util
import json
import sys
from itertools import count, permutations, product
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from rescind.methods.s3t.sequences import rotations


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    """The script as a module: benchmarks are no package."""
    path = Path(__file__).parents[2] / "benchmarks" / "exhaustion.py"
    spec = importlib.util.spec_from_file_location("exhaustion_benchmark", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def lists_left(orders: Any, hits: list[int]) -> list[list[int]]:
    """What is left of each order of one shard, cut as paper Alg. 4 cuts it."""
    left = [list(order) for order in orders]
    for k in hits:
        left = [order[: order.index(k)] if k in order else order for order in left]
    return left


def slow_life(shards: int, slices: int, orders: Any, stream: list[int]) -> tuple[int, int]:
    hits: list[list[int]] = [[] for _ in range(shards)]
    first = 0
    for request, cell in enumerate(stream, start=1):
        hits[cell // slices].append(cell % slices)
        dead = [not any(lists_left(orders, of_shard)) for of_shard in hits]
        first = first or (request if any(dead) else 0)
        if all(dead):
            return first, request
    raise AssertionError("the stream ended before the system was exhausted")


@pytest.mark.parametrize(
    ("shards", "slices", "budget"), [(1, 1, 1), (2, 3, 2), (3, 3, 3), (2, 4, 9)]
)
def test_simulation_equals_cutting_lists(
    benchmark: ModuleType, shards: int, slices: int, budget: int
) -> None:
    orders, replications = rotations(slices, budget), 20
    seed = (7, shards, slices, budget)
    lives = benchmark.simulate(
        shards, orders, benchmark.draws(shards, slices, replications, seed), watch=(1, 4)
    )
    again = benchmark.draws(shards, slices, replications, seed)
    stream = np.stack([next(again) for _ in range(int(lives.exhaustion.max()))], axis=1)
    for index, cells in enumerate(stream.tolist()):
        expected = slow_life(shards, slices, orders, cells)
        assert (lives.first_death[index], lives.exhaustion[index]) == expected
        for shard in range(shards):
            hits = [cell % slices for cell in cells[:4] if cell // slices == shard]
            longest = max(len(order) for order in lists_left(orders, hits))
            if len(cells) >= 4:
                assert lives.best[4][index, shard] == longest


@pytest.mark.parametrize(
    ("shards", "slices", "budget"), [(3, 3, 1), (3, 3, 3), (5, 4, 2), (2, 3, 6)]
)
def test_simulated_lives_agree_with_theory(
    benchmark: ModuleType, shards: int, slices: int, budget: int
) -> None:
    row = benchmark.life(shards, slices, budget, seed=3, replications=3000)
    for name in ("exhaustion", "first_death"):
        assert abs(row[name]["z"]) < 4, (name, row[name])
    assert all(abs(cell["z"]) < 4 for cell in row["retained"])


def test_a_wrong_theory_is_rejected(benchmark: ModuleType) -> None:
    """Three orders taken for one (plain SISA), and rotations counted beyond the slices."""
    stream = benchmark.draws(3, 3, 3000, (3, 3, 3, 3))
    lives = benchmark.simulate(3, rotations(3, 3), stream)
    for wrong in (1, 2, 6):
        assert abs(benchmark.compared(lives.exhaustion, benchmark.exhaustion(3, 3, wrong))["z"]) > 8
        assert (
            abs(benchmark.compared(lives.first_death, benchmark.first_death(3, 3, wrong))["z"]) > 8
        )
    assert abs(benchmark.compared(lives.exhaustion, benchmark.exhaustion(3, 3, 3))["z"]) < 4


@pytest.mark.parametrize(
    ("slices", "budget", "requests"), [(3, 2, 3), (4, 4, 4), (3, 6, 4), (4, 7, 3)]
)
def test_exact_survival_equals_trying_every_stream(
    benchmark: ModuleType, slices: int, budget: int, requests: int
) -> None:
    orders = rotations(slices, budget)
    longest = [
        max(len(order) for order in lists_left(orders, list(hits)))
        for hits in product(range(slices), repeat=requests)
    ]
    expected = [sum(at >= k for at in longest) / len(longest) for k in range(slices + 1)]
    assert benchmark.survival(1, orders, requests) == pytest.approx(expected, abs=1e-12)


def test_exact_first_death_equals_summing_survival(benchmark: ModuleType) -> None:
    """One shard: E[T] = sum over r of P(T > r), the chain of hits summed until it has died out."""
    orders = rotations(3, 2)
    total = 0.0
    for requests in count():
        alive = benchmark.survival(1, orders, requests)[1]
        total += alive
        if alive < 1e-14:
            break
    assert benchmark.first_death(1, 3, 2) == pytest.approx(total, abs=1e-10)
    assert benchmark.exhaustion(1, 3, 2) == pytest.approx(total, abs=1e-10)
    assert benchmark.first_death(5, 4, 1) == pytest.approx(4.0)


def test_the_stored_results_are_those_of_this_theory(benchmark: ModuleType) -> None:
    stored = json.loads((benchmark.RESULTS / "exhaustion.json").read_text())
    settings = [(row["shards"], row["slices"], row["orders"]) for row in stored["lives"]]
    assert settings == list(benchmark.LIVES)
    for row in stored["lives"]:
        at = row["shards"], row["slices"], min(row["orders"], row["slices"])
        for name in ("exhaustion", "first_death"):
            assert row[name]["exact"] == pytest.approx(getattr(benchmark, name)(*at))
            assert abs(row[name]["mean"] - row[name]["exact"]) < 4 * row[name]["standard_error"]
    for row in stored["lemma"]:
        guess = benchmark.lemma(row["slices"], row["orders"], row["kept"], row["requests"])
        assert row["lemma"] == pytest.approx(guess)


def test_lemma_is_exact_for_one_order_and_off_for_more(benchmark: ModuleType) -> None:
    for kept, requests in product((1, 2, 3), (1, 2, 5)):
        exact = benchmark.survival(1, rotations(4, 1), requests)[kept]
        assert benchmark.lemma(4, 1, kept, requests) == pytest.approx(exact, abs=1e-12)
    everything = tuple(permutations(range(4)))
    # 4 first slices, 2 requests: some first slice is always left, which the lemma does not see
    assert benchmark.survival(1, everything, 2)[1] == 1.0
    assert benchmark.lemma(4, 24, 1, 2) < 0.97
    # 24 orders but only 4 sets of 3 slices: the lemma counts each set six times
    assert benchmark.survival(1, everything, 2)[3] == pytest.approx(0.25)
    assert benchmark.lemma(4, 24, 3, 2) > 0.75
