"""Mask, compensate and pull a small GPT whose clients personalised it: forget a topic of the news.

    python benchmarks/zk_apex_topics.py [--work FOLDER] [--quick] [--out FILE]

A provider trains a GPT over bytes on passages of BBC news. A client personalises it with LoRA on
passages of other articles, half of them in capitals, and merges; then a topic is to go. As in
benchmarks/zk_apex.py mask, scales and gradient are the provider's and the sketches the client's, in
whole numbers; a direction may also be learned on clients of the provider's making (topic_pulls.py).
Told is the loss a byte (nats) on the topic's articles that nobody trained on, since a language
model has no class to lose: the retrained one, which never had the topic, says how much there is to
forget. Three seeds, three topics each. Alpha and how to learn are chosen on other topics and seeds,
by the rule of chosen_steps.py. One torch thread; seconds are of CPU time.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from safetensors.torch import load_file, save_file

import topic_pulls
import zk_apex as scenario
from chosen_steps import RULE, Step, chosen_of, steps_of
from kept_cells import command, folder, kept, seconds, timed
from published_gradient import spread
from rescind.core.mask_terms import TensorTerms
from rescind.methods.ssd import importance
from rescind.methods.zk_apex.fisher import matrices, mean_gradient, sketches
from rescind.methods.zk_apex.saliency import global_mask, scores
from rescind.training.descent import parameters
from rescind.training.determinism import settle
from rescind.training.low_rank import low_rank
from rescind.training.whole import WholeModel
from topic_texts import (
    QUICK,
    TASK,
    TOPIC,
    Sizes,
    Texts,
    both,
    capitals,
    new_model,
    texts,
    train,
    without,
)
from zk_apex import Batch, Client, Published, rows

RESULT = Path(__file__).parent / "results" / "zk_apex_topics.json"
BACK = (10, 50)
CHOSEN_ON = ((10, "business"), (11, "entertainment"))
ALPHAS, LEARNED_ALPHAS = (0.00025, 0.0005, 0.001, 0.002, 0.004), (0.001, 0.002, 0.003)
WAYS = {f"beta {beta:g}, keep {keep:g}": (beta, keep) for beta in (10.0,) for keep in (1.0, 10.0)}
CANDIDATES = {
    "mask, OBS, step": [Step("fisher", None, a) for a in ALPHAS],
    "random mask, OBS, step": [Step("random", None, a) for a in ALPHAS],
    "mask, OBS, learned step": [
        Step(mask, way, a) for mask in ("fisher", "random") for way in WAYS for a in LEARNED_ALPHAS
    ],
}
LOOKED = ("topic", "topic in capitals", "personal")


def model_at(work: Path, seed: int, topic: str | None) -> Path:
    """Where a client's model is kept, of a provider without this topic."""
    return work / f"gpt-{seed}-{topic}.safetensors"


def personalised(of: Texts, sizes: Sizes, seed: int, work: Path, topic: str | None) -> WholeModel:
    """The base, trained without the topic where one is named, then the client's LoRA; the base is
    kept beside it in the work folder.
    """
    path = model_at(work, seed, topic)
    if path.is_file():
        return new_model(seed, load_file(path))
    model = timed(path, partial(_trained, of, sizes, seed, work, topic))
    save_file(model.module.state_dict(), path)
    return model


def _trained(of: Texts, sizes: Sizes, seed: int, work: Path, topic: str | None) -> WholeModel:
    provider, own = of.provider, both(of.client)
    if topic is not None:
        provider, own = without(provider, topic), without(own, topic)
    model = new_model(seed)
    train(model, provider, sizes.base, 2e-3, seed)
    save_file(model.module.state_dict(), work / f"gpt-base-{seed}-{topic}.safetensors")
    with low_rank(model.module, 8, seed):
        train(model, own, sizes.client, 3e-3, 200 + seed)
    return model


