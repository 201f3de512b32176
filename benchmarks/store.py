"""Keep what a benchmark found in a file small enough to lie in the repository.

    rescind bench fashion --out bench
    python benchmarks/store.py bench/fashion.json

writes benchmarks/results/bench_fashion.json: verdicts, gaps, scores, what the worst subgroup pays,
what shallow edits pass, costs, parameters with the trials of their searches, and the sequence of
requests. Measures that decide nothing, single subgroups and all but the last layers stay on the
page that `rescind bench` wrote. Parts that were stored before and are not in the file stay. A row
of a table is a line of the file.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rescind.benchmarks.depth import Depth, depths
from rescind.benchmarks.result import Layer, Line, Mean, Part, Point, Result
from rescind.benchmarks.stored import from_json
from rescind.core.canonical import plain
from rescind.core.judgement import Gap
from rescind.core.search import Search, Trial
from rescind.metrics.subgroups import Change, Damage

RESULTS = Path(__file__).parent / "results"
LAST = 3  # layers of a profile that are kept, those nearest to the output
ALWAYS = {"gaps", "ranks", "parameters"}  # of a row that was judged, also where they are empty
LEVELS = 4  # of nesting that are broken into lines: result, parts, part, lines


def short(number: float, digits: int = 4) -> float:
    """A figure with as many digits as it is worth."""
    return float(f"{number:.{digits}g}")


def ends(found: tuple[float, float] | None) -> list[float] | None:
    """Both ends of an interval; None where there is none."""
    return None if found is None else [short(end) for end in found]


def gap(found: Gap) -> dict[str, Any]:
    """One metric of one row."""
    return {
        "value": short(found.value),
        "retrained": short(found.retrained_mean),
        "natural_spread": short(found.natural_spread),
        "gap": short(found.gap),
        "interval": ends(found.interval),
        "counts": found.counts,
        "equivalent": found.equivalent,
    }


def mean(found: Mean) -> dict[str, Any]:
    """A mean over seeds."""
    return {"mean": short(found.value, 3), "interval": ends(found.interval)}


def change(found: Change) -> dict[str, Any]:
    """The worst group or the disparity, before and after, beside retraining's."""
    return {
        "before": short(found.before),
        "after": short(found.after),
        "retrained": short(found.retrained),
        "change": short(found.change),
        "interval": ends(found.interval),
        "retrained_change": short(found.retrained_change),
        "beyond": short(found.beyond),
        "beyond_interval": ends(found.beyond_interval),
    }


def damage(found: Damage) -> dict[str, Any]:
    """What is said of all groups at once: the worst one and the disparity."""
    return {c.of: change(c) for c in found.changes if c.of != "group"}


def layers(found: tuple[Layer, ...]) -> dict[str, float | None]:
    """Normalised CKA of the last layers; None where it is undefined."""
    return {
        layer.name: None if layer.normalised is None else short(layer.normalised, 3)
        for layer in found[-LAST:]
    }


def depth(found: Depth) -> dict[str, Any]:
    """What a shallow edit passes on a forget set."""
    passed = "no power" if found.passes_features is None else found.passes_features
    return {
        "name": found.name,
        "passes_outputs": found.passes_outputs,
        "passes_features": passed,
        "outputs": list(found.outputs),
        "failed": list(found.failed),
        "cka_gap": None if found.gap is None else short(found.gap),
        "told": found.told,
    }


