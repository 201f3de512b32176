"""Learned pulls beside the forget gradient: what personalised vision transformers forget and keep.

    python benchmarks/zk_apex_learned.py [--work FOLDER] [--quick] [--out FILE]

The nine clients of benchmarks/zk_apex.py, none of which the provider sees, with directions that it
learned on clients of its own making (learned_pulls.py): of the kinds of shift that clients have, of
others only, or of none. Beside them stand the original, the provider's forget gradient, and the
client's training on a base that never had the class; and what comes back of the class in 10 and 50
steps on the client's images with it. What learning takes was chosen on the two clients of seed 10
that are told apart, with a random mask too. It writes benchmarks/results/zk_apex_learned.json and
.png; pieces that are in the work folder are not made again. One torch thread.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

import learned_pulls
import zk_apex as scenario
from kept_cells import command, folder, kept
from rescind.training.determinism import settle

RESULT = Path(__file__).parent / "results" / "zk_apex_learned.json"
CHOSEN_ON = ((10, "trouser"), (10, "dress"))
AT = learned_pulls.LEARNED_AT
ALPHAS = {"learned": (0.004, 0.006, AT, 0.012, 0.016)}
FEW = (0.006, AT, 0.012)  # of the other kinds
PROVIDER = (0.0, 0.004, AT, 0.012, 0.016)
KINDS = tuple((kind, "fisher") for kind in learned_pulls.KINDS)
CHOICES = (("learned", "fisher"), ("learned", "random"))  # that were compared before
Edits = dict[str, Any]


def learned(bench: scenario.Bench, seed: int, name: str, kind: str, which: str) -> Edits:
    """Edits with the pull of a kind, learned with a mask, and their relearning."""
    domain, found = scenario.domain_of(seed, name), Edits()
    pub, tests = scenario.published(bench, seed, name, (32,)), bench.tests(seed, domain, name)
    client = scenario.client_of(bench, seed, name, (32,))
    pull = learned_pulls.learned(bench, pub, seed, domain, name, kind, which)
    label = kind if which == "fisher" else f"{which} mask, {kind}"
    for alpha in ALPHAS.get(label, FEW):
        edit, told = scenario.whole_edit(client, pub, pub.masks[which], 32, pull, alpha)
        found[f"{label} {alpha}"] = scenario.look(edit, tests) | told
        if label == "learned" and alpha == AT:
            back = scenario.relearned(edit, bench.personal(seed, domain), tests["forget"], seed)
            found[f"relearning, {label} {alpha}"] = back
    return found


def beside(bench: scenario.Bench, seed: int, name: str) -> Edits:
    """The original, and edits along the provider's forget gradient."""
    domain = scenario.domain_of(seed, name)
    pub, tests = scenario.published(bench, seed, name, (32,)), bench.tests(seed, domain, name)
    client, pull = scenario.client_of(bench, seed, name, (32,)), pub.pulls["provider"]
    found, batch = {"original": scenario.look(client.model, tests)}, bench.personal(seed, domain)
    starts = {"original": client.model}
    for alpha in PROVIDER:
        edit, told = scenario.whole_edit(client, pub, pub.masks["fisher"], 32, pull, alpha)
        found[f"provider {alpha}"] = scenario.look(edit, tests) | told
        if alpha == AT:
            starts[f"provider {alpha}"] = edit
    for key, start in starts.items():
        found[f"relearning, {key}"] = scenario.relearned(start, batch, tests["forget"], seed)
    return found


def retrained(bench: scenario.Bench, seed: int, name: str) -> Edits:
    """The client's training on a base that never had the class."""
    domain = scenario.domain_of(seed, name)
    model, tests = bench.client(seed, domain, name), bench.tests(seed, domain, name)
    back = scenario.relearned(model, bench.personal(seed, domain), tests["forget"], seed)
    return {"retrained": scenario.look(model, tests), "relearning, retrained": back}


def parts(chosen: bool) -> list[tuple[str, Callable[[scenario.Bench, int, str], Edits]]]:
    """Pieces of a cell by the names of their files; others of those that choices were made on."""
    found: list[tuple[str, Callable[[scenario.Bench, int, str], Edits]]] = [("beside", beside)]
    for kind, which in CHOICES if chosen else KINDS:
        found.append((f"{kind}-{which}", partial(learned, kind=kind, which=which)))
    return found if chosen else [*found, ("retrained", retrained)]


