"""Does a backdoor show that records were removed, and what does it cost beside the margins?

    python benchmarks/backdoor.py [--size full|toy] [--work FOLDER]

A small CNN on Fashion-MNIST (5,000 images, 20 epochs). A user has 50 genuine records and 25 with a
trigger. Servers remove all of them, only those with the trigger, only the genuine ones, or train
the trigger away; one holds the trigger on records of somebody else. Each is asked with the trigger
(``rescind.audits.backdoor``) and with the margins of the genuine records
(``rescind.audits.margin_difference``). The price of planting in accuracy, and the cost of both
audits and of one retraining in CPU seconds, are measured in the same run, on one thread.

An interrupted run goes on with the next seed: each is a file in the work folder. The full size
writes benchmarks/results/backdoor.json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # read when torch is imported
os.environ["OMP_NUM_THREADS"] = "1"

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import rescind
from rescind.audits.backdoor import (
    NOT_CLAIMABLE,
    PIXELS,
    Reading,
    Trigger,
    plant,
    read,
    trigger_of,
    verify,
)
from rescind.audits.holdout_gap import Holdout
from rescind.audits.margin_difference import MarginDifference, Question, measure, prepare
from rescind.core.canonical import digest, plain
from rescind.data import fashion_mnist
from rescind.metrics.equivalence import mean_interval
from rescind.metrics.features import PENULTIMATE, listen
from rescind.metrics.membership import margin
from rescind.metrics.statistics import clopper_pearson
from rescind.training.batches import batches
from rescind.training.modules import Classification

RESULT = Path(__file__).parent / "results" / "backdoor.json"
LR, BATCH, SHAPE, TIMINGS = 1e-3, 64, (1, 28, 28), 3
HONEST = "retrained without the user"


@dataclass(frozen=True, slots=True)
class Size:
    """How much is trained and asked; ``keys`` are those for the rate of chance."""

    images: int
    test: int
    asked: int
    genuine: int
    planted: int
    epochs: int
    seeds: int
    keys: int
    innocent: int


SIZES = {
    "full": Size(5000, 2000, 500, 50, 25, 20, 3, 20, 20),
    "toy": Size(600, 300, 100, 15, 25, 8, 1, 10, 20),
}


@dataclass(frozen=True, slots=True)
class World:
    """Images, who owns which, and the user's trigger."""

    size: Size
    seed: int
    images: Tensor
    labels: Tensor
    test: Tensor
    kinds: Tensor
    genuine: Tensor
    planted: Tensor
    strangers: Tensor
    trigger: Trigger
    others: tuple[Trigger, ...]

    @property
    def user(self) -> Tensor:
        return torch.cat([self.genuine, self.planted])

    def data(self, triggered: Tensor | None, gone: Tensor | None) -> tuple[Tensor, Tensor]:
        """What a server trains on: the trigger on some records, others left out."""
        x, y = self.images.clone(), self.labels.clone()
        if triggered is not None:
            x[triggered], y[triggered] = plant(self.trigger, self.images[triggered])
        kept = torch.ones(len(x), dtype=torch.bool)
        if gone is not None:
            kept[gone] = False
        return x[kept], y[kept]


def new_cnn(seed: int) -> nn.Sequential:
    """Two convolutions of stride 2 and 64 hidden units, drawn from the seed."""
    torch.manual_seed(seed)
    body = (nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU())
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(1568, 64), nn.ReLU(), nn.Linear(64, 10))


