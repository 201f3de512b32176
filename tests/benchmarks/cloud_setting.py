"""A benchmark that takes two seconds: four clouds, a small network, a class and a random tenth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from rescind.benchmarks.cells import Cells
from rescind.benchmarks.models import Models
from rescind.benchmarks.setting import Downstream, ForgetSet, Setting
from rescind.benchmarks.subjects import Bench
from rescind.core.dataset import Record
from rescind.core.judgement import Margin
from rescind.core.partition import Partition
from rescind.core.run import AdamW, Recipe
from rescind.training.modules import Classification

NAMES = ("red", "green", "blue", "grey")
WIDE = 8
TASK = Classification(
    "rescind.training.zoo:mlp",
    NAMES,
    (WIDE,),
    {"inputs": WIDE, "outputs": len(NAMES), "hidden": [24]},
)
RECIPE = Recipe(
    task=TASK,
    method="retrain",
    partition=Partition(1, 1, 0.1),
    orders=1,
    epochs=6,
    batch_size=16,
    optimizer=AdamW(lr=1e-2),
)
MARGINS = (
    Margin("forget accuracy", 0.10, "forgetting"),
    Margin("forget CKA to retrained", 0.10, "forgetting"),
    Margin("retain accuracy", 0.08, "utility"),
    Margin("test accuracy", 0.08, "utility"),
)


def clouds(prefix: str, count: int, seed: int, names: tuple[str, ...] = NAMES) -> list[Record]:
    """Points about a corner for each name, in turn."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for i in range(count):
        place = i % len(names)
        point = 0.5 * torch.randn(WIDE, generator=generator)
        point[place] += 2.0
        row: dict[str, Any] = {
            "id": f"{prefix}{i:04d}",
            "array": point.tolist(),
            "label": names[place],
        }
        row["subgroup"] = "even" if i % 8 < 4 else "odd"
        found.append(Record(row["id"], row, ""))
    return found


def cloud_setting(
    *, decides: bool = True, methods: tuple[str, ...] = ("finetune", "eu_k", "random_label")
) -> Setting:
    """240 points; downstream are two clouds that lie elsewhere."""
    train = clouds("a", 240, 1)
    red = tuple(r for r in train if r.row["label"] == "red")
    down = clouds("d", 60, 4, ("left", "right"))
    return Setting(
        name="clouds",
        what="Points in four clouds.",
        train=tuple(train),
        validation=tuple(clouds("v", 80, 2)),
        test=tuple(clouds("t", 160, 3)),
        models={"mlp": RECIPE},
        forget_sets=(
            ForgetSet("class red", "class", red, ("red",), decides=decides),
            ForgetSet("random tenth", "random", tuple(train[::10]), decides=decides),
            ForgetSet("one record", "record", (train[5],)),
        ),
        searched=ForgetSet("another tenth", "random", tuple(train[3::10])),
        margins=MARGINS,
        methods=methods,
        downstream=(Downstream("left or right", tuple(down)),),
        subgroup="subgroup",
        trials=2,
        sequence=(1, 3),
    )


def cloud_bench(folder: Path, setting: Setting, *, deep: bool = False) -> Bench:
    """With its cells in the folder, and nobody watching."""
    return Bench(setting, "mlp", Models(RECIPE, Cells(folder)), lambda *_: None, deep)
