"""Which audit sees through which cheat, on Fashion-MNIST, BBC news and Adult.

    python benchmarks/cheats.py [--size toy|full] [--work FOLDER]

Each world has the small network of its data with batch norm and without; one more has seeded
records. Every cheat of ``rescind.testing.cheats`` and honest retraining, from the same
initialisation and from new ones, stand under every audit. It writes benchmarks/results/cheats.json
and draws cheats.png beside it. A run that was stopped goes on: models and rows are files in the
work folder, which must be a new one after a change of an audit or a cheat. One torch thread.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # read when torch is imported
os.environ["OMP_NUM_THREADS"] = "1"

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import torch

from rescind.benchmarks.adult import Adult
from rescind.benchmarks.cells import Cells
from rescind.benchmarks.fashion import Fashion
from rescind.benchmarks.news import News
from rescind.benchmarks.setting import Setting
from rescind.core.run import Recipe
from rescind.testing.cheats import (
    AUDITS,
    CHEATS,
    LEVEL,
    NOT_DETECTABLE,
    Bench,
    Codes,
    Count,
    Row,
    Size,
    World,
    caught_by,
    counts,
    honest,
)
from rescind.testing.cheats.matrix import NEW, SAME
from rescind.training.determinism import settle
from rescind.training.modules import Classification

RESULTS = Path(__file__).parent / "results"
NETWORKS = "rescind.testing.cheats.networks"
DATA = ("fashion", "news", "adult")


@dataclasses.dataclass(frozen=True)
class Scale:
    """Records and epochs of each data set, and models."""

    fashion: tuple[int, int]
    news: tuple[int, int]
    adult: tuple[int, int]
    models: Size


SCALES = {
    "toy": Scale((800, 16), (600, 40), (900, 40), Size()),
    "full": Scale((2_500, 16), (2_127, 60), (3_000, 40), Size(20, 8, 4, 4, 8)),
}


def setting_of(data: str, scale: Scale, cache: str) -> Setting:
    """Records of the benchmark of that name, at the quick size's way of choosing them."""
    if data == "fashion":
        return Fashion(quick_images=scale.fashion[0]).setting(quick=True)
    if data == "news":
        return News(quick_articles=scale.news[0], cache=cache).setting(quick=True)
    return Adult(quick_people=scale.adult[0]).setting(quick=True)


def recipe_of(data: str, setting: Setting, epochs: int, normed: bool) -> Recipe:
    """The benchmark's recipe with a network of the bench, which has the norm or not."""
    (recipe,) = setting.models.values()
    task = recipe.task
    assert isinstance(task, Classification)
    arguments: dict[str, Any] = {"classes": len(task.classes), "normed": normed}
    if data != "fashion":
        arguments["inputs"] = task.shape[0]
    factory = f"{NETWORKS}:{'cnn' if data == 'fashion' else 'mlp'}"
    new = dataclasses.replace(task, factory=factory, arguments=arguments)
    return dataclasses.replace(recipe, task=new, epochs=epochs)


def worlds(scale: Scale, cells: Cells, cache: str) -> Iterator[World]:
    """Each data set with and without batch norm, and Fashion-MNIST with codes."""
    for data in DATA:
        setting = setting_of(data, scale, cache)
        for normed, codes in ((False, None), (True, None), (False, _codes())):
            if codes is not None and data != "fashion":
                continue
            told = "seeded" if codes else "batch norm" if normed else "no norm"
            yield World(
                name=f"{data}, {told}",
                recipe=recipe_of(data, setting, getattr(scale, data)[1], normed),
                train=setting.train,
                asked=frozenset(r.key for r in setting.forget_sets[0].records),
                others=frozenset(r.key for r in setting.searched.records),
                outside=setting.test,
                public=setting.validation,
                cells=cells,
                codes=codes,
            )


def _codes() -> Codes:
    """Public on purpose: whoever runs this again draws the same codes."""
    return Codes(b"rescind bench of cheats: user", b"rescind bench of cheats: decoys")


def told(found: dict[str, Count]) -> dict[str, dict[str, Any]]:
    """Counts as they are stored."""
    return {
        name: {"flagged": c.flagged, "asked": c.asked, "catches": c.catches, "at_most": c.at_most}
        for name, c in found.items()
    }


