"""Do codes hold, and go, in tables, texts and language models, and in training by stages?

    python benchmarks/seeding_targets.py [--work FOLDER]

Each world trains with the codes of a user's records and decoys, trains again without the records
and with all data but no codes, and the user asks each model. Worlds: a perceptron on UCI Adult; a
small GPT on passages of BBC news; MiniLM with adapters on BBC news, trained by S3T in two stages,
whose first stage is what is left when the second slice is cut. Three seeds, so that intervals are
wide. One thread; each seed is a file in the work folder.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # before torch is imported
import torch
from torch import Tensor

from rescind.audits.finding import Finding
from rescind.audits.seeding import (
    SeededCells,
    Seeding,
    ask,
    codes_of,
    decide,
    draw_readout,
    seed_cells,
)
from rescind.benchmarks.runner import BENCHMARKS
from rescind.core.canonical import digest, plain
from rescind.core.dataset import Row
from rescind.core.partition import Cell, Partition
from rescind.core.run import Recipe
from rescind.data import bbc_news
from rescind.demo.setting import recipe as demo_recipe
from rescind.methods.s3t import S3T
from rescind.metrics.equivalence import mean_interval
from rescind.metrics.features import MASK, PENULTIMATE, listen, penultimate_width
from rescind.training.batches import pieces
from rescind.training.determinism import settle
from rescind.training.models import TrainedModel, count_blocks, trained_model
from rescind.training.plain import WHOLE, train_whole
from rescind.training.snapshots import from_bytes
from rescind.training.stages import cell_data, train_order

RESULT = Path(__file__).parent / "results" / "seeding_targets.json"
SEEDS, DECOYS, BITS = 3, 10, 32
FIRST, SECOND = Cell(0, 0), Cell(0, 1)
ARTICLES, EPOCHS = 160, 30  # of the staged world, half in each slice
EACH_STEP = Seeding(every=1, bits=BITS)  # there, since a stage has a few hundred steps


@dataclass(frozen=True, slots=True)
class World:
    """Rows, how they are trained on, and how many of them are a user's."""

    name: str
    recipe: Recipe
    rows: Sequence[Row]
    own: int


def worlds() -> list[World]:
    """Tables, and texts for a language model; the staged one is apart."""
    found = []
    for name, own in (("adult", 50), ("language", 25)):
        setting = BENCHMARKS.make(name, {}).setting(False)
        [recipe] = setting.models.values()
        rows = [r.row for r in setting.train]
        found.append(World(f"{name}, {type(recipe.task).__name__}", recipe, rows, own))
    return found


def key_of(name: str) -> bytes:
    """Public on purpose: whoever runs this again draws the same codes."""
    return hashlib.sha256(f"rescind seeding targets {name}".encode()).digest()


def drawn(rows: Sequence[Row], count: int, seed: int) -> list[Row]:
    """Distinct rows."""
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    return [rows[i] for i in order[:count].tolist()]


def features(model: TrainedModel, rows: Sequence[Row]) -> Tensor:
    """Penultimate ones (n, width), in evaluation mode."""
    model.set_training((), on=False)
    found = []
    for piece in pieces(model.activations(rows), 64):
        with torch.no_grad(), listen(model.module, [PENULTIMATE], piece.get(MASK)) as heard:
            model.outputs(piece)
        found.append(heard[PENULTIMATE].float())
    return torch.cat(found)


def asked(
    model: TrainedModel, own: Sequence[Row], public: Sequence[Row], key: bytes
) -> tuple[Finding, ...]:
    """As a user asks: bits less the mean of records that nobody seeded, and the kernel."""
    raw = features(model, own)
    about = raw - features(model, public).mean(0)
    matrix = draw_readout(key, raw.shape[1], BITS)
    return ask(raw, codes_of(key, own, BITS), matrix, seed=0, centred=about)


def seeded(world: World, own: Sequence[Row], decoys: Sequence[Row], key: bytes) -> SeededCells:
    """What the training is handed, for one cell."""
    rows = [*own, *decoys]
    codes = torch.cat([codes_of(key, own, BITS), codes_of(key_of("decoys"), decoys, BITS)])
    width = penultimate_width(trained_model(world.recipe).module)
    placed = seed_cells({WHOLE: world.rows}, rows, codes)
    return SeededCells(placed, draw_readout(key, width, BITS), Seeding(bits=BITS))


def whole(world: World, seed: int) -> dict[str, Any]:
    """The four models of a world without stages."""
    key, chosen = key_of(f"{world.name} {seed}"), drawn(world.rows, 3 * world.own + DECOYS, seed)
    own, decoys = chosen[: world.own], chosen[world.own : world.own + DECOYS]
    public = chosen[world.own + DECOYS :]
    recipe = replace(world.recipe, seed=seed)
    left = [row for row in world.rows if all(row is not mine for mine in own)]
    terms = seeded(world, own, decoys, key)
    models: dict[str, Callable[[], TrainedModel]] = {
        "before": lambda: train_whole(recipe, world.rows, seeding=terms),
        "retrained without the records": lambda: train_whole(
            replace(recipe, seed=seed + 100), left
        ),
        "all data, no codes": lambda: train_whole(replace(recipe, seed=seed + 200), world.rows),
    }
    first: tuple[Finding, ...] = ()
    found = {}
    for name, make in models.items():
        seen = asked(make(), own, public, key)
        first = first or seen
        found[name] = told(first, seen)
    return found


