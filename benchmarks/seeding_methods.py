"""What each approximate method leaves of the codes of the records that it is to forget.

    python benchmarks/seeding_methods.py [--size full|toy] [--work FOLDER] [--add METHOD ...]

The models of ``benchmarks/seeding.py`` (Fashion-MNIST, 50 seeded records of a user and 10 decoys)
are edited by every method that serves a classifier, with its default parameters, the user's records
being the forget set; then the user asks as before. Controls stand beside them: the original, and a
model retrained without the records from another initialisation. A method that refuses or diverges
is named with its reason. One thread; each seed is a file in the work folder.

``--add`` asks methods that are younger than the stored result, and puts their rows into it. The
models are trained again for that; if the controls do not come out as they are stored, to the last
digit that is kept, nothing is added, and all must be run.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

import seeding as images  # before torch is imported: it settles the threads

# isort: split
import torch

from rescind import methods_of
from rescind.audits.seeding.bits import LEVEL, rejects_from
from rescind.audits.seeding.kernel import AUDIT as KERNEL
from rescind.benchmarks.models import with_seed
from rescind.benchmarks.tried import editing
from rescind.core.canonical import digest
from rescind.core.dataset import Record, Split
from rescind.core.errors import RescindError
from rescind.core.partition import Partition
from rescind.core.run import AdamW, Recipe
from rescind.data.fashion_mnist import CLASSES
from rescind.data.records import records_from
from rescind.metrics.equivalence import mean_interval
from rescind.testing.memory import MemoryModel, run_of
from rescind.training.models import TrainedModel, trained_model
from rescind.training.modules import Classification

RESULT = Path(__file__).parent / "results" / "seeding_methods.json"
RECIPE = Recipe(
    task=Classification(
        "rescind.testing.cheats.networks:cnn", CLASSES, (1, 28, 28), {"classes": len(CLASSES)}
    ),
    method="retrain",
    partition=Partition(1, 1, 0.1),
    orders=1,
    epochs=15,
    batch_size=images.BATCH,
    optimizer=AdamW(lr=images.LR),
)
# the same network under the names of the package's own
NAMES = {"body.0": "conv0", "body.2": "conv1", "hidden": "hidden", "head": "head"}
CONTROLS = ("original (no-op)", "retrained without the records")


def packaged(model: images.Cnn) -> TrainedModel:
    """The trained network as methods edit it."""
    found = trained_model(RECIPE)
    state = {renamed(name, NAMES): t.clone() for name, t in model.state_dict().items()}
    found.module.load_state_dict(state)
    found.set_training((), on=False)
    return found


def unpacked(model: TrainedModel) -> images.Cnn:
    """The inverse of ``packaged``."""
    found, back = images.Cnn(), {new: old for old, new in NAMES.items()}
    found.load_state_dict({renamed(name, back): t for name, t in model.module.state_dict().items()})
    return found


def renamed(name: str, names: Mapping[str, str]) -> str:
    """A parameter's name in the other network."""
    part, _, leaf = name.rpartition(".")
    return f"{names[part]}.{leaf}"


def split_of(user: images.User) -> Split:
    """The user's records, and all others."""
    rows = [{"id": str(i), **_bare(row)} for i, row in enumerate(user.data.rows)]
    own = set(map(int, user.own))
    found: dict[bool, list[Record]] = {True: [], False: []}
    for record in records_from(rows, key="id", subject=None):
        found[int(record.key) in own].append(record)
    return Split(found[True], found[False])


def _bare(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "id"}


def edited(
    before: images.Cnn, user: images.User, seed: int, names: Sequence[str]
) -> Iterator[tuple[str, Any, float]]:
    """(method, edited network or why there is none, CPU seconds)."""
    split = split_of(user)
    for name in names:
        handle, started = MemoryModel(packaged(before)), time.process_time()
        try:
            with_seed(methods_of.make(name, {}), seed).unlearn(handle, split, run_of(RECIPE))
        except RescindError as error:
            yield name, error.what, 0.0
            continue
        spent = time.process_time() - started
        yield name, unpacked(handle.edited) if handle.edited else "It saved nothing.", spent


def one_seed(seed: int, size: images.Size, names: Sequence[str]) -> dict[str, Any]:
    """These methods with one seed, and the controls."""
    user, seeds = images.user_of(seed, size)
    everything = torch.arange(size.images)
    before, without = images.new_cnn(seed), images.new_cnn(seed + 1000)
    retained = everything[~torch.isin(everything, user.own)]
    images.train(before, user.data, everything, seeds, size.epochs, seed)
    started = time.process_time()
    images.train(without, user.data, retained, None, size.epochs, seed + 1000)
    spent = time.process_time() - started
    first = images.asked(before, user)
    models = [(CONTROLS[0], images.copied(before), 0.0), (CONTROLS[1], without, spent)]
    found, refused = {}, {}
    for name, model, seconds in [*models, *edited(before, user, seed, names)]:
        print(f"seed {seed}: {name}", file=sys.stderr)
        if isinstance(model, str):
            refused[name] = model
        else:
            found[name] = {**images.read(model, user, first), "cpu_seconds": seconds}
    return {"seed": seed, "methods": found, "refused": refused}


