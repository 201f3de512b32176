"""Do codes hold, and go, in tables, texts and language models, and in training by stages?

    python benchmarks/seeding_targets.py [--work FOLDER] [--only adult|language|news]

Each world trains with the codes of a user's records and decoys, trains again without the records
and with all data but no codes, and the user asks each model. Worlds: a perceptron on UCI Adult; a
small GPT on passages of BBC news; MiniLM with adapters on BBC news, trained by S3T in two stages,
whose first stage is what is left when the second slice is cut, and by both stages without codes.
Five seeds each, ten of the last. One thread; each seed is a file in the work folder. ``--only``
measures one world again and leaves the other rows as they are stored.

Sixty codes of 32 bits are more than the 64 hidden units of the perceptron on Adult hold, and at
every fourth step the second pass adds half to the time of training so small a network. ``TABLE``
was chosen in two turns. Among 22 settings, tried on seeds 10 to 14 or some of them, 24 bits at
every twelfth step with 32 times the weight told .95 of single records by their readings, and .95 on
seeds 15 to 19; on seeds 20 to 24, kept for the result, it told .89, and the goal is .90. So it was
changed: on all of these seeds 20 bits at every eighth step told .95 (.94 on the last five), where
the first told .93. It is asked on seeds 30 to 34, which nothing was chosen on. Whitened by those of
records that nobody seeded, readings told fewer, and their ranks no more. Most records that are not
told have near copies among the others. A training before the first that is timed is not counted.

A slice's codes are learned by its own stage's one block. With 80 articles a slice, 32 bits and 30
epochs those of the second slice matched .80 on seeds 0 to 2. Of sixteen settings, tried on seeds 10
to 12, 20 bits told .94 and 32 bits .85 at the same price; four times the weight, larger and rarer
batches, or more turns for the newest slice told less, and more epochs more. With 40 epochs and 20
bits it told .98 on seeds 20 to 24, but a third of the articles were seeded, and accuracy fell by 8
points. So a slice has 400 articles now, where a cell of the demo has some 200. The term at every
second step, chosen on seed 10, told .99 on seeds 30 to 34 and cost 1.8 points, in a test of 500
articles. Half its weight on four records at every step cost 1.2 points on seeds 30 and 33, in a
test of 1,200. With codes smoothed by .2, whose readings need not grow, it cost .2 there, and .8 on
seeds 40 to 44, on which nothing was chosen; the goal is .5. Tried after that, one or two of the
seeds 40, 42, 43, 50 and 54 each: smoothed by .4 codes told .92 and gained .3 points; by .5 they
told .99 and cost .4; by .55 they told .92, and .80 of single records, and gained .9; by .7, and at
a fifth of the weight, they told .88 and .87 at no cost. Seeds differ by a point. So ``STAGES`` is
smoothed by .45, and is asked on ten seeds, 60 to 69, on which nothing was tried: it costs .49. For
the language model every fourth step took 1.31 times the training; every fifth is asked on seeds 20
to 24.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import random
import sys
import tempfile
import time
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
    read_out,
    seed_cells,
    sign_test,
)
from rescind.audits.seeding.bits import LEVEL, matches, p_value
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
from rescind.training.modules import IGNORED
from rescind.training.plain import WHOLE, train_whole
from rescind.training.snapshots import from_bytes
from rescind.training.stages import cell_data, train_order

RESULT = Path(__file__).parent / "results" / "seeding_targets.json"
SEEDS, DECOYS, BITS = 5, 10, 32
FIRST, SECOND = Cell(0, 0), Cell(0, 1)
ARTICLES, EPOCHS = 800, 20  # of the staged world, half in each slice
TEST_ARTICLES = 1200  # further ones
STAGED_FIRST, STAGED_SEEDS = 60, 10  # one seed's accuracy moves by a point, so twice as many
STAGED = "news, MiniLM with adapters, S3T"
TABLE = Seeding(every=8, batch=60, weight=32.0, bits=20)
LANGUAGE = Seeding(every=5, bits=BITS)
GROUPS = 100  # of five records each, drawn from the user's
STAGES = Seeding(every=1, batch=4, weight=0.5, smoothing=0.45, bits=20)
NO_CODES = "both stages without codes, records of slice 2"
# what was trained with codes, and what it is compared with
PAIRS = (("before", "all data, no codes"), ("stage 2, records of slice 2", NO_CODES))


@dataclass(frozen=True, slots=True)
class World:
    """Rows, how they are trained on, and how many of them are a user's."""

    name: str
    recipe: Recipe
    rows: Sequence[Row]
    own: int
    settings: Seeding
    seeds: int
    test: Sequence[Row]
    first: int


