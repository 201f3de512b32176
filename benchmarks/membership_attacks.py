"""Attacks on single records beside 64 shadow models on 10,000 images, measured to the end.

    python benchmarks/membership_attacks.py [--work FOLDER]

Fashion-MNIST and the small network of benchmarks/shadow_training.py. Each of 64 shadow models sees
half of the images; twenty images stay together, in every second model. Sixteen of them are attacked
in turn by the 63 others: LiRA and RMIA, online and offline; and population attacks, which need
none. Of each attack stand the mean over the sixteen models of area
and true positives at 0.1 % and 1 % false positives, with the lowest and highest model, and points
of one model's curve at false-positive rates even on a log scale. The lower bound on epsilon is of
the twenty images together: one score a model, their mean margin less that of images that no model
saw, so that scores are independent.

CPU seconds of training and scoring are measured, not extrapolated. A run that was stopped goes on:
shadow models are files in the work folder. One torch thread.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # read when torch is imported
os.environ["OMP_NUM_THREADS"] = "1"

import torch
from torch import Tensor

from rescind.audits.epsilon import epsilon_at_least
from rescind.audits.lira import lira, lira_offline
from rescind.audits.population import population_scores
from rescind.audits.rmia import rmia, rmia_offline
from rescind.audits.roc import log_points, rate_at, roc
from rescind.audits.shadow_draw import ShadowDraw
from rescind.audits.shadow_training import set_name, train_part
from rescind.audits.shadows import Shadows, trained_shadows
from rescind.data import fashion_mnist
from rescind.metrics.loss import cross_entropy
from rescind.metrics.membership import margin
from rescind.training.batches import pieces
from rescind.training.models import trained_model
from rescind.training.snapshots import from_bytes
from shadow_training import NETWORKS, recipe

RESULT = Path(__file__).parent / "results" / "membership_attacks.json"
NETWORK, GROUP = "cnn", 20
RATES, POINTS, DELTA, LIMIT_SECONDS = (0.001, 0.01), 13, 1e-5, 20 * 60
SCALE = 0.3  # of the offline RMIA, as its paper has it for images


@dataclass(frozen=True)
class Size:
    """Images that shadow models draw from, and further ones that none saw."""

    images: int = 10_000
    population: int = 2_000
    models: int = 64
    attacked: int = 16
    epochs: int = 8


@dataclass(frozen=True, eq=False)
class Answers:
    """Logits (models, n, classes) on the images and (models, m, classes) on the population."""

    logits: Tensor
    population: Tensor
    labels: Tensor
    population_labels: Tensor
    seen: Tensor

    @property
    def shadows(self) -> Shadows:
        """Margins of all images in all models."""
        margins = torch.stack([margin(z, self.labels).double() for z in self.logits])
        return trained_shadows(margins, self.seen)

    @property
    def sure(self) -> Shadows:
        """The same as logs of the true class's probability."""
        logs = torch.stack([-cross_entropy(z, self.labels) for z in self.logits])
        return trained_shadows(logs, self.seen)

    @property
    def sure_population(self) -> Tensor:
        """(models, m)."""
        return torch.stack([-cross_entropy(z, self.population_labels) for z in self.population])


Attack = Callable[[int], Tensor]