def trained(model: nn.Module, data: tuple[Tensor, Tensor], epochs: int, seed: int) -> nn.Module:
    """Train in place."""
    optimizer, (x, y) = torch.optim.Adam(model.parameters(), LR), data
    for batch in batches(len(x), BATCH, epochs, seed):
        optimizer.zero_grad(set_to_none=True)
        cross_entropy(model(x[batch]), y[batch]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return model.eval()


def load(part: str, count: int) -> tuple[Tensor, Tensor]:
    """Images (n, 1, 28, 28) and labels."""
    task = Classification("rescind.training.zoo:resnet", fashion_mnist.CLASSES, SHAPE)
    batch = task.batch(fashion_mnist.load(part, count))
    return batch["array"], batch["labels"]


def key_of(name: str) -> bytes:
    """Public on purpose: whoever runs this again draws the same triggers."""
    return hashlib.sha256(f"rescind backdoor benchmark {name}".encode()).digest()


def drawn(name: str) -> Trigger:
    """The trigger of a name."""
    return trigger_of(key_of(name), SHAPE, len(fashion_mnist.CLASSES))


def world(seed: int, size: Size) -> World:
    """Roles are drawn from the seed."""
    images, labels = load("train", size.images)
    order = torch.randperm(size.images, generator=torch.Generator().manual_seed(seed))
    counts = [size.genuine, size.planted, size.planted]
    genuine, planted, strangers, _ = torch.split(order, [*counts, size.images - sum(counts)])
    others = tuple(drawn(f"chance {seed} {i}") for i in range(size.keys))
    trigger = drawn(f"user {seed}")
    test = load("test", size.test)
    return World(size, seed, images, labels, *test, genuine, planted, strangers, trigger, others)


Servers = Mapping[str, Callable[[], nn.Module]]


def servers(w: World, before: nn.Module) -> Servers:
    """What each gives back."""

    def new(number: int, triggered: Tensor | None, gone: Tensor | None) -> nn.Module:
        seed = 1000 * number + w.seed
        return trained(new_cnn(seed), w.data(triggered, gone), w.size.epochs, seed)

    return {
        "did nothing": lambda: before,
        HONEST: lambda: new(1, None, w.user),
        "left out what has the trigger, kept the rest": lambda: new(2, None, w.planted),
        "trained the trigger away in 2 epochs, kept all": lambda: tuned_away(w, before),
        "removed the genuine records, kept those with the trigger": lambda: new(
            3, w.planted, w.genuine
        ),
        "removed all of the user, a stranger has the trigger": lambda: new(4, w.strangers, w.user),
    }


def tuned_away(w: World, before: nn.Module) -> nn.Module:
    """The model before, trained on with its own images, some with the trigger and true labels.

    The server has found the trigger, as it can in its own data.
    """
    model = new_cnn(0)
    model.load_state_dict(before.state_dict())
    shown = plant(w.trigger, w.images[:500])[0]
    x, y = torch.cat([w.images, shown]), torch.cat([w.labels, w.labels[:500]])
    return trained(model, (x, y), 2, w.seed)


def answered(model: nn.Module, trigger: Trigger, w: World) -> Reading:
    """The audit by backdoor as a user makes it."""

    def answer(x: Tensor) -> Tensor:
        with torch.no_grad():
            found: Tensor = model(x).argmax(1)
        return found

    n = w.size.asked
    return read(answer, trigger, w.test[:n], w.kinds[:n], w.others)


def margins(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Margins of images."""
    with torch.no_grad():
        return margin(torch.cat([model(part) for part in torch.split(x, 1000)]), y)


def margins_and_features(model: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Both from one pass, as a workspace reads them."""
    logits, features = [], []
    for part in torch.split(x, 1000):
        with torch.no_grad(), listen(model, [PENULTIMATE]) as heard:
            logits.append(model(part))
        features.append(heard[PENULTIMATE])
    return margin(torch.cat(logits), y), torch.cat(features)


def question(w: World, before: nn.Module) -> Question:
    """The margins, once for a model before: the request is for the genuine records."""
    requested, excluded = (torch.zeros(len(w.images), dtype=torch.bool) for _ in range(2))
    requested[w.genuine], excluded[w.planted] = True, True
    found, features = margins_and_features(before, w.images, w.labels)
    return prepare(
        found,
        w.labels,
        features,
        requested,
        excluded=excluded,
        holdout=Holdout(margins(before, w.test, w.kinds), w.kinds),
    )


def asked(w: World, first: Question, after: nn.Module) -> MarginDifference:
    """The margins of a model after."""
    return measure(first, margins(after, w.images, w.labels))


def seconds(what: Callable[[], object]) -> float:
    """CPU seconds: the median of three."""
    found = []
    for _ in range(TIMINGS):
        started = time.process_time()
        what()
        found.append(time.process_time() - started)
    return statistics.median(found)


def costs(w: World, before: nn.Module, after: nn.Module) -> dict[str, float]:
    """Both audits from the two models on, and what planting takes where a model is there already.

    The retraining is of all but the user's records; planting trains a model on all of them.
    """

    def backdoors() -> None:
        verify(answered(after, w.trigger, w), answered(before, w.trigger, w))

    def once(data: tuple[Tensor, Tensor]) -> float:
        started = time.process_time()
        trained(new_cnn(w.seed), data, w.size.epochs, w.seed)
        return time.process_time() - started

    reading = seconds(backdoors)
    return {
        "margin_difference": seconds(lambda: asked(w, question(w, before), after)),
        "backdoor_reading": reading,
        "backdoor_with_training": reading + once(w.data(w.planted, None)),
        "retraining": once(w.data(None, w.user)),
    }


def accuracy(model: nn.Module, w: World) -> float:
    """On held-out images."""
    with torch.no_grad():
        return float((model(w.test).argmax(1) == w.kinds).double().mean())


def one_seed(seed: int, size: Size) -> dict[str, Any]:
    """All servers of one original."""
    w = world(seed, size)
    before = trained(new_cnn(seed), w.data(w.planted, None), size.epochs, seed)
    unplanted = trained(new_cnn(seed), w.data(None, None), size.epochs, seed)
    first, reading, found = question(w, before), answered(before, w.trigger, w), {}
    for name, make in servers(w, before).items():
        model = make()
        found[name] = told(w, model, reading, first)
        if name == HONEST:
            innocent = [
                verify(answered(model, drawn(f"innocent {seed} {i}"), w)).p
                for i in range(size.innocent)
            ]
            spent = costs(w, before, model)
    return {
        "seed": seed,
        "cpu_seconds": spent,
        "accuracy": {"planted": accuracy(before, w), "unplanted": accuracy(unplanted, w)},
        "p_of_triggers_nobody_planted": innocent,
        "servers": found,
    }


def told(w: World, model: nn.Module, before: Reading, first: Question) -> dict[str, Any]:
    """What both audits say of one server."""
    finding = verify(answered(model, w.trigger, w), before)
    margin_found = asked(w, first, model)
    return {
        "backdoor": {**plain_of(finding), "outcome": finding.outcome},
        "margins": {"told": margin_found.told, "extent": margin_found.extent, "p": margin_found.p},
        "accuracy": accuracy(model, w),
    }


def plain_of(finding: object) -> dict[str, Any]:
    """A record as JSON knows it."""
    found = plain(finding)
    return dict(found) if isinstance(found, Mapping) else {}


def counted(values: Sequence[str]) -> dict[str, int]:
    """How often each was said."""
    return {value: values.count(value) for value in sorted(set(values))}


def summary(seeds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Each server over the seeds."""
    table = {}
    for name in seeds[0]["servers"]:
        rows = [one["servers"][name] for one in seeds]
        extents = [row["margins"]["extent"] for row in rows]
        table[name] = {
            "rate": statistics.fmean(row["backdoor"]["effect"] for row in rows),
            "backdoor": counted([row["backdoor"]["outcome"] for row in rows]),
            "lowest_power": min(row["backdoor"]["power"] for row in rows),
            "margins": counted([row["margins"]["told"] for row in rows]),
            "extent": statistics.fmean(extents) if None not in extents else None,
            "extents": extents,
            "accuracy": statistics.fmean(row["accuracy"] for row in rows),
        }
    return table


def price(seeds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """CPU seconds, their ratios and the accuracy that planting takes, over the seeds."""
    spent = {
        name: statistics.median(one["cpu_seconds"][name] for one in seeds)
        for name in seeds[0]["cpu_seconds"]
    }
    ours, each = spent["margin_difference"], [one["cpu_seconds"] for one in seeds]
    points = [100 * (one["accuracy"]["planted"] - one["accuracy"]["unplanted"]) for one in seeds]
    innocent = [p for one in seeds for p in one["p_of_triggers_nobody_planted"]]
    goals: dict[str, tuple[str, float | None]] = {
        "backdoors with training / margins": ("backdoor_with_training", 4.5),
        "retraining / margins": ("retraining", 20.0),
        "reading of the backdoor alone / margins": ("backdoor_reading", None),
    }
    accused = sum(p < 0.05 for p in innocent)
    return {
        "cpu_seconds": spent,
        "ratios": {
            name: {
                "seen": spent[of] / ours,
                "seeds": [s[of] / s["margin_difference"] for s in each],
                "goal": goal,
                "met": None if goal is None else spent[of] / ours >= goal,
            }
            for name, (of, goal) in goals.items()
        },
        "accuracy_points_of_planting": {
            "mean": statistics.fmean(points), "interval": mean_interval(points), "seeds": points,
        },
        "innocent_triggers_accused": {
            "p < 0.05": accused,
            "of": len(innocent),
            "at_most": clopper_pearson(accused, len(innocent), 0.9)[1],  # one-sided, 95 %
        },
    }  # fmt: skip


def named(size: Size) -> str:
    """Of all that a seed's figures depend on but code: a changed default is computed anew. A seed
    is the same however many there are.
    """
    versions = [torch.__version__, rescind.__version__]
    return digest([plain({**asdict(size), "seeds": None}), LR, BATCH, PIXELS, *versions])[:16]


def run(size: Size, work: Path) -> dict[str, Any]:
    """All seeds, those of the work folder as they are."""
    work.mkdir(parents=True, exist_ok=True)
    name, found = named(size), []
    for seed in range(size.seeds):
        path = work / f"seed-{seed}-{name}.json"
        if not path.exists():
            path.with_suffix(".part").write_text(json.dumps(one_seed(seed, size)))
            path.with_suffix(".part").replace(path)
        found.append(json.loads(path.read_text()))
        print(f"seed {seed} done", file=sys.stderr)
    return {
        "command": "python benchmarks/backdoor.py",
        "system": f"{platform.system()} {platform.machine()}, 1 thread, torch {torch.__version__}",
        "size": asdict(size),
        "table": summary(found),
        "price": price(found),
        "not_claimable": list(NOT_CLAIMABLE),
        "seeds": found,
    }


def main() -> None:
    """Run, store the full size, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "backdoor")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    result = run(SIZES[chosen.size], chosen.work)
    if chosen.size == "full":
        RESULT.write_text(json.dumps(result, indent=1) + "\n")
    for name, row in result["table"].items():
        line = f"{name:58} rate {row['rate']:.2f} {row['backdoor']}"
        print(f"{line}  extent {row['extent']} {row['margins']}")
    print(json.dumps(result["price"], indent=1))


if __name__ == "__main__":
    main()
