"""Power and false positives of the change of margins, counted over models, on Fashion-MNIST.

    python benchmarks/margin_difference.py

trains a small residual network on a few thousand images: originals; models of other seeds that kept
all records; models that never had a forget set of 100, with another seed and with the original's.
Sets of 1, 5, 20 and 100 records are asked for in each, the other removed ones being excluded. It
writes benchmarks/results/margin_difference.json and resumes: a model whose margins are stored under
--cells is not trained again. One torch thread.

Sets that are asked of one model are not independent. So one set of each size, fixed beforehand by
the number of the model, decides the rates with their exact intervals; the mean over all sets
stands beside them and has no interval. Models that are compared with one original share it, and
originals are few: the intervals hold given these originals, and say nothing of others. "Same seed"
is the same recipe: the same initialisation, and batches in another order, since there are fewer
records.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # before torch is imported
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from rescind.audits.holdout_gap import Holdout
from rescind.audits.margin_difference import MarginDifference, measure, prepare
from rescind.core.canonical import digest, plain
from rescind.core.partition import Partition
from rescind.core.run import AdamW, Recipe
from rescind.data.fashion_mnist import CLASSES, load
from rescind.metrics.features import collect
from rescind.metrics.membership import margin
from rescind.metrics.statistics import clopper_pearson
from rescind.training.determinism import settle
from rescind.training.modules import Classification
from rescind.training.plain import train_whole

RESULT = Path(__file__).parent / "results" / "margin_difference.json"
TASK = Classification(
    "rescind.training.zoo:resnet", CLASSES, (1, 28, 28), {"classes": len(CLASSES)}
)
RECIPE = Recipe(
    task=TASK,
    method="retrain",
    partition=Partition(1, 1, 0.1),
    orders=1,
    epochs=20,
    batch_size=64,
    optimizer=AdamW(lr=4e-3),
)
LEVEL = 0.05
SIZES = (1, 5, 20, 100)
Kind = Literal["original", "kept", "other_seed", "same_seed"]
FIRST_SEED = {"kept": 1_000, "other_seed": 2_000}  # seeds below are those of originals


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much is trained and asked."""

    images: int
    holdout: int
    epochs: int
    originals: int
    kept: int
    removed: int
    sets: int


@dataclasses.dataclass(frozen=True)
class Model:
    """One training: which original it is compared with, its seed, and what it never had."""

    kind: Kind
    number: int
    original: int
    seed: int
    gone: tuple[int, ...] = ()


def models(sizes: Sizes) -> Iterator[Model]:
    """Originals first; removals have a forget set each, and two models without it."""
    for i in range(sizes.originals):
        yield Model("original", i, i, i)
    for i in range(sizes.kept):
        yield Model("kept", i, i % sizes.originals, FIRST_SEED["kept"] + i)
    for i in range(sizes.removed):
        original, gone = i % sizes.originals, tuple(drawn(sizes, 7_000 + i, max(SIZES)))
        yield Model("other_seed", i, original, FIRST_SEED["other_seed"] + i, gone)
        yield Model("same_seed", i, original, original, gone)


def drawn(sizes: Sizes, seed: int, count: int) -> list[int]:
    """Distinct rows of the training images."""
    generator = torch.Generator().manual_seed(seed)
    rows: list[int] = (
        torch.randperm(sizes.images, generator=generator)[:count].sort().values.tolist()
    )
    return rows


class Cells:
    """Margins of trained models by what they were made from."""

    def __init__(self, folder: Path, sizes: Sizes) -> None:
        self.folder, self.sizes = folder, sizes
        folder.mkdir(parents=True, exist_ok=True)
        self.rows = load("train", sizes.images)
        self.batch = TASK.batch(self.rows)
        self.outside = TASK.batch(load("test", sizes.holdout))

    def of(self, model: Model) -> dict[str, Tensor]:
        """Margins of the training images and the holdout; features of originals too."""
        recipe = dataclasses.replace(RECIPE, epochs=self.sizes.epochs, seed=model.seed)
        made_from = [plain(recipe), self.sizes.images, self.sizes.holdout, model.gone]
        wanted = ["features"] if model.kind == "original" else []
        path = self.folder / f"{digest([made_from, wanted])}.safetensors"
        if not path.exists():
            found = self._read(recipe, model)
            part = path.with_suffix(".part")
            part.write_bytes(save(found))
            part.replace(path)
        stored: dict[str, Tensor] = load_file(path)
        return stored

    def _read(self, recipe: Recipe, model: Model) -> dict[str, Tensor]:
        gone, started = set(model.gone), time.process_time()
        trained = train_whole(recipe, [r for i, r in enumerate(self.rows) if i not in gone])
        spent = time.process_time() - started
        found = {"cpu_seconds": torch.tensor(spent, dtype=torch.float64)}
        with torch.no_grad():
            for name, batch in (("inside", self.batch), ("outside", self.outside)):
                logits = trained.outputs(batch)
                found[name] = margin(logits, batch["labels"])
                right = (logits.argmax(1) == batch["labels"]).double().mean()
                found[f"{name}_accuracy"] = right
        if model.kind == "original":
            inputs = [self.batch["array"]]
            found["features"] = collect(trained.module, ["penultimate"], inputs)["penultimate"]
        return found


