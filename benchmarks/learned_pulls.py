"""The learned pull of benchmarks/zk_apex.py: clients that the provider simulates, and their g.

A simulated client is made of the provider's own images alone, half of them upright and half of them
shifted by a guess, with a class mix and seeds of its own; it personalises the provider's model for
fewer epochs than a real one. ``KINDS`` are what a provider may guess of its clients: that they turn
or invert their images, as they do; those shifts and others, but not the one of the client that is
looked at; or nothing, so that all simulated images are upright.

Rate, steps, ``keep``, the pull and the number of clients were chosen on trousers and dresses of
seed 10, of which nothing is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import zk_apex as scenario
from kept_cells import timed
from rescind.core.mask_terms import TensorTerms
from rescind.methods.zk_apex.fisher import matrices, mean_gradient, sketches
from rescind.methods.zk_apex.learned import UNITS, Learning, learned_pull
from rescind.methods.zk_apex.simulated import SimulatedClient
from rescind.training.low_rank import low_rank
from rescind.training.whole import WholeModel
from zk_apex import Batch, joined, rows

if TYPE_CHECKING:
    from zk_apex import Bench, Published

FIRST = 5_000  # of the seeds of simulated clients: none that a real one has
EPOCHS = 10  # of personalisation
SHOWN = 600  # images of the class that a simulated client has, in each of its domains
LEARNED_AT = 0.008
LEARNING = Learning(steps=200, rate=0.05, keep=0.1)
DOMAINS = (*("rotated", "inverted") * 4, "down", "dim", "blurred", "down", *("upright",) * 4)
KINDS = ("learned", "learned, other shifts", "learned, upright")


def quick(bench: Bench) -> bool:
    """Two simulated clients of a kind, and hardly any steps."""
    return bench.sizes.client_epochs < EPOCHS


def learning(bench: Bench) -> Learning:
    """As it was chosen."""
    return replace(LEARNING, steps=8) if quick(bench) else LEARNING


def shift(batch: Batch, domain: str) -> Batch:
    """As a client's, or one that no client has."""
    x = batch["array"]
    if domain in ("rotated", "inverted"):
        return scenario.shifted(batch, domain)
    moved = {
        "upright": x,
        "down": x.flip(2),
        "dim": 0.4 * x,
        "blurred": torch.nn.functional.avg_pool2d(x, 3, 1, 1),
    }
    return {**batch, "array": moved[domain]}


