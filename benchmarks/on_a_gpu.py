"""What a GPU changes: metrics beside their matrix products, and trainings beside one core.

    python benchmarks/on_a_gpu.py

1. Unbiased linear CKA of a batch beside its bare products, and k-NN of 10,000 queries against
   100,000 references of width 512 beside the bare product in the same blocks, as in
   benchmarks/representations.py, on the GPU; milliseconds, the median of runs in turn.
2. One training of the small ResNet of `rescind bench fashion` on the GPU and on one core.
3. One training of the recipe of `rescind bench cifar10` (ResNet-18, 45,000 images, batches of 256)
   on made-up images, two epochs of its thirty: what the table for CIFAR-10 would cost.

Everything is deterministic, as in a benchmark. The result is stored with the names of both chips.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # read when torch is imported
os.environ["OMP_NUM_THREADS"] = "1"

import torch

from representations import QUERIES, REFERENCES, WIDTH, _processor, bare_knn, clouds, gaussian, ours
from rescind.benchmarks.cifar10 import BATCH, Cifar10
from rescind.benchmarks.fashion import Fashion
from rescind.core.run import Recipe
from rescind.data import cifar10
from rescind.metrics import knn_transfer
from rescind.training.determinism import settle
from rescind.training.device import PROCESSOR, checked
from rescind.training.plain import train_whole

RESULT = Path(__file__).parent / "results" / "on_a_gpu.json"
GPU = "cuda"
IMAGES, EPOCHS = 45_000, 2


def main() -> int:
    """Measure and store."""
    settle()
    checked(GPU)
    found = {
        "command": "python benchmarks/on_a_gpu.py",
        "machine": f"{platform.system()} {platform.machine()}, {_processor()}, 1 thread",
        "gpu": torch.cuda.get_device_name(GPU),
        "torch": torch.__version__,
        "cka": [cka(512, 2048), cka(8192, 512)],
        "knn": knn(),
        "fashion": fashion(),
        "cifar10": cifar(),
    }
    RESULT.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))
    return 0


def seconds(run: Callable[[], object]) -> float:
    """Until the GPU is done."""
    torch.cuda.synchronize()
    started = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return time.perf_counter() - started


def alternately(what: dict[str, Callable[[], object]], runs: int) -> dict[str, float]:
    """Median milliseconds of each, run in turn; the first round warms up and does not count."""
    rounds = [{name: seconds(run) for name, run in what.items()} for _ in range(runs + 1)][1:]
    return {name: 1_000 * statistics.median(one[name] for one in rounds) for name in what}


def cka(n: int, d: int) -> dict[str, Any]:
    """One batch of independent features, on both."""
    x, y = gaussian(n, d, 0), gaussian(n, d, 1)
    a, b = x.to(GPU), y.to(GPU)

    def products() -> object:
        return (a @ a.T, b @ b.T) if n < d else (a.T @ a, b.T @ b, a.T @ b)

    spent = alternately({"cka": lambda: ours(a, b), "bare_products": products}, 21)
    return {
        "examples": n,
        "width": d,
        "milliseconds": spent,
        "ratio": spent["cka"] / spent["bare_products"],
        "differs_from_the_processor_by": abs(ours(a, b) - ours(x, y)),
    }


def knn() -> dict[str, Any]:
    """The accuracy of both, the peak of GPU memory, and the time beside the bare product."""
    references, y, queries, y_query = clouds()
    there, labels, asked, right = (t.to(GPU) for t in (references, y, queries, y_query))
    held = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    accuracy = knn_transfer.accuracy(there, labels, asked, right)
    peak = torch.cuda.max_memory_allocated() - held
    what: dict[str, Callable[[], object]] = {
        "knn": lambda: knn_transfer.accuracy(there, labels, asked, right),
        "bare_product": lambda: bare_knn(there, asked),
    }
    spent = alternately(what, 5)
    return {
        "queries": QUERIES,
        "references": REFERENCES,
        "width": WIDTH,
        "milliseconds": spent,
        "ratio": spent["knn"] / spent["bare_product"],
        "peak_mb_beside_the_features": peak / 2**20,
        "accuracy": accuracy,
        "accuracy_on_the_processor": knn_transfer.accuracy(references, y, queries, y_query),
    }


def fashion() -> dict[str, Any]:
    """One training of the small ResNet at its default size, wall seconds."""
    setting = Fashion().setting(False)
    rows, recipe = [r.row for r in setting.train], setting.models["resnet"]
    train_whole(dataclasses.replace(recipe, epochs=1), rows[:640], GPU)  # kernels are loaded
    spent = {
        GPU: seconds(lambda: train_whole(recipe, rows, GPU)),
        PROCESSOR: seconds(lambda: train_whole(recipe, rows)),
    }
    return {
        "images": len(rows),
        "epochs": recipe.epochs,
        "seconds": spent,
        "core_over_gpu": spent[PROCESSOR] / spent[GPU],
    }


def cifar() -> dict[str, Any]:
    """Two epochs of the recipe, on noise."""
    generator = torch.Generator().manual_seed(0)
    rows = [
        {"array": torch.rand(3 * 32 * 32, generator=generator).tolist(), "label": name}
        for name in cifar10.CLASSES
    ] * (IMAGES // len(cifar10.CLASSES))
    recipe: Recipe = dataclasses.replace(Cifar10()._recipe(False), epochs=EPOCHS)
    train_whole(dataclasses.replace(recipe, epochs=1), rows[: 2 * BATCH], GPU)
    spent = seconds(lambda: train_whole(recipe, rows, GPU))
    return {
        "images": len(rows),
        "epochs": EPOCHS,
        "seconds": spent,
        "minutes_of_all_epochs": spent * Cifar10().epochs / EPOCHS / 60,
    }


if __name__ == "__main__":
    sys.exit(main())
