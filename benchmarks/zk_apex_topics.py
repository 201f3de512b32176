"""Mask, compensate and pull a small GPT whose clients personalised it: forget a topic of the news.

    python benchmarks/zk_apex_topics.py [--work FOLDER] [--quick] [--out FILE]

A provider trains a GPT over bytes on passages of BBC news. A client personalises it with LoRA on
passages of other articles, half of them in capitals, and merges; then a topic is to go. As in
benchmarks/zk_apex.py mask, scales and gradient are the provider's and the sketches the client's, in
whole numbers. Told is the loss a byte (nats) on the topic's articles that nobody trained on, since
a language model has no class to lose: the retrained one, which never had the topic, says how much
there is to forget. Three seeds, a topic each. Alpha was not chosen in a simulation: two are shown,
smaller than for images after a look at the first cell. One torch thread.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import zk_apex as scenario
from kept_cells import command, folder, kept
from published_gradient import spread
from rescind.core.mask_terms import TensorTerms
from rescind.data import bbc_news
from rescind.methods.ssd import importance
from rescind.methods.zk_apex.fisher import matrices, mean_gradient, sketches
from rescind.methods.zk_apex.saliency import global_mask, scores
from rescind.training.descent import parameters
from rescind.training.determinism import settle
from rescind.training.low_rank import low_rank
from rescind.training.modules import CausalLM
from rescind.training.whole import WholeModel
from zk_apex import Batch, Client, Published, joined, rows

RESULT = Path(__file__).parent / "results" / "zk_apex_topics.json"
LENGTH, ALPHAS, BACK = 64, (0.001, 0.004), (10, 50)
TASK = CausalLM(
    "rescind.training.zoo:gpt",
    LENGTH,
    {"vocabulary": 256, "width": 64, "depth": 3, "length": LENGTH},
)
TOPIC = "topic"  # the column of a passage's topic


@dataclass(frozen=True)
class Sizes:
    """Cells, passages an article, and steps of 16 passages."""

    cells: tuple[tuple[int, str], ...] = ((0, "sports"), (1, "tech"), (2, "politics"))
    each: int = 4
    base: int = 1_500
    client: int = 150
    tuned: int = 50


QUICK = Sizes(((0, "sports"),), 2, 10, 5, 2)


@dataclass(frozen=True)
class Texts:
    """Passages of three sets of articles: the provider's, the client's, and nobody's."""

    provider: Batch
    client: Batch
    test: Batch


def texts(seed: int, each: int) -> Texts:
    """Articles in three parts by the seed, each cut into passages; equal ones count once."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of one file's encoding
        articles = list({row["text"]: row for row in bbc_news.load()}.values())
    order = torch.randperm(len(articles), generator=torch.Generator().manual_seed(seed)).tolist()
    model, cuts = new_model(0), (0, int(0.6 * len(order)), int(0.8 * len(order)), len(order))
    found = []
    for start, end in pairwise(cuts):
        passages = [
            (articles[i]["text"][k * LENGTH : (k + 1) * LENGTH], articles[i]["label"])
            for i in order[start:end]
            for k in range(each)
        ]
        whole = [(text, topic) for text, topic in passages if len(text) == LENGTH]
        batch = model.inputs([{"text": text} for text, _ in whole])
        topics = torch.tensor([bbc_news.TOPICS.index(topic) for _, topic in whole])
        found.append({**batch, TOPIC: topics})
    return Texts(*found)


def capitals(batch: Batch) -> Batch:
    """The client's own domain: small letters of ASCII become large ones."""
    ids = batch["input_ids"]
    large = torch.where((ids >= ord("a")) & (ids <= ord("z")), ids - 32, ids)
    return {**batch, "input_ids": large, "labels": large}


def both(batch: Batch) -> Batch:
    """Half as it is, half in capitals."""
    places = torch.arange(len(batch[TOPIC]))
    return joined(rows(batch, places % 2 == 0), capitals(rows(batch, places % 2 == 1)))


def new_model(seed: int, state: Mapping[str, Tensor] | None = None) -> WholeModel:
    """A GPT of a seed, or with these weights."""
    model = WholeModel(replace(scenario.recipe(seed), task=TASK))
    model.initialise(0, seed)
    if state is not None:
        model.module.load_state_dict(dict(state))
    model.module.requires_grad_(True)
    return model


