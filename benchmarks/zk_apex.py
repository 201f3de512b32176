"""Mask, compensate and pull: what personalised vision transformers forget, keep and relearn.

    python benchmarks/zk_apex.py [--work FOLDER] [--quick]

A provider trains a small ViT on upright Fashion-MNIST. Clients personalise it with LoRA on 1,500
images, half of them rotated or inverted, with a class mix of their own, and merge. The provider
then lets a class be forgotten: it publishes a mask and a gradient of that class, both of its own
model and data; the client compensates in whole numbers (``methods.zk_apex.quantise``) with sketches
of its own retained images, taken before the mask is known.

Beside each edit stand the original, a random and a magnitude mask, a quadratic guard, a masked
fine-tune, and the client's training on a base that never had the class. Alpha is chosen in the
provider's simulation, on other classes, clients and seeds than those that are reported. It writes
benchmarks/results/zk_apex.json and .png; cells that are in the work folder are not made again. One
torch thread.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # read when torch is imported
os.environ["OMP_NUM_THREADS"] = "1"

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from kept_cells import command, folder, kept
from rescind.core.mask_terms import TensorTerms
from rescind.core.partition import Partition
from rescind.core.run import Recipe
from rescind.data.fashion_mnist import CLASSES, load
from rescind.methods.ssd import importance
from rescind.methods.zk_apex.blocks import from_blocks, into_blocks, sketches_into_blocks
from rescind.methods.zk_apex.compensate import compensate, mean_diagonal
from rescind.methods.zk_apex.fisher import SKETCHES, matrices, mean_gradient, sketches
from rescind.methods.zk_apex.quantise import (
    VALUE_BYTES,
    compensated,
    limit_of,
    residuals,
    weight_bits,
    whole_gradients,
    whole_weights,
)
from rescind.methods.zk_apex.saliency import global_mask, scores
from rescind.training.descent import parameters
from rescind.training.determinism import settle
from rescind.training.low_rank import low_rank
from rescind.training.modules import Classification
from rescind.training.whole import WholeModel

RESULTS = Path(__file__).parent / "results"
Batch = dict[str, Tensor]
TASK = Classification(
    "rescind.training.zoo:vit", CLASSES, (1, 28, 28), {"classes": 10, "width": 64, "depth": 4}
)
MLP = (".mlp.",)
SHARE, BLOCK, DAMPING = 0.04, 64, 0.1
ALPHAS = (0.001, 0.002, 0.004, 0.006, 0.008, 0.012, 0.016)
NAMES = {name: i for i, name in enumerate(CLASSES)}
SIMULATED = [(10, "trouser"), (11, "dress"), (12, "boot"), (10, "dress")]
MOST_LOST = 0.005  # of personal accuracy, in the provider's choice of alpha


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Images, epochs and cells."""

    base: int = 20_000
    epochs: int = 5
    client: int = 1_500
    client_epochs: int = 25
    test: int = 1_250
    cells: tuple[tuple[int, str], ...] = tuple(
        (seed, name) for seed in range(3) for name in ("bag", "sneaker", "pullover")
    )
    simulated: tuple[tuple[int, str], ...] = tuple(SIMULATED)


QUICK = Sizes(2_000, 3, 600, 4, 300, ((0, "bag"),), ((10, "trouser"),))


@dataclasses.dataclass(frozen=True)
class Images:
    """All images as tensors, and what is drawn of them."""

    train: Batch
    test: Batch


def images() -> Images:
    """Fashion-MNIST, each pixel from 0 to 1."""
    model = WholeModel(recipe(0))
    return Images(*(model.inputs(load(part)) for part in ("train", "test")))


def recipe(seed: int) -> Recipe:
    """A ViT with this seed; only task and seed are used."""
    return Recipe(task=TASK, method="zk_apex", partition=Partition(1, 1, 0.1), seed=seed)


