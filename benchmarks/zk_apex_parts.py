"""Mask and compensation where a part of a class, or a random share of all records, is to go.

    python benchmarks/zk_apex_parts.py [--work FOLDER] [--quick] [--out FILE]

The provider and clients of benchmarks/zk_apex.py, three seeds and three of each part:

* ``subgroup``: the half of a class beyond the median of its first principal component;
* ``random``: a tenth of all records, the provider's and the client's. Its gradient may not be
  published (``rescind.zk.terms``), so that there is no directed step: mask and compensation only.

Steps go along the provider's forget gradient, or along a direction that it learned on clients of
its own making (learned_pulls.py) who are to forget the part and keep the rest of its class. Alpha
and how to learn are chosen on other classes of another seed, by the rule of chosen_steps.py.

Beside each edit stand the original, a random and a magnitude mask, a masked fine-tune of 50 steps,
and a client's training on a base that never had the part; and what comes back of the part in 10 and
50 steps on the client's images with it. Cells in the work folder are not made again. One torch
thread; seconds are of CPU time.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import learned_pulls
import zk_apex as scenario
from chosen_steps import RULE, Step, chosen_of, steps_of
from kept_cells import command, folder, kept, seconds, timed
from published_gradient import spread
from rescind.core.errors import BadParameter
from rescind.methods.zk_apex.fisher import matrices, sketches
from rescind.methods.zk_apex.learned import learned_pull
from rescind.training.determinism import settle
from rescind.training.low_rank import low_rank
from rescind.training.whole import WholeModel
from rescind.zk.terms import MaskOrder
from zk_apex import Batch, Client, Published, rows

RESULT = Path(__file__).parent / "results" / "zk_apex_parts.json"
SEEDS, CLASSES = range(3), ("bag", "sneaker", "pullover")
CELLS = tuple((seed, name) for seed in SEEDS for name in CLASSES)
DRAWS = tuple((seed, f"random {k}") for seed in SEEDS for k in range(3))
CHOSEN_ON = ((10, "trouser"), (10, "dress"))
GONE = "gone"  # the column that says which images are of the part
SHARE, TUNED = 0.1, 50
ALPHAS = (0.001, 0.002, 0.004, 0.006, 0.008, 0.012)
LEARNED_ALPHAS = (0.002, 0.004, 0.006, 0.008)
OF_CLASS = 0.012  # of the gradient, as benchmarks/zk_apex.py chose it for whole classes
KEEPS = (0.1, 1.0, 10.0)
CLIENTS = 4  # that the provider simulates
LOOKED = ("forget", "forget shifted", "beside", "personal")
FULL = scenario.Sizes()


@dataclass(frozen=True)
class Way:
    """How a pull is learned: ``keep`` of rescind's Learning, and whether images of the class that
    stay are shown beside those that go.
    """

    keep: float
    beside: bool

    def __str__(self) -> str:
        return f"keep {self.keep}{', beside' if self.beside else ''}"


WAYS = {str(way): way for way in (Way(0.1, False), *(Way(k, True) for k in KEEPS))}


CANDIDATES = {
    "mask, OBS, step": [Step("fisher", None, a) for a in ALPHAS],
    "random mask, OBS, step": [Step("random", None, a) for a in ALPHAS],
    "mask, OBS, learned step": [Step("fisher", w, a) for w in WAYS for a in LEARNED_ALPHAS],
}


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

    @property
    def random(self) -> bool:
        """Whether it is of records by chance, and no concept."""
        return self.name.startswith("random")

    def at(self, what: str) -> Path:
        """Where something of this part is kept."""
        return self.bench.work / f"{what}-{self.seed}-{self.name}.safetensors"

    def retrained(self) -> WholeModel:
        """The client's training, on a base that never had the part."""
        path = self.at("part")
        if path.is_file():
            return scenario.new_model(self.seed, load_file(path))
        model = timed(path, self._trained)
        save_file(model.module.state_dict(), path)
        return model

    def _trained(self) -> WholeModel:
        sizes, seed = self.bench.sizes, self.seed
        model = scenario.new_model(seed)
        scenario.train(model, without(self.bench.provider(seed)), sizes.epochs, 1e-3, seed)
        own = without(self.bench.personal(seed, self.domain))
        with low_rank(model.module, 8, seed):
            scenario.train(model, own, sizes.client_epochs, 3e-3, 200 + seed)
        return model

    def tests(self) -> dict[str, Batch]:
        """What is looked at: the part, what is like it and stays, and the client's own mix."""
        bench, seed, test = self.bench, self.seed, self.bench.images.test
        stays = without(test)
        upright = bench.drawn(stays, bench.sizes.test, 300 + seed)
        moved = bench.drawn(stays, bench.sizes.test, 400 + seed)
        found = {"personal": scenario.joined(upright, scenario.shifted(moved, self.domain))}
        if self.random:
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
    if name.startswith("random"):
        number = 50 + seed + 10 * int(name.split()[1])
        draw = torch.rand(len(train["labels"]), generator=torch.Generator().manual_seed(number))
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


