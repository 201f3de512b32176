"""Mask and compensation where a part of a class, or a random share of all records, is to go.

    python benchmarks/zk_apex_parts.py [--work FOLDER] [--quick] [--out FILE]

The provider and clients of benchmarks/zk_apex.py, three of each part:

* ``subgroup``: the half of a class beyond the median of its first principal component;
* ``random``: a tenth of all records, the provider's and the client's. Its gradient may not be
  published (``rescind.zk.terms``), so that there is no directed step: mask and compensation only.

Beside each edit stand the original, a random and a magnitude mask, a masked fine-tune of 50 steps,
and a client's training on a base that never had the part; and what comes back of the part in 10 and
50 steps on the client's images with it. Alpha is that of zk_apex.py, chosen there on other classes.
Cells in the work folder are not made again. One torch thread.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import zk_apex as scenario
from kept_cells import command, folder, kept
from published_gradient import spread
from rescind.core.errors import BadParameter
from rescind.methods.zk_apex.fisher import matrices, sketches
from rescind.training.determinism import settle
from rescind.training.low_rank import low_rank
from rescind.training.whole import WholeModel
from rescind.zk.terms import MaskOrder
from zk_apex import Batch, Client, Published, rows

RESULT = Path(__file__).parent / "results" / "zk_apex_parts.json"
CELLS = ((0, "bag"), (1, "sneaker"), (2, "pullover"), (0, "random"), (1, "random"), (2, "random"))
GONE = "gone"  # the column that says which images are of the part
ALPHAS, SHARE, TUNED = (0.006, 0.012), 0.1, 50
FULL = scenario.Sizes()


def without(batch: Batch, gone: bool = False) -> Batch:
    """The images that stay, or those that go."""
    return rows(batch, batch[GONE] == gone)


def half(train: Batch, test: Batch, name: str) -> tuple[Tensor, Tensor]:
    """Which images are of the subgroup; component and median are of the training images."""
    own = [b["labels"] == scenario.NAMES[name] for b in (train, test)]
    flat = train["array"][own[0]].flatten(1)
    middle = flat.mean(0)
    axis = torch.linalg.eigh((flat - middle).T @ (flat - middle))[1][:, -1]
    axis = axis * axis.sum().sign()  # the side with more ink goes
    places = [(b["array"].flatten(1) - middle) @ axis for b in (train, test)]
    limit = places[0][own[0]].median()
    return own[0] & (places[0] > limit), own[1] & (places[1] > limit)


@dataclass(frozen=True)
class Part:
    """A part to forget, with a bench whose images say which are of it."""

    bench: scenario.Bench
    seed: int
    name: str

    @property
    def domain(self) -> str:
        """What the client's images are shifted to."""
        return "rotated" if self.seed % 2 else "inverted"

    def retrained(self) -> WholeModel:
        """The client's training, on a base that never had the part."""
        path = self.bench.work / f"part-{self.seed}-{self.name}.safetensors"
        if path.is_file():
            return scenario.new_model(self.seed, load_file(path))
        sizes, seed = self.bench.sizes, self.seed
        model = scenario.new_model(seed)
        scenario.train(model, without(self.bench.provider(seed)), sizes.epochs, 1e-3, seed)
        own = without(self.bench.personal(seed, self.domain))
        with low_rank(model.module, 8, seed):
            scenario.train(model, own, sizes.client_epochs, 3e-3, 200 + seed)
        save_file(model.module.state_dict(), path)
        return model

    def tests(self) -> dict[str, Batch]:
        """What is looked at: the part, what is like it and stays, and the client's own mix."""
        bench, seed, test = self.bench, self.seed, self.bench.images.test
        stays = without(test)
        upright = bench.drawn(stays, bench.sizes.test, 300 + seed)
        moved = bench.drawn(stays, bench.sizes.test, 400 + seed)
        found = {"personal": scenario.joined(upright, scenario.shifted(moved, self.domain))}
        if self.name == "random":
            gone = without(bench.provider(seed), gone=True)
            beside = rows(test, torch.arange(bench.sizes.test))
        else:
            gone = without(test, gone=True)
            beside = rows(stays, stays["labels"] == scenario.NAMES[self.name])
        shifted = scenario.shifted(gone, self.domain)
        return found | {"forget": gone, "forget shifted": shifted, "beside": beside}


def part(bench: scenario.Bench, seed: int, name: str) -> Part:
    """Images marked by whether they are of it; there is nothing to mark in a test set of all."""
    train, test = bench.images.train, bench.images.test
    if name == "random":
        draw = torch.rand(len(train["labels"]), generator=torch.Generator().manual_seed(50 + seed))
        marks = draw < SHARE, torch.zeros(len(test["labels"]), dtype=torch.bool)
    else:
        marks = half(train, test, name)
    images = scenario.Images({**train, GONE: marks[0]}, {**test, GONE: marks[1]})
    return Part(replace(bench, images=images), seed, name)


