"""Does the change that a server made to a model give the requested records away?

    python benchmarks/reconstructor.py [--size full|toy] [--work FOLDER]

A small CNN on Fashion-MNIST (2,000 images, 3 originals). An auditor fits the reconstructor of
``rescind.audits.reconstructor`` on imitated removals of their own 800 records and is shown what
servers did: requests of one record each, and requests of ten records that share one difference.
Beside every server stand the controls, which must resemble nothing. *As released* is a
reconstructor that is also shown 30 % of the true pixels, fed with zeros.

An interrupted run goes on with the next seed: each is a file in the work folder. The full size
writes benchmarks/results/reconstructor.json and draws benchmarks/results/reconstructor.png.
"""

from __future__ import annotations

import argparse
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
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy

import rescind
from rescind.audits.finding import Finding
from rescind.audits.matched import Groups, match
from rescind.audits.permutation import permuted
from rescind.audits.posterior_difference import difference, directions, first_order, posteriors
from rescind.audits.reconstructor import Reconstruction, measure, resemblance
from rescind.audits.reconstructor_network import Fitting, Reconstructor, fit
from rescind.audits.utility_check import utility
from rescind.core.canonical import digest, plain
from rescind.data import fashion_mnist
from rescind.metrics.equivalence import mean_interval
from rescind.metrics.membership import margin
from rescind.training.batches import batches
from rescind.training.modules import Classification

RESULT = Path(__file__).parent / "results" / "reconstructor.json"
LR, BATCH, SHOWN, PIXELS = 1e-3, 64, 8, 0.3
LEVEL = 0.05
STEP_ALONE, RETRAINED = "first-order step only", "retrained, same seed"


@dataclass(frozen=True, slots=True)
class Size:
    """How much is trained and asked; ``sets`` requests of ``together`` records each."""

    images: int
    own: int
    test: int
    queries: int
    epochs: int
    originals: int
    single: int
    sets: int
    together: int
    others: int
    kept: int
    controls: int


SIZES = {
    "full": Size(2000, 800, 2000, 200, 20, 3, 16, 2, 10, 4, 3, 15),
    "toy": Size(400, 150, 300, 40, 6, 1, 4, 1, 3, 2, 1, 6),
}


@dataclass(frozen=True, slots=True)
class World:
    """Images, who has which, and the model before."""

    size: Size
    seed: int
    images: Tensor
    labels: Tensor
    test: tuple[Tensor, Tensor]
    queries: tuple[dict[str, Tensor], ...]
    before: nn.Module
    own: Tensor
    single: Tensor
    sets: Tensor
    others: Tensor

    def at(self, rows: Tensor) -> dict[str, Tensor]:
        return {"array": self.images[rows], "labels": self.labels[rows]}

    def changed(self, after: nn.Module, before: nn.Module | None = None) -> Tensor:
        """The posterior difference of two models."""
        first = posteriors(before or self.before, probabilities, self.queries)
        return difference(first, posteriors(after, probabilities, self.queries))

    def imitated(self, requests: Sequence[Tensor]) -> Tensor:
        """First-order removals."""
        records = [self.at(rows) for rows in requests]
        return first_order(self.before, losses, probabilities, records, self.queries)

    def trained(self, init: int, order: int, gone: Tensor | None = None) -> nn.Module:
        """On all images that are not gone, which leave their batches smaller."""
        kept = torch.ones(len(self.images), dtype=torch.bool)
        if gone is not None:
            kept[gone] = False
        model = new_cnn(init)
        optimizer = torch.optim.Adam(model.parameters(), LR)
        for drawn in batches(len(self.images), BATCH, self.size.epochs, order):
            batch = self.at(drawn[kept[drawn]])
            optimizer.zero_grad(set_to_none=True)
            losses(model, batch).mean().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return model.eval()

    def right(self, model: nn.Module) -> list[bool]:
        """Which held-out images a model gets right."""
        with torch.no_grad():
            found: list[bool] = (model(self.test[0]).argmax(1) == self.test[1]).tolist()
        return found