def of_part(batch: Batch) -> Tensor:
    """What goes, bool."""
    return batch[GONE] == 1


def learned(of: Part, public: Published, named: str) -> dict[str, Tensor]:
    """The direction that the provider publishes; it is kept, with its CPU seconds."""
    path, way = of.at(f"pull, {named}"), WAYS[named]
    if path.is_file():
        kept_: dict[str, Tensor] = load_file(path)
        return kept_
    own, numbers = of.bench.provider(of.seed), simulated(of)
    gone, rest = without(own, gone=True), without(own)
    beside = rows(rest, rest["labels"] == gone["labels"][0]) if way.beside else None
    clients = [
        learned_pulls.simulated(of.bench, of.seed, n, of_part, gone, beside) for n in numbers
    ]
    terms = learned_pulls.at(public.terms[32], learned_pulls.LEARNED_AT)
    how = replace(learned_pulls.learning(of.bench), keep=way.keep)
    start = public.pulls["provider"]
    learn = partial(learned_pull, clients, public.masks["fisher"], start, terms, how)
    found = timed(path, learn)
    save_file(found, path)
    return found


def simulated(of: Part) -> list[int]:
    """The clients that the provider makes: their places in ``learned_pulls.DOMAINS``."""
    numbers = learned_pulls.guessed("learned", of.domain)
    return numbers[: 2 if learned_pulls.quick(of.bench) else CLIENTS]


def simulating(of: Part) -> float:
    """CPU seconds of all of them."""
    found = 0.0
    for n in simulated(of):
        draw = learned_pulls.FIRST + 100 * of.seed + n
        domain = learned_pulls.DOMAINS[n]
        found += seconds(learned_pulls.simulated_at(of.bench, of.seed, domain, draw))
    return round(found, 1)


@dataclass(frozen=True)
class At:
    """A part with all that a client and its provider have of it."""

    of: Part
    public: Published
    client: Client

    def stepped(self, step: Step) -> WholeModel:
        """Masked, compensated and pulled."""
        public = self.public
        pull = public.pulls["provider"] if step.way is None else learned(self.of, public, step.way)
        mask = public.masks[step.mask]
        return scenario.whole_edit(self.client, public, mask, 32, pull, step.alpha)[0]

    def edits(self, steps: Mapping[str, Step]) -> dict[str, WholeModel]:
        """All models that are reported."""
        of, client, public = self.of, self.client, self.public
        found = {"original": client.model}
        for kind in ("random", "magnitude", "fisher"):
            found[f"{kind} mask"] = scenario.masked(client, public.masks[kind])
        fisher = public.masks["fisher"]
        found["mask, OBS"] = scenario.whole_edit(client, public, fisher, 32)[0]
        found |= {name: self.stepped(step) for name, step in steps.items()}
        tuned = scenario.masked(client, fisher)
        own = without(of.bench.personal(of.seed, of.domain))
        scenario.train(tuned, own, 0, 5e-4, of.seed, fisher, steps=TUNED)
        return found | {"masked fine-tune": tuned, "retrained": of.retrained()}


def at(of: Part) -> At:
    """The client's sketches are of what it retains."""
    provider, personal = of.bench.provider(of.seed), of.bench.personal(of.seed, of.domain)
    gone, rest, own = without(provider, gone=True), without(provider), without(personal)
    public = scenario.published_of(of.bench.base(of.seed), gone, rest, of.seed, (32,))
    model = of.bench.client(of.seed, of.domain)
    named = matrices(model, scenario.MLP)
    samples = min(480, len(own["labels"]))
    seen = sketches(model, own, list(named.values()), count=32, samples=samples, seed=2)
    return At(of, public, Client(model, {32: dict(zip(named, seen, strict=True))}))