def asked(sizes: Sizes, model: Model, n: int, turn: int) -> list[int]:
    """The set of a turn: among those that are gone, or of any where none is."""
    seed = 100_000 + 1_000 * model.number + turn
    if not model.gone:
        return drawn(sizes, seed, n)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(model.gone), generator=generator)[:n].tolist()
    return [model.gone[i] for i in order]


def audited(cells: Cells, model: Model, n: int, turn: int) -> MarginDifference:
    """One set asked of one model."""
    before = cells.of(Model("original", model.original, model.original, model.original))
    after = cells.of(model)
    requested = torch.zeros(cells.sizes.images, dtype=torch.bool)
    requested[asked(cells.sizes, model, n, turn)] = True
    excluded = torch.zeros_like(requested)
    excluded[list(model.gone)] = True
    question = prepare(
        before["inside"],
        cells.batch["labels"],
        before["features"],
        requested,
        excluded=excluded & ~requested,
        holdout=Holdout(before["outside"], cells.outside["labels"]),
    )
    return measure(question, after["inside"], level=LEVEL, seed=turn)


def share(hits: Sequence[bool]) -> dict[str, Any]:
    """Of models, one set each, with Clopper and Pearson's 95 % interval."""
    low, high = clopper_pearson(sum(hits), len(hits))
    one_sided = clopper_pearson(sum(hits), len(hits), 0.9)[1]
    return {
        "hits": sum(hits),
        "models": len(hits),
        "share": sum(hits) / len(hits),
        "interval": [low, high],
        "upper_95": one_sided,
    }


def row(cells: Cells, kind: Kind, n: int, chosen: Sequence[Model]) -> dict[str, Any]:
    """One size of request asked of all models of a kind."""
    each = [[audited(cells, m, n, turn) for turn in range(cells.sizes.sets)] for m in chosen]
    first = [found[0] for found in each]
    every = [f for found in each for f in found]
    extents = [f.extent for f in first if f.extent is not None]
    truth = float(kind != "kept")
    held = [f.interval[0] <= truth <= f.interval[1] for f in first if f.extent is not None]
    return {
        "models_are": kind,
        "n": n,
        "controls": first[0].controls,
        "rejected": share([f.p < LEVEL for f in first]),
        "rejected_one_sided": share([f.p_fell < LEVEL for f in first]),
        "rejected_any_set": statistics.fmean(f.p < LEVEL for f in every),
        "rejected_one_sided_any_set": statistics.fmean(f.p_fell < LEVEL for f in every),
        "removal_told": share([f.told == "as_removed" for f in first]),
        "overshoot_told": share([f.told == "overshoot" for f in first]),
        "extent_mean": statistics.fmean(extents) if extents else None,
        "extent_sd": statistics.stdev(extents) if len(extents) > 1 else None,
        "interval_holds_truth": share(held) if held else None,
    }


def result(cells: Cells, command: str) -> dict[str, Any]:
    """All models, then all rows."""
    every = list(models(cells.sizes))
    costs, inside, outside = [], [], []
    for i, model in enumerate(every, start=1):
        print(f"model {i} of {len(every)}: {model.kind} {model.number}", flush=True)
        found = cells.of(model)
        costs.append(float(found["cpu_seconds"]))
        if model.kind in ("original", "kept"):
            inside.append(float(found["inside_accuracy"]))
            outside.append(float(found["outside_accuracy"]))
    rows = []
    for kind in ("kept", "other_seed", "same_seed"):
        for n in SIZES:
            chosen = [m for m in every if m.kind == kind]
            rows.append(row(cells, kind, n, chosen))
            print(json.dumps(rows[-1]), flush=True)
    return {
        "what": "Change of margins of requested records beside matched ones, on Fashion-MNIST.",
        "command": command,
        "system": f"{platform.system()} {platform.machine()}, 1 torch thread",
        "sizes": dataclasses.asdict(cells.sizes),
        "level": LEVEL,
        "accuracy": {"trained": statistics.fmean(inside), "held_out": statistics.fmean(outside)},
        "training_cpu_seconds": statistics.fmean(costs),
        "rows": rows,
    }


def main() -> None:
    """Train, ask, store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=Path, default=Path("demo/margin-difference-cells"))
    parser.add_argument("--out", type=Path, default=RESULT)
    for name, value in (
        ("images", 5_000), ("holdout", 2_000), ("epochs", 20),
        ("originals", 4), ("kept", 150), ("removed", 48), ("sets", 5),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    settle(1)
    sizes = Sizes(**{f.name: getattr(args, f.name) for f in dataclasses.fields(Sizes)})
    command = shlex.join(["python", "benchmarks/margin_difference.py", *sys.argv[1:]])
    print(f"{command}\n{sizes}, {len(list(models(sizes)))} models", flush=True)
    found = result(Cells(args.cells, sizes), command)
    args.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