def train(
    model: WholeModel,
    batch: Batch,
    steps: int,
    lr: float,
    seed: int,
    frozen: Mapping[str, Tensor] | None = None,
) -> None:
    """AdamW in batches of 16 that are drawn with replacement; ``frozen`` masks stay at zero."""
    draw, moving = torch.Generator().manual_seed(seed), parameters(model)
    optimizer = torch.optim.AdamW(moving, lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    named = dict(model.module.named_parameters())
    for _ in range(steps):
        piece = rows(batch, torch.randint(0, len(batch[TOPIC]), (16,), generator=draw))
        optimizer.zero_grad()
        TASK.loss(model.outputs(piece), piece).mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            for name, mask in (frozen or {}).items():
                named[name].masked_fill_(mask, 0.0)
    model.module.eval()


def without(batch: Batch, topic: str, gone: bool = False) -> Batch:
    """Passages of other topics, or of this one."""
    return rows(batch, (batch[TOPIC] == bbc_news.TOPICS.index(topic)) == gone)


def personalised(of: Texts, sizes: Sizes, seed: int, work: Path, topic: str | None) -> WholeModel:
    """The base, trained without the topic where one is named, then the client's LoRA; the base is
    kept beside it in the work folder.
    """
    path = work / f"gpt-{seed}-{topic}.safetensors"
    if path.is_file():
        return new_model(seed, load_file(path))
    provider, own = of.provider, both(of.client)
    if topic is not None:
        provider, own = without(provider, topic), without(own, topic)
    model = new_model(seed)
    train(model, provider, sizes.base, 2e-3, seed)
    save_file(model.module.state_dict(), work / f"gpt-base-{seed}-{topic}.safetensors")
    with low_rank(model.module, 8, seed):
        train(model, own, sizes.client, 3e-3, 200 + seed)
    save_file(model.module.state_dict(), path)
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


def edits(
    client: Client, public: Published, own: Batch, retrained: WholeModel, sizes: Sizes, seed: int
) -> dict[str, WholeModel]:
    """All models."""
    fisher, pull = public.masks["fisher"], public.pulls["provider"]
    found = {"original": client.model}
    for kind in ("random", "magnitude", "fisher"):
        found[f"{kind} mask"] = scenario.masked(client, public.masks[kind])
    found["mask, OBS"] = scenario.whole_edit(client, public, fisher, 32)[0]
    steps = [*(("fisher", alpha) for alpha in ALPHAS), ("random", ALPHAS[0])]
    for kind, alpha in steps:
        edit, _ = scenario.whole_edit(client, public, public.masks[kind], 32, pull, alpha)
        found[f"{kind} mask, OBS, step {alpha}"] = edit
    tuned = scenario.masked(client, fisher)
    train(tuned, own, sizes.tuned, 5e-4, seed, fisher)
    return found | {"masked fine-tune": tuned, "retrained": retrained}


def loss(model: WholeModel, batch: Batch) -> float:
    """Mean a byte, nats."""
    found = []
    with torch.no_grad():
        for index in torch.split(torch.arange(len(batch[TOPIC])), 256):
            piece = rows(batch, index)
            found.append(TASK.loss(model.outputs(piece), piece))
    return float(torch.cat(found).mean())


def cell(sizes: Sizes, seed: int, topic: str, work: Path) -> dict[str, Any]:
    """All edits of one client and topic, each with its relearning."""
    of = texts(seed, sizes.each)
    model = personalised(of, sizes, seed, work, None)
    base = new_model(seed, load_file(work / f"gpt-base-{seed}-None.safetensors"))
    gone, kept = without(of.provider, topic, gone=True), without(of.provider, topic)
    public, whole = published(base, gone, kept, seed), both(of.client)
    own, named = without(whole, topic), matrices(model, scenario.MLP)
    samples = min(480, len(own[TOPIC]) // 32 * 32)
    seen = sketches(model, own, list(named.values()), samples=samples, seed=2)
    client = Client(model, {32: dict(zip(named, seen, strict=True))})
    retrained = personalised(of, sizes, seed, work, topic)
    test = without(of.test, topic, gone=True)
    looked = {
        "topic": test,
        "topic in capitals": capitals(test),
        "provider's topic": gone,
        "personal": both(without(of.test, topic)),
    }
    found: dict[str, dict[str, float]] = {}
    for key, edit in edits(client, public, own, retrained, sizes, seed).items():
        found[key] = {name: round(loss(edit, batch), 4) for name, batch in looked.items()}
        for steps in BACK:
            again = copy.deepcopy(edit)
            train(again, whole, steps, 5e-4, seed)
            found[key][f"back {steps}"] = round(loss(again, test), 4)
    return {"seed": seed, "topic": topic, "records": len(gone[TOPIC]), "edits": found}


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
    cells = [
        kept(work / f"topic-{seed}-{topic}.json", partial(cell, sizes, seed, topic, work))
        for seed, topic in sizes.cells
    ]
    found = {
        "what": "Mask, compensation and directed step: a topic of BBC news goes from a small GPT.",
        "command": command("zk_apex_topics.py", chosen.quick),
        "system": f"{platform.system()} {platform.machine()}, 1 thread, torch {torch.__version__}",
        "sizes": asdict(sizes),
        "differences": "nats a byte less the original's; back: of the topic, after steps with it",
        "summary": summary(cells),
        "cells": cells,
    }
    chosen.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