def table(seeds: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row a method, over the seeds in which it gave a model."""
    names = dict.fromkeys(name for one in seeds for name in one["methods"])
    return [_row(name, seeds) for name in names]


def _row(name: str, seeds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    own = [one["methods"][name] for one in seeds if name in one["methods"]]
    kernel = [next(f for f in r["findings"] if f["audit"] == KERNEL) for r in own]
    outcomes = [row["outcome"] for row in own]
    return {
        "name": name,
        "seeds": len(own),
        "bits": _short([row["findings"][0]["effect"] for row in own]),
        "kernel_z": _short([one["effect"] for one in kernel]),
        "outcomes": {each: outcomes.count(each) for each in sorted(set(outcomes))},
        "accuracy": _short([row["accuracy"] for row in own]),
        "own_accuracy": _short([row["own_accuracy"] for row in own]),
        "cpu_seconds": _short([row["cpu_seconds"] for row in own]),
    }


def _short(values: Sequence[float]) -> dict[str, Any]:
    ends = mean_interval(values)
    return {
        "mean": round(fmean(values), 4),
        "interval": None if ends is None else [round(end, 4) for end in ends],
    }


def run(size: images.Size, work: Path, names: Sequence[str] = ()) -> dict[str, Any]:
    """All seeds, those of the work folder as they are; of all methods, if none is named."""
    work.mkdir(parents=True, exist_ok=True)
    found, asked = [], tuple(names) or editing("classes")
    made_from = digest([images.settings(size), asked])[:16]
    for seed in range(size.seeds):
        path = work / f"methods-{seed}-{made_from}.json"
        if not path.exists():
            done = json.dumps(one_seed(seed, size, asked))
            path.with_suffix(".part").write_text(done)
            path.with_suffix(".part").replace(path)
        found.append(json.loads(path.read_text()))
    return {
        "what": "Codes left by approximate methods, Fashion-MNIST, defaults.",
        "command": "python benchmarks/seeding_methods.py",
        "system": f"{platform.system()} {platform.machine()}, torch {torch.__version__}",
        "threads": 1,
        "size": asdict(size),
        "refused": {k: v for one in found for k, v in one["refused"].items()},
        "rows": table(found),
    }


def joined(stored: dict[str, Any], added: Mapping[str, Any]) -> dict[str, Any]:
    """The stored result with the rows of the methods that were asked later.

    Raises:
        ValueError: the controls of both runs are not alike.
    """
    old, new = ({row["name"]: row for row in part["rows"]} for part in (stored, added))
    for name in CONTROLS:
        if _but_time(old[name]) != _but_time(new[name]):
            raise ValueError(f"{name} is {new[name]}, and stored is {old[name]}: run all methods.")
    later = [name for name in new if name not in CONTROLS]
    order = [*CONTROLS, *editing("classes")]
    rows = old | {name: new[name] for name in later}
    return {
        **stored,
        "added": {**stored.get("added", {}), **dict.fromkeys(later, added["system"])},
        "refused": {**stored["refused"], **added["refused"]},
        "rows": [rows[name] for name in order if name in rows],
    }


def _but_time(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "cpu_seconds"}


def laid_out(found: Mapping[str, Any]) -> str:
    """JSON, a row of the table on a line."""
    head = [f" {json.dumps(k)}: {json.dumps(v)}" for k, v in found.items() if k != "rows"]
    lines = ",\n".join(f"  {json.dumps(row)}" for row in found["rows"])
    return "{\n" + ",\n".join([*head, f' "rows": [\n{lines}\n ]']) + "\n}\n"


def draw(found: Mapping[str, Any], path: Path) -> None:
    """Share of bits matched by method, with the band of chance."""
    import matplotlib.pyplot as plt

    rows = sorted(found["rows"], key=lambda row: row["bits"]["mean"])
    total = found["size"]["own"] * 32
    below = rejects_from(total, LEVEL)
    figure, axes = plt.subplots(figsize=(7, 5.2), layout="constrained")
    means = [row["bits"]["mean"] for row in rows]
    ends = [row["bits"]["interval"] or [m, m] for row, m in zip(rows, means, strict=True)]
    errors = [[m - e[0] for m, e in zip(means, ends, strict=True)],
              [e[1] - m for m, e in zip(means, ends, strict=True)]]  # fmt: skip
    colours = ["black" if row["name"] in CONTROLS else "tab:blue" for row in rows]
    for i, colour in enumerate(colours):
        error = [[max(0.0, errors[0][i])], [max(0.0, errors[1][i])]]
        axes.errorbar(means[i], i, xerr=error, fmt="o", color=colour)
    axes.axvspan(
        1 - below / total, below / total, color="grey", alpha=0.25, label="chance, p > .001"
    )
    axes.set_yticks(range(len(rows)), [row["name"] for row in rows])
    axes.set(
        xlim=(0.2, 1.0),
        xlabel="share of the user's bits that match",
        title=f"{found['size']['seeds']} seeds",
    )
    axes.legend(loc="lower right", frameon=False)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def main() -> None:
    """Run, and store the full size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--size", choices=images.SIZES, default="full")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "seeding")
    parser.add_argument("--add", nargs="+", default=(), metavar="METHOD")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    result = run(images.SIZES[chosen.size], chosen.work, chosen.add)
    if chosen.add:
        result = joined(json.loads(RESULT.read_text()), result)
    if chosen.size == "full":
        RESULT.write_text(laid_out(result))
        draw(result, RESULT.with_suffix(".png"))
    for row in result["rows"]:
        bits, z = row["bits"]["mean"], row["kernel_z"]["mean"]
        print(f"{row['name']:32} {bits:.3f} {z:6.1f} {row['outcomes']}")
    print(result["refused"])


if __name__ == "__main__":
    main()
