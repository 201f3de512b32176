"""Keep what a benchmark found in a file small enough to lie in the repository.

    rescind bench fashion --out bench
    python benchmarks/store.py bench/fashion.json

writes benchmarks/results/bench_fashion.json: verdicts, gaps, scores, costs, parameters and the
sequence of requests. Searches, profiles, subgroups and measures that decide nothing stay on the
page that `rescind bench` wrote.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from rescind.benchmarks.result import Line, Part, Point, Result
from rescind.benchmarks.stored import from_json
from rescind.core.canonical import plain
from rescind.core.judgement import Gap

RESULTS = Path(__file__).parent / "results"


def short(number: float, digits: int = 4) -> float:
    """A figure with as many digits as it is worth."""
    return float(f"{number:.{digits}g}")


def gap(found: Gap) -> dict[str, Any]:
    """One metric of one row."""
    return {
        "value": short(found.value),
        "retrained": short(found.retrained_mean),
        "natural_spread": short(found.natural_spread),
        "gap": short(found.gap),
        "interval": [short(end) for end in found.interval],
        "counts": found.counts,
        "equivalent": found.equivalent,
    }


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
    return told


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
        "parts": [part(each) for each in found.parts],
        "sequence": [point(each) for each in found.sequence],
    }


def main(path: Path) -> None:
    """Read the result and store it."""
    found = from_json(path.read_bytes())
    target = RESULTS / f"bench_{path.stem}.json"
    target.write_text(json.dumps(compact(found), indent=1) + "\n")
    print(f"{target}: {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
