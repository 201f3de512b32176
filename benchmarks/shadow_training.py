"""What a shadow model costs, trained one by one or in stacks of torch.func: CPU seconds.

    python benchmarks/shadow_training.py

One thread, 10,000 images of Fashion-MNIST, of which each shadow model sees 5,000, and one epoch in
batches of 64. Sixteen shadow models are trained in a loop and in stacks of 4, 8 and 16, in turn,
three times over; the median counts. Two small networks, each with and without batch norm. Scoring
all images and reading them is timed apart, once a network.

What 64 shadow models take is extrapolated and not measured: steps by the epoch, all epochs alike,
and two processes of one thread that each train half of them without slowing the other down.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # read when torch is imported
os.environ["OMP_NUM_THREADS"] = "1"

import torch
from torch import nn

from rescind.audits.shadow_draw import ShadowDraw
from rescind.audits.shadow_training import shadow_margins, train_part
from rescind.core.partition import Partition
from rescind.core.run import AdamW, Recipe
from rescind.data import fashion_mnist
from rescind.training.modules import Classification
from rescind.training.zoo import resnet

RESULT = Path(__file__).parent / "results" / "shadow_training.json"
HERE = Path(__file__).stem  # factories are found by name, as those of any module
IMAGES, MODELS, STACKS, ROUNDS = 10_000, 16, (1, 4, 8, 16), 3
WANTED, CORES, LIMIT_SECONDS = 64, 2, 20 * 60
EPOCHS = 8  # as many as the benchmark "fashion" gives its ResNet


def cnn(normed: bool) -> nn.Module:
    """Two convolutions of stride 2 and 64 hidden units: 105,866 weights without batch norm."""

    def block(inside: int, outside: int) -> list[nn.Module]:
        norm = [nn.BatchNorm2d(outside)] if normed else []
        return [nn.Conv2d(inside, outside, 3, 2, 1, bias=not normed), *norm, nn.ReLU()]

    body = [*block(1, 16), *block(16, 32), nn.Flatten()]
    return nn.Sequential(*body, nn.Linear(32 * 7 * 7, 64), nn.ReLU(), nn.Linear(64, 10))


def small_resnet(normed: bool) -> nn.Module:
    """The ResNet of ``zoo``, or the same without its batch norms."""
    module = resnet(10)
    if not normed:
        _without_norms(module)
    return module


def _without_norms(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, nn.Identity())
        else:
            _without_norms(child)


NETWORKS: dict[str, tuple[str, bool]] = {
    "cnn": ("cnn", False),
    "cnn, batch norm": ("cnn", True),
    "resnet without batch norm": ("small_resnet", False),
    "resnet": ("small_resnet", True),
}


def recipe(factory: str, normed: bool) -> Recipe:
    """One epoch of plain training."""
    shape = (1, fashion_mnist.SIDE, fashion_mnist.SIDE)
    named = f"{HERE}:{factory}"
    return Recipe(
        task=Classification(named, fashion_mnist.CLASSES, shape, {"normed": normed}),
        method="retrain",
        partition=Partition(1, 1, 0.1),
        orders=1,
        epochs=1,
        batch_size=64,
        optimizer=AdamW(lr=4e-3),
    )


def measured(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """CPU seconds of one network in all ways, and what follows for 64 shadow models."""
    chosen, draw = recipe(*NETWORKS[name]), ShadowDraw(IMAGES, MODELS)
    warm = dict[int, bytes]()
    train_part(chosen, rows, ShadowDraw(IMAGES, 1), warm.get, warm.__setitem__)
    kept, spent = dict[int, bytes](), dict[int, list[float]]()
    for stack in STACKS * ROUNDS:
        kept = {}
        started = time.process_time()
        train_part(chosen, rows, draw, kept.get, kept.__setitem__, stack)
        spent.setdefault(stack, []).append(time.process_time() - started)
    started = time.process_time()
    train_part(chosen, rows, draw, kept.get, kept.__setitem__)  # reads the images and trains none
    reading = time.process_time() - started
    started = time.process_time()
    shadow_margins(chosen, rows, draw, kept.get)
    scoring = (time.process_time() - started - reading) / MODELS
    epochs = {stack: [(s - reading) / MODELS for s in spent[stack]] for stack in STACKS}
    loop = statistics.median(epochs[1])
    return {
        "weights": sum(p.numel() for p in chosen.task.build().parameters()),
        "seconds_to_read_the_images": round(reading, 2),
        "seconds_to_score_a_model": round(scoring, 3),
        "ways": {_way(stack): _way_found(epochs[stack], loop, scoring) for stack in STACKS},
    }


def _way(stack: int) -> str:
    return "loop" if stack == 1 else f"stacks of {stack}"


def _way_found(epochs: list[float], loop: float, scoring: float) -> Mapping[str, Any]:
    """CPU seconds of a shadow model's epoch, and minutes extrapolated to 64 on two cores."""
    epoch = statistics.median(epochs)
    minutes = (EPOCHS * epoch + scoring) * WANTED / CORES / 60
    most = int((LIMIT_SECONDS * CORES / WANTED - scoring) / epoch)
    return {
        "cpu_seconds_per_shadow_and_epoch": round(epoch, 3),
        "fastest_and_slowest": [round(min(epochs), 3), round(max(epochs), 3)],
        "times_the_loop": round(epoch / loop, 2),
        "extrapolated_minutes": round(minutes, 1),
        "extrapolated_most_epochs_in_20_minutes": most,
    }


def main() -> int:
    """Measure and store; 1 if no way keeps 64 shadow models of a network within 20 minutes."""
    torch.set_num_threads(1)
    started, rows = time.process_time(), fashion_mnist.load("train", IMAGES)
    networks = {name: measured(name, rows) for name in NETWORKS}
    best = {
        name: min(way["extrapolated_minutes"] for way in found["ways"].values())
        for name, found in networks.items()
    }
    result = {
        "command": "python benchmarks/shadow_training.py",
        "notes": [" ".join(part.split()) for part in (__doc__ or "").split("\n\n")],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "threads": torch.get_num_threads(),
        "measured": {
            "models": MODELS,
            "images": IMAGES,
            "epochs": 1,
            "batch_size": 64,
            "rounds": ROUNDS,
        },
        "extrapolated_to": {"models": WANTED, "epochs": EPOCHS, "cores": CORES},
        "networks": networks,
        "cpu_seconds_in_all": round(time.process_time() - started, 1),
        "passed": max(best.values()) * 60 < LIMIT_SECONDS,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))
    return 0 if result["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