def rows(batch: Batch, index: Tensor) -> Batch:
    """Some rows."""
    return {name: t[index] for name, t in batch.items()}


def joined(*batches: Batch) -> Batch:
    """One after another."""
    return {name: torch.cat([b[name] for b in batches]) for name in batches[0]}


def shifted(batch: Batch, domain: str) -> Batch:
    """Turned by 90 degrees, or light for dark."""
    x = batch["array"]
    return {**batch, "array": x.rot90(1, (2, 3)) if domain == "rotated" else 1.0 - x}


def train(
    model: WholeModel,
    batch: Batch,
    epochs: int,
    lr: float,
    seed: int,
    frozen: Mapping[str, Tensor] | None = None,
    steps: int | None = None,
) -> None:
    """AdamW on the weights that may change, in batches of 50; ``frozen`` masks are kept at zero."""
    draw = torch.Generator().manual_seed(seed)
    moving = [p for p in model.module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(moving, lr=lr)
    total = epochs * (len(batch["labels"]) // 50) if steps is None else steps
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)
    order: list[Tensor] = []
    model.module.train()
    for _ in range(total):
        if not order:
            order = list(torch.split(torch.randperm(len(batch["labels"]), generator=draw), 50))
            order = order[:-1] if len(order[-1]) < 50 else order
        piece = rows(batch, order.pop())
        loss = TASK.loss(model.outputs(piece), piece).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if frozen:
            named = dict(model.module.named_parameters())
            with torch.no_grad():
                for name, mask in frozen.items():
                    named[name].masked_fill_(mask, 0.0)
    model.module.eval()


def new_model(seed: int, state: Mapping[str, Tensor] | None = None) -> WholeModel:
    """A ViT of a seed, or with these weights."""
    model = WholeModel(recipe(seed))
    model.initialise_head(seed)
    model.initialise(0, seed)
    if state is not None:
        model.module.load_state_dict(dict(state))
    model.module.requires_grad_(True)
    return model


@dataclasses.dataclass(frozen=True)
class Bench:
    """Sizes, images, and a folder for what was made."""

    sizes: Sizes
    images: Images
    work: Path

    def base(self, seed: int, without: str | None = None) -> WholeModel:
        """The provider's model; from the cache where it is there."""
        path = self.work / f"base-{seed}-{without}.safetensors"
        if path.is_file():
            return new_model(seed, load_file(path))
        model, said = new_model(seed), time.process_time()
        train(model, self.provider(seed, without), self.sizes.epochs, 1e-3, seed)
        save_file(model.module.state_dict(), path)
        print(f"base {seed} without {without}: {time.process_time() - said:.0f} s", file=sys.stderr)
        return model

    def provider(self, seed: int, without: str | None = None) -> Batch:
        """The provider's upright images; no client has them."""
        order = torch.randperm(40_000, generator=torch.Generator().manual_seed(seed))
        batch = rows(self.images.train, order[: self.sizes.base])
        if without is None:
            return batch
        return rows(batch, batch["labels"] != NAMES[without])

    def mix(self, seed: int) -> Tensor:
        """The client's share of each class, between one and four parts."""
        return 1.0 + 3.0 * torch.rand(10, generator=torch.Generator().manual_seed(700 + seed))

    def drawn(self, batch: Batch, count: int, seed: int) -> Batch:
        """Images by the client's mix, without replacement."""
        weight = self.mix(seed)[batch["labels"]]
        found = torch.multinomial(weight, count, generator=torch.Generator().manual_seed(seed))
        return rows(batch, found)

    def personal(self, seed: int, domain: str) -> Batch:
        """The client's training images: half upright, half shifted."""
        own = rows(self.images.train, torch.arange(40_000, 60_000))
        found = self.drawn(own, self.sizes.client, 100 + seed)
        half = self.sizes.client // 2
        first = rows(found, torch.arange(half))
        last = rows(found, torch.arange(half, self.sizes.client))
        return joined(first, shifted(last, domain))

    def client(self, seed: int, domain: str, without: str | None = None) -> WholeModel:
        """Personalised with LoRA, merged."""
        path = self.work / f"client-{seed}-{domain}-{without}.safetensors"
        if path.is_file():
            return new_model(seed, load_file(path))
        model, batch = self.base(seed, without), self.personal(seed, domain)
        if without is not None:
            batch = rows(batch, batch["labels"] != NAMES[without])
        with low_rank(model.module, 8, seed):
            train(model, batch, self.sizes.client_epochs, 3e-3, 200 + seed)
        save_file(model.module.state_dict(), path)
        return model

    def tests(self, seed: int, domain: str, name: str) -> dict[str, Batch]:
        """The class, upright and shifted; and the client's mix without it, of both domains."""
        test, gone = self.images.test, self.images.test["labels"] == NAMES[name]
        others = rows(test, ~gone)
        upright = self.drawn(others, self.sizes.test, 300 + seed)
        moved = self.drawn(others, self.sizes.test, 400 + seed)
        return {
            "forget": rows(test, gone),
            "forget shifted": shifted(rows(test, gone), domain),
            "personal": joined(upright, shifted(moved, domain)),
        }


def look(model: WholeModel, tests: Mapping[str, Batch]) -> dict[str, float]:
    """Accuracy of each set, and the personal cross-entropy."""
    found = {}
    with torch.no_grad():
        for name, batch in tests.items():
            logits = torch.cat([model.outputs(rows(batch, i)) for i in _pieces(batch)])
            found[name] = float((logits.argmax(1) == batch["labels"]).double().mean())
            if name == "personal":
                found["loss"] = float(functional.cross_entropy(logits.double(), batch["labels"]))
    return {name: round(value, 4) for name, value in found.items()}


def _pieces(batch: Batch) -> Sequence[Tensor]:
    return list(torch.split(torch.arange(len(batch["labels"])), 500))


@dataclasses.dataclass(frozen=True)
class Published:
    """What the provider sets or publishes, of its own model and images alone."""

    masks: dict[str, dict[str, Tensor]]
    pulls: dict[str, dict[str, Tensor]]
    terms: dict[int, dict[str, TensorTerms]]


def published(bench: Bench, seed: int, name: str, counts: Sequence[int]) -> Published:
    """Of a class."""
    batch = bench.provider(seed)
    gone = batch["labels"] == NAMES[name]
    return published_of(bench.base(seed), rows(batch, gone), rows(batch, ~gone), seed, counts)


def published_of(
    base: WholeModel, forget: Batch, retain: Batch, seed: int, counts: Sequence[int]
) -> Published:
    """Masks, gradients of the forget set, and each tensor's scales for each number of sketches."""
    few = {
        part: rows(b, torch.arange(min(n, len(b["labels"]))))
        for part, b, n in (("forget", forget, 480), ("retain", retain, 960))
    }
    named = matrices(base, MLP)
    weights = list(named.values())
    place = {id(p): i for i, p in enumerate(parameters(base))}
    both = []
    for part in few.values():
        squares = importance(base, part, labels=True)
        means = mean_gradient(base, part, weights)
        both.append([(m, squares[place[id(w)]]) for m, w in zip(means, weights, strict=True)])
    plain = [w.detach() for w in weights]
    ratio = scores("fisher_ratio", plain, *both)
    draw = torch.Generator().manual_seed(seed)
    ranked = {
        "fisher": ratio,
        "signed": scores("signed", plain, *both),
        "random": [torch.rand(w.shape, generator=draw) for w in plain],
        "magnitude": [-w.abs() for w in plain],
    }
    masks = {key: dict(zip(named, global_mask(s, SHARE), strict=True)) for key, s in ranked.items()}
    masks["fisher 8 %"] = dict(zip(named, global_mask(ratio, 2 * SHARE), strict=True))
    pulls = {
        "provider": dict(zip(named, mean_gradient(base, forget, weights), strict=True)),
        "margin": dict(zip(named, margin_gradient(base, forget, weights), strict=True)),
    }
    terms = {}
    for count in counts:
        seen = sketches(base, retain, weights, count=count, seed=1)
        terms[count] = {
            key: terms_of(key, w.detach(), g)
            for (key, w), g in zip(named.items(), seen, strict=True)
        }
    return Published(masks, pulls, terms)


def margin_gradient(
    model: WholeModel, batch: Batch, weights: Sequence[nn.Parameter]
) -> list[Tensor]:
    """Of minus the mean margin: unlike that of the loss, sure answers count in it as others do."""
    found = [torch.zeros_like(w) for w in weights]
    for index in _pieces(batch):
        piece = rows(batch, index)
        logits = model.outputs(piece)
        own = logits.gather(1, piece["labels"][:, None])[:, 0]
        others = logits.scatter(1, piece["labels"][:, None], -torch.inf).logsumexp(1)
        total = (others - own).sum() / len(batch["labels"])
        for sum_, one in zip(found, torch.autograd.grad(total, list(weights)), strict=True):
            sum_ += one
    return found


def terms_of(name: str, weight: Tensor, seen: Tensor) -> TensorTerms:
    """Scales from the provider's own model: room for four times its largest weight."""
    step = float(torch.quantile(seen.abs().flatten()[:: 1 + seen.numel() // 10**6], 0.999)) / 64
    units = whole_gradients(seen, step).double()
    return TensorTerms(
        name=name,
        shape=tuple(weight.shape),
        weight_bits=weight_bits(weight, 4.0),
        gradient_step=step,
        damping=max(1, round(DAMPING * len(seen) * float((units**2).mean()))),
    )


@dataclasses.dataclass(frozen=True)
class Client:
    """A personalised model with what it committed: sketches of its retained images."""

    model: WholeModel
    seen: dict[int, dict[str, Tensor]]


def whole_edit(
    client: Client,
    pub: Published,
    mask: Mapping[str, Tensor],
    count: int,
    pull: Mapping[str, Tensor] | None = None,
    alpha: float = 0.0,
) -> tuple[WholeModel, dict[str, float]]:
    """Mask and compensate in whole numbers, as it is proved; and what a proof will have to say."""
    model, worst, beyond, blocks, ratios = copy.deepcopy(client.model), 0, 0, 0, []
    for name, weight in matrices(model, MLP).items():
        terms, shape = pub.terms[count][name], weight.shape
        bits = terms.weight_bits
        w = into_blocks(whole_weights(weight.detach(), bits), BLOCK)
        m = into_blocks(mask[name], BLOCK)
        g = sketches_into_blocks(whole_gradients(client.seen[count][name], terms.gradient_step))
        direction = None
        if pull is not None and alpha:
            rms = float((pull[name] ** 2).mean().sqrt())
            direction = into_blocks(whole_gradients(pull[name], rms / 32), BLOCK)
            # alpha mean(N F) 2^bits / rms(g), of numbers that the provider knows
            c = alpha * terms.damping / DAMPING * 2**bits / 32
            terms = dataclasses.replace(terms, pull=round(c))
        moved = compensated(w, m, g, terms, direction)
        far = moved.abs().amax(1) >= limit_of(VALUE_BYTES)
        moved[far] = (-w * m)[far]  # a declared exception: masked, not compensated
        left = residuals(w, moved, m, g, terms, direction)
        worst = max(worst, int(left[~far].abs().max()))
        beyond, blocks = beyond + int(far.sum()), blocks + int(m.any(1).sum())
        if terms.pull:
            ratios.append(float(left[~far].abs().max()) / (terms.pull * 32))
        with torch.no_grad():
            weight.copy_(from_blocks((w + moved).double() / 2**bits, shape).to(weight))
    told = {"residual": worst, "exceptions": beyond, "blocks": blocks}
    return model, told | ({"residual / pull": round(max(ratios), 4)} if ratios else {})


def float_edit(
    client: Client,
    mask: Mapping[str, Tensor],
    count: int,
    guard: Mapping[str, Tensor] | None = None,
) -> WholeModel:
    """Group-OBS in floating point; with ``guard`` the Fisher holds ten times that of the class."""
    model = copy.deepcopy(client.model)
    for name, weight in matrices(model, MLP).items():
        seen = client.seen[count][name]
        damping = DAMPING * mean_diagonal(seen)
        g = sketches_into_blocks(seen, BLOCK)
        if guard is not None:
            more = (
                sketches_into_blocks(guard[name], BLOCK)
                * (10 * len(seen) / len(guard[name])) ** 0.5
            )
            n = g.shape[1] + more.shape[1]
            g = torch.cat([g, more], 1) * (n / g.shape[1]) ** 0.5
        wide = into_blocks(weight.detach(), BLOCK)
        moved = compensate(wide, into_blocks(mask[name], BLOCK), g, damping)
        with torch.no_grad():
            weight.add_(from_blocks(moved, weight.shape).to(weight))
    return model


def masked(client: Client, mask: Mapping[str, Tensor]) -> WholeModel:
    """Zeros, and nothing else."""
    model = copy.deepcopy(client.model)
    with torch.no_grad():
        for name, weight in matrices(model, MLP).items():
            weight.masked_fill_(mask[name], 0.0)
    return model


def domain_of(seed: int, name: str) -> str:
    """To which the client's images are shifted."""
    return "rotated" if (seed + NAMES[name]) % 2 else "inverted"


def client_of(bench: Bench, seed: int, name: str, counts: Sequence[int]) -> Client:
    """With sketches of its images without the class, so many or as many as they allow."""
    domain, seen = domain_of(seed, name), {}
    model, batch = bench.client(seed, domain), bench.personal(seed, domain)
    retained = rows(batch, batch["labels"] != NAMES[name])
    named, samples = matrices(model, MLP), min(480, len(retained["labels"]))
    for count in counts:
        found = sketches(
            model,
            retained,
            list(named.values()),
            count=min(count, samples),
            samples=samples,
            seed=2,
        )
        seen[count] = dict(zip(named, found, strict=True))
    return Client(model, seen)


def cell(bench: Bench, seed: int, name: str, simulation: bool) -> dict[str, Any]:
    """All edits of one client and class."""
    domain = domain_of(seed, name)
    counts = (32,) if simulation else (32, 64)
    pub, tests = published(bench, seed, name, counts), bench.tests(seed, domain, name)
    client = client_of(bench, seed, name, counts if simulation else (*counts, 480))
    found_, fisher = {"original": look(client.model, tests)}, pub.masks["fisher"]
    for alpha in (0.0, *ALPHAS):
        for which in ("provider", "margin"):
            edit, told = whole_edit(client, pub, fisher, 32, pub.pulls[which], alpha)
            found_[f"{which} {alpha}"] = look(edit, tests) | told
    if simulation:
        return {"seed": seed, "class": name, "domain": domain, "edits": found_}
    found_ |= more_edits(bench, client, pub, tests, seed, domain, name)
    return {"seed": seed, "class": name, "domain": domain, "edits": found_}


def more_edits(
    bench: Bench,
    client: Client,
    pub: Published,
    tests: Mapping[str, Batch],
    seed: int,
    domain: str,
    name: str,
) -> dict[str, Any]:
    """Controls, other masks and sketches, the guard, a masked fine-tune, and the retrained one."""
    found: dict[str, Any] = {}
    for key, mask in pub.masks.items():
        found[f"{key} mask"] = look(masked(client, mask), tests)
        found[f"{key} 480 float"] = look(float_edit(client, mask, 480), tests)
        for count in (32, 64):
            edit, told = whole_edit(client, pub, mask, count)
            found[f"{key} {count}"] = look(edit, tests) | told
    edit, told = whole_edit(client, pub, pub.masks["random"], 32, pub.pulls["provider"], 0.006)
    found["random mask, provider 0.006"] = look(edit, tests) | told
    batch = bench.personal(seed, domain)
    own = rows(batch, batch["labels"] == NAMES[name])
    weights = list(matrices(client.model, MLP).values())
    at_client = dict(
        zip(matrices(client.model, MLP), mean_gradient(client.model, own, weights), strict=True)
    )
    for alpha in ALPHAS:
        edit, told = whole_edit(client, pub, pub.masks["fisher"], 32, at_client, alpha)
        found[f"client {alpha}"] = look(edit, tests) | told
    upright = rows(bench.provider(seed), bench.provider(seed)["labels"] == NAMES[name])
    base = bench.base(seed)
    few = min(480, len(upright["labels"]))
    few -= few % SKETCHES  # as many in each sketch
    sums = sketches(base, upright, list(matrices(base, MLP).values()), samples=few, seed=3)
    guard = dict(zip(matrices(base, MLP), sums, strict=True))
    found["guard"] = look(float_edit(client, pub.masks["fisher"], 32, guard), tests)
    tuned, rest = masked(client, pub.masks["fisher"]), rows(batch, batch["labels"] != NAMES[name])
    train(tuned, rest, 0, 5e-4, seed, pub.masks["fisher"], steps=50)
    found["masked fine-tune"] = look(tuned, tests)
    retrained = bench.client(seed, domain, name)
    found["retrained"] = look(retrained, tests)
    edit, _ = whole_edit(client, pub, pub.masks["fisher"], 32, pub.pulls["provider"], 0.006)
    starts = {"original": client.model, "provider 0.006": edit, "retrained": retrained}
    for key, start in starts.items():
        found[f"relearning, {key}"] = relearned(start, batch, tests["forget"], seed)
    return found


def relearned(start: WholeModel, batch: Batch, forget: Batch, seed: int) -> dict[str, float]:
    """Accuracy on the class after steps of fine-tuning on the client's images with the class."""
    found = {}
    for steps in (10, 50):
        model = copy.deepcopy(start)
        train(model, batch, 0, 5e-4, seed, steps=steps)
        found[str(steps)] = look(model, {"forget": forget})["forget"]
    return found


def pooled(cells: Sequence[Mapping[str, Any]], edit: str, mask: str) -> dict[str, float] | None:
    """The share of the cross-entropy that the mask costs which the edit gives back, as a ratio of
    sums, over the cells where the mask costs .03 or more.
    """
    gained, cost = 0.0, 0.0
    used = 0
    for found in (c["edits"] for c in cells):
        lost = found[mask]["loss"] - found["original"]["loss"]
        if lost >= 0.03:
            gained, cost, used = (
                gained + found[mask]["loss"] - found[edit]["loss"],
                cost + lost,
                used + 1,
            )
    return {"recovered": round(gained / cost, 3), "cells": used} if used else None


def over(cells: Sequence[Mapping[str, Any]], edit: str) -> dict[str, Any]:
    """Means over cells, with the half width of a 95 % t interval."""
    from scipy.stats import t

    told: dict[str, Any] = {}
    for key in ("forget", "forget shifted", "personal", "loss"):
        values = [c["edits"][edit][key] for c in cells]
        half = 0.0
        if len(values) > 1:
            half = (
                float(t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5
            )
        told[key] = [round(statistics.fmean(values), 4), round(half, 4)]
    lost = [c["edits"][edit]["personal"] - c["edits"]["original"]["personal"] for c in cells]
    told["personal - original"] = round(statistics.fmean(lost), 4)
    return told


def chosen_alpha(simulated: Sequence[Mapping[str, Any]], which: str) -> float:
    """The largest that costs no more than ``MOST_LOST`` of personal accuracy, in the mean."""
    fine = [
        a for a in ALPHAS
        if over(simulated, f"{which} {a}")["personal - original"] >= -MOST_LOST
    ]  # fmt: skip
    return max(fine, default=ALPHAS[0])


def summary(
    cells: Sequence[Mapping[str, Any]], simulated: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """What the page quotes."""
    names = [n for n in cells[0]["edits"] if not n.startswith("relearning")]
    relearning = [n for n in cells[0]["edits"] if n.startswith("relearning")]
    return {
        "alpha": {which: chosen_alpha(simulated, which) for which in ("provider", "margin")},
        "edits": {name: over(cells, name) for name in names},
        "recovered": {
            f"{mask} {how}": pooled(cells, f"{mask} {how}", f"{mask} mask")
            for mask in ("fisher", "fisher 8 %")
            for how in ("32", "64", "480 float")
        },
        "relearning": {
            name: {
                steps: round(statistics.fmean(c["edits"][name][steps] for c in cells), 4)
                for steps in ("10", "50")
            }
            for name in relearning
        },
    }


def draw(found: Mapping[str, Any], path: Path) -> None:
    """The frontier: accuracy on the class over personal accuracy."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    edits = found["summary"]["edits"]
    figure, axes = plt.subplots(figsize=(7.5, 5), layout="constrained")
    for which, colour in (
        ("provider", "tab:blue"),
        ("margin", "tab:green"),
        ("client", "tab:orange"),
    ):
        names = [f"{which} {a}" for a in (0.0, *ALPHAS) if f"{which} {a}" in edits]
        points = [(edits[n]["personal"][0], edits[n]["forget"][0]) for n in names]
        axes.plot(
            *zip(*points, strict=True), "o-", color=colour, label=f"directed, gradient: {which}"
        )
    alone = {
        "original": "k*",
        "fisher mask": "rx",
        "guard": "mv",
        "masked fine-tune": "cs",
        "retrained": "g*",
        "random mask, provider 0.006": "b+",
    }
    for name, mark in alone.items():
        if name in edits:
            axes.plot(edits[name]["personal"][0], edits[name]["forget"][0], mark, ms=9, label=name)
    axes.set_xlabel("personal accuracy, without the class")
    axes.set_ylabel("accuracy on the class")
    axes.set_title(f"{found['cells_reported']} held-out cells, 4 % mask, 32 sketches, int8")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=90)


def main() -> None:
    """Run, store, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "zk_apex")
    parser.add_argument("--out", type=Path, default=RESULTS / "zk_apex.json")
    chosen = parser.parse_args()
    settle(1)
    sizes, work = QUICK if chosen.quick else Sizes(), folder(chosen.work, chosen.quick)
    bench = Bench(sizes, images(), work)
    made: dict[bool, list[dict[str, Any]]] = {}
    for simulation, wanted in ((True, sizes.simulated), (False, sizes.cells)):
        made[simulation] = [
            kept(
                work / f"cell-{simulation}-{seed}-{name}.json",
                partial(cell, bench, seed, name, simulation),
            )
            for seed, name in wanted
        ]
    found = {
        "what": "Mask, Group-OBS and the directed step on personalised ViTs, Fashion-MNIST.",
        "command": command("zk_apex.py", chosen.quick),
        "system": f"{platform.system()} {platform.machine()}, 1 thread, torch {torch.__version__}",
        "sizes": dataclasses.asdict(sizes),
        "cells_reported": len(made[False]),
        "summary": summary(made[False], made[True]),
        "simulated": made[True],
        "cells": made[False],
    }
    chosen.out.write_text(json.dumps(found, indent=1) + "\n")
    draw(found, chosen.out.with_suffix(".png"))
    print(json.dumps(found["summary"], indent=1))


if __name__ == "__main__":
    main()
