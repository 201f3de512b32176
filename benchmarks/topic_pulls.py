"""The learned pull of benchmarks/zk_apex_topics.py: clients that the provider simulates, and g.

A simulated client has passages of the provider's own alone, half of them in capitals by a guess,
and seeds of its own; it personalises the provider's model as a real one does, for fewer steps. What
is to go is shown as it is and in capitals. A text is not improbable as an answer is, so that g is
learned by preference (``beta`` in rescind.methods.zk_apex.learned): a passage is to be less likely
than it was before the edit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import topic_texts as topics
import zk_apex as scenario
from kept_cells import seconds, timed
from learned_pulls import at
from rescind.methods.zk_apex.fisher import matrices, sketches
from rescind.methods.zk_apex.learned import Learning, learned_pull
from rescind.methods.zk_apex.simulated import SimulatedClient
from rescind.training.low_rank import low_rank
from rescind.training.whole import WholeModel
from zk_apex import Batch, Published, joined, rows

FIRST = 5_000  # of the seeds of simulated clients: none that a real one has
CLIENTS, OWN, SHOWN = 4, 1_000, 300  # passages of one, and of the topic
LEARNED_AT = 0.002
LEARNING = Learning(steps=200, rate=0.05, batch=16)


@dataclass(frozen=True)
class Provider:
    """Its seed, model and passages, and the topic that is to go; of a sized benchmark."""

    seed: int
    topic: str
    base: WholeModel
    texts: Batch
    sizes: topics.Sizes
    work: Path

    def numbers(self) -> range:
        """The clients that it makes."""
        return range(min(CLIENTS, self.sizes.client))

    def draw(self, number: int) -> int:
        """The seed of one."""
        return FIRST + 100 * self.seed + number

    def model_at(self, number: int) -> Path:
        """Where its model is kept."""
        return self.work / f"gpt-simulated-{self.draw(number)}.safetensors"

    def pull_at(self, way: str, mask: str) -> Path:
        """Where a direction is kept."""
        return self.work / f"pull-{self.seed}-{self.topic}-{mask}-{way}.safetensors"

    def simulating(self) -> float:
        """CPU seconds of personalising all clients."""
        return round(sum(seconds(self.model_at(n)) for n in self.numbers()), 1)


def own_texts(of: Provider, number: int) -> Batch:
    """What a simulated client personalises with."""
    generator = torch.Generator().manual_seed(of.draw(number))
    order = torch.randperm(len(of.texts[topics.TOPIC]), generator=generator)
    return topics.both(rows(of.texts, order[:OWN]))


def personalised(of: Provider, number: int) -> WholeModel:
    """The provider's model as this client has it; from the cache where it is there."""
    path, draw = of.model_at(number), of.draw(number)
    if path.is_file():
        return topics.new_model(of.seed, load_file(path))
    model = topics.new_model(of.seed, of.base.module.state_dict())

    def personalise() -> None:
        with low_rank(model.module, 8, draw):
            topics.train(model, own_texts(of, number), 2 * of.sizes.client // 3, 3e-3, draw)

    timed(path, personalise)
    save_file(model.module.state_dict(), path)
    return model


def simulated(of: Provider, number: int) -> SimulatedClient:
    """One of the provider's, who is to forget the topic and to keep the rest of its passages."""
    model, draw = personalised(of, number), of.draw(number)
    retain = topics.without(own_texts(of, number), of.topic)
    named = matrices(model, scenario.MLP)
    samples = min(480, len(retain[topics.TOPIC]) // 32 * 32)
    seen = sketches(model, retain, list(named.values()), samples=samples, seed=draw)
    gone = topics.without(of.texts, of.topic, gone=True)
    order = torch.randperm(len(gone[topics.TOPIC]), generator=torch.Generator().manual_seed(draw))
    some = rows(gone, order[:SHOWN])
    return SimulatedClient(
        model=model,
        sketches=dict(zip(named, seen, strict=True)),
        forget=joined(some, topics.capitals(some)),
        retain=retain,
    )


def learned(
    of: Provider, public: Published, way: str, how: Learning, mask: str
) -> dict[str, Tensor]:
    """The direction that the provider publishes; it is kept, with its CPU seconds."""
    path = of.pull_at(way, mask)
    if path.is_file():
        kept: dict[str, Tensor] = load_file(path)
        return kept
    clients = [simulated(of, n) for n in of.numbers()]
    terms, start = at(public.terms[32], LEARNED_AT), public.pulls["provider"]
    how = replace(how, steps=min(how.steps, of.sizes.client))
    found = timed(path, partial(learned_pull, clients, public.masks[mask], start, terms, how))
    save_file(found, path)
    return found
