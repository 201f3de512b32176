"""Every method that edits weights, and the controls, beside retrained models on Fashion-MNIST.

    python benchmarks/methods.py

trains a small residual network on 4,000 real images (Debian's dataset-fashion-mnist), forgets a
random tenth and one class, and judges each result by an equivalence test against eight retrained
models. Parameters are the methods' defaults: no search. It writes benchmarks/results/methods.json,
and resumes: a cell that is stored under --cells is not computed again. One torch thread.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # before torch is imported
import torch
from torch import Tensor
from tqdm import tqdm

from rescind import methods_of
from rescind.core.canonical import digest, plain
from rescind.core.dataset import Record, Split
from rescind.core.errors import RescindError
from rescind.core.judgement import Judgement, Margin
from rescind.core.partition import Partition
from rescind.core.protocols import Unlearner
from rescind.core.run import AdamW, Recipe
from rescind.data.fashion_mnist import CLASSES, load
from rescind.metrics.admissible import judge
from rescind.metrics.cka import LinearCka
from rescind.metrics.features import collect
from rescind.testing.memory import MemoryModel, run_of, same_weights
from rescind.training.determinism import settle
from rescind.training.models import TrainedModel, trained_model
from rescind.training.modules import Classification
from rescind.training.plain import train_whole
from rescind.training.snapshots import from_bytes, to_bytes

RESULT = Path(__file__).parent / "results" / "methods.json"
EXACT = {"retrain", "sisa", "s3t"}
REFERENCES, SEEDS = 8, 3
TASK = Classification(
    "rescind.training.zoo:resnet", CLASSES, (1, 28, 28), {"classes": len(CLASSES)}
)
RECIPE = Recipe(
    task=TASK,
    method="retrain",
    partition=Partition(1, 1, 0.1),
    orders=1,
    epochs=8,
    batch_size=64,
    optimizer=AdamW(lr=4e-3),
)
# what counts as the same as a retrained model; one was replaced after the first run, in which a
# margin on the loss rejected every retrained model (docs/concepts/judging.md)
MARGINS = (
    Margin("forget accuracy", 0.04, "forgetting"),
    Margin("forget confidence", 0.05, "forgetting"),
    Margin("forget CKA to retrained", 0.04, "forgetting"),
    Margin("retain accuracy", 0.03, "utility"),
    Margin("test accuracy", 0.03, "utility"),
)
Values = Mapping[str, float]


def records(part: str, count: int) -> list[Record]:
    """Real images as records."""
    return [Record(str(row["id"]), row, "") for row in load(part, count)]


def forget_sets(train: Sequence[Record]) -> dict[str, list[Record]]:
    """A tenth by hash of the key, and all shirts."""
    tenth = [r for r in train if int(hashlib.sha256(r.key.encode()).hexdigest(), 16) % 10 == 0]
    return {"random tenth": tenth, "class shirt": [r for r in train if r.row["label"] == "shirt"]}


class Cells:
    """Trained and edited weights by what they were made from, so that a run can be resumed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def weights(self, key: object, make: Callable[[], TrainedModel]) -> tuple[TrainedModel, float]:
        """The model of a cell, and the CPU seconds that making it took when it was made."""
        name = self.folder / digest(key)
        weights, cost = name.with_suffix(".safetensors"), name.with_suffix(".json")
        if not cost.exists():
            started = time.process_time()
            model = make()
            spent = time.process_time() - started
            weights.write_bytes(to_bytes(model.state(model.adapted)))
            cost.write_text(json.dumps(spent))
        found = trained_model(RECIPE)
        found.load(from_bytes(weights.read_bytes()))
        return found, float(json.loads(cost.read_text()))


def reading(model: TrainedModel, batch: Mapping[str, Tensor]) -> tuple[float, float, Tensor]:
    """Accuracy, mean probability of the true label and penultimate features of one set."""
    with torch.no_grad():
        logits = model.outputs(batch)
        right = float(TASK.score(logits, dict(batch)).mean())
        sure = float((-TASK.loss(logits, dict(batch))).exp().mean())
    return right, sure, collect(model.module, ["penultimate"], [batch["array"]])["penultimate"]


def similarity(one: Tensor, others: Sequence[Tensor]) -> float:
    """Mean unbiased CKA to the others."""
    found = []
    for other in others:
        cka = LinearCka()
        cka.add(one, other)
        found.append(cka.value())
    return statistics.fmean(found)


Read = tuple[dict[str, float], Tensor]


def read(model: TrainedModel, sets: Mapping[str, Mapping[str, Tensor]]) -> Read:
    """All that is measured of one model, apart from its likeness to others."""
    forget, retain, test = (reading(model, sets[name]) for name in ("forget", "retain", "test"))
    return {
        "forget accuracy": forget[0],
        "forget confidence": forget[1],
        "retain accuracy": retain[0],
        "test accuracy": test[0],
    }, forget[2]


def columns(reads: Sequence[Read], retrained: Sequence[Read]) -> dict[str, list[float]]:
    """Values by metric, one a seed; a retrained model is compared with the other ones."""
    found = {name: [values[name] for values, _ in reads] for name in reads[0][0]}
    others = [[f for v, f in retrained if v is not values] for values, _ in reads]
    found["forget CKA to retrained"] = [
        similarity(features, rest) for (_, features), rest in zip(reads, others, strict=True)
    ]
    return found