def published(base: WholeModel, forget: Batch, retain: Batch, seed: int) -> Published:
    """Masks, the mean gradient of the topic, and scales, of the provider alone."""
    named = matrices(base, scenario.MLP)
    weights = list(named.values())
    place = {id(p): i for i, p in enumerate(parameters(base))}
    both_ = []
    for batch in (rows(forget, torch.arange(480)), rows(retain, torch.arange(960))):
        squares = importance(base, batch, labels=True)
        means = mean_gradient(base, batch, weights)
        both_.append([(m, squares[place[id(w)]]) for m, w in zip(means, weights, strict=True)])
    plain, draw = [w.detach() for w in weights], torch.Generator().manual_seed(seed)
    ranked = {
        "fisher": scores("fisher_ratio", plain, *both_),
        "random": [torch.rand(w.shape, generator=draw) for w in plain],
        "magnitude": [-w.abs() for w in plain],
    }
    masks = {
        key: dict(zip(named, global_mask(s, scenario.SHARE), strict=True))
        for key, s in ranked.items()
    }
    pull = dict(zip(named, mean_gradient(base, forget, weights), strict=True))
    seen = sketches(base, retain, weights, seed=1)
    terms: dict[str, TensorTerms] = {
        key: scenario.terms_of(key, w.detach(), g)
        for (key, w), g in zip(named.items(), seen, strict=True)
    }
    return Published(masks, {"provider": pull}, {32: terms})


def loss(model: WholeModel, batch: Batch) -> float:
    """Mean a byte, nats."""
    found = []
    with torch.no_grad():
        for index in torch.split(torch.arange(len(batch[TOPIC])), 256):
            piece = rows(batch, index)
            found.append(TASK.loss(model.outputs(piece), piece))
    return float(torch.cat(found).mean())


@dataclass(frozen=True)
class At:
    """A client and its provider, with a topic that is to go."""

    sizes: Sizes
    texts: Texts
    provider: topic_pulls.Provider
    public: Published
    client: Client

    def stepped(self, step: Step) -> WholeModel:
        """Masked, compensated and pulled."""
        public, pull = self.public, self.public.pulls["provider"]
        if step.way is not None:
            beta, keep = WAYS[step.way]
            how = replace(topic_pulls.LEARNING, beta=beta, keep=keep)
            pull = topic_pulls.learned(self.provider, public, step.way, how, step.mask)
        mask = public.masks[step.mask]
        return scenario.whole_edit(self.client, public, mask, 32, pull, step.alpha)[0]

    def retrained(self) -> WholeModel:
        """The client's training on a base that never had the topic."""
        of = self.provider
        return personalised(self.texts, self.sizes, of.seed, of.work, of.topic)

    def edits(self, steps: Mapping[str, Step]) -> dict[str, WholeModel]:
        """All models that are reported."""
        client, public, of = self.client, self.public, self.provider
        found = {"original": client.model}
        for kind in ("random", "magnitude", "fisher"):
            found[f"{kind} mask"] = scenario.masked(client, public.masks[kind])
        fisher = public.masks["fisher"]
        found["mask, OBS"] = scenario.whole_edit(client, public, fisher, 32)[0]
        found |= {name: self.stepped(step) for name, step in steps.items()}
        tuned, own = scenario.masked(client, fisher), without(both(self.texts.client), of.topic)
        train(tuned, own, self.sizes.tuned, 5e-4, of.seed, fisher)
        return found | {"masked fine-tune": tuned, "retrained": self.retrained()}

    def looked(self, model: WholeModel) -> dict[str, float]:
        """Its losses on passages that nobody trained on."""
        topic, test = self.provider.topic, self.texts.test
        gone = without(test, topic, gone=True)
        batches = (gone, capitals(gone), both(without(test, topic)))
        return {
            name: round(loss(model, batch), 4) for name, batch in zip(LOOKED, batches, strict=True)
        }


