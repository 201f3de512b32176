"""How often the audit by shadow models errs, and how often it sees a removal: 240 times eight.

    python benchmarks/shadow_null.py [--quick] [--work FOLDER]

Perceptrons on 1,200 images of Fashion-MNIST, as in ``margin_null.py``. Each group has an original,
a model of another seed that kept every record, and for each size of request, as a request has them,
eight shadow models with a random half of twice as many candidates, and two models without the
records that are asked for. The audit is that of a request (``ShadowAudit``). It is put to the pairs
original and kept, original and removed, and removed and removed, whose records were never there.
Groups share the data and nothing else, so each counts once. Resumes: a group is a file in the work
folder. One thread.

On groups 0 to 159 the test by ranks among sets alone, as it was, rejected for kept records in .100,
.069 and .106 of them (5, 20 and 100 records), and supported the removal of records that were never
there in .04, .10 and .05; that run is not stored. ``audits.few_models`` was chosen on groups 0 to
65, and is asked on groups 200 to 439.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import margin_difference as world  # before torch is imported: it settles the threads
from kept_cells import folder, kept
from margin_null import RECIPE, head, looked_at

# isort: split
import torch

from rescind.audits.shadow_audit import ShadowAudit
from rescind.core.audit import MODELS, Case, Sizes
from rescind.core.canonical import digest, plain
from rescind.data.fashion_mnist import load
from rescind.training.determinism import settle
from rescind.training.models import trained_model
from rescind.training.stages import CellData, cell_data

RESULT = Path(__file__).parent / "results" / "shadow_null.json"
REQUESTS, LEVEL, MOST = (5, 20, 100), 0.05, 0.10
FIRST_GROUP = 200
KINDS = ("kept", "removed", "never there")


@dataclasses.dataclass(frozen=True)
class Size:
    """How much is trained."""

    images: int = 1_200
    first: int = 22_000  # images that no other benchmark of margins uses
    groups: int = 240
    epochs: int = 20


Look = tuple[torch.Tensor, torch.Tensor]


def one_group(data: CellData, size: Size, number: int) -> list[dict[str, Any]]:
    """The result of each size of request and kind."""
    draw = torch.Generator().manual_seed(number)
    seeds = itertools.count(1_000_000 + 1_000 * number)

    def model(has: torch.Tensor) -> Look:
        return looked_at(data, size.epochs, next(seeds), has)

    everything = torch.ones(size.images, dtype=torch.bool)
    original, another = model(everything), model(everything)
    found = []
    for n in REQUESTS:
        candidates = torch.randperm(size.images, generator=draw)[: 2 * n]
        requested, inside = ~everything, everything.repeat(MODELS, 1)
        requested[candidates[:n]] = True
        inside[:, candidates] = torch.rand(MODELS, 2 * n, generator=draw) < 0.5
        shadows = torch.stack([model(has)[0] for has in inside])
        removed, again = model(~requested), model(~requested)
        pairs = ((original, another), (original, removed), (again, removed))
        for kind, (before, after) in zip(KINDS, pairs, strict=True):
            case = case_of(data, before, after[0], requested)
            case = dataclasses.replace(case, shadows=shadows, inside=inside)
            found.append({"kind": kind, "n": n} | asked(case, number))
    return found


def case_of(data: CellData, before: Look, after: torch.Tensor, requested: torch.Tensor) -> Case:
    """What the audit reads of both models; it reads nothing that was held out."""
    margins, features = before
    n = int(requested.sum())
    return Case(
        sizes=Sizes("classes", n, len(requested) - n, 0, False, 1.0),
        before=margins,
        after=after,
        labels=data.labels,
        features=features,
        requested=requested,
        outside_before=margins[:0],
        outside_after=after[:0],
        outside_labels=data.labels[:0],
    )


def asked(case: Case, seed: int) -> dict[str, Any]:
    """What is kept of one result."""
    found = ShadowAudit().audit(case, level=LEVEL, tests=1, seed=seed)
    return {
        "p": found.p,
        "extent": found.effect,
        "outcome": found.outcome,
        "power": found.power,
    }


def rows(every: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row a kind and size of request: the null rejected, and what is said in a request."""
    found = []
    for kind in KINDS:
        for n in REQUESTS:
            own = [one for one in every if (one["kind"], one["n"]) == (kind, n)]
            found.append(
                {
                    "records_are": kind,
                    "n": n,
                    "rejected": world.share([one["p"] < LEVEL for one in own]),
                    "supported": world.share([o["outcome"] == "removed_supported" for o in own]),
                    "outcomes": dict(Counter(one["outcome"] for one in own)),
                    "power_stated": round(sum(one["power"] for one in own) / len(own), 3),
                }
            )
    return found


def main() -> None:
    """Train, ask, store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "shadow-null")
    args = parser.parse_args()
    settle(1)
    size = Size(groups=2, epochs=2) if args.quick else Size()
    cells, started = folder(args.work, args.quick), time.process_time()
    data = cell_data(trained_model(RECIPE), load("train", size.first + size.images)[size.first :])
    name = digest([plain(RECIPE), plain(size), REQUESTS, KINDS])[:12]
    every = [
        one
        for i in range(FIRST_GROUP, FIRST_GROUP + size.groups)
        for one in kept(cells / f"{name}-{i}.json", lambda i=i: one_group(data, size, i))  # type: ignore[misc]
    ]
    found = rows(every)
    honest = [row for row in found if row["records_are"] == "kept"]
    what = "The audit by eight shadow models: records kept, removed, and never there."
    result = head(what, "shadow_null.py", args.quick, size, started) | {
        "met": all(row["rejected"]["upper_95"] <= MOST for row in honest),
        "rows": found,
    }
    if not args.quick:
        RESULT.write_text(world.laid_out(result))
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