def probabilities(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """What the auditor sees of a model."""
    found: Tensor = model(batch["array"]).softmax(1)
    return found


def losses(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """Cross entropy of each record."""
    return cross_entropy(model(batch["array"]), batch["labels"], reduction="none")


def new_cnn(seed: int) -> nn.Sequential:
    """Two convolutions of stride 2 and 64 hidden units, drawn from the seed."""
    torch.manual_seed(seed)
    body = (nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU())
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(1568, 64), nn.ReLU(), nn.Linear(64, 10))


def copied(model: nn.Module) -> nn.Sequential:
    """Another module with the same weights."""
    other = new_cnn(0).eval()
    other.load_state_dict(model.state_dict())
    return other


def load(part: str, count: int) -> tuple[Tensor, Tensor]:
    """Images (n, 1, 28, 28) and labels."""
    task = Classification("rescind.training.zoo:resnet", fashion_mnist.CLASSES, (1, 28, 28))
    batch = task.batch(fashion_mnist.load(part, count))
    return batch["array"], batch["labels"]


def world(seed: int, size: Size) -> World:
    """Roles are drawn from the seed; queries are images that no model was trained on."""
    images, labels = load("train", size.images)
    outside, kinds = load("test", size.test + size.queries)
    order = torch.randperm(size.images, generator=torch.Generator().manual_seed(seed))
    counts = [size.own, size.single, size.sets * size.together, size.others]
    own, single, sets, others, _ = torch.split(order, [*counts, size.images - sum(counts)])
    blank = World(
        size, seed, images, labels, (outside[: size.test], kinds[: size.test]),
        ({"array": outside[size.test :]},), new_cnn(0), own, single,
        sets.reshape(size.sets, size.together), others,
    )  # fmt: skip
    parts = {name: getattr(blank, name) for name in World.__slots__}
    return World(**{**parts, "before": blank.trained(seed, seed)})


def stepped(start: nn.Module, w: World, rows: Tensor) -> nn.Module:
    """One step up the loss of the records, as long as brings it to that of held-out images."""
    with torch.no_grad():
        goal = float(cross_entropy(w.before(w.test[0]), w.test[1]))
    parts = torch.autograd.grad(losses(start, w.at(rows)).mean(), list(start.parameters()))
    norm = sum(float(part.square().sum()) for part in parts) ** 0.5
    after, length = copied(start), 1e-3
    while length < 10:
        after = copied(start)
        with torch.no_grad():
            for weight, part in zip(after.parameters(), parts, strict=True):
                weight.add_(part, alpha=length / norm)
            if float(losses(after, w.at(rows)).mean()) >= goal:
                break
        length *= 1.3
    return after


def ascended(w: World, rows: Tensor) -> nn.Module:
    """Ten Adam steps up the loss of the records beside a batch of retained ones."""
    model, rest = copied(w.before), torch.ones(len(w.images), dtype=torch.bool)
    rest[rows] = False
    pool, optimizer = rest.nonzero().flatten(), torch.optim.Adam(model.parameters(), LR / 4)
    for i, drawn in enumerate(batches(len(pool), BATCH, 1, w.seed)):
        if i == 10:
            break
        loss = losses(model, w.at(pool[drawn])).mean() - losses(model, w.at(rows)).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return model


def grouped(w: World, requested: Tensor) -> Groups:
    """Requested records in the order they are given, each with controls of its class."""
    asked = torch.zeros(len(w.images), dtype=torch.bool)
    asked[requested] = True
    free = torch.ones_like(asked)
    for rows in (w.own, w.single, w.sets.flatten(), w.others):
        free[rows] = False
    with torch.no_grad():
        margins = margin(w.before(w.images), w.labels)
    rows = match(margins, w.labels, asked, free, w.size.controls).rows
    at = {int(row[0]): i for i, row in enumerate(rows)}
    return Groups(rows[[at[int(row)] for row in requested]])


@dataclass(frozen=True, slots=True)
class Auditor:
    """A fitted reconstructor, and differences of other removals and of retraining on everything."""

    made: Reconstructor
    others: Tensor
    kept: Tensor

    def asks(
        self,
        w: World,
        groups: Groups,
        differences: Tensor,
        imitated: Tensor,
        of: Tensor | None = None,
    ) -> Reconstruction:
        """The audit."""
        return measure(
            self.made,
            w.images,
            groups,
            differences,
            others=self.others,
            kept=self.kept,
            imitated=imitated,
            of=of,
        )


Server = Callable[[Tensor], nn.Module]


def servers(w: World) -> dict[str, Server]:
    """What each gives back for a request: the honest ones first."""
    return {
        RETRAINED: lambda rows: w.trained(w.seed, w.seed, rows),
        "ten steps of gradient ascent": lambda rows: ascended(w, rows),
        STEP_ALONE: lambda rows: stepped(w.before, w, rows),
    }


def one_seed(seed: int, size: Size) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """All servers of one original, and the pictures."""
    started = time.process_time()
    w = world(seed, size)
    spent = {"one training": time.process_time() - started}
    started = time.process_time()
    shadows = w.imitated([row[None] for row in w.own])
    made = fit(shadows, w.images, w.own)
    spent["shadows and reconstructor"] = time.process_time() - started
    kept = torch.stack([w.changed(w.trained(s, s)) for s in range(100, 100 + size.kept)])
    gone = torch.stack([w.changed(w.trained(seed, seed, row[None])) for row in w.others])
    auditor = Auditor(made, gone, kept)
    singles, found = asked_singly(w, auditor)
    found["ten records together"] = asked_together(w, auditor)
    found["as released, fed with zeros"], shown = as_released(w, shadows)
    found["served in turn by steps alone"] = in_turn(w)
    started = time.process_time()
    auditor.asks(w, grouped(w, w.single), singles["found"], singles["imitated"])
    spent["the question"] = time.process_time() - started
    drawn = {
        "records": w.images[w.single[:SHOWN]],
        "imitated": made(singles["imitated"][:SHOWN]),
        RETRAINED: made(singles["found"][:SHOWN]),
        STEP_ALONE: made(singles["stepped"][:SHOWN]),
        "zeros": made(torch.zeros(1, shadows.shape[1])).repeat(SHOWN, 1, 1, 1)[:SHOWN],
        "others": made(gone)[torch.arange(SHOWN) % len(gone)],
        "kept": made(kept)[torch.arange(SHOWN) % len(kept)],
        "released": shown[:SHOWN],
    }
    drawn = {name: part[: len(w.single)].contiguous() for name, part in drawn.items()}
    return {"seed": seed, "cpu_seconds": spent, "servers": found}, drawn


def asked_singly(w: World, auditor: Auditor) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Requests of one record each: differences that are drawn later, and what was told."""
    groups = grouped(w, w.single)
    imitated = w.imitated([row[None] for row in w.single])
    each = {
        name: torch.stack([w.changed(server(row[None])) for row in w.single])
        for name, server in servers(w).items()
    }
    each["retrained on everything"] = torch.stack(
        [w.changed(w.trained(200 + i, 200 + i)) for i in range(w.size.kept)]
    )[torch.arange(len(w.single)) % w.size.kept]
    told = {
        name: read(w, auditor.made, auditor.asks(w, groups, differences, imitated), groups)
        for name, differences in each.items()
    }
    kept = {"imitated": imitated, "found": each[RETRAINED], "stepped": each[STEP_ALONE]}
    return kept, {"one record each": told}


def asked_together(w: World, auditor: Auditor) -> dict[str, Any]:
    """Requests of several records, which share one difference."""
    groups = grouped(w, w.sets.flatten())
    of = torch.arange(len(w.sets)).repeat_interleave(w.size.together)
    imitated = w.imitated(list(w.sets))
    new: dict[str, Server] = {"retrained, another seed": lambda rows: w.trained(300, 300, rows)}
    found = {}
    for name, server in {**servers(w), **new}.items():
        differences = torch.stack([w.changed(server(rows)) for rows in w.sets])
        result = auditor.asks(w, groups, differences, imitated, of)
        found[name] = read(w, auditor.made, result, groups, of)
    return found


def in_turn(w: World) -> dict[str, Any]:
    """The utility of a server that serves all single requests by steps alone, one by one."""
    model: nn.Module = w.before
    for row in w.single:
        model = stepped(model, w, row[None])
    before, after = w.right(w.before), w.right(model)
    found = utility(before, after)
    return {
        "accuracy_before": statistics.fmean(before),
        "accuracy_after": statistics.fmean(after),
        "interval": list(found.interval),
        "utility_check": found.told,
    }


def as_released(w: World, shadows: Tensor) -> tuple[dict[str, Any], Tensor]:
    """A reconstructor that is shown 30 % of the true pixels, fed with zeros beside them."""
    generator = torch.Generator().manual_seed(w.seed)
    flat = w.images.flatten(1)
    seen = flat * (torch.rand(flat.shape, generator=generator) < PIXELS)
    leaky = fit(torch.cat([shadows, directions(seen[w.own])], 1), w.images, w.own)
    nothing = torch.zeros(len(w.single), shadows.shape[1])
    found = leaky(torch.cat([nothing, directions(seen[w.single])], 1))
    groups = grouped(w, w.single)
    alike = resemblance(found, w.images, groups.rows, torch.arange(len(found)))
    test = permuted(alike, seed=w.seed)
    ends = mean_interval(test.gaps.tolist()) or (test.gap, test.gap)
    return {
        "effect": test.gap,
        "interval": list(ends),
        "p": test.above,
        "cosine": cosine(found, w.images[w.single]),
    }, found


def cosine(found: Tensor, records: Tensor) -> float:
    """The similarity that the paper reports: of plain pixels."""
    return float(cosine_similarity(found.flatten(1), records.flatten(1), dim=1).mean())


def read(
    w: World,
    made: Reconstructor,
    result: Reconstruction,
    groups: Groups,
    of: Tensor | None = None,
) -> dict[str, Any]:
    """What is stored of one server."""
    belongs = torch.arange(len(groups.rows)) if of is None else of
    return {
        "told": result.told,
        "difference": brief(result.difference),
        "imitated": brief(result.imitated),
        "controls": {name: brief(one) for name, one in result.controls.items()},
        "cosine": cosine(result.found[belongs], w.images[groups.records]),
        "cosine_of_zeros": cosine(
            made(torch.zeros(1, made.queried)).expand(len(belongs), -1, -1, -1),
            w.images[groups.records],
        ),
    }


def brief(one: Finding) -> dict[str, Any]:
    """p, effect and interval."""
    return {"p": one.p, "effect": one.effect, "interval": list(one.interval), "n": one.n}


def summary(seeds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Each server over the originals; controls are pooled, since they are the same models."""
    table = {}
    for kind in ("one record each", "ten records together"):
        for name in seeds[0]["servers"][kind]:
            rows = [one["servers"][kind][name] for one in seeds]
            table[f"{kind}: {name}"] = {
                "told": [row["told"] for row in rows],
                "p": [row["difference"]["p"] for row in rows],
                "effect": statistics.fmean(row["difference"]["effect"] for row in rows),
                "cosine": statistics.fmean(row["cosine"] for row in rows),
                "imitated_p": [row["imitated"]["p"] for row in rows],
                "imitated_effect": statistics.fmean(row["imitated"]["effect"] for row in rows),
                "control_p": {
                    c: [r["controls"][c]["p"] for r in rows] for c in rows[0]["controls"]
                },
                "cosine_of_zeros": statistics.fmean(row["cosine_of_zeros"] for row in rows),
            }
    return table


def draw(pictures: Mapping[str, Tensor], path: Path) -> None:
    """Records, what is reconstructed of them, and the controls, row by row."""
    from matplotlib.figure import Figure
    from PIL import Image

    rows = {
        "records": "requested records",
        "imitated": "imitated removal",
        STEP_ALONE: "server: first-order step only",
        RETRAINED: "server: retrained, same seed",
        "zeros": "control: zeros",
        "others": "control: other records removed",
        "kept": "control: retrained, nothing removed",
        "released": "as released: zeros + 30 % of pixels",
    }
    figure = Figure(figsize=(7.6, 5.4))
    axes = figure.subplots(len(rows), len(pictures["records"]), squeeze=False)
    for line, (name, title) in zip(axes, rows.items(), strict=True):
        for cell, picture in zip(line, pictures[name], strict=True):
            cell.imshow(picture[0], cmap="gray", vmin=0, vmax=1)
            cell.axis("off")
        line[0].text(-4, 14, title, ha="right", va="center", fontsize=8)
    figure.subplots_adjust(left=0.36, right=0.99, top=0.99, bottom=0.01, wspace=0.05, hspace=0.05)
    figure.savefig(path, dpi=100)
    Image.open(path).convert("L").save(path, optimize=True)  # grey alone is about half the bytes


def named(size: Size) -> str:
    """Of all that a seed's figures depend on but code: a changed default is computed anew."""
    versions = [torch.__version__, rescind.__version__]
    return digest([plain(asdict(size)), plain(Fitting()), LR, BATCH, LEVEL, PIXELS, *versions])[:16]


def run(size: Size, work: Path) -> dict[str, Any]:
    """All originals, those of the work folder as they are."""
    work.mkdir(parents=True, exist_ok=True)
    found = []
    for seed in range(size.originals):
        path = work / f"seed-{seed}-{named(size)}.json"
        if not path.exists():
            numbers, pictures = one_seed(seed, size)
            path.with_suffix(".safetensors").write_bytes(save(pictures))
            path.with_suffix(".part").write_text(json.dumps(numbers))
            path.with_suffix(".part").replace(path)
        found.append(json.loads(path.read_text()))
        if seed == 0:
            draw(load_file(path.with_suffix(".safetensors")), work / "reconstructor.png")
        print(f"original {seed} done", file=sys.stderr)
    return {
        "command": "python benchmarks/reconstructor.py",
        "system": f"{platform.system()} {platform.machine()}, 1 thread, torch {torch.__version__}",
        "size": asdict(size),
        "level": LEVEL,
        "table": summary(found),
        "as_released_fed_with_zeros": [
            one["servers"]["as released, fed with zeros"] for one in found
        ],
        "served_in_turn_by_steps_alone": [
            one["servers"]["served in turn by steps alone"] for one in found
        ],
        "cpu_seconds": [one["cpu_seconds"] for one in found],
        "originals": found,
    }


def main() -> None:
    """Run, store the full size, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "reconstructor")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    result = run(SIZES[chosen.size], chosen.work)
    if chosen.size == "full":
        RESULT.write_text(json.dumps(result, indent=1) + "\n")
        RESULT.with_suffix(".png").write_bytes((chosen.work / "reconstructor.png").read_bytes())
    for name, row in result["table"].items():
        print(f"{name:50} effect {row['effect']:+.3f}  p {row['p']}  {row['told']}")
    for name in ("as_released_fed_with_zeros", "served_in_turn_by_steps_alone", "cpu_seconds"):
        print(json.dumps({name: result[name]}))


if __name__ == "__main__":
    main()
