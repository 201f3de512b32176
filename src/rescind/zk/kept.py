"""An order in the provider's workspace: encrypted, with the lineage of the records it came from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from rescind.backends import Backends
from rescind.core.canonical import build, dumps, plain
from rescind.core.errors import Refused
from rescind.jobs import check_not_overtaken
from rescind.proofs.mask_proof.sizes import ANY, Limits
from rescind.proofs.mask_proof.statement import Public
from rescind.zk.terms import Epoch, MaskOrder

PARTS = ("direction", "mask", "order")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What the provider chooses, as for ``provider.Wish``; ``share`` of the weights is masked."""

    share: float = 0.04
    alpha: float = 0.006
    reached: float = 0.05
    bits: float = 100.0
    limits: Limits = ANY


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Kept:
    """A sealed order with its files' content, and the choices that it was made by."""

    epoch: Epoch
    order: MaskOrder
    public: Public
    choices: Choices


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Labels of cells: ``forget`` of what the gradient is of, ``both`` of what the mask is of.

    ``now`` are those that a withdrawal may have changed meanwhile.
    """

    forget: frozenset[str]
    both: frozenset[str]
    now: frozenset[str]


def keep(b: Backends, name: str, kept: Kept, lineage: Lineage) -> None:
    """Store an order.

    Raises:
        StaleVersion: a withdrawal has changed one of the cells; nothing is left of it.
    """
    said = {"epoch": kept.epoch, "order": kept.order, "choices": kept.choices}
    b.artifacts.put(f"{name}/direction", "mask", kept.public.direction.tobytes(), lineage.forget)
    b.artifacts.put(f"{name}/mask", "mask", np.packbits(kept.public.mask).tobytes(), lineage.both)
    b.artifacts.put(f"{name}/order", "mask", dumps(plain(said)), lineage.both)
    try:
        check_not_overtaken(b, lineage.now)
    except BaseException:
        b.artifacts.destroy([f"{name}/{part}" for part in PARTS])
        raise


def stored(b: Backends, name: str, choices: Choices) -> Kept | None:
    """The order of that name, if it is there as a whole.

    Raises:
        Refused: it was made by other choices.
        DamagedArtifact: it is there and cannot be read.
    """
    if any(b.artifacts.find(f"{name}/{part}") is None for part in PARTS):
        return None
    said: dict[str, Any] = json.loads(b.artifacts.get(f"{name}/order"))
    known = build(Choices, said["choices"])
    if known != choices:
        raise Refused(
            f"The request has a sealed order, made by other choices: {known}.",
            "A second one for the same records would come when its mask may be known.",
            "Make the same choices: the files of the sealed order are written again.",
        )
    epoch, order = build(Epoch, said["epoch"]), build(MaskOrder, said["order"])
    shape = (epoch.sized.blocks, epoch.block)
    bits = np.frombuffer(b.artifacts.get(f"{name}/mask"), dtype=np.uint8)
    direction = np.frombuffer(b.artifacts.get(f"{name}/direction"), dtype=np.int8)
    mask = np.unpackbits(bits, count=shape[0] * shape[1]).astype(np.bool_)
    public = Public(mask.reshape(shape), direction.reshape(shape))
    return Kept(epoch=epoch, order=order, public=public, choices=choices)