def worlds() -> list[World]:
    """Tables, and texts for a language model; the staged one is apart."""
    found = []
    for name, own, how, seeds, first in (
        ("adult", 50, TABLE, SEEDS, 30),
        ("language", 25, LANGUAGE, SEEDS, 20),
    ):
        setting = BENCHMARKS.make(name, {}).setting(False)
        [recipe] = setting.models.values()
        rows = [r.row for r in setting.train]
        test = [r.row for r in setting.test]
        called = f"{name}, {type(recipe.task).__name__}"
        found.append(World(called, recipe, rows, own, how, seeds, test, first))
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
    model: TrainedModel, own: Sequence[Row], public: Sequence[Row], key: bytes, bits: int = BITS
) -> tuple[tuple[Finding, ...], dict[str, float]]:
    """As a user asks: bits less the mean of records that nobody seeded, and the kernel; and how
    often one record is told by the count of its bits, and one and five by their readings.
    """
    raw = features(model, own)
    about = raw - features(model, public).mean(0)
    matrix, codes = draw_readout(key, raw.shape[1], bits), codes_of(key, own, bits)
    readings = read_out(about, matrix)
    hits, draw = matches(readings > 0, codes).sum(1).tolist(), random.Random(0)
    fives = [draw.sample(range(len(own)), 5) for _ in range(GROUPS)]
    shares = {
        "told_by_one_record": fmean(p_value(hit, bits) < LEVEL for hit in hits),
        "one_record_by_readings": told_by(readings, codes, [[i] for i in range(len(own))]),
        "five_records_by_readings": told_by(readings, codes, fives),
    }
    return ask(raw, codes, matrix, seed=0, centred=about), shares


def told_by(readings: Tensor, codes: Tensor, groups: Sequence[Sequence[int]]) -> float:
    """The share of the groups of records whose readings are told from chance."""
    return fmean(sign_test(readings[g], codes[g]).p < LEVEL for g in map(list, groups))


def accuracy(model: TrainedModel, rows: Sequence[Row]) -> float:
    """On rows held out: the share of classes, or of next bytes, that are told."""
    model.set_training((), on=False)
    wanted = model.task.batch(rows)["labels"]
    with torch.no_grad():
        told = model.outputs(model.activations(rows)).argmax(-1)
    if wanted.dim() == 2:  # position t foretells byte t + 1
        wanted, told = wanted[:, 1:], told[:, :-1]
    return float((told == wanted)[wanted != IGNORED].double().mean())


def seeded(world: World, own: Sequence[Row], decoys: Sequence[Row], key: bytes) -> SeededCells:
    """What the training is handed, for one cell."""
    rows = [*own, *decoys]
    bits = world.settings.bits
    codes = torch.cat([codes_of(key, own, bits), codes_of(key_of("decoys"), decoys, bits)])
    width = penultimate_width(trained_model(world.recipe).module)
    placed = seed_cells({WHOLE: world.rows}, rows, codes)
    return SeededCells(placed, draw_readout(key, width, bits), world.settings)


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
        started = time.process_time()
        model = make()
        spent = time.process_time() - started
        seen, alone = asked(model, own, public, key, world.settings.bits)
        first = first or seen
        right = accuracy(model, world.test)
        found[name] = told(first, seen, alone) | {"cpu_seconds": spent, "accuracy": right}
    return found