def at(sizes: Sizes, seed: int, topic: str, work: Path) -> At:
    """The client's sketches are of what it retains."""
    of = texts(seed, sizes.each)
    model = personalised(of, sizes, seed, work, None)
    base = new_model(seed, load_file(work / f"gpt-base-{seed}-None.safetensors"))
    gone, rest = without(of.provider, topic, gone=True), without(of.provider, topic)
    public = published(base, gone, rest, seed)
    own, named = without(both(of.client), topic), matrices(model, scenario.MLP)
    samples = min(480, len(own[TOPIC]) // 32 * 32)
    seen = sketches(model, own, list(named.values()), samples=samples, seed=2)
    client = Client(model, {32: dict(zip(named, seen, strict=True))})
    provider = topic_pulls.Provider(seed, topic, base, of.provider, sizes, work)
    return At(sizes, of, provider, public, client)


def tried(sizes: Sizes, seed: int, topic: str, work: Path) -> dict[str, Any]:
    """What choices are made on: a client that is not reported, with all that may be chosen."""
    here = at(sizes, seed, topic, work)
    found = {"original": here.looked(here.client.model)}
    found["retrained"] = here.looked(here.retrained())
    for step in (step for steps in CANDIDATES.values() for step in steps):
        found[str(step)] = here.looked(here.stepped(step))
    return {"seed": seed, "topic": topic, "edits": found}


def cell(
    sizes: Sizes, seed: int, topic: str, work: Path, chosen: Mapping[str, Any]
) -> dict[str, Any]:
    """All edits of one client and topic, each with its relearning, and CPU seconds."""
    personalised(texts(seed, sizes.each), sizes, seed, work, None)  # is no part of what is timed
    started = time.process_time()
    here, prepared = at(sizes, seed, topic, work), time.process_time()
    steps, whole = steps_of(chosen, CANDIDATES), both(here.texts.client)
    test = without(here.texts.test, topic, gone=True)
    found: dict[str, dict[str, float]] = {}
    for key, edit in here.edits(steps).items():
        found[key] = here.looked(edit)
        for count in BACK:
            again = copy.deepcopy(edit)
            train(again, whole, count, 5e-4, seed)
            found[key][f"back {count}"] = round(loss(again, test), 4)
    spent = {
        "mask, gradient and sketches": round(prepared - started, 1),
        "retraining": seconds(model_at(work, seed, topic)),
        "simulating clients": here.provider.simulating(),
    }
    for name, step in steps.items():
        if step.way is not None:
            spent[f"learning, {name}"] = seconds(here.provider.pull_at(step.way, step.mask))
    records = len(without(here.texts.provider, topic, gone=True)[TOPIC])
    head = {"seed": seed, "topic": topic, "records": records, "seconds": spent}
    return head | {"edits": found}


def summary(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over clients with 95 % t intervals; differences are from each client's original."""
    told: dict[str, Any] = {}
    for name, figures in cells[0]["edits"].items():
        told[name] = {"topic, nats": round(fmean(c["edits"][name]["topic"] for c in cells), 3)}
        for key in figures:
            first = "topic" if key.startswith("back") else key
            told[name][key] = spread(
                [c["edits"][name][key] - c["edits"]["original"][first] for c in cells]
            )
    return told


def main() -> None:
    """Run and store."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "zk_apex")
    parser.add_argument("--out", type=Path, default=RESULT)
    chosen = parser.parse_args()
    settle(1)
    sizes, work = QUICK if chosen.quick else Sizes(), folder(chosen.work, chosen.quick)
    before = [
        kept(work / f"tried-topic-{seed}-{topic}.json", partial(tried, sizes, seed, topic, work))
        for seed, topic in (CHOSEN_ON[:1] if chosen.quick else CHOSEN_ON)
    ]
    steps = chosen_of(before, CANDIDATES, LOOKED)
    cells = [
        kept(work / f"topic-{seed}-{topic}.json", partial(cell, sizes, seed, topic, work, steps))
        for seed, topic in sizes.cells
    ]
    found = {
        "what": "Mask, compensation and directed step: a topic of BBC news goes from a small GPT.",
        "command": command("zk_apex_topics.py", chosen.quick),
        "system": f"{platform.system()} {platform.machine()}, 1 thread, torch {torch.__version__}",
        "sizes": asdict(sizes),
        "learning": asdict(topic_pulls.LEARNING) | {"simulated clients": topic_pulls.CLIENTS},
        "rule": RULE,
        "chosen": steps,
        "differences": "nats a byte less the original's; back: of the topic, after steps with it",
        "summary": summary(cells),
        "chosen on": before,
        "cells": cells,
    }
    chosen.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