def own_images(bench: Bench, seed: int, domain: str, draw: int) -> Batch:
    """What a simulated client personalises with."""
    own, count = bench.provider(seed), bench.sizes.client
    generator = torch.Generator().manual_seed(draw)
    found = rows(own, torch.multinomial(bench.mix(draw)[own["labels"]], count, generator=generator))
    first, last = rows(found, torch.arange(count // 2)), torch.arange(count // 2, count)
    return joined(first, shift(rows(found, last), domain))


def simulated_at(bench: Bench, seed: int, domain: str, draw: int) -> Path:
    """Where the model of this client is kept."""
    return bench.work / f"simulated-{seed}-{draw}-{domain}.safetensors"


def personalised(bench: Bench, seed: int, domain: str, draw: int) -> WholeModel:
    """The provider's model as this client has it; from the cache where it is there."""
    path = simulated_at(bench, seed, domain, draw)
    if path.is_file():
        return scenario.new_model(seed, load_file(path))
    model, epochs = bench.base(seed), min(EPOCHS, bench.sizes.client_epochs)
    own = own_images(bench, seed, domain, draw)

    def personalise() -> None:
        with low_rank(model.module, 8, draw):
            scenario.train(model, own, epochs, 3e-3, draw)

    timed(path, personalise)
    save_file(model.module.state_dict(), path)
    return model


Goes = Callable[[Batch], Tensor]  # which rows are to be forgotten, bool


def of_class(name: str) -> Goes:
    """All of a class goes."""
    return lambda batch: batch["labels"] == scenario.NAMES[name]


def simulated(
    bench: Bench, seed: int, number: int, goes: Goes, gone: Batch, beside: Batch | None = None
) -> SimulatedClient:
    """One of the provider's, who is to forget what goes, shown by upright images of it; what stays
    of its own images it keeps, and answers to images ``beside`` those that go where there are some.
    """
    draw, domain = FIRST + 100 * seed + number, DOMAINS[number]
    model = personalised(bench, seed, domain, draw)
    batch = own_images(bench, seed, domain, draw)
    retain = rows(batch, ~goes(batch))
    named = matrices(model, scenario.MLP)
    samples = min(480, len(retain["labels"]) // 32 * 32)
    seen = sketches(model, retain, list(named.values()), samples=samples, seed=draw)
    more = [] if beside is None else [shown(beside, domain, draw)]
    return SimulatedClient(
        model=model,
        sketches=dict(zip(named, seen, strict=True)),
        forget=shown(gone, domain, draw),
        retain=joined(retain, *more),
    )


def shown(batch: Batch, domain: str, draw: int) -> Batch:
    """Some, upright and shifted."""
    order = torch.randperm(len(batch["labels"]), generator=torch.Generator().manual_seed(draw))
    some = rows(batch, order[:SHOWN])
    return joined(some, shift(some, domain))


def guessed(kind: str, domain: str) -> list[int]:
    """The simulated clients of a kind, for a client of this domain, by their places in DOMAINS."""
    real = ("rotated", "inverted")
    wanted = {
        "learned": real,
        "learned, other shifts": {*DOMAINS} - {"upright", domain},
        "learned, upright": ("upright",),
    }
    return [i for i, d in enumerate(DOMAINS) if d in wanted[kind]]


def all_of(
    bench: Bench, seed: int, kind: str, domain: str, goes: Goes, gone: Batch
) -> list[SimulatedClient]:
    """The simulated clients of a kind."""
    numbers = guessed(kind, domain)[: 2 if quick(bench) else None]
    return [simulated(bench, seed, n, goes, gone) for n in numbers]


def at(terms: Mapping[str, TensorTerms], alpha: float) -> dict[str, TensorTerms]:
    """With the pulls c of that alpha: alpha mean(N F) 2^bits over the root mean square of g."""
    scale = alpha / scenario.DAMPING / UNITS
    return {
        n: replace(t, pull=round(scale * t.damping * 2**t.weight_bits)) for n, t in terms.items()
    }


def learned(
    bench: Bench, pub: Published, seed: int, domain: str, name: str, kind: str, mask: str = "fisher"
) -> dict[str, Tensor]:
    """The direction that the provider publishes, from its forget gradient on; it is kept."""
    path = bench.work / f"pull-{seed}-{name}-{mask}-{kind}.safetensors"
    if path.is_file():
        kept: dict[str, Tensor] = load_file(path)
        return kept
    own = bench.provider(seed)
    gone = rows(own, own["labels"] == scenario.NAMES[name])
    clients = all_of(bench, seed, kind, domain, of_class(name), gone)
    terms, start = at(pub.terms[32], LEARNED_AT), pub.pulls["provider"]
    learn = partial(learned_pull, clients, pub.masks[mask], start, terms, learning(bench))
    found = timed(path, learn)
    save_file(found, path)
    return found


def learned_of(
    bench: Bench, pub: Published, gone: Batch, seed: int, domain: str, name: str
) -> dict[str, Tensor]:
    """As ``learned``, of some records only: the start and all that is forgotten are of them."""
    base, masks = bench.base(seed), pub.masks["fisher"]
    named = matrices(base, scenario.MLP)
    start = dict(zip(named, mean_gradient(base, gone, list(named.values())), strict=True))
    clients = all_of(bench, seed, "learned", domain, of_class(name), gone)
    return learned_pull(clients, masks, start, at(pub.terms[32], LEARNED_AT), learning(bench))