def refusal(goal: str, records: int) -> str | None:
    """Why a gradient of these records is not published, where it is not."""
    try:
        MaskOrder(
            goal=goal,
            records=records,
            mask="",
            direction="",
            pulls=(),
            floors=(),
            exceptions=0,
            salt="",
        )
    except BadParameter as error:
        return str(error)
    return None


def edits(of: Part, client: Client, public: Published, may: bool) -> dict[str, WholeModel]:
    """All models; ``may`` says whether the gradient is published."""
    fisher, pull = public.masks["fisher"], public.pulls["provider"]
    found = {"original": client.model}
    for kind in ("random", "magnitude", "fisher"):
        found[f"{kind} mask"] = scenario.masked(client, public.masks[kind])
    found["mask, OBS"] = scenario.whole_edit(client, public, fisher, 32)[0]
    for alpha in ALPHAS if may else ():
        edit, _ = scenario.whole_edit(client, public, fisher, 32, pull, alpha)
        found[f"mask, OBS, step {alpha}"] = edit
    if may:
        edit, _ = scenario.whole_edit(client, public, public.masks["random"], 32, pull, ALPHAS[-1])
        found[f"random mask, OBS, step {ALPHAS[-1]}"] = edit
    tuned = scenario.masked(client, fisher)
    own = without(of.bench.personal(of.seed, of.domain))
    scenario.train(tuned, own, 0, 5e-4, of.seed, fisher, steps=TUNED)
    return found | {"masked fine-tune": tuned, "retrained": of.retrained()}


def cell(bench: scenario.Bench, seed: int, name: str) -> dict[str, Any]:
    """All edits of one client and part, each with its relearning."""
    of = part(bench, seed, name)
    provider, personal = of.bench.provider(seed), of.bench.personal(seed, of.domain)
    gone, kept = without(provider, gone=True), without(provider)
    public = scenario.published_of(of.bench.base(seed), gone, kept, seed, (32,))
    model, tests, own = of.bench.client(seed, of.domain), of.tests(), without(personal)
    named = matrices(model, scenario.MLP)
    samples = min(480, len(own["labels"]))
    seen = sketches(model, own, list(named.values()), count=32, samples=samples, seed=2)
    client = Client(model, {32: dict(zip(named, seen, strict=True))})
    goal = "records" if name == "random" else "concept"
    refused = refusal(goal, len(gone["labels"]))
    found = {}
    for key, edit in edits(of, client, public, refused is None).items():
        back = scenario.relearned(edit, personal, tests["forget"], seed)
        found[key] = scenario.look(edit, tests) | {f"back {n}": v for n, v in back.items()}
    sizes = {"forget": len(gone["labels"]), "client's": int(personal[GONE].sum())}
    head = {"seed": seed, "part": name, "domain": of.domain, "records": sizes}
    return head | {"gradient refused": refused, "edits": found}


def summary(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over clients, with the ends of 95 % t intervals, by kind of part and edit."""
    told: dict[str, Any] = {}
    for kind in ("subgroup", "random"):
        own = [c["edits"] for c in cells if (c["part"] == "random") == (kind == "random")]
        told[kind] = {
            name: {key: spread([e[name][key] for e in own]) for key in own[0][name]}
            | {
                "forget - beside": spread([e[name]["forget"] - e[name]["beside"] for e in own]),
                "personal - original": spread(
                    [e[name]["personal"] - e["original"]["personal"] for e in own]
                ),
                "forget - original": spread(
                    [e[name]["forget"] - e["original"]["forget"] for e in own]
                ),
            }
            for name in (own[0] if own else ())
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
    sizes = scenario.QUICK if chosen.quick else FULL
    wanted = (CELLS[0], CELLS[3]) if chosen.quick else CELLS
    bench = scenario.Bench(sizes, scenario.images(), work)
    cells = [
        kept(work / f"part-{seed}-{name}.json", partial(cell, bench, seed, name))
        for seed, name in wanted
    ]
    found = {
        "what": "Mask and compensation for a subgroup and a random share, ViTs, Fashion-MNIST.",
        "command": command("zk_apex_parts.py", chosen.quick),
        "system": f"{platform.system()} {platform.machine()}, 1 thread, torch {torch.__version__}",
        "sizes": {k: v for k, v in asdict(sizes).items() if k not in ("cells", "simulated")},
        "summary": summary(cells),
        "cells": cells,
    }
    chosen.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
