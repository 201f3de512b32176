"""Draw what methods.py stored: how far from retrained models each method ends.

    python benchmarks/draw_methods.py

reads benchmarks/results/methods.json and writes docs/images/methods.png.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent
RESULT = HERE / "results" / "methods.json"
PICTURE = HERE.parent / "docs" / "images" / "methods.png"
FORGETTING, UTILITY = "forget confidence", "test accuracy"
COLOURS = {"admissible": "tab:green", "not_admissible": "tab:red", "no_power": "tab:grey"}


def panel(axes: Any, rows: list[dict[str, Any]], margins: dict[str, float]) -> None:
    """One forget set: the box is what counts as the same as a retrained model."""
    width, height = margins[FORGETTING], margins[UTILITY]
    box = plt.Rectangle((-width, -height), 2 * width, 2 * height, color="tab:green", alpha=0.15)
    axes.add_patch(box)
    for row in rows:
        if "gaps" not in row:
            continue
        x, y = row["gaps"][FORGETTING]["gap"], row["gaps"][UTILITY]["gap"]
        control = row["model"] in ("original (no-op)", "random weights")
        axes.plot(x, y, "s" if control else "o", color=COLOURS[row["verdict"]])
        axes.annotate(row["model"], (x, y), textcoords="offset points", xytext=(5, 3), fontsize=7)
    axes.axhline(0, color="black", linewidth=0.5)
    axes.axvline(0, color="black", linewidth=0.5)
    axes.set_xlabel("forget confidence minus that of retrained models")
    axes.set_ylabel("test accuracy minus that of retrained models")
    axes.set_title(rows[0]["forget_set"])


def main() -> None:
    """A panel for each forget set."""
    found = json.loads(RESULT.read_text())
    margins = {margin["metric"]: margin["width"] for margin in found["margins"]}
    names = list(dict.fromkeys(row["forget_set"] for row in found["rows"]))
    figure, axes = plt.subplots(1, len(names), figsize=(7 * len(names), 5.5))
    for one, name in zip(axes, names, strict=True):
        panel(one, [row for row in found["rows"] if row["forget_set"] == name], margins)
    figure.suptitle(f"{found['what']} Box: the same as retrained, by the stored margins.")
    figure.tight_layout()
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, dpi=110)


if __name__ == "__main__":
    main()
