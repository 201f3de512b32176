"""Power and false positives of the change of margins, counted over models, on Fashion-MNIST.

    python benchmarks/margin_difference.py

trains the small network of the bench of cheats on a few thousand images: originals; models of other
seeds that kept all records; models that never had a forget set of 100, with another seed and with
the original's; models without five records, which are all that is asked for; shadow models that had
each candidate with probability one half; and, if wanted, originals that are trained in two stages,
whose first stage is what a truncation leaves. Sets of 1 to 100 records are asked for in each, the
other removed ones being excluded. It writes
benchmarks/results/margin_difference.json and .png and resumes: a model whose margins are stored
under --cells is not trained again. One torch thread.

Sets of removed records that are asked of one model are not independent. So one set of each size,
fixed beforehand by the number of the model, decides the rates with their exact intervals. Models
that are compared with one original share it, and all share the shadows: the intervals hold given
these, and say nothing of others. "Same seed" is the same recipe: the same initialisation, and
batches in another order, since there are fewer records. "Same batches" has those of the original,
with the loss of removed records left out, which no retraining of this project does: it is what
earlier probes measured. They left out no more than they asked for, as "these alone" does: 95 other
records move a model further. False positives are counted over all models, asked for three sets of
records that they kept. The null of a truncation asks for records of the first stage, which the
truncated model kept; its power asks for records of the second, which it never had.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import shlex
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # before torch is imported
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from rescind.audits.holdout_gap import Holdout
from rescind.audits.margin_difference import MarginDifference, changes, measure, prepare
from rescind.audits.neighbours import centred, nearest_retained
from rescind.audits.permutation import permuted
from rescind.audits.shadow_difference import ShadowDifference
from rescind.audits.shadow_difference import measure as measure_shadows
from rescind.audits.shadows import trained_shadows
from rescind.core.canonical import digest, plain
from rescind.core.partition import Cell, Partition
from rescind.core.run import AdamW, Order, Recipe
from rescind.data.fashion_mnist import CLASSES, load
from rescind.metrics.features import collect
from rescind.metrics.membership import margin
from rescind.metrics.statistics import clopper_pearson
from rescind.training.determinism import settle
from rescind.training.extra_term import Moment
from rescind.training.models import TrainedModel, trained_model
from rescind.training.modules import Classification
from rescind.training.plain import train_whole
from rescind.training.snapshots import from_bytes
from rescind.training.stages import cell_data, train_order

RESULT = Path(__file__).parent / "results" / "margin_difference.json"
TASK = Classification(
    "rescind.testing.cheats.networks:cnn", CLASSES, (1, 28, 28), {"classes": len(CLASSES)}
)
RECIPE = Recipe(
    task=TASK,
    method="retrain",
    partition=Partition(1, 1, 0.1),
    orders=1,
    epochs=20,
    batch_size=64,
    # of .002, .003 and .004 that which gives the training accuracy of the probes, .97: how much a
    # model has learned by heart decides the power
    optimizer=AdamW(lr=3e-3),
)
LEVEL = 0.05
HARD = 0.25  # the quarter of the records with the smallest margins before
REQUESTS = (1, 5, 20, 50, 100)
THESE = 5  # what a request removes that is retrained for by itself
POOL = 1_000  # candidates: what may be asked for, and what shadows have with probability one half
SHADOWS = (4, 8)
Kind = Literal[
    "original",
    "kept",
    "other_seed",
    "same_seed",
    "same_batches",
    "these_alone",
    "shadow",
    "staged",
    "cut",
]
ALONE: tuple[Kind, ...] = ("kept", "other_seed")  # what shadows are asked about
# how a model is trained, where that is not plainly
WAYS = {
    "staged": "staged",
    "cut": "staged",
    "same_batches": "same_batches",
    "these_alone": "same_batches",
}
FIRST_SEED = {"kept": 1_000, "other_seed": 2_000, "shadow": 4_000, "staged": 5_000}
# what the issue asked for: (audit, models, records), the least power
TARGETS: dict[tuple[str, str, int], float] = {
    ("margins", "other_seed", 20): 0.70,
    ("margins", "other_seed", 100): 0.95,
    ("margins", "these_alone", 5): 0.80,
    ("8 shadows", "other_seed", 20): 0.85,
    ("8 shadows", "other_seed", 50): 0.98,
}
DEFAULTS = {
    "images": 5_000,
    "holdout": 2_000,
    "epochs": 20,
    "originals": 4,
    "kept": 16,
    "removed": 40,
    "alike": 0,
    "staged": 0,
}
# models that kept what they are asked for, with so many sets each
SETS = 3
INNOCENT = ("kept", "other_seed, records kept", "these_alone, records kept")
PARTS = ("hits", "sets")
MOST = 0.10  # the upper bound of false positives, of the audit without shadows


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much is trained and asked."""

    images: int
    holdout: int
    epochs: int
    originals: int
    kept: int
    removed: int
    alike: int  # with the original's seed, lacking the whole forget set
    staged: int


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
    for i in range(max(SHADOWS)):
        yield Model("shadow", i, -1, FIRST_SEED["shadow"] + i, tuple(absent(i)))
    for i in range(max(sizes.kept, sizes.removed, sizes.staged)):
        original = i % sizes.originals
        if i < sizes.kept:
            yield Model("kept", i, original, FIRST_SEED["kept"] + i)
        if i < sizes.removed:
            gone = tuple(drawn(7_000 + i, max(REQUESTS)))
            yield Model("other_seed", i, original, FIRST_SEED["other_seed"] + i, gone)
            if i < sizes.alike:
                yield Model("same_seed", i, original, original, gone)
                yield Model("same_batches", i, original, original, gone)
            these = tuple(drawn(8_000 + i, THESE))
            yield Model("these_alone", i, original, original, these)
        if i < sizes.staged:
            second = tuple(range(sizes.images // 2, sizes.images))
            yield Model("staged", i, -1, FIRST_SEED["staged"] + i)
            yield Model("cut", i, -1, FIRST_SEED["staged"] + i, second)


def drawn(seed: int, count: int) -> list[int]:
    """Distinct candidates, which are the first rows of the training images."""
    order = torch.randperm(POOL, generator=torch.Generator().manual_seed(seed))
    rows: list[int] = order[:count].sort().values.tolist()
    return rows


def absent(shadow: int) -> list[int]:
    """The candidates that a shadow never has, each with probability one half."""
    coins = torch.rand(POOL, generator=torch.Generator().manual_seed(9_000 + shadow))
    rows: list[int] = (coins < 0.5).nonzero().flatten().tolist()
    return rows


class LeftOut:
    """Takes the loss of some rows out of each batch, and changes nothing else."""

    def __init__(self, labels: Tensor, gone: Sequence[int]) -> None:
        self.labels, self.gone = labels, torch.zeros(len(labels), dtype=torch.bool)
        self.gone[list(gone)] = True

    def of_stage(self, rows: Mapping[Cell, int], seed: int) -> LeftOut:
        """The one stage."""
        return self

    def due(self, step: int) -> bool:
        """Always."""
        return True

    @contextmanager
    def listen(
        self, module: torch.nn.Module, batch: Mapping[str, Tensor]
    ) -> Iterator[dict[str, Tensor]]:
        """The logits of the pass."""
        heard: dict[str, Tensor] = {}
        handle = module.register_forward_hook(lambda m, given, out: heard.update(logits=out))
        try:
            yield heard
        finally:
            handle.remove()

    def loss(self, moment: Moment, heard: Mapping[str, Tensor]) -> Tensor:
        """Minus what these rows add to the mean."""
        rows = self.gone[moment.index]
        own = torch.nn.functional.cross_entropy(
            heard["logits"][rows], self.labels[moment.index][rows], reduction="sum"
        )
        return -own / len(rows)


class Cells:
    """Margins of trained models by what they were made from."""

    def __init__(self, folder: Path, sizes: Sizes) -> None:
        self.folder, self.sizes = folder, sizes
        folder.mkdir(parents=True, exist_ok=True)
        self.rows = load("train", sizes.images)
        self.batch = TASK.batch(self.rows)
        self.outside = TASK.batch(load("test", sizes.holdout))
        self.near: dict[int, Tensor] = {}

    def of(self, model: Model) -> dict[str, Tensor]:
        """Margins of the training images and the holdout; features of originals too."""
        recipe = dataclasses.replace(RECIPE, epochs=self.sizes.epochs, seed=model.seed)
        way = WAYS.get(model.kind, "")
        made_from = [plain(recipe), self.sizes.images, self.sizes.holdout, model.gone, way]
        path = self.folder / f"{digest(made_from)}.safetensors"
        if not path.exists():
            found = self._read(recipe, model)
            part = path.with_suffix(".part")
            part.write_bytes(save(found))
            part.replace(path)
        stored: dict[str, Tensor] = load_file(path)
        return stored

    def before(self, model: Model) -> dict[str, Tensor]:
        """The original that a model is compared with."""
        if model.kind in ("staged", "cut"):
            return self.of(Model("staged", model.number, -1, model.seed))
        return self.of(Model("original", model.original, model.original, model.original))

    def _read(self, recipe: Recipe, model: Model) -> dict[str, Tensor]:
        gone, started = set(model.gone), time.process_time()
        if model.kind in ("staged", "cut"):
            trained = self._staged(recipe, stages=1 if gone else 2)
        elif WAYS.get(model.kind) == "same_batches":
            left_out = LeftOut(self.batch["labels"], model.gone)
            trained = train_whole(recipe, self.rows, seeding=left_out)
        else:
            trained = train_whole(recipe, [r for i, r in enumerate(self.rows) if i not in gone])
        spent = time.process_time() - started
        found = {"cpu_seconds": torch.tensor(spent, dtype=torch.float64)}
        with torch.no_grad():
            for name, batch in (("inside", self.batch), ("outside", self.outside)):
                logits = trained.outputs(batch)
                found[name] = margin(logits, batch["labels"])
                right = (logits.argmax(1) == batch["labels"]).double().mean()
                found[f"{name}_accuracy"] = right
        inputs = [self.batch["array"]]
        found["features"] = collect(trained.module, ["penultimate"], inputs)["penultimate"]
        return found

    def _staged(self, recipe: Recipe, stages: int) -> TrainedModel:
        """Half of the images, then all of them, as S3T trains a shard of two slices."""
        made, half = trained_model(recipe), self.sizes.images // 2
        order = Order(0, 0, (0, 1)[:stages], ((0,), (0,))[:stages])
        parts = {Cell(0, 0): self.rows[:half], Cell(0, 1): self.rows[half:]}
        done: dict[int, bytes] = {}
        train_order(
            made, recipe, order, lambda c: cell_data(made, parts[c]), {}, done.__setitem__, silent
        )
        made.load(from_bytes(done[stages - 1]))
        return made

    def nearest(self, original: int) -> Tensor:
        """The neighbours of all candidates among what every model had."""
        if original not in self.near:
            before = self.of(Model("original", original, original, original))
            always = torch.arange(self.sizes.images) >= POOL
            labels = self.batch["labels"]
            found = nearest_retained(before["features"], labels, torch.arange(POOL), always)
            self.near[original] = found
        return self.near[original]


def silent(what: str, done: int, total: int) -> None:
    """Each model is told when it is there."""


def asked(sizes: Sizes, model: Model, n: int, removed: bool = True, again: int = 0) -> list[int]:
    """The set of a model: among those that are gone, or of any candidate where none is; with
    ``removed`` false among those that it kept. ``again`` numbers further sets.
    """
    seed = 100_000 + 1_000 * model.number + n + 1_000_000 * again
    generator = torch.Generator().manual_seed(seed)
    if model.kind == "cut":
        first, half = (sizes.images // 2 if removed else 0), sizes.images // 2
        return (first + torch.randperm(half, generator=generator)[:n]).sort().values.tolist()
    if not model.gone:
        return drawn(seed, n)
    pool = model.gone if removed else sorted(set(range(POOL)) - set(model.gone))
    order = torch.randperm(len(pool), generator=generator)[:n].tolist()
    return [pool[i] for i in order]


@dataclasses.dataclass(frozen=True)
class Asked:
    """What the audit found; p by the mean of c, which it was before; whether a record was hard."""

    found: MarginDifference
    p_mean: float
    hard: bool


def audited(cells: Cells, model: Model, n: int, removed: bool = True, again: int = 0) -> Asked:
    """One set asked of one model."""
    before, after = cells.before(model), cells.of(model)
    requested = torch.zeros(cells.sizes.images, dtype=torch.bool)
    requested[asked(cells.sizes, model, n, removed, again)] = True
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
    margins = before["inside"]
    return Asked(
        measure(question, after["inside"], level=LEVEL, seed=model.number),
        permuted(changes(question, after["inside"]), seed=model.number).below,
        bool((margins[requested] < margins.quantile(HARD)).any()),
    )


def beside_shadows(cells: Cells, model: Model, n: int, count: int) -> ShadowDifference:
    """The same set, beside shadows that had and had not the candidates."""
    near, queries = cells.nearest(model.original), torch.arange(POOL)
    shadows = [m for m in models(cells.sizes) if m.kind == "shadow"][:count]
    seen = torch.ones(count, POOL, dtype=torch.bool)
    for i, shadow in enumerate(shadows):
        seen[i, list(shadow.gone)] = False
    margins = torch.stack([cells.of(s)["inside"] for s in shadows])
    requested = torch.zeros(POOL, dtype=torch.bool)
    requested[asked(cells.sizes, model, n)] = True
    return measure_shadows(
        trained_shadows(centred(margins, queries, near), seen),
        centred(cells.of(model)["inside"], queries, near),
        requested,
        level=LEVEL,
        seed=model.number,
        ranks_alone=True,  # as its result was made; shadow_null.py asks the audit of a request
    )


def share(hits: Sequence[bool]) -> dict[str, Any]:
    """Of models, one set each, with Clopper and Pearson's 95 % interval."""
    low, high = clopper_pearson(sum(hits), len(hits))
    return {
        "hits": sum(hits),
        "models": len(hits),
        "share": round(sum(hits) / len(hits), 4),
        "interval": [round(low, 4), round(high, 4)],
        "upper_95": round(clopper_pearson(sum(hits), len(hits), 0.9)[1], 4),
    }


def row(cells: Cells, kind: Kind, n: int, removed: bool = True) -> dict[str, Any]:
    """One size of request asked of all models of a kind."""
    chosen = [m for m in models(cells.sizes) if m.kind == kind]
    each = [audited(cells, m, n, removed) for m in chosen]
    first, hard = [a.found for a in each], [a.found.p_fell < LEVEL for a in each if a.hard]
    extents = [f.extent for f in first if f.extent is not None]
    truth = float(kind != "kept" and removed)
    held = [f.interval[0] <= truth <= f.interval[1] for f in first if f.extent is not None]
    return {
        "audit": "margins",
        "models_are": kind if removed else f"{kind}, records kept",
        "n": n,
        "controls": first[0].controls,
        "rejected": share([f.p_fell < LEVEL for f in first]),
        "rejected_two_sided": share([f.p < LEVEL for f in first]),
        "rejected_by_the_mean": share([a.p_mean < LEVEL for a in each]),
        "rejected_with_a_hard_record": share(hard) if hard else None,
        "removal_told": share([f.told == "as_removed" for f in first]),
        "overshoot_told": share([f.told == "overshoot" for f in first]),
        "extent_mean": round(statistics.fmean(extents), 3) if extents else None,
        "extent_sd": round(statistics.stdev(extents), 3) if len(extents) > 1 else None,
        "interval_holds_truth": share(held) if held else None,
        **(_sets(cells, chosen, n, removed) if kind == "kept" or not removed else {}),
    }


def _sets(cells: Cells, chosen: Sequence[Model], n: int, removed: bool) -> dict[str, Any]:
    """Further requests for records that were kept: given the models, p depends on the draw of the
    request alone, so that by the construction of the test they are independent.
    """
    hits = [
        audited(cells, model, n, removed, again).found.p_fell < LEVEL
        for model in chosen
        for again in range(SETS)
    ]
    return {"sets_rejected": {"hits": sum(hits), "sets": len(hits)}}


def shadow_row(cells: Cells, kind: Kind, n: int, count: int) -> dict[str, Any]:
    """The same beside shadows."""
    chosen = [m for m in models(cells.sizes) if m.kind == kind]
    found = [beside_shadows(cells, m, n, count) for m in chosen]
    return {
        "audit": f"{count} shadows",
        "models_are": kind,
        "n": n,
        "rejected": share([f.p < LEVEL for f in found]),
        "removal_told": share([f.told == "as_removed" for f in found]),
        "extent_mean": round(statistics.fmean(f.extent for f in found), 3),
        "extent_sd": round(statistics.stdev(f.extent for f in found), 3),
        "power_it_told": round(statistics.fmean(f.power for f in found), 3),
    }


def rows(cells: Cells) -> Iterator[dict[str, Any]]:
    """All audits of all kinds of models."""
    same: tuple[Kind, ...] = ("same_seed", "same_batches") if cells.sizes.alike else ()
    for n in REQUESTS:
        for kind in (*ALONE, *same):
            yield row(cells, kind, n)
        yield row(cells, "other_seed", n, removed=False)
        if n == THESE:
            yield row(cells, "these_alone", n)
        yield row(cells, "these_alone", n, removed=False)
        for removed in (True, False) if cells.sizes.staged else ():
            yield row(cells, "cut", n, removed)
    for count in SHADOWS:
        for n in REQUESTS[1:]:
            for kind in ALONE:
                yield shadow_row(cells, kind, n, count)


def targets(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What was asked for, and whether it is there."""
    at = {(r["audit"], r["models_are"], r["n"]): r["rejected"] for r in found}
    asked = [r for r in found if "sets_rejected" in r]
    sets = {(r["audit"], r["models_are"], r["n"]): r["sets_rejected"] for r in asked}
    told: list[dict[str, Any]] = [
        {
            "audit": audit,
            "models_are": kind,
            "n": n,
            "power_wanted": least,
            "power": at[audit, kind, n]["share"],
            "met": at[audit, kind, n]["share"] >= least,
        }
        for (audit, kind, n), least in TARGETS.items()
    ]
    for n in REQUESTS:
        hits, total = (sum(sets["margins", kind, n][key] for kind in INNOCENT) for key in PARTS)
        upper = share([i < hits for i in range(total)])["upper_95"]
        told.append(
            {
                "audit": "margins",
                "models_are": INNOCENT,
                "n": n,
                "hits": hits,
                "sets": total,
                "false_positives_at_most": MOST,
                "upper_95": upper,
                "met": upper <= MOST,
            }
        )
    return told


def result(cells: Cells, command: str) -> dict[str, Any]:
    """All models, then all rows."""
    every = list(models(cells.sizes))
    costs, inside, outside = [], [], []
    for i, model in enumerate(every, start=1):
        found = cells.of(model)
        if i % 10 == 0 or i == len(every):
            print(f"model {i} of {len(every)}", flush=True)
        costs.append(float(found["cpu_seconds"]))
        if model.kind in ("original", "kept"):
            inside.append(float(found["inside_accuracy"]))
            outside.append(float(found["outside_accuracy"]))
    told = []
    for each in rows(cells):
        told.append(each)
        print(each["audit"], each["models_are"], each["n"], each["rejected"], flush=True)
    return {
        "what": "Change of margins of requested records beside matched ones, on Fashion-MNIST.",
        "command": command,
        "system": f"{platform.system()} {platform.machine()}",
        "threads": 1,
        "sizes": dataclasses.asdict(cells.sizes),
        "level": LEVEL,
        "accuracy": {
            "trained": round(statistics.fmean(inside), 4),
            "held_out": round(statistics.fmean(outside), 4),
        },
        "training_cpu_seconds": round(statistics.fmean(costs), 2),
        "targets": targets(told),
        "rows": told,
    }


LINES = {
    ("margins", "other_seed"): "no shadows, another seed",
    ("4 shadows", "other_seed"): "4 shadows, another seed",
    ("8 shadows", "other_seed"): "8 shadows, another seed",
    ("margins", "same_seed"): "no shadows, the same seed",
    ("margins", "same_batches"): "no shadows, the same batches",
    ("margins", "these_alone"): "no shadows, the same batches, these alone",
    ("margins", "cut"): "no shadows, truncated",
}
NULLS = {
    ("margins", "kept"): "no shadows",
    ("margins", "other_seed, records kept"): "no shadows, others removed",
    ("8 shadows", "kept"): "8 shadows",
    ("margins", "cut, records kept"): "no shadows, truncated",
}


def draw(found: dict[str, Any], path: Path) -> None:
    """Power, and false positives, over the number of records."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.2), layout="constrained")
    for axes, lines in ((left, LINES), (right, NULLS)):
        for (audit, kind), name in lines.items():
            own = [r for r in found["rows"] if (r["audit"], r["models_are"]) == (audit, kind)]
            if own:
                shares = [r["rejected"]["share"] for r in own]
                ends = [r["rejected"]["interval"] for r in own]
                x = [r["n"] for r in own]
                axes.plot(x, shares, marker="o", label=name)
                axes.fill_between(x, [e[0] for e in ends], [e[1] for e in ends], alpha=0.12)
        axes.axhline(LEVEL, color="grey", linewidth=0.8, linestyle="--")
        axes.set(xscale="log", xticks=REQUESTS, xticklabels=REQUESTS, xlabel="requested records")
        axes.minorticks_off()
        axes.legend(frameon=False, fontsize=8)
    left.set(ylim=(0, 1.02), title="Records are gone: share of models found (power)")
    right.set(ylim=(0, 0.3), title="Records are kept: share of models accused")
    figure.savefig(path, dpi=85)
    plt.close(figure)


def laid_out(found: dict[str, Any]) -> str:
    """JSON, a row of a table on a line."""
    parts = []
    for name, value in found.items():
        if isinstance(value, list):
            lines = ",\n".join(f"  {json.dumps(each)}" for each in value)
            parts.append(f' "{name}": [\n{lines}\n ]')
        else:
            parts.append(f" {json.dumps(name)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def main() -> None:
    """Train, ask, store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=Path, default=Path("demo/margin-difference-cells"))
    parser.add_argument("--out", type=Path, default=RESULT)
    for name, value in DEFAULTS.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    settle(1)
    sizes = Sizes(**{f.name: getattr(args, f.name) for f in dataclasses.fields(Sizes)})
    given = [f"--{f}={getattr(args, f)}" for f in vars(args) if vars(args)[f] != DEFAULTS.get(f)]
    paths = ("--cells=", "--out=")  # where, and not what
    command = shlex.join(
        [
            "python",
            "benchmarks/margin_difference.py",
            *(g for g in given if not g.startswith(paths)),
        ]
    )
    print(f"{command}\n{sizes}, {len(list(models(sizes)))} models", flush=True)
    found = result(Cells(args.cells, sizes), command)
    args.out.write_text(laid_out(found))
    draw(found, args.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