def cells(bench: scenario.Bench, wanted: Sequence[tuple[int, str]], chosen: bool) -> list[Any]:
    """Part by part over all cells, so that what matters most is made first."""
    found: dict[tuple[int, str], Edits] = {cell: {} for cell in wanted}
    for part, make in parts(chosen):
        for seed, name in wanted:
            path = bench.work / f"{part}-{seed}-{name}.json"
            found[seed, name] |= kept(path, partial(make, bench, seed, name))
    return [
        {"seed": s, "class": n, "domain": scenario.domain_of(s, n), "edits": e}
        for (s, n), e in found.items()
    ]


def summary(made: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the page quotes; differences from the original with the half width of their interval."""
    names = [n for n in made[0]["edits"] if not n.startswith("relearning")]
    back = [n for n in made[0]["edits"] if n.startswith("relearning")]
    edits = {name: scenario.over(made, name) for name in names}
    for name, told in edits.items():
        told["lost"] = interval(
            [c["edits"][name]["personal"] - c["edits"]["original"]["personal"] for c in made]
        )
    return {
        "edits": edits,
        "relearning": {
            name: {n: interval([c["edits"][name][n] for c in made]) for n in ("10", "50")}
            for name in back
        },
        "relearning, less the retrained": {
            name: interval(
                [c["edits"][name]["50"] - c["edits"]["relearning, retrained"]["50"] for c in made]
            )
            for name in back
        },
    }


def interval(values: Sequence[float]) -> list[float]:
    """Mean and half width of a 95 % t interval."""
    from scipy.stats import t

    n, half = len(values), 0.0
    if n > 1:
        half = float(t.ppf(0.975, n - 1)) * statistics.stdev(values) / n**0.5
    return [round(statistics.fmean(values), 4), round(half, 4)]


def draw(told: Mapping[str, Any], count: int, path: Path) -> None:
    """The frontier on upright and on shifted images."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    edits = told["edits"]
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained", sharey=True)
    for axis, key, title in zip(
        axes, ("forget", "forget shifted"), ("upright", "shifted"), strict=True
    ):
        for which in ("provider", *learned_pulls.KINDS):
            points = [
                (e["personal"][0], e[key][0])
                for n, e in edits.items()
                if n.rpartition(" ")[0] == which
            ]
            axis.plot(*zip(*points, strict=True), "o-", label=which)
        for name, mark in (("original", "k*"), ("retrained", "g*")):
            axis.plot(edits[name]["personal"][0], edits[name][key][0], mark, ms=10, label=name)
        axis.set(xlabel="personal accuracy, without the class", title=f"class, {title} images")
    axes[0].set_ylabel("accuracy on the class")
    axes[0].legend(fontsize=8)
    figure.suptitle(f"{count} held-out clients, 4 % mask, 32 sketches, int8")
    figure.savefig(path, dpi=80)


def main() -> None:
    """Run, store, draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "zk_apex")
    parser.add_argument("--out", type=Path, default=RESULT)
    chosen = parser.parse_args()
    settle(1)
    sizes = scenario.QUICK if chosen.quick else scenario.Sizes()
    work = folder(chosen.work, chosen.quick)
    bench = scenario.Bench(sizes, scenario.images(), work)
    made = cells(bench, sizes.cells, chosen=False)
    before = [] if chosen.quick else cells(bench, CHOSEN_ON, chosen=True)
    found: dict[str, Any] = {
        "what": "Learned pulls on personalised ViTs, Fashion-MNIST.",
        "command": command("zk_apex_learned.py", chosen.quick),
        "system": f"{platform.system()} {platform.machine()}, 1 thread, torch {torch.__version__}",
        "learning": asdict(learned_pulls.LEARNING) | {"alpha": AT},
        "simulated": list(learned_pulls.DOMAINS),
        "sizes": asdict(sizes),
        "cells_reported": len(made),
        "summary": summary(made),
        "chosen on": before,
        "cells": made,
    }
    chosen.out.write_text(json.dumps(found, indent=1) + "\n")
    draw(found["summary"], len(made), chosen.out.with_suffix(".png"))
    print(json.dumps(found["summary"], indent=1))


if __name__ == "__main__":
    main()
