"""Power and false positives of the audit u_lira, on models with a known answer.

    python benchmarks/treated_shadows.py [--work FOLDER]

Fashion-MNIST and the small network of benchmarks/shadow_training.py. Four requests of 20 records
each; for each, eight shadow models that the audited method has treated, as a request has them. They
judge originals that nobody touched, originals that the method has treated, and models retrained
without the records, eight of other seeds a request: honest servers that claim the method.

A run that was stopped goes on: models are files in the work folder, and seconds are those of the
run that ended. One torch thread.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # read when torch is imported
os.environ["OMP_NUM_THREADS"] = "1"

import torch
from torch import Tensor

from rescind import methods_of
from rescind.audits.neighbours import centred, nearest_retained
from rescind.audits.treated_shadows import Pairs, measure
from rescind.core.audit import FORGOT, HAS, LEVEL, MODELS, NEVER
from rescind.core.canonical import digest, plain
from rescind.core.dataset import Record, Split
from rescind.core.run import Recipe
from rescind.data import fashion_mnist
from rescind.metrics.features import PENULTIMATE, listen
from rescind.metrics.membership import margin
from rescind.metrics.statistics import clopper_pearson
from rescind.testing.memory import MemoryModel, run_of
from rescind.training.batches import pieces
from rescind.training.models import TrainedModel, trained_model
from rescind.training.plain import train_whole
from rescind.training.snapshots import from_bytes, to_bytes
from rescind.treated_models import Fates
from shadow_training import NETWORKS, recipe

RESULT = Path(__file__).parent / "results" / "treated_shadows.json"
METHODS = ("finetune", "cf_k", "negative_gradient", "ssd")
SHADOW, RETRAINED = 10_000, 20_000  # where their seeds begin; those of originals begin at 0


@dataclass(frozen=True)
class Size:
    """Images, requests of ``asked`` records, and models of each kind."""

    images: int = 3_000
    epochs: int = 12
    requests: int = 4
    asked: int = 20
    originals: int = 4
    retrained: int = 8


@dataclass(frozen=True, eq=False)
class Table:
    """The records, their tensors, and where models are kept."""

    records: list[Record]
    inputs: dict[str, Tensor]
    recipe: Recipe
    folder: Path

    def trained(self, rows: Tensor, seed: int) -> TrainedModel:
        """A model of these rows, (n,) bool."""
        made = replace(self.recipe, seed=seed)
        data = [r.row for r, kept in zip(self.records, rows.tolist(), strict=True) if kept]
        return self.kept(["trained", rows.tolist(), seed], lambda: train_whole(made, data))

    def treated(self, model: TrainedModel, method: str, forget: Tensor, retain: Tensor) -> Tensor:
        """Margins (n,) after the method with its default parameters."""
        halves = [
            [r for r, kept in zip(self.records, rows.tolist(), strict=True) if kept]
            for rows in (forget, retain)
        ]
        handle = MemoryModel(model)
        run = run_of(self.recipe)
        methods_of.make(method).unlearn(handle, Split(halves[0], halves[1]), run)
        return self.margins(handle.edited or model)

    def margins(self, model: TrainedModel) -> Tensor:
        """(n,) of all records."""
        with torch.no_grad():
            logits = torch.cat([model.outputs(p) for p in pieces(self.inputs, 512)])
        return margin(logits, self.inputs["labels"]).double()

    def features(self, model: TrainedModel) -> Tensor:
        """(n, width), penultimate."""
        with torch.no_grad(), listen(model.module, [PENULTIMATE]) as found:
            model.outputs(self.inputs)
        return found[PENULTIMATE]

    def kept(self, name: object, make: Callable[[], TrainedModel]) -> TrainedModel:
        """The model of a name, made where its file is missing."""
        file = self.folder / f"{digest([name, plain(self.recipe), len(self.records)])[:20]}"
        if not file.exists():
            made = make()
            partial = file.with_suffix(".partial")
            partial.write_bytes(to_bytes(made.state(made.adapted)))
            partial.rename(file)
        model = trained_model(self.recipe)
        model.load(from_bytes(file.read_bytes()))
        return model


def table(size: Size, folder: Path) -> Table:
    """The first images of Fashion-MNIST."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = fashion_mnist.load("train", size.images)
    records = [Record(str(row["id"]), row, digest(row)) for row in rows]
    chosen = replace(recipe(*NETWORKS["cnn"]), epochs=size.epochs)
    return Table(records, trained_model(chosen).inputs(rows), chosen, folder)


@dataclass(frozen=True, eq=False)
class Asked:
    """One request: its rows (n,) bool, the fates (models, n), and margins of what it is judged by
    and of models with a known answer.
    """

    rows: Tensor
    fate: Tensor
    shadows: Sequence[TrainedModel]
    untreated: Tensor
    retrained: Tensor


