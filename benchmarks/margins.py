"""Measure the margins of a benchmark by the rule of `rescind.benchmarks.choosing`.

    python benchmarks/margins.py language --models 4

trains models without each set that decides (without every set, where none does), with seeds that
nothing else uses, and prints what each margin comes to beside what the benchmark declares.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is imported

from rescind.benchmarks.cells import Cells
from rescind.benchmarks.models import SPREAD, Halves, Models
from rescind.benchmarks.readings import columns
from rescind.benchmarks.runner import BENCHMARKS
from rescind.benchmarks.sets import sets_of
from rescind.benchmarks.setting import ForgetSet, Setting
from rescind.training.determinism import settle

TIMES, LEAST = 4, 0.02


def width(deviations: Sequence[float]) -> float:
    """The margin: four of the largest standard deviation, rounded up to hundredths."""
    return max(LEAST, math.ceil(100 * TIMES * max(deviations)) / 100)


def deviations(
    setting: Setting, models: Models, forget: ForgetSet, count: int
) -> Mapping[str, float]:
    """The standard deviation of each decided metric between models retrained without a set."""
    halves, looks = Halves.of(setting.train, forget.records), []
    sets = sets_of(models.recipe.task, setting, forget, halves.retain.records, setting.test)
    for i in range(count):
        print(f"{forget.name}: model {i + 1} of {count}", flush=True)
        looks.append(sets.looks(models.trained(halves.retain, SPREAD + i).model))
    found = columns(sets.measures, looks, looks)
    decided = {m.metric for m in setting.margins} & set(found)
    return {name: statistics.stdev(found[name]) for name in decided}


def measured(
    setting: Setting, model: str, out: Path, count: int
) -> Iterator[tuple[str, float, float]]:
    """Each metric with its margin by the rule and the one that is declared."""
    models = Models(setting.models[model], Cells(out / "cells"))
    deciding = [f for f in setting.forget_sets if f.decides] or setting.forget_sets
    found = [deviations(setting, models, forget, count) for forget in deciding]
    for margin in setting.margins:
        yield margin.metric, width([each.get(margin.metric, 0.0) for each in found]), margin.width


def arguments() -> argparse.Namespace:
    """What was typed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("--model", help="of the benchmark's models; the first, if not given")
    parser.add_argument("--models", type=int, default=8, help="retrained models a forget set")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--set", type=json.loads, default={}, help="sizes, as JSON")
    parser.add_argument("--out", type=Path, default=Path("bench"), help="where cells are kept")
    return parser.parse_args()


def main(given: Any) -> None:
    """Print one line a metric."""
    settle(1)
    setting = BENCHMARKS.make(given.name, given.set).setting(given.quick)
    model = given.model or next(iter(setting.models))
    for metric, rule, declared in measured(setting, model, given.out, given.models):
        print(f"{metric}: {rule:.2f} by the rule, {declared:.2f} declared", flush=True)


if __name__ == "__main__":
    main(arguments())