def tried(bench: scenario.Bench, seed: int, name: str) -> dict[str, Any]:
    """What choices are made on: a client that is not reported, with all that may be chosen."""
    of = part(bench, seed, name)
    here, tests = at(of), of.tests()
    found = {"original": here.client.model, "retrained": of.retrained()}
    steps = {str(step): step for steps in CANDIDATES.values() for step in steps}
    edits = {key: scenario.look(model, tests) for key, model in found.items()}
    edits |= {key: scenario.look(here.stepped(step), tests) for key, step in steps.items()}
    return {"seed": seed, "part": name, "domain": of.domain, "edits": edits}


def cell(bench: scenario.Bench, seed: int, name: str, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """All edits of one client and part, each with its relearning, and CPU seconds."""
    of = part(bench, seed, name)
    of.bench.client(seed, of.domain)  # is no part of what is timed
    started = time.process_time()
    here, prepared = at(of), time.process_time()
    records = int(of.bench.provider(seed)[GONE].sum())
    refused = refusal("records" if of.random else "concept", records)
    steps = {} if refused else steps_of(chosen, CANDIDATES)
    if steps:
        steps[f"mask, OBS, step {OF_CLASS}"] = Step("fisher", None, OF_CLASS)
    models, personal, tests = here.edits(steps), of.bench.personal(seed, of.domain), of.tests()
    spent = {"mask, gradient and sketches": round(prepared - started, 1)}
    spent |= {"retraining": seconds(of.at("part"))}
    for way in {step.way for step in steps.values() if step.way}:
        spent |= {"simulating clients": simulating(of), "learning": seconds(of.at(f"pull, {way}"))}
    found = {}
    for key, edit in models.items():
        back = scenario.relearned(edit, personal, tests["forget"], seed)
        found[key] = scenario.look(edit, tests) | {f"back {n}": v for n, v in back.items()}
    sizes = {"forget": records, "client's": int(personal[GONE].sum())}
    head = {"seed": seed, "part": name, "domain": of.domain, "records": sizes}
    return head | {"gradient refused": refused, "seconds": spent, "edits": found}


def summary(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over clients, with the ends of 95 % t intervals, by kind of part and edit; differences
    are from each client's own original.
    """
    told: dict[str, Any] = {}
    for kind in ("subgroup", "random"):
        own = [c["edits"] for c in cells if c["part"].startswith("random") == (kind == "random")]
        told[kind] = {
            name: {key: spread([e[name][key] for e in own]) for key in own[0][name]}
            | {"forget - beside": spread([e[name]["forget"] - e[name]["beside"] for e in own])}
            | {
                f"{key} - original": spread([e[name][key] - e["original"][key] for e in own])
                for key in own[0][name]
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
    bench = scenario.Bench(scenario.QUICK if chosen.quick else FULL, scenario.images(), work)
    before = [
        kept(work / f"tried-part-{seed}-{name}.json", partial(tried, bench, seed, name))
        for seed, name in (CHOSEN_ON[:1] if chosen.quick else CHOSEN_ON)
    ]
    steps = chosen_of(before, CANDIDATES, LOOKED)
    cells = [
        kept(work / f"part-{seed}-{name}.json", partial(cell, bench, seed, name, steps))
        for seed, name in ((CELLS[0], DRAWS[0]) if chosen.quick else (*CELLS, *DRAWS))
    ]
    sizes = asdict(bench.sizes)
    found = {
        "what": "Mask and compensation for a subgroup and a random share, ViTs, Fashion-MNIST.",
        "command": command("zk_apex_parts.py", chosen.quick),
        "system": f"{platform.system()} {platform.machine()}, 1 thread, torch {torch.__version__}",
        "sizes": {k: v for k, v in sizes.items() if k not in ("cells", "simulated")},
        "learning": asdict(learned_pulls.learning(bench)) | {"simulated clients": CLIENTS},
        "rule": RULE,
        "chosen": steps,
        "summary": summary(cells),
        "chosen on": before,
        "cells": cells,
    }
    chosen.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
