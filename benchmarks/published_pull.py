"""What a published learned pull shows of the records behind it, beside the forget gradient.

    python benchmarks/published_pull.py [--work FOLDER] [--quick] [--out FILE]

The attacks of published_gradient.py on the direction that learned_pulls.py makes for a class, of
500 of its records and of all of them. Only these records are forgotten in the simulation and make
the gradient that learning starts from; the simulated clients' own images are any of the provider's.
The mask is public, so that an attacker knows where the direction was learned and looks there only.
Membership is told with the gradient of the same records beside it, once whole and once only where
the learned one is; images are made from the learned one. One torch thread.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import learned_pulls
import zk_apex as scenario
from gradient_inversion import Setting, by_prior, gain, nearest
from gradient_members import LIMIT, Rows, auc, rows_of, scores
from kept_cells import command, folder, kept
from published_gradient import MADE, setting, spread
from rescind.methods.zk_apex.affine import movable
from rescind.methods.zk_apex.fisher import matrices
from rescind.training.determinism import settle
from zk_apex import rows

RESULT = Path(__file__).parent / "results" / "published_pull.json"
CELLS = tuple((s, n) for s in range(3) for n in ("bag", "pullover"))
COUNTS, OTHERS, STEPS = (500, 0), 500, 250


def tested(seen: Rows, goal: Sequence[Tensor], pool: Tensor, n: int) -> dict[str, float]:
    """AUC of each membership test, and of the tenth with the longest gradients."""
    lengths, found = seen.gram.diagonal()[pool], {}
    loud = lengths >= lengths.quantile(0.9)
    for test, value in scores(seen, goal, pool, n).items():
        found[test] = auc(value[:n], value[n:])
        if loud[:n].any() and loud[n:].any():
            found[f"{test}, loud"] = auc(value[:n][loud[:n]], value[n:][loud[n:]])
    return {k: round(v, 4) for k, v in found.items()}


@dataclass(frozen=True)
class Attacked:
    """What an attacker computes once of a cell: rows at all places, and where g is learned."""

    at: Setting
    public: scenario.Published
    seen: Rows
    there: Rows
    where: Tensor


def attacked(bench: scenario.Bench, seed: int, name: str) -> Attacked:
    """Of one cell."""
    at = setting(bench, seed, name)
    public = scenario.published(bench, seed, name, (32,))
    held = rows(at.others, torch.arange(min(2 * OTHERS, len(at.others["labels"]) // 2)))
    batch = scenario.joined(at.records, held, at.own)
    known = len(at.records["labels"]) + len(held["labels"])
    seen = rows_of(at.model, batch, known, at.weights)
    masks = public.masks["fisher"]
    where = torch.cat([movable(masks[k], scenario.BLOCK).flatten() for k in masks])
    values = seen.values * where
    return Attacked(at, public, seen, replace(seen, values=values, gram=values @ values.T), where)


def one(bench: scenario.Bench, of: Attacked, seed: int, name: str, count: int) -> dict[str, Any]:
    """All attacks on the direction of so many records; 0 stands for all."""
    at, domain = of.at, scenario.domain_of(seed, name)
    whole = len(at.records["labels"])
    order = torch.randperm(whole, generator=torch.Generator().manual_seed(seed))
    members = order[: count or whole]
    n, records = len(members), rows(at.records, members)
    if count:
        pull = learned_pulls.learned_of(bench, of.public, records, seed, domain, name)
    else:
        pull = learned_pulls.learned(bench, of.public, seed, domain, name, "learned")
    goal = [pull[k].round().clamp(-LIMIT, LIMIT) for k in matrices(at.model, scenario.MLP)]
    outside = order[n : n + OTHERS] if count else torch.arange(whole, of.seen.auxiliary)
    pool, gradient = torch.cat([members, outside]), at.gradient(records)
    cut = torch.split(of.where, [g.numel() for g in gradient])
    part = [g * w.view(g.shape) for g, w in zip(gradient, cut, strict=True)]
    images = min(MADE, n)
    made = {"nearest": nearest(at, goal, images), "prior": by_prior(at, goal, images, STEPS)}
    made["class mean"] = at.own["array"].mean(0, keepdim=True)
    return {
        "learned": tested(of.there, goal, pool, n),
        "gradient": tested(of.seen, gradient, pool, n),
        "gradient, where learned": tested(of.there, part, pool, n),
        "images": {k: gain(v, records["array"], at.others["array"], seed) for k, v in made.items()},
        "records": n,
    }


def cell(bench: scenario.Bench, seed: int, name: str) -> dict[str, Any]:
    """Both numbers of records, half at most, so that some are outside."""
    of = attacked(bench, seed, name)
    most = len(of.at.records["labels"]) // 2
    counts = [min(count, most) for count in COUNTS]
    told = {str(count or "all"): one(bench, of, seed, name, count) for count in counts}
    return {"seed": seed, "class": name, "by count": told}


def summary(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over cells with 95 % t intervals."""
    told: dict[str, Any] = {}
    for count, first in cells[0]["by count"].items():
        own = [c["by count"][count] for c in cells]
        told[count] = {
            what: {k: spread([o[what][k] for o in own if k in o[what]]) for k in first[what]}
            for what in ("learned", "gradient", "gradient, where learned")
        }
        told[count]["images, gain"] = {
            k: spread([o["images"][k]["gain"] for o in own]) for k in first["images"]
        }
    return told


def main() -> None:
    """Run and store."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "zk_apex")
    parser.add_argument("--out", type=Path, default=RESULT)
    chosen = parser.parse_args()
    settle(1)
    work = folder(chosen.work, chosen.quick)
    size = scenario.QUICK if chosen.quick else scenario.Sizes()
    bench = scenario.Bench(size, scenario.images(), work)
    cells = [
        kept(work / f"published-pull-{seed}-{name}.json", partial(cell, bench, seed, name))
        for seed, name in (CELLS[:1] if chosen.quick else CELLS)
    ]
    found = {
        "what": "Inversion of and membership in a published learned pull, ViT, Fashion-MNIST.",
        "command": command("published_pull.py", chosen.quick),
        "system": f"{platform.system()} {platform.machine()}, 1 thread, torch {torch.__version__}",
        "summary": summary(cells),
        "cells": cells,
    }
    chosen.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