def told(
    before: Sequence[Finding], after: Sequence[Finding], alone: Mapping[str, float]
) -> dict[str, Any]:
    """What is kept of one model."""
    return {
        "outcome": decide(before, after).outcome,
        "findings": [plain(f) for f in after],
        "alone": dict(alone),
    }


def staged(seed: int) -> dict[str, Any]:
    """MiniLM by S3T: both stages, asked for the records of each slice; the first never had those of
    the second. Then both once more without codes.
    """
    distinct = list({row["text"]: row for row in bbc_news.load()}.values())
    texts, half = drawn(distinct, ARTICLES + TEST_ARTICLES, seed), ARTICLES // 2
    rows, test = {FIRST: texts[:half], SECOND: texts[half:ARTICLES]}, texts[ARTICLES:]
    recipe = replace(
        demo_recipe(), partition=Partition(1, 2, 0.0), orders=1, epochs=EPOCHS, seed=seed
    )
    model = trained_model(recipe)
    [order] = S3T().orders(recipe, count_blocks(recipe.task))
    key, own = key_of(f"staged {seed}"), {c: each[:25] for c, each in rows.items()}
    both, bits = [*own[FIRST], *own[SECOND]], STAGES.bits
    placed = seed_cells(rows, both, codes_of(key, both, bits))
    width = penultimate_width(model.module)
    terms = SeededCells(placed, draw_readout(key, width, bits), STAGES)
    data = {c: cell_data(model, each) for c, each in rows.items()}

    def trained(seeding: SeededCells | None) -> tuple[dict[int, bytes], float]:
        made: dict[int, bytes] = {}
        started = time.process_time()
        train_order(model, recipe, order, data.__getitem__, {}, made.__setitem__, silent, seeding)
        return made, time.process_time() - started

    def shown(saved: bytes, cell: Cell) -> tuple[tuple[Finding, ...], dict[str, float]]:
        model.load(from_bytes(saved))
        return asked(model, own[cell], rows[cell][25:75], key, bits)

    def right(saved: bytes) -> float:
        model.load(from_bytes(saved))
        return accuracy(model, test)

    made, seconds = trained(terms)
    before = {cell: shown(made[1], cell)[0] for cell in rows}  # the first stage is left by a cut
    found = {
        f"stage {stage + 1}, records of slice {cell.slice + 1}": told(
            before[cell], *shown(saved, cell)
        )
        for stage, saved in made.items()
        for cell in rows
    }
    found[PAIRS[1][0]] |= {"cpu_seconds": seconds, "accuracy": right(made[1])}
    plain_made, seconds = trained(None)
    found[NO_CODES] = told(before[SECOND], *shown(plain_made[1], SECOND))
    found[NO_CODES] |= {"cpu_seconds": seconds, "accuracy": right(plain_made[1])}
    return found


def silent(what: str, done: int, total: int) -> None:
    """Seeds are told, not steps."""


def table(
    seeds: Sequence[Mapping[str, Any]], world: str, settings: Seeding, first: int = 0
) -> list[dict[str, Any]]:
    """A row a model; what the term costs stands with the model as trained."""
    rows = []
    for name in seeds[0]:
        own = [one[name] for one in seeds]
        bits = [each["findings"][0]["effect"] for each in own]
        ends = mean_interval(bits)
        rows.append(
            {
                "world": world,
                "model": name,
                "seeding": plain(settings),
                "records": own[0]["findings"][0]["n"],
                "seeds": len(own),
                "first_seed": first,
                "bits": round(fmean(bits), 4),
                "interval": None if ends is None else [round(e, 4) for e in ends],
                "bits_p": [float(f"{each['findings'][0]['p']:.3g}") for each in own],
                "kernel_p": [float(f"{each['findings'][1]['p']:.3g}") for each in own],
                "outcomes": [each["outcome"] for each in own],
                **{
                    share: round(fmean(each["alone"][share] for each in own), 4)
                    for share in own[0]["alone"]
                },
                **_spent(own),
                **_price(seeds, name),
            }
        )
    return rows


