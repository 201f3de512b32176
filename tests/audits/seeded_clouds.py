"""A small network trained on made-up clouds, with and without the term of the codes."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from rescind.audits.seeding import (
    Seeding,
    choose_decoys,
    codes_of,
    draw_readout,
    half_augmented,
    loss_term,
    read_bits,
    seeded_batch,
)
from rescind.metrics.features import collect
from rescind.training.batches import batches

KEY, OTHER_KEY = b"key of the user" * 2, b"key of another user" * 2
CLASSES, INPUTS, WIDTH, RECORDS, OWN, DECOYS = 4, 64, 64, 320, 40, 10
HIDDEN = "2"  # the last layer before the head, before its ReLU
EPOCHS, BATCH = 50, 32


@dataclass(frozen=True)
class Clouds:
    """Rows, with their inputs and labels; the first ``OWN`` are the user's."""

    rows: list[dict[str, Any]]
    inputs: Tensor = field(init=False)
    labels: Tensor = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", torch.tensor([r["array"] for r in self.rows]))
        object.__setattr__(self, "labels", torch.tensor([r["label"] for r in self.rows]))

    def at(self, index: Tensor) -> dict[str, Tensor]:
        return {"array": self.inputs[index]}


def clouds(count: int, seed: int) -> Clouds:
    generator = torch.Generator().manual_seed(99)
    centres = torch.randn(CLASSES, INPUTS, generator=generator) * 2
    generator.manual_seed(seed)
    noise = torch.randn(count, INPUTS, generator=generator)
    found = (centres[torch.arange(count) % CLASSES] + noise).tolist()
    return Clouds([{"array": a, "label": i % CLASSES} for i, a in enumerate(found)])


DATA, PUBLIC, TEST = clouds(RECORDS, 0), clouds(200, 1), clouds(200, 2)
OWN_ROWS = DATA.rows[:OWN]


def network(seed: int) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        first, hidden = nn.Linear(INPUTS, WIDTH), nn.Linear(WIDTH, WIDTH)
        head = nn.Linear(WIDTH, CLASSES)
        return nn.Sequential(first, nn.ReLU(), hidden, nn.ReLU(), head)


def _seeds() -> tuple[Tensor, Tensor]:
    """Indices of the seeded records, and their codes: the user's, then the decoys'."""
    decoys = choose_decoys(OTHER_KEY, DATA.rows, OWN_ROWS, DECOYS)
    own = codes_of(KEY, OWN_ROWS)
    index = [*range(OWN), *(DATA.rows.index(dict(row)) for row in decoys)]
    return torch.tensor(index), torch.cat([own, codes_of(OTHER_KEY, decoys)])


def _jitter(batch: Any) -> Any:
    return {name: tensor + 0.05 * torch.randn_like(tensor) for name, tensor in batch.items()}


@cache
def trained(seed: int = 0, *, seeded: bool = True, without_own: bool = False) -> nn.Sequential:
    """Trained on all records or on those that are not the user's; one thread, about a second."""
    module = network(seed)
    kept = torch.arange(OWN if without_own else 0, RECORDS)
    index, codes = _seeds()
    if without_own:
        index, codes = index[OWN:], codes[OWN:]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _train(module, kept, index if seeded else index[:0], codes, seed)
    return module.eval()


def _train(module: nn.Sequential, kept: Tensor, index: Tensor, codes: Tensor, seed: int) -> None:
    optimizer = torch.optim.Adam(module.parameters(), 3e-3)
    settings, matrix = Seeding(), draw_readout(KEY, WIDTH)
    is_seeded = torch.isin(torch.arange(RECORDS), index)
    for step, drawn in enumerate(batches(len(kept), BATCH, EPOCHS, seed)):
        batch = kept[drawn]
        hidden = module[:3](DATA.inputs[batch])
        loss = cross_entropy(module[3:](hidden), DATA.labels[batch])
        if len(index) and settings.due(step):
            at = seeded_batch(settings, len(index), step, 0)
            own = module[:3](half_augmented(DATA.at(index[at]), _jitter)["array"])
            loss = loss + loss_term(own, codes[at], hidden[~is_seeded[batch]], matrix, settings)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def features(module: nn.Module, inputs: Tensor) -> Tensor:
    return collect(module, [HIDDEN], [inputs])[HIDDEN]


def own_features(module: nn.Module) -> Tensor:
    return features(module, DATA.inputs[:OWN])


def own_bits(module: nn.Module, key: bytes = KEY) -> Tensor:
    return read_bits(own_features(module), draw_readout(key, WIDTH))


def permuted(module: nn.Sequential, seed: int = 7) -> nn.Sequential:
    """The same function with the hidden units in another order."""
    order = torch.randperm(WIDTH, generator=torch.Generator().manual_seed(seed))
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    for name in (f"{HIDDEN}.weight", f"{HIDDEN}.bias"):
        state[name] = state[name][order]
    state["4.weight"] = state["4.weight"][:, order]
    other = network(0).eval()
    other.load_state_dict(state)
    return other
