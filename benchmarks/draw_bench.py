"""Draw what store.py kept: how far from retrained models each method ends.

    python benchmarks/draw_bench.py fashion "resnet/random tenth" "resnet/top 1 class"

reads benchmarks/results/bench_fashion.json and writes docs/images/bench_fashion.png.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

from rescind.core.request import GOALS

HERE = Path(__file__).parent
COLOURS = {
    "admissible": "tab:green",
    "not_admissible": "tab:red",
    "no_power": "tab:grey",
    "display_only": "tab:grey",
}
EDGE = 1.0  # where the margin ends


def worst(line: dict[str, Any], margins: list[dict[str, Any]], role: str) -> float:
    """The largest gap in margins, over the metrics that count; of no power none count."""
    widths = {m["metric"]: m["width"] for m in margins if m["role"] == role}
    counts = [n for n in widths if n in line["gaps"] and line["gaps"][n]["counts"]]
    return max((abs(line["gaps"][n]["gap"]) / widths[n] for n in counts), default=0.0)


def title(part: dict[str, Any]) -> str:
    """Model, forget set, and which question was asked."""
    return f"{part['model']}, {part['forget_set']}\ngoal: {GOALS[part['goal']]}"


def panel(axes: Any, part: dict[str, Any]) -> None:
    """One forget set: the box is what counts as the same as a retrained model."""
    axes.add_patch(plt.Rectangle((0, 0), EDGE, EDGE, color="tab:green", alpha=0.15))
    rows = [line for line in part["lines"] if "gaps" in line]
    for number, line in enumerate(rows, 1):
        x, y = (worst(line, part["margins"], role) for role in ("forgetting", "utility"))
        mark = "s" if line["control"] else "o"
        label = f"{number} {line['name']}"
        axes.plot(x, y, mark, color=COLOURS[line["verdict"]], label=label, alpha=0.8)
        axes.annotate(str(number), (x, y), textcoords="offset points", xytext=(4, 3), fontsize=7)
    axes.set_xscale("symlog", linthresh=EDGE)
    axes.set_yscale("symlog", linthresh=EDGE)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("worst forgetting gap, in margins")
    axes.set_ylabel("worst utility gap, in margins")
    axes.set_title(title(part))
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)


def main(name: str, wanted: list[str]) -> None:
    """A panel for each part named."""
    found = json.loads((HERE / "results" / f"bench_{name}.json").read_text())
    by_name = {f"{p['model']}/{p['forget_set']}": p for p in found["parts"]}
    figure, axes = plt.subplots(
        1, len(wanted), figsize=(7.5 * len(wanted), 5), layout="constrained", squeeze=False
    )
    for each, part in zip(axes[0], wanted, strict=True):
        panel(each, by_name[part])
    figure.savefig(HERE.parent / "docs" / "images" / f"bench_{name}.png", dpi=110)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