def _spent(own: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """CPU seconds of one training, where models are trained one by one."""
    if not all("cpu_seconds" in one for one in own):
        return {}
    return {"cpu_seconds": round(fmean(one["cpu_seconds"] for one in own), 2)}


def _price(seeds: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any]:
    """Training time as a multiple of that on all data without codes, and points of accuracy; of a
    model that was trained with them.
    """
    without = dict(PAIRS).get(name)
    if without is None:
        return {}
    pairs = [(one[name], one[without]) for one in seeds]
    times = [a["cpu_seconds"] / b["cpu_seconds"] for a, b in pairs]
    found = {"times_the_training": _mean(times)}
    points = [100 * (a["accuracy"] - b["accuracy"]) for a, b in pairs]
    return found | {"points_of_accuracy": _mean(points)}


def _mean(values: Sequence[float]) -> dict[str, Any]:
    ends = mean_interval(values)
    interval = None if ends is None else [round(e, 3) for e in ends]
    return {"mean": round(fmean(values), 3), "interval": interval}


def kept(
    work: Path, name: str, settings: Seeding, make: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """From the work folder, or made and put there."""
    made_from = digest([name, torch.__version__, plain(settings), ARTICLES, EPOCHS, TEST_ARTICLES])
    path = work / f"targets-{made_from[:16]}.json"
    if not path.exists():
        done = json.dumps(make())
        path.with_suffix(".part").write_text(done)
        path.with_suffix(".part").replace(path)
    print(f"{name} done", file=sys.stderr, flush=True)
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def measured(work: Path, only: str | None) -> list[dict[str, Any]]:
    """The rows of all worlds, or those of one and the stored ones of the others."""
    rows, others = list[dict[str, Any]](), list[dict[str, Any]]()
    if only is not None:
        stored = json.loads(RESULT.read_text())["rows"]
        others = [row for row in stored if not row["world"].startswith(only)]
    for world in worlds():
        if only is None or world.name.startswith(only):
            # what the first training loads is no part of its time
            train_whole(replace(world.recipe, epochs=1), world.rows)
            found = [
                kept(work, f"{world.name} {s}", world.settings, lambda w=world, s=s: whole(w, s))  # type: ignore[misc]
                for s in range(world.first, world.first + world.seeds)
            ]
            rows += table(found, world.name, world.settings, world.first)
    if only is None or STAGED.startswith(only):
        seeds = range(STAGED_FIRST, STAGED_FIRST + STAGED_SEEDS)
        found = [kept(work, f"staged {s}", STAGES, lambda s=s: staged(s)) for s in seeds]  # type: ignore[misc]
        rows += table(found, STAGED, STAGES, STAGED_FIRST)
    order = [*(world.name for world in worlds()), STAGED]
    return sorted([*rows, *others], key=lambda row: order.index(row["world"]))


def main() -> None:
    """Run all worlds and store the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "seeding")
    parser.add_argument("--only", choices=["adult", "language", "news"])
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    settle(1)
    rows = measured(args.work, args.only)
    lines = ",\n".join(f"  {json.dumps(row)}" for row in rows)
    head = {
        "what": "Codes in tables, a language model, and in training by stages.",
        "command": "python benchmarks/seeding_targets.py",
        "system": f"{platform.system()} {platform.machine()}, torch {torch.__version__}",
        "threads": 1,
    }
    told = ",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in head.items())
    RESULT.write_text("{\n" + told + f',\n "rows": [\n{lines}\n ]\n' + "}\n")
    for row in rows:
        print(row["world"], "|", row["model"], row["bits"], row["bits_p"], row["outcomes"])


if __name__ == "__main__":
    main()