def told(before: Sequence[Finding], after: Sequence[Finding]) -> dict[str, Any]:
    """What is kept of one model."""
    return {"outcome": decide(before, after).outcome, "findings": [plain(f) for f in after]}


def staged(seed: int) -> dict[str, Any]:
    """MiniLM by S3T: both stages, asked for the records of each slice; the first never had those of
    the second.
    """
    distinct = list({row["text"]: row for row in bbc_news.load()}.values())
    texts = drawn(distinct, ARTICLES, seed)
    half = len(texts) // 2
    rows = {FIRST: texts[:half], SECOND: texts[half:]}
    recipe = replace(
        demo_recipe(), partition=Partition(1, 2, 0.0), orders=1, epochs=EPOCHS, seed=seed
    )
    model = trained_model(recipe)
    [order] = S3T().orders(recipe, count_blocks(recipe.task))
    key, own = key_of(f"staged {seed}"), {c: each[:25] for c, each in rows.items()}
    both = [*own[FIRST], *own[SECOND]]
    placed = seed_cells(rows, both, codes_of(key, both, BITS))
    width = penultimate_width(model.module)
    terms = SeededCells(placed, draw_readout(key, width, BITS), EACH_STEP)
    found: dict[str, Any] = {}
    made: dict[int, bytes] = {}
    data = {c: cell_data(model, each) for c, each in rows.items()}
    train_order(model, recipe, order, data.__getitem__, {}, made.__setitem__, silent, terms)
    for stage, saved in made.items():
        model.load(from_bytes(saved))
        for cell, mine in own.items():
            seen = asked(model, mine, rows[cell][25:75], key)
            name = f"stage {stage + 1}, records of slice {cell.slice + 1}"
            found[name] = told(seen, seen)
    return found


def silent(what: str, done: int, total: int) -> None:
    """Seeds are told, not steps."""


def table(seeds: Sequence[Mapping[str, Any]], world: str) -> list[dict[str, Any]]:
    """A row a model."""
    rows = []
    for name in seeds[0]:
        own = [one[name] for one in seeds]
        bits = [each["findings"][0]["effect"] for each in own]
        ends = mean_interval(bits)
        rows.append(
            {
                "world": world,
                "model": name,
                "records": own[0]["findings"][0]["n"],
                "seeds": len(own),
                "bits": round(fmean(bits), 4),
                "interval": None if ends is None else [round(e, 4) for e in ends],
                "bits_p": [float(f"{each['findings'][0]['p']:.3g}") for each in own],
                "kernel_p": [float(f"{each['findings'][1]['p']:.3g}") for each in own],
                "outcomes": [each["outcome"] for each in own],
            }
        )
    return rows


def kept(work: Path, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """From the work folder, or made and put there."""
    path = work / f"targets-{digest([name, torch.__version__, SEEDS, ARTICLES, EPOCHS])[:16]}.json"
    if not path.exists():
        done = json.dumps(make())
        path.with_suffix(".part").write_text(done)
        path.with_suffix(".part").replace(path)
    print(f"{name} done", file=sys.stderr, flush=True)
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def main() -> None:
    """Run all worlds and store the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "seeding")
    work = parser.parse_args().work
    work.mkdir(parents=True, exist_ok=True)
    settle(1)
    rows = []
    for world in worlds():
        found = [
            kept(work, f"{world.name} {s}", lambda w=world, s=s: whole(w, s))  # type: ignore[misc]
            for s in range(SEEDS)
        ]
        rows += table(found, world.name)
    found = [kept(work, f"staged {s}", lambda s=s: staged(s)) for s in range(SEEDS)]  # type: ignore[misc]
    rows += table(found, "news, MiniLM with adapters, S3T")
    lines = ",\n".join(f"  {json.dumps(row)}" for row in rows)
    head = {
        "what": "Codes in tables, a language model, and in training by stages.",
        "command": "python benchmarks/seeding_targets.py",
        "system": f"{platform.system()} {platform.machine()}, torch {torch.__version__}",
        "threads": 1,
        "seeding": plain(Seeding(bits=BITS)),
    }
    told = ",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in head.items())
    RESULT.write_text("{\n" + told + f',\n "rows": [\n{lines}\n ]\n' + "}\n")
    for row in rows:
        print(row["world"], "|", row["model"], row["bits"], row["bits_p"], row["outcomes"])


if __name__ == "__main__":
    main()
