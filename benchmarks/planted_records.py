"""Epsilon from below by one training with planted records, before and after unlearning them.

    python benchmarks/planted_records.py [--quick]

Fashion-MNIST and the small networks of benchmarks/shadow_training.py: 9,000 images, and 1,000 more
with a wrong label drawn at random, of which a coin for each decides whether it is trained on. The
auditor sees the model's margins for the planted labels and makes 200 guesses, a number that was
chosen on seed 100 and no other; audits/one_run.py bounds epsilon by how many are right, at .95 for
each model. Five seeds. Of the models of 24 epochs without batch norm the planted records are
unlearned by methods with their defaults, and retrained without, with another seed: the control,
where guesses are chance. Accuracy is on 2,000 images that no model saw. One torch thread.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # read when torch is imported
os.environ["OMP_NUM_THREADS"] = "1"

import torch
from torch import Tensor

from rescind import methods_of
from rescind.audits.one_run import epsilon_in_one_run
from rescind.core.canonical import digest
from rescind.core.dataset import Record, Row, Split
from rescind.core.run import Recipe
from rescind.data import fashion_mnist
from rescind.metrics.membership import margin
from rescind.testing.memory import MemoryModel, run_of
from rescind.training.batches import pieces
from rescind.training.models import TrainedModel
from rescind.training.plain import train_whole
from shadow_training import NETWORKS, recipe

RESULT = Path(__file__).parent / "results" / "planted_records.json"
DELTA, AGAIN = 1e-5, 1_000  # added to the seed of a model that is retrained
METHODS = ("finetune", "cf_k", "negative_gradient", "ssd")
TRAININGS = (("cnn", 8), ("cnn", 24), ("cnn, batch norm", 24))
UNLEARNED = ("cnn", 24)


@dataclass(frozen=True)
class Size:
    """Images, planted ones, images to test on, guesses and seeds."""

    images: int = 9_000
    planted: int = 1_000
    test: int = 2_000
    guesses: int = 200
    seeds: tuple[int, ...] = (1, 2, 3, 4, 5)


QUICK = Size(400, 100, 200, 40, (1,))


@dataclass(frozen=True, eq=False)
class Planted:
    """The rows, those planted, the coins (m,), and the rows to test on."""

    rows: Sequence[Row]
    planted: Sequence[Row]
    coins: Tensor
    test: Sequence[Row]

    @property
    def included(self) -> list[Row]:
        """Planted rows whose coin says so."""
        return [row for row, coin in zip(self.planted, self.coins.tolist(), strict=True) if coin]


def planted(size: Size, seed: int) -> Planted:
    """Wrong labels and coins of a seed."""
    rows = fashion_mnist.load("train", size.images + size.planted + size.test)
    generator, classes = torch.Generator().manual_seed(seed), list(fashion_mnist.CLASSES)
    away = torch.randint(1, len(classes), (size.planted,), generator=generator).tolist()
    ends = (size.planted, size.planted + size.images)
    wrong = [
        {**row, "label": classes[(classes.index(str(row["label"])) + by) % len(classes)]}
        for row, by in zip(rows[: ends[0]], away, strict=True)
    ]
    coins = torch.rand(size.planted, generator=generator) < 0.5
    return Planted(rows[ends[0] : ends[1]], wrong, coins, rows[ends[1] :])


def margins(model: TrainedModel, rows: Sequence[Row]) -> Tensor:
    """(n,) for the labels that the rows have."""
    model.set_training((), on=False)
    inputs = model.inputs(rows)
    with torch.no_grad():
        logits = torch.cat([model.outputs(piece) for piece in pieces(inputs, 512)])
    return margin(logits, inputs["labels"]).double()


def unlearned(model: TrainedModel, made: Recipe, given: Planted, method: str) -> TrainedModel:
    """A copy without the planted records, as far as the method goes."""
    forget, retain = (
        [Record(f"{name} {i}", row, digest(row)) for i, row in enumerate(rows)]
        for name, rows in (("planted", given.included), ("image", given.rows))
    )
    handle = MemoryModel(model)
    methods_of.make(method).unlearn(handle, Split(forget, retain), run_of(made))
    if handle.edited is None:
        raise RuntimeError(f"{method} handed no model in")
    return handle.edited


def models(
    size: Size, network: str, epochs: int, seed: int
) -> Iterator[tuple[str, TrainedModel, Planted, float]]:
    """By name, with what was planted and CPU seconds: as trained, and what comes after."""
    given = planted(size, seed)
    made = replace(recipe(*NETWORKS[network]), epochs=epochs, seed=seed)
    started = time.process_time()
    model = train_whole(made, [*given.included, *given.rows])
    yield "as trained", model, given, time.process_time() - started
    if (network, epochs) != UNLEARNED:
        return
    for method in METHODS:
        started = time.process_time()
        after = unlearned(model, made, given, method)
        yield method, after, given, time.process_time() - started
    started = time.process_time()
    again = train_whole(replace(made, seed=seed + AGAIN), given.rows)
    yield "retrained without them", again, given, time.process_time() - started


def judged(size: Size, model: TrainedModel, given: Planted) -> dict[str, float]:
    """The bound, right guesses and accuracy of one model."""
    found = epsilon_in_one_run(margins(model, given.planted), given.coins, size.guesses, DELTA)
    right = float((margins(model, given.test) > 0).double().mean())
    return {"epsilon": found.epsilon, "right": found.right, "accuracy": right}


def rows_of(size: Size, network: str, epochs: int) -> list[dict[str, Any]]:
    """A row a kind of model, over all seeds."""
    found = dict[str, list[dict[str, float]]]()
    for seed in size.seeds:
        for name, model, given, seconds in models(size, network, epochs, seed):
            one = {**judged(size, model, given), "cpu_seconds": seconds}
            found.setdefault(name, []).append(one)
            print(network, epochs, seed, name, one, file=sys.stderr, flush=True)
    return [
        {
            "network": network,
            "epochs": epochs,
            "model": name,
            "right": [int(one["right"]) for one in each],
            "epsilon": [round(one["epsilon"], 3) for one in each],
            "accuracy": round(fmean(one["accuracy"] for one in each), 4),
            "cpu_seconds": round(fmean(one["cpu_seconds"] for one in each), 2),
        }
        for name, each in found.items()
    ]


def result(size: Size) -> dict[str, Any]:
    """All that is stored."""
    return {
        "command": "python benchmarks/planted_records.py",
        "notes": [" ".join(part.split()) for part in (__doc__ or "").split("\n\n")],
        "torch": torch.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "threads": torch.get_num_threads(),
        "measured": {**vars(size), "delta": DELTA, "level": 0.95},
        "rows": [row for training in TRAININGS for row in rows_of(size, *training)],
    }


def main() -> None:
    """Measure; store unless it is a quick run, which goes to standard output."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--quick", action="store_true", help="500 images and one seed, not stored")
    quick = options.parse_args().quick
    torch.set_num_threads(1)
    found = result(QUICK if quick else Size())
    if not quick:
        RESULT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found["rows"], indent=1))


if __name__ == "__main__":
    main()