def candidates() -> dict[str, Unlearner]:
    """Every registered method of ours that edits weights, with its defaults."""
    names = [n for n in methods_of.METHODS.names() if "/" not in n and n not in EXACT]
    return {name: methods_of.make(name) for name in names}


def main() -> None:
    """All cells, the verdicts, the stored result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=Path, default=Path("demo/methods-cells"))
    parser.add_argument("--images", type=int, default=4_000)
    args = parser.parse_args()
    settle(1)
    cells, train, test = Cells(args.cells), records("train", args.images), records("test", 2_000)
    rows = [
        row
        for name, part in forget_sets(train).items()
        for row in table(cells, name, part, train, test)
    ]
    result = {
        "what": f"Fashion-MNIST, {args.images:,} images, a small residual network, defaults.",
        "command": "python benchmarks/methods.py",
        "system": f"{platform.system()} {platform.machine()}, 1 torch thread",
        "references": REFERENCES,
        "seeds": SEEDS,
        "margins": plain(MARGINS),
        "rows": rows,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


def table(
    cells: Cells, name: str, forget: list[Record], train: list[Record], test: list[Record]
) -> list[dict[str, Any]]:
    """The verdicts on one forget set."""
    gone = {r.key for r in forget}
    retain = [r for r in train if r.key not in gone]
    kept_test = [r for r in test if name == "random tenth" or r.row["label"] != "shirt"]
    sets = {
        "forget": TASK.batch([r.row for r in forget]),
        "retain": TASK.batch([r.row for r in retain[:2_000]]),
        "test": TASK.batch([r.row for r in kept_test]),
    }

    def trained(rows: list[Record], seed: int) -> tuple[TrainedModel, float]:
        recipe = dataclasses.replace(RECIPE, seed=seed)
        key = [plain(recipe), [r.key for r in rows]]
        return cells.weights(key, lambda: train_whole(recipe, [r.row for r in rows]))

    references = [trained(retain, 100 + s) for s in tqdm(range(REFERENCES), f"{name}: retrained")]
    retrained = [read(model, sets) for model, _ in references]
    originals = [trained(train, s)[0] for s in range(SEEDS)]
    original = columns([read(model, sets) for model in originals], retrained)
    against = columns(retrained, retrained)
    made: dict[str, tuple[list[TrainedModel], float]] = {
        "original (no-op)": (originals, 0.0),
        "random weights": (
            [trained_model(dataclasses.replace(RECIPE, seed=900 + s)) for s in range(SEEDS)],
            0.0,
        ),
    }
    refused = {}
    for method_name, method in tqdm(candidates().items(), f"{name}: methods"):
        try:
            made[method_name] = edits(cells, method_name, method, originals, forget, retain)
        except RescindError as error:
            refused[method_name] = f"{type(error).__name__}: {error.what}"
    cost = statistics.fmean(spent for _, spent in references)
    rows: list[dict[str, Any]] = []
    for model_name, (models, spent) in made.items():
        values = columns([read(model, sets) for model in models], retrained)
        both = zip(models, originals, strict=True)
        unchanged = all(same_weights(m.state(m.adapted), o.state(o.adapted)) for m, o in both)
        verdict = judge(values, original, against, MARGINS, "influence")
        share = {"unchanged": unchanged, "share_of_retraining": round(spent / cost, 3)}
        rows.append({"forget_set": name, "model": model_name, **said(verdict), **share})
    for model_name, why in refused.items():
        told = {"verdict": "refused", "because": why}
        rows.append({"forget_set": name, "model": model_name, **told})
    return rows


def said(verdict: Judgement) -> dict[str, Any]:
    """A verdict as plain values, rounded."""
    return {
        "verdict": verdict.verdict,
        "because": verdict.because,
        "rejection_rate_of_retrained": verdict.rejection_rate_of_retrained,
        "gaps": {
            gap.metric: {
                "value": round(gap.value, 4),
                "retrained": round(gap.retrained_mean, 4),
                "natural_spread": round(gap.natural_spread, 4),
                "gap": round(gap.gap, 4),
                "interval": [round(end, 4) for end in gap.interval],
                "power": gap.power,
                "equivalent": gap.equivalent,
            }
            for gap in verdict.gaps
        },
    }


def edits(
    cells: Cells,
    name: str,
    method: Any,
    originals: Sequence[TrainedModel],
    forget: list[Record],
    retain: list[Record],
) -> tuple[list[TrainedModel], float]:
    """The method on each original, its seed that of the original, and its mean CPU seconds."""

    def one(seed: int) -> TrainedModel:
        handle = MemoryModel(originals[seed])
        seeded = dataclasses.replace(method, seed=seed) if hasattr(method, "seed") else method
        seeded.unlearn(handle, Split(forget, retain), run_of(RECIPE))
        if handle.edited is None:
            raise ValueError(f"{name} saved nothing")
        return handle.edited

    found = [
        cells.weights(
            [name, plain(method), plain(RECIPE), seed, [r.key for r in forget]],
            lambda seed=seed: one(seed),  # type: ignore[misc]
        )
        for seed in range(SEEDS)
    ]
    return [model for model, _ in found], statistics.fmean(spent for _, spent in found)


if __name__ == "__main__":
    main()
