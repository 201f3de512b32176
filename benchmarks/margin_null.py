"""How often the audit of margins accuses models that kept every record: 400 small ones.

    python benchmarks/margin_null.py [--quick] [--work FOLDER]

Perceptrons on 1,200 images of Fashion-MNIST: 20 originals, and to each 20 models of other seeds on
the same data. One request of each size, drawn at random, is asked of each model, so that each is
counted once. Beside the test stands the one it replaced: the mean change beside matches around
each requested record, whose null is exact only if these are as good as drawn with it. Resumes: each
original with its models is a file in the work folder. One thread.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import margin_difference as world  # before torch is imported: it settles the threads
from kept_cells import command, folder, kept

# isort: split
import torch

from rescind.audits.margin_difference import changes, measure, prepare
from rescind.audits.permutation import permuted
from rescind.core.canonical import digest, plain
from rescind.core.run import AdamW, Order
from rescind.data.fashion_mnist import CLASSES, load
from rescind.metrics.features import collect
from rescind.metrics.membership import margin
from rescind.training.determinism import settle
from rescind.training.models import trained_model
from rescind.training.modules import Classification
from rescind.training.stages import CellData, cell_data, train_order

RESULT = Path(__file__).parent / "results" / "margin_null.json"
TASK = Classification(
    "rescind.training.zoo:mlp", CLASSES, (1, 28, 28), {"inputs": 784, "outputs": 10, "hidden": [64]}
)
RECIPE = dataclasses.replace(world.RECIPE, task=TASK, optimizer=AdamW(lr=3e-3))
REQUESTS, LEVELS, MOST = (1, 5, 20, 50, 100), (0.05, 0.01), 0.10


@dataclasses.dataclass(frozen=True)
class Size:
    """How much is trained."""

    images: int = 1_200
    first: int = 20_000  # images that no other benchmark of margins uses
    originals: int = 20
    others: int = 20
    epochs: int = 20


def looked_at(
    data: CellData, epochs: int, seed: int, has: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Margins and features of all records in a model of this seed, which was trained on those that
    it ``has``: a mask (n,), or else all.
    """
    recipe = dataclasses.replace(RECIPE, seed=seed, epochs=epochs)
    own = data
    if has is not None:
        own = CellData({k: t[has] for k, t in data.activations.items()}, data.labels[has])
    model = trained_model(recipe)
    order = Order(0, 0, (0,), (model.adapted,))
    train_order(model, recipe, order, lambda c: own, {}, lambda *s: None, lambda *s: None)
    inputs = [data.activations["array"]]
    with torch.no_grad():
        logits = model.outputs(data.activations)
    features = collect(model.module, ["penultimate"], inputs)["penultimate"]
    return margin(logits, data.labels), features


def one_original(data: CellData, size: Size, number: int) -> list[dict[str, float]]:
    """The p of every model and size of request."""
    first = 10_000 + 1_000 * number
    before, features = looked_at(data, size.epochs, first)
    found = []
    for other in range(1, size.others + 1):
        after, _ = looked_at(data, size.epochs, first + other)
        for n in REQUESTS:
            generator = torch.Generator().manual_seed(1_000 * (first + other) + n)
            requested = torch.zeros(size.images, dtype=torch.bool)
            requested[torch.randperm(size.images, generator=generator)[:n]] = True
            question = prepare(before, data.labels, features, requested)
            test = measure(question, after, seed=other)
            mean = permuted(changes(question, after), seed=other).below
            found.append({"n": n, "p": test.p_fell, "p_rose": test.p_rose, "p_mean": mean})
    return found


def rows(every: Sequence[Mapping[str, float]]) -> list[dict[str, Any]]:
    """A row a size of request and a level."""
    return [
        {
            "n": n,
            "level": level,
            "accused": world.share([p["p"] < level for p in every if p["n"] == n]),
            "said_to_have_risen": world.share([p["p_rose"] < level for p in every if p["n"] == n]),
            "accused_by_the_mean": world.share([p["p_mean"] < level for p in every if p["n"] == n]),
        }
        for n in REQUESTS
        for level in LEVELS
    ]


def head(what: str, script: str, quick: bool, size: Any, started: float) -> dict[str, Any]:
    """What stands above the rows; ``started`` is the process time at the beginning."""
    return {
        "what": what,
        "command": command(script, quick),
        "system": f"{platform.system()} {platform.machine()}, torch {torch.__version__}",
        "threads": 1,
        "size": dataclasses.asdict(size),
        "cpu_seconds_of_this_run": round(time.process_time() - started),
    }


def main() -> None:
    """Train, ask, store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "margin-null")
    args = parser.parse_args()
    settle(1)
    size = Size(images=800, originals=2, others=2, epochs=2) if args.quick else Size()
    cells, started = folder(args.work, args.quick), time.process_time()
    data = cell_data(trained_model(RECIPE), load("train", size.first + size.images)[size.first :])
    name = digest([plain(RECIPE), plain(size), REQUESTS])[:12]
    every = [
        p
        for i in range(size.originals)
        for p in kept(cells / f"{name}-{i}.json", lambda i=i: one_original(data, size, i))  # type: ignore[misc]
    ]
    found = rows(every)
    what = "Models of other seeds that kept every record, accused by the audit of margins."
    result = head(what, "margin_null.py", args.quick, size, started) | {
        "met": all(r["accused"]["upper_95"] <= MOST for r in found if r["level"] == LEVELS[0]),
        "rows": found,
    }
    if not args.quick:
        RESULT.write_text(world.laid_out(result))
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
