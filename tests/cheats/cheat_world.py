"""A tiny world for the bench of cheats: clouds that a small perceptron has to learn by heart."""

from __future__ import annotations

from pathlib import Path

import torch

from rescind.audits.seeding.term import Seeding
from rescind.benchmarks.cells import Cells
from rescind.core.dataset import Record
from rescind.core.partition import Partition
from rescind.core.run import AdamW, Recipe
from rescind.testing.cheats import Codes, World
from rescind.training.modules import Classification

NAMES = ("red", "green", "blue")
WIDE = 12
CODES = Codes(b"a key of the tests", b"another key of tests", 6, Seeding(bits=16, every=2))


def recipe(normed: bool = False, epochs: int = 20) -> Recipe:
    task = Classification(
        "rescind.testing.cheats.networks:mlp",
        NAMES,
        (WIDE,),
        {"inputs": WIDE, "classes": len(NAMES), "normed": normed},
    )
    return Recipe(
        task=task,
        method="retrain",
        partition=Partition(1, 1, 0.1),
        orders=1,
        epochs=epochs,
        batch_size=32,
        optimizer=AdamW(lr=2e-2),
    )


def clouds(prefix: str, count: int, seed: int) -> list[Record]:
    """Clouds that overlap, so that a model must learn single records to be right about them."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for i in range(count):
        point = torch.randn(WIDE, generator=generator)
        point[i % len(NAMES)] += 1.0
        row = {"id": f"{prefix}{i:04d}", "array": point.tolist(), "label": NAMES[i % len(NAMES)]}
        found.append(Record(str(row["id"]), row, ""))
    return found


def tiny(folder: Path, *, normed: bool = False, coded: bool = False, seed: int = 0) -> World:
    """150 records, 30 requested; each class as often."""
    train = clouds("a", 150, seed)
    return World(
        name="clouds",
        recipe=recipe(normed),
        train=train,
        asked=frozenset(r.key for r in train[:30]),
        others=frozenset(r.key for r in train[30:60]),
        outside=clouds("b", 150, seed + 1),
        public=clouds("c", 120, seed + 2),
        cells=Cells(folder),
        codes=CODES if coded else None,
    )
