"""What a published forget gradient shows of the records behind it: inversion and membership.

    python benchmarks/published_gradient.py [--work FOLDER] [--quick] [--out FILE]

The provider of benchmarks/zk_apex.py publishes the mean gradient of a class in 8 bits, tensor by
tensor in units of a 32nd of its root mean square. A client has the provider's model and images of
the class of its own (test images, which nobody trained on). Beside the attacks of
gradient_inversion.py stand images made from the gradient of *other* records of the class, the class
mean and noise. For 8 records and more 8 images are made. Membership is told in gradient_members.py,
with the same controls. What attacks weigh was chosen on the first cell. One torch thread.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import zk_apex as scenario
from gradient_inversion import Setting, by_pixels, by_prior, correlations, gain, nearest
from gradient_members import Rows, auc, rows_of, scores, single_gradients
from kept_cells import command, folder, kept
from rescind.methods.zk_apex.fisher import matrices
from rescind.metrics.equivalence import mean_interval
from rescind.training.determinism import settle
from zk_apex import Batch, rows

RESULT = Path(__file__).parent / "results" / "published_gradient.json"
MADE = 8  # images at most
SHOWN = {
    "true": "records that 'prior' is nearest to",
    "prior": "prior",
    "nearest": "nearest own images",
    "pixels": "pixels",
    "others' prior": "prior, of other records",
    "class mean": "class mean",
}


@dataclass(frozen=True)
class Sizes:
    """Cells, steps, and how often each number of records is drawn; ``0`` stands for all."""

    cells: tuple[tuple[int, str], ...] = tuple(
        (s, n) for s in range(3) for n in ("bag", "pullover")
    )
    counts: tuple[int, ...] = (1, 4, 32, 500, 0)
    inverted: tuple[int, ...] = (2, 1, 1, 1, 1)
    tested: tuple[int, ...] = (5, 3, 2, 1, 1)
    pixel_steps: int = 150
    prior_steps: int = 250
    others: int = 500


QUICK = Sizes(((0, "bag"),), (1, 0), (1, 1), (2, 1), 3, 3, 40)


def setting(bench: scenario.Bench, seed: int, name: str) -> Setting:
    """Of one cell."""
    model, class_ = bench.base(seed), scenario.NAMES[name]
    later = rows(bench.images.train, torch.arange(40_000, 60_000))
    parts = [
        rows(batch, batch["labels"] == class_)
        for batch in (bench.provider(seed), later, bench.images.test)
    ]
    own = rows(parts[2], torch.arange(500))
    weights = list(matrices(model, scenario.MLP).values())
    return Setting(
        model, weights, class_, parts[0], parts[1], own, single_gradients(model, own, weights)
    )


def attacks(at: Setting, batch: Batch, sizes: Sizes, seed: int, prefix: str) -> dict[str, Tensor]:
    """Images made from the gradient of a batch, by attack."""
    goal, count = at.gradient(batch), min(MADE, len(batch["labels"]))
    return {
        f"{prefix}pixels": by_pixels(at, goal, count, sizes.pixel_steps, seed),
        f"{prefix}nearest": nearest(at, goal, count),
        f"{prefix}prior": by_prior(at, goal, count, sizes.prior_steps),
    }


def inverted(
    at: Setting, count: int, sizes: Sizes, seed: int
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """One draw of records, all attacks and controls against them; and the images."""
    whole = len(at.records["labels"])
    order = torch.randperm(whole, generator=torch.Generator().manual_seed(seed))
    true = rows(at.records, order[: count or whole])
    beside = rows(at.records, order[-count:]) if count else at.others
    made = attacks(at, true, sizes, seed, "") | attacks(at, beside, sizes, seed, "others' ")
    images = min(MADE, len(true["labels"]))
    draw = torch.Generator().manual_seed(seed)
    made["class mean"] = at.own["array"].mean(0, keepdim=True)
    made["noise"] = torch.rand(images, 1, 28, 28, generator=draw)
    found = {k: gain(v, true["array"], at.others["array"], seed) for k, v in made.items()}
    best = correlations(made["prior"], true["array"]).argmax(1)
    return found, made | {"true": true["array"][best]}


def tested(at: Setting, seen: Rows, count: int, sizes: Sizes, seed: int) -> dict[str, float]:
    """AUC of each membership test, of the tenth with the longest gradients too, and of the same
    tests of the same candidates with a gradient of other records, which says nothing of them.
    """
    whole = len(at.records["labels"])
    order = torch.randperm(whole, generator=torch.Generator().manual_seed(seed))
    members = order[: count or whole]
    n, outside = len(members), torch.arange(whole, seen.auxiliary)
    pool = torch.cat([members, order[n : n + sizes.others] if count else outside])
    later = rows(at.others, torch.arange(len(outside), len(at.others["labels"])))
    batches = {"": rows(at.records, members)}
    batches["others' "] = rows(at.records, order[-count:]) if count else later
    lengths, found = seen.gram.diagonal()[pool], {}
    loud = lengths >= lengths.quantile(0.9)
    for prefix, batch in batches.items():
        for test, value in scores(seen, at.gradient(batch), pool, n).items():
            found[f"{prefix}{test}"] = auc(value[:n], value[n:])
            if count != 1 and loud[:n].any():
                found[f"{prefix}{test}, loud"] = auc(value[:n][loud[:n]], value[n:][loud[n:]])
    return found


def cell(bench: scenario.Bench, seed: int, name: str, sizes: Sizes) -> dict[str, Any]:
    """All numbers of records of one seed and class; images are kept in the work folder."""
    at = setting(bench, seed, name)
    held = rows(at.others, torch.arange(min(2 * sizes.others, len(at.others["labels"]) // 2)))
    batch, known = scenario.joined(at.records, held, at.own), len(at.records["labels"])
    seen = rows_of(at.model, batch, known + len(held["labels"]), at.weights)
    found: dict[str, Any] = {"seed": seed, "class": name, "records": known, "by count": {}}
    for count, times, draws in zip(sizes.counts, sizes.inverted, sizes.tested, strict=True):
        told = [inverted(at, count, sizes, 1000 * seed + i) for i in range(times)]
        members = [tested(at, seen, count, sizes, 2000 + 100 * seed + i) for i in range(draws)]
        found["by count"][str(count or "all")] = {
            "inversion": {k: averaged([one[k] for one, _ in told]) for k in told[0][0]},
            "membership": averaged(members),
        }
        images = {k: v.contiguous() for k, v in told[0][1].items()}
        save_file(images, bench.work / f"images-{seed}-{name}-{count or 'all'}.safetensors")
    return found


def averaged(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means over draws, of those that have the figure."""
    keys = dict.fromkeys(k for one in found for k in one)
    return {k: round(fmean(one[k] for one in found if k in one), 4) for k in keys}


