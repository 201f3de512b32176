"""The order of trained classes by likeness to the downstream sets, measured on the original."""

from __future__ import annotations

from dataclasses import replace

from rescind.benchmarks.readings import look
from rescind.benchmarks.sets import downstream_batch, measures_for
from rescind.benchmarks.setting import Downstream, Ranking
from rescind.benchmarks.subjects import Bench
from rescind.benchmarks.top_classes import applicable, encoder, ranking
from rescind.metrics.features import PENULTIMATE


def rankings(bench: Bench) -> tuple[tuple[Ranking, ...], tuple[str, ...]]:
    """A ranking for each downstream set, and a line for each thing that does not apply or hold.

    The forget sets of kind "top class" are declared beforehand; where the first original model of
    this run orders the classes otherwise, that is one of the lines.
    """
    found, lines = [], []
    for down in bench.setting.downstream:
        one, reason = _ranked(bench, down)
        found.append(one)
        if reason:
            lines.append(f"Top classes for {down.name} ({bench.name}): {reason}.")
        lines += _moved(bench, one)
    return tuple(found), tuple(lines)


def _ranked(bench: Bench, down: Downstream) -> tuple[Ranking, str]:
    model, task = bench.originals[0].model, bench.models.recipe.task
    batch = downstream_batch(task, down, bench.setting.sample)
    seen = look(model, batch, (PENULTIMATE,), measures_for(task))
    probabilities = seen.outputs["logits"].softmax(dim=1)
    names = sorted({str(r.row[down.label]) for r in down.records})
    classes = getattr(task, "classes", ())
    found = ranking(down.name, probabilities, classes, names, encoder())
    return replace(found, model=bench.name), applicable(probabilities).reason


def _moved(bench: Bench, found: Ranking) -> list[str]:
    return [
        f"{f.name} was declared as {', '.join(f.classes)}; the {bench.name} of this run puts "
        f"{', '.join(found.predictions[: len(f.classes)])} first."
        for f in bench.setting.forget_sets
        if f.kind == "top class" and set(f.classes) != set(found.predictions[: len(f.classes)])
    ]
