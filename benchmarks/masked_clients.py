"""The clients of benchmarks/zk_apex.py carry out a sealed order and prove it.

    python benchmarks/masked_clients.py [--work FOLDER]

For each of its nine cells the provider seals an order from its own model and images, along the
gradient of the margin and along a learned pull; the client commits, compensates and proves, and
both verifiers check. Told are what the proof bounds: the share of the pull that a residual may be,
blocks that were masked only, rows whose pull is not told from none, how far the compensation that
is accepted may be from the exact one, and what the client reached of the provider's own change
along the direction; and the cost. A client with more blocks that cannot be met than the order has
room for is refused, and told as such. It writes benchmarks/results/masked_clients.json. One torch
thread.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

import learned_pulls
import zk_apex as scenario
from kept_cells import command, folder, kept
from rescind.core.errors import Refused
from rescind.methods.zk_apex.fisher import matrices, sketches
from rescind.training.determinism import settle
from rescind.workspace import new_workspace
from rescind.zk.check import Received, check
from rescind.zk.client import commit, compensate, prove_once
from rescind.zk.provider import Wish, make
from rescind.zk.receipts import enter
from rescind.zk.tensors import Tensors, whole

RESULT = Path(__file__).parent / "results" / "masked_clients.json"
REACHED = 0.05  # of the provider's own change along the gradient
# chosen in the provider's simulation, or what the pull was learned at
ALPHA = {"margin": 0.008, "learned": learned_pulls.LEARNED_AT}


def arrays(tensors: dict[str, Tensor]) -> Tensors:
    """As numpy."""
    return {name: t.detach().numpy() for name, t in tensors.items()}


def sealed(bench: scenario.Bench, seed: int, name: str, which: str) -> Any:
    """The provider's order for a class, along one of the directions."""
    published = scenario.published(bench, seed, name, (32,))
    base, batch = bench.base(seed), bench.provider(seed)
    gone = batch["labels"] == scenario.NAMES[name]
    named = matrices(base, scenario.MLP)
    retain = scenario.rows(batch, ~gone)
    seen = sketches(base, retain, list(named.values()), count=32, seed=1)
    mask = {k: m.numpy().astype(np.uint8) for k, m in published.masks["fisher"].items()}
    gradients = arrays(dict(zip(named, seen, strict=True)))
    if which == "learned":
        domain = scenario.domain_of(seed, name)
        pull = learned_pulls.learned(bench, published, seed, domain, name, which)
    else:
        pull = published.pulls[which]
    wish = Wish(goal="class", records=int(gone.sum()), alpha=ALPHA[which], reached=REACHED)
    return make(arrays(dict(named)), gradients, mask, arrays(pull), wish)


def client_of(bench: scenario.Bench, seed: int, name: str) -> tuple[Tensors, Tensors]:
    """Weights and sketches of a personalised model."""
    client = scenario.client_of(bench, seed, name, (32,))
    return arrays(dict(matrices(client.model, scenario.MLP))), arrays(client.seen[32])


def cell(bench: scenario.Bench, seed: int, name: str, which: str) -> dict[str, Any]:
    """One order, from the seal to the check."""
    made = sealed(bench, seed, name, which)
    weights, gradients = client_of(bench, seed, name)
    committed, opening = commit(made.epoch, weights, gradients)
    head = {"seed": seed, "class": name, "pull": which}
    try:
        new, done = compensate(made.epoch, made.order, made.public, weights, gradients)
    except Refused as error:
        return {**head, "refused": str(error)}
    started = time.process_time()
    statement, proof, _ = prove_once(
        made.epoch, made.order, made.public, weights, gradients, opening, lambda *told: None
    )
    proving = time.process_time() - started
    with tempfile.TemporaryDirectory() as folder:
        ledger = new_workspace(Path(folder) / "provider").backends
        receipt = enter(ledger, made.epoch, committed, f"{seed} {name}")
    got = Received(made.epoch, made.order, committed, receipt, statement, made.public, proof)
    started = time.process_time()
    verdict = check(got, model=new, post_seed=opening.seeds.post)
    verifying = time.process_time() - started
    before = whole(weights, made.epoch.tensors, made.epoch.block)
    along = (done.weights - before) * made.public.direction.astype(np.int64)
    reached, start = [], 0
    for tensor, floor in zip(made.epoch.tensors, made.order.floors, strict=True):
        end = start + tensor.blocks(made.epoch.block)
        share = REACHED * int(along[start:end].sum()) / floor if floor > 0 else None
        reached.append(None if share is None else round(share, 3))
        start = end
    rooms = verdict.rooms
    changes = [room.of_change for room in rooms if room.of_change is not None]
    moved = np.sqrt(((done.weights - before).astype(float) ** 2).sum(1)) / 2.0**23
    return {
        **head,
        "soundness_bits": verdict.bits,
        "residual_of_pull": verdict.share,
        "masked_only": verdict.exceptions,
        "blocks": verdict.blocks,
        "reached_of_the_providers": reached,
        "accepted_error_of_a_block": max(room.distance for room in rooms),
        "accepted_error_of_the_change": max(changes) if len(changes) == len(rooms) else None,
        "rows_whose_pull_is_not_told": max(room.untold_share for room in rooms),
        "blocks_whose_pull_is_not_told": sum(room.unpulled for room in rooms),
        "repaired_blocks": sum(room.blocks for room in rooms),
        "median_change_of_a_block": float(f"{np.median(moved[moved > 0]):.3g}"),
        "prove_cpu_seconds": round(proving, 1),
        "verify_cpu_seconds": round(verifying, 1),
        "proof_megabytes": round(len(proof) / 1e6, 1),
    }


def main() -> None:
    """All cells, stored."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "zk_apex")
    parser.add_argument("--out", type=Path, default=RESULT)
    chosen = parser.parse_args()
    settle(1)
    bench = scenario.Bench(scenario.Sizes(), scenario.images(), folder(chosen.work, quick=False))
    cells = [
        kept(
            bench.work / f"proved-{which}-{seed}-{name}.json",
            partial(cell, bench, seed, name, which),
        )
        for which in ALPHA
        for seed, name in bench.sizes.cells
    ]
    found = {
        "what": "Sealed orders carried out and proved by personalised ViTs, Fashion-MNIST.",
        "command": command("masked_clients.py", quick=False),
        "system": f"{platform.system()} {platform.machine()}, 1 thread, beside other work",
        "alpha": ALPHA,
        "cells": cells,
    }
    chosen.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