def result(scale: Scale, rows: Sequence[Row], command: str, spent: float) -> dict[str, Any]:
    """All that is stored."""
    return {
        "what": "Which audit flags which cheat, and how often honest retraining.",
        "command": command,
        "system": f"{platform.system()} {platform.machine()}, 1 thread, torch {torch.__version__}",
        "cpu_seconds_but_for_cells_that_were_there": round(spent, 1),
        "scale": dataclasses.asdict(scale),
        "level": LEVEL,
        "audits": {each.name: each.access for each in AUDITS},
        "honest": told(honest(rows)),
        "matrix": {name: told(line) for name, line in counts(rows).items()},
        "caught_by": caught_by(rows),
        "caught_by_in_each_world": by_world(rows),
        "not_detectable": NOT_DETECTABLE,
        "rows": [stored(row) for row in rows],
    }


def stored(row: Row) -> dict[str, Any]:
    """A row with p and effect to four digits, and the words where there are any."""
    found = {
        name: [float(f"{r.p:.4g}"), float(f"{r.effect:.4g}"), *([r.told] if r.told else [])]
        for name, r in row.readings.items()
        if r is not None
    }
    return {"world": row.world, "server": row.server, "seed": row.seed, "p, effect": found}


def text_of(found: dict[str, Any]) -> str:
    """JSON with one line a row."""
    rows = ",\n  ".join(json.dumps(row) for row in found["rows"])
    head = json.dumps({**found, "rows": []}, indent=1)
    return head.replace('"rows": []', f'"rows": [\n  {rows}\n ]') + "\n"


def by_world(rows: Sequence[Row]) -> dict[str, dict[str, tuple[str, ...]]]:
    """The audits that catch each cheat in one world."""
    names = dict.fromkeys(row.world for row in rows)
    return {name: caught_by([row for row in rows if row.world == name]) for name in names}


def draw(found: dict[str, Any], path: Path) -> None:
    """Share of runs that each audit flags; the last lines are honest."""
    audits = list(found["audits"])
    servers = [name for name in (*(c.name for c in CHEATS), SAME, NEW) if name in found["matrix"]]
    shares = [[share(found["matrix"][server].get(audit)) for audit in audits] for server in servers]
    figure, axes = plt.subplots(figsize=(10.5, 6.5), layout="constrained")
    axes.imshow(shares, cmap="Reds", vmin=0, vmax=1, aspect="auto")
    for y, line in enumerate(shares):
        for x, value in enumerate(line):
            count = found["matrix"][servers[y]].get(audits[x])
            text = "" if count is None else f"{count['flagged']}/{count['asked']}"
            axes.text(x, y, text, ha="center", va="center", fontsize=7,
                      color="white" if value > 0.6 else "black")  # fmt: skip
    axes.set_xticks(range(len(audits)), audits, rotation=45, ha="right", fontsize=8)
    axes.set_yticks(range(len(servers)), servers, fontsize=8)
    axes.axhline(len(servers) - 2.5, color="black", linewidth=1)
    axes.set_title(f"Servers flagged at level {found['level']:g}, of those asked")
    figure.savefig(path, dpi=85)


def share(count: dict[str, Any] | None) -> float:
    """Flagged of asked; not asked counts as nothing seen."""
    return count["flagged"] / count["asked"] if count else 0.0


def main() -> None:
    """Run, store, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SCALES, default="toy")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "cheats")
    parser.add_argument("--out", type=Path, default=RESULTS / "cheats.json")
    chosen = parser.parse_args()
    settle(1)
    started, scale, rows = time.process_time(), SCALES[chosen.size], list[Row]()
    for world in worlds(scale, Cells(chosen.work), str(chosen.work)):
        rows += Bench(world, scale.models, said).rows()
        print(f"{world.name}: {time.process_time() - started:.0f} s", file=sys.stderr)
    command = shlex.join(["python", "benchmarks/cheats.py", "--size", chosen.size])
    found = result(scale, rows, command, time.process_time() - started)
    chosen.out.write_text(text_of(found))
    draw(json.loads(chosen.out.read_text()), chosen.out.with_suffix(".png"))
    for name, line in found["matrix"].items():
        print(name, {a: f"{c['flagged']}/{c['asked']}" for a, c in line.items() if c["flagged"]})
    print(json.dumps({"honest": found["honest"], "caught_by": found["caught_by"]}, indent=1))


def said(what: str, done: int, total: int) -> None:
    """A line where a step begins."""
    print(f"{what} {done}/{total}", file=sys.stderr)


if __name__ == "__main__":
    main()
