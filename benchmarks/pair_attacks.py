"""What a pair of models, relearning and rounding tell of servers with a known answer.

    python benchmarks/pair_attacks.py [--quick] [--work FOLDER]

Fashion-MNIST and the small network of benchmarks/shadow_training.py, five seeds of originals, each
with requests of its own: 100 random images, 20, a whole class, and one image. Servers do nothing,
retrain, or run a method with its defaults. *Same seed and batches* leaves the records out of the
very batches of the original; *same seed* draws its batches anew, as the method retrain does.

Margin drops: area under the curve of the requested images against the retained ones, beside that
of one model alone. Inversion: one image from the change of weights, whose search was chosen on
another seed; one step up the loss of an image, as far as brings it to the loss of held-out images,
is what it has power over, the same step for another image of the class its control. Relearning and
rounding at 4 bits: beside three retrained models of other seeds, the fewest that are accepted, and
beside eight, as in a request; models that hide the records are what they have power over.

A run that was stopped goes on: models and finished seeds are files in the work folder, and seconds
of a seed are those of the run that ended it. One torch thread.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # read when torch is imported
os.environ["OMP_NUM_THREADS"] = "1"

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import treated_shadows
from pair_servers import (
    AGAIN,
    BITS,
    CLASS,
    FEW,
    MANY,
    ONE,
    SAME,
    UNTOUCHED,
    Size,
    World,
    hiding,
    mean_loss,
    servers,
    stepped,
)
from rescind.audits.inversion import Matching, change, inversion_finding, likeness, match_gradient
from rescind.audits.quantisation import Recovery, quantisation_finding, recovery
from rescind.audits.relearning import savings
from rescind.audits.relearning_audit import SHARE, STEPS
from rescind.audits.roc import roc
from rescind.audits.update_attack import margin_drop
from rescind.core.audit import LEVEL
from rescind.core.canonical import digest
from rescind.core.errors import InsufficientEvidence, NoOp
from rescind.data import fashion_mnist
from rescind.metrics.relearning import LABELS, Budget, Curve, few, relearn
from rescind.training.models import TrainedModel, trained_model

RESULT = Path(__file__).parent / "results" / "pair_attacks.json"
ALONE = "the original alone"
STEP, ELSEWHERE = "one step up its loss", "one step up the loss of another"
SMOOTH = 0.01
T = TypeVar("T")
QUICK = Size(images=600, epochs=2, test=100, many=30, references=(3,), steps=5, seeds=(1,))


def of_drops(w: World, found: Mapping[str, TrainedModel], rows: Tensor) -> dict[str, Any]:
    """Areas of margin drops, of the model after alone and of the model before alone."""
    before = w.table.margins(found[UNTOUCHED])

    def area(scores: Tensor) -> float:
        return round(roc(scores[rows], scores[~rows]).auc, 4)

    told: dict[str, Any] = {ALONE: {"area": area(-before)}}
    for name, model in found.items():
        after = w.table.margins(model)
        with torch.no_grad():
            right = (model.outputs(w.test).argmax(1) == w.test[LABELS]).double().mean()
        areas = {"drop": area(margin_drop(before, after)), "after": area(-after)}
        told[name] = {**areas, "accuracy": round(float(right), 4)}
    return told


def of_inversion(w: World, found: Mapping[str, TrainedModel], rows: Tensor) -> dict[str, Any]:
    """What the audit tells of each pair, and the likeness of the record beside its class."""
    (x, labels), (_, asked) = w.at(torch.ones_like(rows)), w.at(rows)
    others = (labels == asked) & ~rows
    before = copy.deepcopy(found[UNTOUCHED].module).requires_grad_(True)
    after = {name: model.module for name, model in found.items()}
    after[STEP] = stepped(w, before, int(rows.nonzero()))
    after[ELSEWHERE] = stepped(w, before, int(others.nonzero()[0]))
    search = Matching(steps=w.size.steps, starts=1, smooth=SMOOTH)
    loss = float(mean_loss(found[UNTOUCHED].module, *w.at(rows)))
    told: dict[str, Any] = {ALONE: {"loss": float(f"{loss:.1e}")}}
    for name, module in after.items():
        try:
            moved = change(before, module)
        except NoOp:
            told[name] = {"told": "nothing to invert"}
            continue
        made = match_gradient(before, mean_loss, moved, asked, x.shape[1:], search)
        finding = inversion_finding(made, asked, x, labels, rows, LEVEL)
        like = likeness(made, asked, x, labels)
        seen = {"p": finding.p, "effect": finding.effect, "likeness": float(like[rows])}
        seen["of_the_class"] = float(like[others].mean())
        told[name] = {"told": finding.outcome, **{k: round(v, 4) for k, v in seen.items()}}
    return told


def curves(w: World, rows: Tensor, seed: int) -> Callable[[nn.Module], Curve]:
    """How a module learns the records again, as the audit ``relearning`` of a request has it."""
    shown, held_out = few({k: t[rows] for k, t in w.table.inputs.items()}, SHARE, seed)
    budget = Budget(steps=STEPS, lr=w.table.recipe.optimizer.lr)

    def losses(module: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        return cross_entropy(module(batch["array"]), batch[LABELS], reduction="none")

    def score(module: nn.Module, batch: Mapping[str, Tensor]) -> float:
        return float((module(batch["array"]).argmax(1) == batch[LABELS]).double().mean())

    return lambda module: relearn(module, losses, score, shown, held_out, budget, seed)


def saved(curve: Curve, beside: Sequence[Curve]) -> dict[str, Any]:
    """Doublings; the same entries where it is refused, which the retrained models decide."""
    told: dict[str, Any] = {"start": round(curve.start, 4)}
    try:
        found = savings(curve, beside)
    except InsufficientEvidence as error:
        return told | {"doublings": None, "p": None, "open": None, "refused": error.what}
    doublings, p = round(found.doublings, 3), round(found.p, 5)
    return told | {"doublings": doublings, "p": p, "open": found.open, "refused": None}


def brought_back(own: Recovery, beside: Sequence[Recovery]) -> dict[str, Any]:
    """Nats beyond noise and retrained models."""
    finding = quantisation_finding(own, beside, LEVEL)
    return {"effect": round(finding.effect, 4), "p": round(finding.p, 5)}


def beside_retrained(
    measure: Callable[[nn.Module], T],
    judge: Callable[[T, Sequence[T]], dict[str, Any]],
    models: Mapping[str, nn.Module],
    retrained: Sequence[nn.Module],
    counts: Sequence[int],
) -> dict[str, Any]:
    """Each model judged beside the first few retrained ones."""
    others = [measure(module) for module in retrained]
    own = {name: measure(module) for name, module in models.items()}
    return {
        name: {f"beside {count}": judge(one, others[:count]) for count in counts}
        for name, one in own.items()
    }


def seen(w: World, seed: int) -> dict[str, Any]:
    """All attacks of one original."""
    started, counts = time.process_time(), w.size.references
    asked = w.requests(seed)
    found = {name: servers(w.table, rows, seed) for name, rows in asked.items()}
    for name in (MANY, ONE):
        found[name][SAME] = w.table.trained(~asked[name], seed)
    told: dict[str, Any] = {
        "update": of_drops(w, found[MANY], asked[MANY]),
        "inversion": of_inversion(w, found[ONE], asked[ONE]),
    }
    for name in (CLASS, FEW):
        rows, each = asked[name], {k: model.module for k, model in found[name].items()}
        each |= hiding(w, each[UNTOUCHED], rows, seed)
        again = [seed + AGAIN * (2 + i) for i in range(max(counts))]
        beside = [w.table.trained(~rows, other).module for other in again]
        learn, x, labels = curves(w, rows, seed), *w.at(rows)

        def losses(module: nn.Module, x: Tensor = x, labels: Tensor = labels) -> Recovery:
            return recovery(module, lambda m: m(x), labels, BITS)

        told[f"relearning, {name}"] = beside_retrained(learn, saved, each, beside, counts)
        told[f"rounding, {name}"] = beside_retrained(losses, brought_back, each, beside, counts)
    return told | {"cpu_seconds": round(time.process_time() - started, 1)}


def joined(parts: Sequence[Any]) -> Any:
    """Equal trees as one tree of lists, an entry a seed."""
    if not isinstance(parts[0], dict):
        return list(parts)
    keys = {key: None for part in parts for key in part}
    return {key: joined([part[key] for part in parts if key in part]) for key in keys}


def result(size: Size, folder: Path) -> dict[str, Any]:
    """All that is stored."""
    shape = treated_shadows.Size(images=size.images, epochs=size.epochs)
    table = treated_shadows.table(shape, folder)
    test = trained_model(table.recipe).inputs(fashion_mnist.load("test", size.test))
    w, each = World(size, table, test), []
    for seed in size.seeds:
        file = folder / f"seed_{digest([asdict(replace(size, seeds=(seed,)))])[:20]}.json"
        if not file.exists():
            partial = file.with_suffix(".partial")  # a killed run leaves no half a file
            partial.write_text(json.dumps(seen(w, seed)), encoding="utf-8")
            partial.replace(file)
            print(f"seed {seed} of {size.seeds}", file=sys.stderr, flush=True)
        each.append(json.loads(file.read_text(encoding="utf-8")))
    return {
        **treated_shadows.head("pair_attacks", __doc__ or ""),
        "measured": asdict(size) | {"network": "cnn", "level": LEVEL, "bits": BITS},
        **joined(each),
    }


def _on_one_line(found: re.Match[str]) -> str:
    return json.dumps(json.loads(found[0]))


def main() -> int:
    """Measure; store unless it is a quick run, which goes to standard output."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = Path(tempfile.gettempdir()) / "rescind_pair_attacks"
    options.add_argument("--work", type=Path, default=default, help="keeps models; resumable")
    options.add_argument("--quick", action="store_true", help="600 images, one seed, not stored")
    asked = options.parse_args()
    torch.set_num_threads(1)
    found = result(QUICK if asked.quick else Size(), asked.work)
    # a list on a line of its own: an entry is a seed
    text = re.sub(r"\[\n[^\[\]{}]*\]", _on_one_line, json.dumps(found, indent=1))
    if not asked.quick:
        RESULT.write_text(text + "\n", encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