def summary(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over cells with 95 % t intervals."""
    told: dict[str, Any] = {}
    for count in cells[0]["by count"]:
        own = [c["by count"][count] for c in cells]
        told[count] = {
            "inversion": {
                k: {
                    what: spread([o["inversion"][k][what] for o in own])
                    for what in ("match", "gain", "rank")
                }
                for k in own[0]["inversion"]
            },
            "membership": {
                k: spread([o["membership"][k] for o in own if k in o["membership"]])
                for k in own[0]["membership"]
            },
        }
    return told


def spread(values: Sequence[float]) -> list[float]:
    """Mean, and the ends of its interval where there are several."""
    return [round(v, 3) for v in (fmean(values), *(mean_interval(values) or ()))]


def pictures(work: Path, sizes: Sizes, count: int) -> dict[str, Tensor]:
    """Three images of each kind: of the first cell, or for single records of three cells."""
    name = sizes.cells[0][1]
    cells = [c for c in sizes.cells if c[1] == name][: 3 if count == 1 else 1]
    found = [load_file(work / f"images-{s}-{n}-{count or 'all'}.safetensors") for s, n in cells]
    white = torch.zeros(3, 28, 28)
    kinds = {
        k: torch.cat([f[k][:3, 0] if count != 1 else f[k][:1, 0] for f in found]) for k in SHOWN
    }
    return {k: torch.cat([v, white])[:3] for k, v in kinds.items()}


def draw(work: Path, sizes: Sizes, path: Path) -> None:
    """For each number of records three of the images made, what they resemble, and controls."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    lines, columns = len(sizes.counts), len(SHOWN)
    figure, axes = plt.subplots(lines, columns, figsize=(11, 0.75 * lines), layout="constrained")
    for line, count in zip(axes, sizes.counts, strict=True):
        images = pictures(work, sizes, count)
        for axis, kind in zip(line, SHOWN, strict=True):
            axis.imshow(torch.cat(list(images[kind]), 1), cmap="gray_r", vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[])
        line[0].set_ylabel(f"n = {count or 'all'}", fontsize=8)
    for axis, told in zip(axes[0], SHOWN.values(), strict=True):
        axis.set_title(told, fontsize=8)
    figure.savefig(path, dpi=90)


def main() -> None:
    """Run, store, draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "zk_apex")
    parser.add_argument("--out", type=Path, default=RESULT)
    chosen = parser.parse_args()
    settle(1)
    work = folder(chosen.work, chosen.quick)
    sizes = QUICK if chosen.quick else Sizes()
    size = scenario.QUICK if chosen.quick else scenario.Sizes()
    bench = scenario.Bench(size, scenario.images(), work)
    cells = [
        kept(work / f"gradient-{seed}-{name}.json", partial(cell, bench, seed, name, sizes))
        for seed, name in sizes.cells
    ]
    found = {
        "what": "Inversion of and membership in a published forget gradient, ViT, Fashion-MNIST.",
        "command": command("published_gradient.py", chosen.quick),
        "system": f"{platform.system()} {platform.machine()}, 1 thread, torch {torch.__version__}",
        "sizes": asdict(sizes),
        "summary": summary(cells),
        "cells": cells,
    }
    chosen.out.write_text(json.dumps(found, indent=1) + "\n")
    draw(work, sizes, chosen.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
