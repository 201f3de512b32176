"""How often does the verdict of a request accuse an honest retraining, and what does it see else?

    python benchmarks/honest_verdicts.py [--quick] [--work FOLDER]

A request a workspace: 1,600 rows of UCI Adult, drawn anew, a small perceptron that learns much by
heart, and 40 of its records to forget. Audits are planned with two minutes of one core, then the
request is unlearned and audited, as ``rescind plan --audit-budget 2m`` and ``rescind audit`` do.
The honest server retrains without the records; five others run a method that approximates it, with
its defaults. What is counted is the outcome of the whole verdict, at .05 after Holm's
correction, and of each audit in it. Audits draw fresh seeds, as for any request, so that another
run has other counts. One thread; a request is a file in the work folder, so that an interrupted run
goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # read when torch is imported
os.environ["OMP_NUM_THREADS"] = "1"

import torch

from rescind import state
from rescind.benchmarks.runner import BENCHMARKS
from rescind.core.canonical import digest
from rescind.core.partition import Partition
from rescind.core.run import Recipe
from rescind.metrics.statistics import clopper_pearson
from rescind.resolve import Ask
from rescind.settings import Settings
from rescind.workspace import new_workspace

RESULT = Path(__file__).parent / "results" / "honest_verdicts.json"
BUDGET, LEVEL = 120.0, 0.05
IN_PROCESS = Settings(executor="inline", threads=1)  # one process: starting others takes longer


@dataclass(frozen=True, slots=True)
class Size:
    """Rows of a workspace, records of its request, and requests by method."""

    rows: int
    asked: int
    epochs: int
    requests: dict[str, int]


APPROXIMATE = ("finetune", "eu_k", "ssd", "negative_gradient", "influence")
FULL = Size(1600, 40, 40, {"retrain": 30} | dict.fromkeys(APPROXIMATE, 10))
QUICK = Size(600, 20, 10, {"retrain": 1, "finetune": 1})


def data() -> tuple[Recipe, list[Any]]:
    """The small model of the benchmark on Adult, and the rows that it trains on."""
    setting = BENCHMARKS.make("adult", {}).setting(False)
    [recipe] = setting.models.values()
    return recipe, [record.row for record in setting.train]


def verdict(method: str, seed: int, size: Size) -> dict[str, Any]:
    """Of one request in a workspace of its own: the outcome, and what each audit told."""
    recipe, rows = data()
    draw = random.Random(f"{method} {seed}")
    recipe = replace(
        recipe, partition=Partition(1, 1, 0.3), orders=1, epochs=size.epochs, seed=seed
    )
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        workspace = new_workspace(Path(folder) / "workspace", IN_PROCESS)
        workspace.train(recipe, draw.sample(rows, size.rows), store=True)
        trained = [e.key for e in state.allowed(workspace.backends) if e.cell != "test"]
        asked = draw.sample(trained, size.asked)
        request = workspace.request(Ask(keys=tuple(asked), near="keep", method=method))
        workspace.plan_audits(BUDGET, request.id)
        found = workspace.audit(request.id)
        workspace.backends.ledger.close()
    audits = {r.audit: {"outcome": r.outcome, "p": r.p} for r in found.results}
    spent = time.process_time() - started
    return {"outcome": found.outcome, "audits": audits, "cpu_seconds": spent}


def verdicts(method: str, size: Size, work: Path) -> list[dict[str, Any]]:
    """All requests of a method, those of the work folder as they are."""
    found = []
    for seed in range(size.requests[method]):
        what = digest([method, seed, size.rows, size.asked, size.epochs, torch.__version__])
        path = work / f"verdict-{what[:16]}.json"
        if not path.exists():
            done = json.dumps(verdict(method, seed, size))
            path.with_suffix(".part").write_text(done)
            path.with_suffix(".part").replace(path)
        print(f"{method} {seed} done", file=sys.stderr, flush=True)
        found.append(json.loads(path.read_text()))
    return found


def row_of(method: str, found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The verdicts of a method, and its audits', with the share that found a residue."""
    names = list(dict.fromkeys(name for one in found for name in one["audits"]))
    audits = {
        name: [one["audits"][name] for one in found if name in one["audits"]] for name in names
    }
    return {
        "method": method,
        "verdict": told([one["outcome"] for one in found]),
        "audits": {name: told([a["outcome"] for a in own]) for name, own in audits.items()},
        "cpu_seconds_a_request": round(sum(one["cpu_seconds"] for one in found) / len(found), 2),
    }


def told(outcomes: Sequence[str]) -> dict[str, Any]:
    """How often each, and the share of residues with the exact one-sided 95 % bounds."""
    hits, n = outcomes.count("residue_found"), len(outcomes)
    low, high = clopper_pearson(hits, n, 0.9)
    bounds = {"at_least": round(low, 4), "at_most": round(high, 4)}
    return {
        "asked": n,
        "outcomes": dict(sorted(Counter(outcomes).items())),
        "residue": hits,
    } | bounds


def main() -> None:
    """Run and store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="two requests, nothing is stored")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "verdicts")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    size = QUICK if args.quick else FULL
    rows = [row_of(method, verdicts(method, size, args.work)) for method in size.requests]
    for row in rows:
        print(row["method"], row["verdict"]["outcomes"], "at most", row["verdict"]["at_most"])
    if args.quick:
        return
    head = {
        "what": "Verdicts of requests that an honest server retrained, and of approximate methods.",
        "command": "python benchmarks/honest_verdicts.py",
        "system": f"{platform.system()} {platform.machine()}, torch {torch.__version__}",
        "threads": 1,
        "level": LEVEL,
        "size": {"rows": size.rows, "asked": size.asked, "epochs": size.epochs},
    }
    lines = ",\n".join(f"  {json.dumps(row)}" for row in rows)
    heads = ",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in head.items())
    RESULT.write_text("{\n" + heads + f',\n "rows": [\n{lines}\n ]\n' + "}\n")


if __name__ == "__main__":
    main()