def trial(found: Trial, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """One setting: distance in margins or why there is none, and whether it was chosen."""
    far = found.distance
    end = {"failure": found.failure} if far is None else {"distance": short(far)}
    told = {"parameters": dict(found.parameters), **end}
    return told | ({"chosen": True} if found.parameters == chosen else {})


def search(found: Search) -> dict[str, Any]:
    """All trials of one method, and the seeds that none of the reported models has."""
    trials = [trial(each, found.chosen) for each in found.trials]
    return {"budget": found.budget, "seeds": list(found.seeds), "trials": trials}


def searches(found: Result) -> list[dict[str, Any]]:
    """Each search once, by model and method: all parts of a model share it."""
    told: list[dict[str, Any]] = []
    for each in found.parts:
        for row in each.lines:
            if row.search is not None:
                one = {"model": each.model, "method": row.name} | search(row.search)
                told += [one] if one not in told else []
    return told


def line(found: Line, part: Part) -> dict[str, Any]:
    """One row."""
    told: dict[str, Any] = {"name": found.name, "control": found.control}
    if found.judgement is None:
        return told | {"verdict": "refused", "because": found.refused}
    told |= {
        "verdict": found.judgement.verdict,
        "unchanged": found.unchanged,
        "gaps": {g.metric: gap(g) for g in found.judgement.gaps},
        "ranks": dict(found.ranks),
        "parameters": dict(found.parameters),
    }
    if found.cost is not None:
        told["share_of_retraining"] = short(found.cost.cpu_seconds / part.retraining.cpu_seconds, 3)
    if found.scores is not None:
        scores = {"AGL": found.scores.agl, "AGR": found.scores.agr, "H-LR": found.scores.h_lr}
        told["scores"] = {k: None if v is None else short(v, 3) for k, v in scores.items()}
    told["seed_scores"] = {name: mean(each) for name, each in found.seed_scores.items()}
    told["damage"] = {inputs: damage(each) for inputs, each in found.damage.items()}
    told["layers"] = layers(found.layers)
    return {name: value for name, value in told.items() if value != {} or name in ALWAYS}


def part(found: Part) -> dict[str, Any]:
    """One part."""
    rates = [each.judgement.rejection_rate_of_retrained for each in found.lines if each.judgement]
    return {
        "model": found.model,
        "forget_set": found.forget_set,
        "kind": found.kind,
        "decides": found.decides,
        "goal": found.goal,
        "forget": found.forget,
        "retain": found.retain,
        "references": found.references,
        "seeds": found.seeds,
        "rejection_rate_of_retrained": next(iter(rates), None),
        "margins": plain(found.margins),
        "notes": list(found.notes),
        "floor": {k: short(v) for k, v in plain(found.floor).items()},
        "retraining_cpu_seconds": short(found.retraining.cpu_seconds, 3),
        "metrics_share": short(found.metrics_share, 3),
        "cpu_seconds": short(found.cpu_seconds, 3),
        "search_cpu_seconds": short(found.search_cpu_seconds, 3),
        "depth": [depth(each) for each in depths(found)],
        "lines": [line(each, found) for each in found.lines],
    }


def point(found: Point) -> dict[str, Any]:
    """One stop of a sequence."""
    return {k: short(v) if isinstance(v, float) else v for k, v in plain(found).items()}


def compact(found: Result) -> dict[str, Any]:
    """All of a result that documents quote."""
    return {
        "benchmark": found.benchmark,
        "what": found.what,
        "command": found.command,
        "system": found.system,
        "threads": found.threads,
        "not_applicable": list(found.not_applicable),
        "rankings": plain(found.rankings),
        "searches": searches(found),
        "parts": [part(each) for each in found.parts],
        "sequence": [point(each) for each in found.sequence],
    }


def laid_out(value: Any, at: int = 0) -> str:
    """JSON of which the outer levels have a line for each entry and the inner ones are one line."""
    if at == LEVELS or not isinstance(value, (dict, list)) or not value:
        return json.dumps(value, allow_nan=False)
    pad = " " * (at + 1)
    if isinstance(value, dict):
        entries = [f"{pad}{json.dumps(k)}: {laid_out(v, at + 1)}" for k, v in value.items()]
        return "{\n" + ",\n".join(entries) + "\n" + " " * at + "}"
    return "[\n" + ",\n".join(f"{pad}{laid_out(v, at + 1)}" for v in value) + "\n" + " " * at + "]"


def joined(new: dict[str, Any], old: dict[str, Any]) -> dict[str, Any]:
    """What is new, and the parts, searches and sequences of before that it does not have: a
    benchmark is run part by part. Of what both have the new one stays.
    """
    keys = {
        "parts": ("model", "forget_set"),
        "searches": ("model", "method"),
        "sequence": ("model", "method", "requests", "metric"),
        "rankings": ("model", "downstream"),
    }
    told = dict(new)
    for name, key in keys.items():
        there = {tuple(each[k] for k in key) for each in new[name]}
        left = [e for e in old.get(name, []) if tuple(e[k] for k in key) not in there]
        told[name] = [*new[name], *left]
    was = old.get("not_applicable", [])
    told["not_applicable"] = list(dict.fromkeys([*new["not_applicable"], *was]))
    for name, between in (("command", "\n"), ("system", "; ")):
        lines = [text for one in (new, old) for text in one.get(name, "").split(between) if text]
        told[name] = between.join(dict.fromkeys(lines))
    return told


def main(path: Path) -> None:
    """Read the result and store it."""
    found = compact(from_json(path.read_bytes()))
    target = RESULTS / f"bench_{path.stem}.json"
    old = json.loads(target.read_text()) if target.exists() else {}
    target.write_text(laid_out(joined(found, old)) + "\n")
    print(f"{target}: {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