def answers(size: Size, folder: Path, spent: dict[str, float]) -> Answers:
    """Train what is missing, and read every model; CPU seconds go into ``spent``."""
    rows = fashion_mnist.load("train", size.images + size.population)
    own, others = rows[: size.images], rows[size.images :]
    chosen = replace(recipe(*NETWORKS[NETWORK]), epochs=size.epochs)
    draw = ShadowDraw(size.images, size.models, group=tuple(range(GROUP)), without=size.models // 2)
    place = folder / set_name(chosen, own, draw)[:16]
    place.mkdir(parents=True, exist_ok=True)

    def have(model: int) -> bytes | None:
        file = place / f"{model}.safetensors"
        return file.read_bytes() if file.exists() else None

    def save(model: int, data: bytes) -> None:
        partial = place / f"{model}.partial"
        partial.write_bytes(data)
        partial.rename(place / f"{model}.safetensors")
        spent[str(model)] = time.process_time() - started
        (place / "seconds.json").write_text(json.dumps(spent))
        print(f"shadow model {model + 1} of {size.models}", flush=True)

    noted = place / "seconds.json"
    before = json.loads(noted.read_text()) if noted.exists() else {}
    so_far = max(before.values(), default=0.0)
    spent |= before
    started = time.process_time() - so_far
    train_part(chosen, own, draw, have, save)
    found, model = [], trained_model(chosen)
    batches = [model.inputs(each) for each in (own, others)]
    started = time.process_time()
    for number in range(size.models):
        model.load(from_bytes(have(number) or b""))
        with torch.no_grad():
            found.append([torch.cat([model.outputs(p) for p in pieces(b, 512)]) for b in batches])
    spent["scoring"] = time.process_time() - started
    logits, population = (torch.stack(each) for each in zip(*found, strict=True))
    labels, other_labels = (b["labels"] for b in batches)
    return Answers(logits, population, labels, other_labels, draw.seen())


def attacks(given: Answers) -> dict[str, Attack]:
    """By name the scores (n,) of one attacked model."""
    margins, sure, population = given.shadows, given.sure, given.sure_population
    models = len(given.seen)

    def others(target: int) -> list[int]:
        return [m for m in range(models) if m != target]

    def without(target: int, all_of: Shadows) -> Shadows:
        rows = others(target)
        return Shadows(all_of.margins[rows], all_of.inside[rows], all_of.outside[rows])

    known: dict[str, Attack] = {
        "LiRA": lambda t: lira(margins.margins[t], without(t, margins)),
        "LiRA, offline": lambda t: lira_offline(margins.margins[t], without(t, margins)),
        "RMIA": lambda t: rmia(
            sure.margins[t], without(t, sure), population[t], population[others(t)]
        ),
        "RMIA, offline": lambda t: rmia_offline(
            sure.margins[t], without(t, sure), population[t], population[others(t)], SCALE
        ),
    }
    kinds: dict[str, Attack] = {
        f"population: {kind}": lambda t, kind=kind: population_scores(  # type: ignore[misc]
            given.logits[t], given.labels, kind
        )
        for kind in ("loss", "entropy", "modified_entropy")
    }
    return kinds | known


def measured(name: str, attack: Attack, given: Answers, size: Size) -> dict[str, Any]:
    """One attack on the first models: means, with the lowest and the highest."""
    curves, started = [], time.process_time()
    for target in range(size.attacked):
        scores, seen = attack(target), given.seen[target]
        curves.append(roc(scores[seen], scores[~seen]))
    seconds = time.process_time() - started
    found: dict[str, Any] = {"attack": name, "auc": _spread([c.auc for c in curves])}
    for rate in RATES:
        at = [rate_at(c, rate) for c in curves]
        found[f"tpr_at_{rate:g}"] = _spread([r.true for r in at if r is not None])
        first = at[0]
        found[f"interval_of_one_model_at_{rate:g}"] = first and [
            round(x, 5) for x in first.interval
        ]
    points = log_points(curves[0], POINTS)
    found["curve_of_one_model"] = [[round(x, 6), round(y, 4)] for x, y in points]
    found["cpu_seconds"] = round(seconds, 2)
    return found


def _spread(values: list[float]) -> dict[str, float] | None:
    if not values:  # too few records that were not seen to know so low a rate
        return None
    found = {"mean": fmean(values), "lowest": min(values), "highest": max(values)}
    return {name: round(value, 5) for name, value in found.items()}


def epsilon(given: Answers) -> dict[str, Any]:
    """The bound from the group's mean margin less that of the population, one score a model."""
    others = torch.stack([margin(z, given.population_labels).double() for z in given.population])
    scores = given.shadows.margins[:, :GROUP].mean(1) - others.mean(1)
    inside = given.seen[:, 0]
    found = epsilon_at_least(scores[inside], scores[~inside], DELTA)
    return {
        "records_together": GROUP,
        "delta": DELTA,
        "at_least": round(found.epsilon, 3),
        "level": found.level,
        "true": [found.true, found.members],
        "false": [found.false, found.non_members],
    }


def result(size: Size, folder: Path) -> dict[str, Any]:
    """All that is stored."""
    spent = dict[str, float]()
    given = answers(size, folder, spent)
    training = max(s for model, s in spent.items() if model != "scoring")
    seconds = training + spent["scoring"]
    rows = [measured(name, attack, given, size) for name, attack in attacks(given).items()]
    return {
        "command": "python benchmarks/membership_attacks.py",
        "notes": [" ".join(part.split()) for part in (__doc__ or "").split("\n\n")],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "threads": torch.get_num_threads(),
        "measured": vars(size) | {"network": NETWORK, "batch_size": 64},
        "cpu_seconds": {
            "training": round(training, 1),
            "scoring": round(spent["scoring"], 1),
            "attacks": round(sum(row["cpu_seconds"] for row in rows), 1),
        },
        "within_20_minutes_of_one_core": seconds < LIMIT_SECONDS,
        "accuracy": {
            "seen": round(_accuracy(given, seen=True), 4),
            "unseen": round(_accuracy(given, seen=False), 4),
        },
        "rows": rows,
        "epsilon": epsilon(given),
    }


def _accuracy(given: Answers, seen: bool) -> float:
    right = given.logits.argmax(2) == given.labels
    return float(right[given.seen if seen else ~given.seen].double().mean())


def draw(found: Mapping[str, Any], path: Path) -> None:
    """The curves of one model on log scales, where the few records that are found can be seen."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.2, 4.6), layout="constrained")
    for row in found["rows"]:
        curve = [(x, y) for x, y in row["curve_of_one_model"] if x > 0 and y > 0]
        dashed = row["attack"].startswith("population")
        axes.plot(*zip(*curve, strict=True), "--" if dashed else "-", label=row["attack"])
    least = min(x for row in found["rows"] for x, _ in row["curve_of_one_model"] if x > 0)
    axes.plot([least, 1], [least, 1], color="grey", linewidth=0.8, label="chance")
    axes.set(xscale="log", yscale="log", xlabel="false positives", ylabel="records found")
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=85)
    plt.close(figure)


def main() -> int:
    """Measure, store and draw; 1 if the shadow models take longer than 20 minutes."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = Path(tempfile.gettempdir()) / "rescind_membership_attacks"
    options.add_argument("--work", type=Path, default=default, help="keeps models; resumable")
    torch.set_num_threads(1)
    found = result(Size(), options.parse_args().work)
    RESULT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    draw(found, RESULT.with_suffix(".png"))
    print(json.dumps(found, indent=1))
    return 0 if found["within_20_minutes_of_one_core"] else 1


if __name__ == "__main__":
    sys.exit(main())
