"""Does anything bring the alignment of influence back at another seed?

    python benchmarks/influence_alignment.py [--cells FOLDER]

TAPE supposes that an unlearned model has moved along the gradients of the requested records. At
another seed that was at chance. Three ways out are tried on the models of
``benchmarks/margin_difference.py``: scores in logit space, scores layer by layer at equal length,
and retraining from the same initialisation with batches in another order. Models of other seeds
that kept all records, or that have the same initialisation and kept all, give the null. One set of
records a model, twenty models a kind; one torch thread. It resumes: p-values lie under --cells.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import margin_difference as world  # before torch is imported: it settles the threads

# isort: split
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from rescind.audits.influence_alignment import alignment, scores
from rescind.audits.influence_directions import difference, layers, towards
from rescind.audits.matched import match
from rescind.metrics.membership import margin
from rescind.training.determinism import settle
from rescind.training.plain import train_whole

RESULT = Path(__file__).parent / "results" / "influence_alignment.json"
MODELS, REQUESTS, CONTROLS, QUERIES = 20, (20, 100), 10, 1_000
KINDS = {
    "another seed, records gone": (True, False),
    "another seed, records kept": (False, False),
    "same initialisation, records gone": (True, True),
    "same initialisation, records kept": (False, True),
}
WAYS = ("all weights", "by layer", "logit space")
SIZES = world.Sizes(5_000, 2_000, 20, 1, 0, 0, 0, 0)
Batch = Mapping[str, Tensor]


def loss(module: nn.Module, batch: Batch) -> Tensor:
    """Of each record, nats."""
    return cross_entropy(module(batch["array"]), batch["labels"], reduction="none")


def outputs(module: nn.Module, batch: Batch) -> Tensor:
    """Logits."""
    found: Tensor = module(batch["array"])
    return found


def module_of(rows: list[dict[str, Any]], seed: int) -> nn.Module:
    """Trained plainly; rows in another order give batches in another order."""
    recipe = replace(world.RECIPE, epochs=SIZES.epochs, seed=seed)
    return train_whole(recipe, rows).module.eval()


def asked(before: nn.Module, after: nn.Module, gone: list[int], batch: Batch) -> dict[str, float]:
    """By way and size, p; ``gone`` are the records that are asked for, first some of them."""
    with torch.no_grad():
        margins = margin(before(batch["array"]), batch["labels"])
    queries = {name: t[-QUERIES:] for name, t in batch.items()}
    with torch.no_grad():
        answers = after(queries["array"])
    moved = difference(before, after)
    directions = {
        "all weights": {"": moved},
        "by layer": layers(moved),
        "logit space": {"": towards(before, outputs, [queries], [answers])},
    }
    found = {}
    for n in REQUESTS:
        requested = torch.zeros(len(margins), dtype=torch.bool)
        requested[gone[:n]] = True
        free = ~requested
        free[gone] = False
        groups = match(margins, batch["labels"], requested, free, CONTROLS)
        mine = {name: t[groups.flat] for name, t in batch.items()}
        for way, parts in directions.items():
            told = {
                k: scores(before, loss, [mine], d)[_places(groups.rows)] for k, d in parts.items()
            }
            found[f"{way} {n}"] = alignment(told, draws=999).p
    return found


def _places(rows: Tensor) -> Tensor:
    """Where the records of groups lie in their flat list."""
    return torch.arange(rows.numel()).reshape(rows.shape)


def models(cells: Path) -> Iterator[tuple[str, int, dict[str, float]]]:
    """(kind, number, p-values), those that are stored as they are."""
    data = world.Cells(cells, SIZES)
    before: nn.Module | None = None
    for number in range(MODELS):
        gone = world.drawn(7_000 + number, max(REQUESTS))
        order = torch.randperm(len(gone), generator=torch.Generator().manual_seed(number)).tolist()
        chosen = [gone[i] for i in order]
        for kind, (removed, same) in KINDS.items():
            path = cells / f"alignment-{number}-{kind.replace(' ', '-').replace(',', '')}.json"
            if not path.exists():
                before = before or module_of(data.rows, 0)
                left = set(gone) if removed else set()
                rows = [r for i, r in enumerate(data.rows) if i not in left]
                if same and not removed:  # the recipe's own batches would give the original back
                    rows = rows[number + 1 :] + rows[: number + 1]
                after = module_of(rows, 0 if same else 2_000 + number)
                path.write_text(json.dumps(asked(before, after, chosen, data.batch)))
            print(f"{kind} {number}", flush=True)
            yield kind, number, json.loads(path.read_text())


def main() -> None:
    """Train, ask, store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--cells", type=Path, default=Path("demo/influence-alignment-cells"))
    cells = parser.parse_args().cells
    settle(1)
    found = list(models(cells))
    rows = []
    for way in WAYS:
        for n in REQUESTS:
            for kind in KINDS:
                p = [told[f"{way} {n}"] for k, _, told in found if k == kind]
                share = world.share([each < world.LEVEL for each in p])
                rows.append({"way": way, "n": n, "models_are": kind, "rejected": share})
    head = {
        "what": "Alignment of influence, Fashion-MNIST, the models of margin_difference.py.",
        "command": "python benchmarks/influence_alignment.py",
        "system": f"{platform.system()} {platform.machine()}, torch {torch.__version__}",
        "threads": 1,
        "level": world.LEVEL,
        "rows": rows,
    }
    RESULT.write_text(world.laid_out(head))
    for row in rows:
        print(row["way"], row["n"], row["models_are"], row["rejected"])


if __name__ == "__main__":
    main()