def asked(table_: Table, size: Size, number: int) -> Asked:
    """Its shadow models and retrained models."""
    generator = torch.Generator().manual_seed(number)
    rows = torch.zeros(size.images, dtype=torch.bool)
    rows[torch.randperm(size.images, generator=generator)[: size.asked]] = True
    keys = [r.key for r in table_.records]
    own = [k for k, mine in zip(keys, rows.tolist(), strict=True) if mine]
    drawn = Fates(number).drawn(own, [k for k in keys if k not in set(own)])
    fate = torch.tensor([drawn.get(k, (HAS,) * MODELS) for k in keys]).T
    first = SHADOW + 100 * number
    shadows = [table_.trained(fate[m] != NEVER, first + m) for m in range(MODELS)]
    again = [table_.trained(~rows, RETRAINED + 100 * number + i) for i in range(size.retrained)]
    return Asked(
        rows,
        fate,
        shadows,
        torch.stack([table_.margins(m) for m in shadows]),
        torch.stack([table_.margins(m) for m in again]),
    )


def judged(
    table_: Table, request: Asked, method: str, originals: Sequence[TrainedModel]
) -> dict[str, list[float]]:
    """P of each kind of model, and power and trace once for each model that was judged."""
    fate, everything = request.fate, torch.ones_like(request.rows)
    treated = torch.stack(
        [
            table_.treated(model, method, fate[m] == FORGOT, fate[m] == HAS)
            for m, model in enumerate(request.shadows)
        ]
    )
    rows = (fate != HAS).any(0).nonzero().flatten()
    free = everything.index_fill(0, rows, False)
    found: dict[str, list[float]] = {"power": [], "trace": []}

    def judge(kind: str, margins: Tensor, before: TrainedModel) -> None:
        near = nearest_retained(table_.features(before), table_.inputs["labels"], rows, free)
        untreated, after = (centred(x, rows, near) for x in (request.untreated, treated))
        pairs = Pairs(untreated, after, fate[:, rows])
        seen = measure(pairs, centred(margins, rows, near), request.rows[rows])
        found.setdefault(kind, []).append(seen.p)
        found["power"].append(seen.power)
        found["trace"].append(seen.trace)

    for model in originals:
        judge("untouched", table_.margins(model), model)
        made = table_.treated(model, method, request.rows, ~request.rows)
        judge("treated", made, model)
    for margins in request.retrained:
        judge("retrained", margins, originals[0])
    return found


def head(name: str, doc: str) -> dict[str, Any]:
    """What a stored result says of its command and of the machine."""
    return {
        "command": f"python benchmarks/{name}.py",
        "notes": [" ".join(part.split()) for part in doc.split("\n\n")],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "threads": torch.get_num_threads(),
    }


def result(size: Size, folder: Path) -> dict[str, Any]:
    """All that is stored."""
    started = time.process_time()
    given = table(size, folder)
    every = torch.ones(size.images, dtype=torch.bool)
    originals = [given.trained(every, seed) for seed in range(size.originals)]
    found: dict[str, list[dict[str, list[float]]]] = {m: [] for m in METHODS}
    for number in range(size.requests):
        request = asked(given, size, number)
        for method in METHODS:
            found[method].append(judged(given, request, method, originals))
            print(f"request {number + 1} of {size.requests}, {method}", flush=True)
    return {
        **head("treated_shadows", __doc__ or ""),
        "measured": vars(size) | {"network": "cnn", "level": LEVEL, "shadow_models": MODELS},
        "cpu_seconds_of_the_last_run": round(time.process_time() - started, 1),
        "rows": [row(method, each) for method, each in found.items()],
    }


def row(method: str, requests: Sequence[dict[str, list[float]]]) -> dict[str, Any]:
    """One method: models flagged, with exact 95 % intervals, and what the audit says of itself."""
    told: dict[str, Any] = {"method": method}
    for kind in ("untouched", "treated", "retrained"):
        values = [p < LEVEL for one in requests for p in one[kind]]
        low, high = clopper_pearson(sum(values), len(values))
        told[kind] = [sum(values), len(values), round(low, 3), round(high, 3)]
    for name in ("power", "trace"):
        told[name] = round(fmean(x for one in requests for x in one[name]), 3)
    return told


def main() -> int:
    """Measure and store."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = Path(tempfile.gettempdir()) / "rescind_treated_shadows"
    options.add_argument("--work", type=Path, default=default, help="keeps models; resumable")
    torch.set_num_threads(1)
    found = result(Size(), options.parse_args().work)
    RESULT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
