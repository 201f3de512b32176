"""Passages of BBC news, clients who have half of theirs in capitals, and a GPT over their bytes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

import zk_apex as scenario
from rescind.data import bbc_news
from rescind.training.descent import parameters
from rescind.training.modules import CausalLM
from rescind.training.whole import WholeModel
from zk_apex import Batch, joined, rows

LENGTH = 64
TASK = CausalLM(
    "rescind.training.zoo:gpt",
    LENGTH,
    {"vocabulary": 256, "width": 64, "depth": 3, "length": LENGTH},
)
TOPIC = "topic"  # the column of a passage's topic


@dataclass(frozen=True)
class Sizes:
    """Cells, passages an article, and steps of 16 passages."""

    cells: tuple[tuple[int, str], ...] = tuple(
        (seed, topic) for seed in range(3) for topic in ("sports", "tech", "politics")
    )
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
