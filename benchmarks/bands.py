"""Bands around what `rescind bench NAME --quick` finds, which CI compares its own run with.

    for each in fashion news adult hours language; do rescind bench $each --quick --out bench; done
    python benchmarks/bands.py bench

A band is a value of a control, or of retrained models, two margins and three natural spreads each
way: another processor rounds otherwise and trains other weights, a broken metric is further away.
It writes benchmarks/results/quick_bands.json.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rescind.benchmarks.result import Part
from rescind.benchmarks.stored import from_json

RESULT = Path(__file__).parent / "results" / "quick_bands.json"
Band = list[float]


def bands(part: Part) -> dict[str, Band]:
    """By control and metric: the lowest and the highest value that may be found."""
    found: dict[str, Band] = {}
    for line in part.lines:
        if not line.control or line.judgement is None:
            continue
        for gap in line.judgement.gaps:
            reach = 2.0 * gap.margin + 3.0 * gap.natural_spread
            for name, value in ((line.name, gap.value), ("retrained", gap.retrained_mean)):
                ends = [value - reach, value + reach]
                found[f"{name}: {gap.metric}"] = [round(end, 3) for end in ends]
    return found


def main(folder: Path) -> None:
    """All quick results of the folder."""
    found = {
        f"{part.benchmark}: {part.model}, {part.forget_set}": bands(part)
        for path in sorted(folder.glob("*_quick.json"))
        for part in from_json(path.read_bytes()).parts
    }
    told = {"command": "python benchmarks/bands.py bench", "bands": found}
    RESULT.write_text(json.dumps(told, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
