"""Blocks that are masked and not repaired: as many in each client, so that they tell nothing."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from rescind.core.errors import Refused
from rescind.proofs.mask_proof.mapped import copied
from rescind.proofs.mask_proof.statement import Public
from rescind.zk.tensors import Whole
from rescind.zk.terms import MaskOrder


@dataclass(frozen=True, slots=True, eq=False)
class Carried:
    """New weights (blocks, size) in units, blocks that were masked only, and the largest |e|."""

    weights: Whole
    exceptions: tuple[int, ...]
    residual: int


def declared(done: Carried, before: Whole, public: Public, order: MaskOrder) -> Carried:
    """With as many exceptions as the order says: others are drawn from the touched blocks, by a
    hash of the client's weights, so that it draws the same ones again and nobody else can.

    Raises:
        Refused: there are more already.
    """
    real = set(done.exceptions)
    free = [b for b in np.flatnonzero(public.mask.any(1)).tolist() if b not in real]
    missing = order.exceptions - len(real)
    if not 0 <= missing <= len(free):
        raise Refused(
            f"{len(real)} of {len(real) + len(free)} blocks cannot be met within the limits, and"
            f" the order has room for {order.exceptions}.",
            "Blocks that are masked only are not pulled, and their number would show the client.",
            "Ask the provider for an epoch with more room.",
        )
    drawn = hashlib.sha256(b"exceptions\n" + order.seal.encode())
    drawn.update(np.ascontiguousarray(before).data)
    seed = drawn.digest()
    free.sort(key=lambda b: hashlib.sha256(seed + b.to_bytes(8, "big")).digest())
    more, after = free[:missing], copied(done.weights)
    after[more] = before[more] * ~public.mask[more]
    return replace(done, weights=after, exceptions=tuple(sorted(real | set(more))))
