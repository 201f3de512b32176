"""The provider's side: terms and a sealed order, from its own model and gradients."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, log2

import numpy as np

from rescind.core.errors import BadParameter, InsufficientEvidence
from rescind.core.mask_terms import TensorTerms
from rescind.proofs.mask_proof import soundness
from rescind.proofs.mask_proof.sizes import ANY, Limits, held, sized
from rescind.proofs.mask_proof.soundness import columns_for
from rescind.proofs.mask_proof.statement import LARGEST, SMALLEST, Public, Statement
from rescind.zk import grid
from rescind.zk.client import carried_out
from rescind.zk.exceptions import Carried
from rescind.zk.tensors import (
    DIRECTION,
    Tensors,
    Whole,
    masked,
    whole,
    whole_direction,
    whole_gradients,
)
from rescind.zk.terms import MOST, Epoch, MaskOrder, Roots, slack

CLIPPED = 0.999  # of the provider's gradients lie below half of what a byte holds
ROOM = 4.0  # a client's weights, and a change, may be so many times the provider's largest weight
SPARE = 1 / 128  # of the touched blocks, and twice the provider's own, need not be repaired
MORE = 8.0  # a client's residual may be so many times the provider's: at 4 one of nine had too many
MOST_BITS = 127.0  # digests alone can fail with 2^-128
MOST_BITS_OF_TWO = 108.0  # above, challenges are of the extension of degree 3
MORE_COLUMNS = 8  # than the fewest: if these do not make up for the rest of the error, none do
NO_ROOTS = Roots(weights="", gradients="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the provider chooses.

    ``alpha`` is how hard weights are pulled, ``damping`` relative to the mean diagonal of the
    Fisher information, ``reached`` the share of its own simulation that a client must reach along
    the gradient of each tensor, ``bits`` the soundness. ``limits`` of memory and file say how long
    rows are, or ``row_size`` does, the most numbers of one, where it is given.
    """

    goal: str
    records: int
    alpha: float = 0.006
    damping: float = 0.1
    reached: float = 0.05  # the least of an honest client in benchmarks/masked_clients.py is .12
    block: int = 64
    value_bytes: int = 3
    bits: float = 100.0
    limits: Limits = ANY
    row_size: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """The epoch, to be published; order and public file, to be kept until it is closed; and what
    the provider's own model became.
    """

    epoch: Epoch
    order: MaskOrder
    public: Public
    simulated: Carried


def make(
    weights: Tensors, gradients: Tensors, mask: Tensors, direction: Tensors, wish: Wish
) -> Made:
    """Terms and order for all tensors that have a mask.

    Args:
        weights: of the provider's model.
        gradients: (n, *shape) sketches of its own retained data (``zk_apex.fisher.sketches``).
        mask: not 0 where a weight is masked, by tensor.
        direction: the gradient of the forget set's mean loss, or what was learned from it
            (``zk_apex.learned``).
        wish: the choices.

    Raises:
        BadParameter: a choice out of range; a residual could hide too much of the pull.
        BadData: tensors that do not fit each other.
        InsufficientEvidence: the simulation does not move along the gradient.
    """
    _refuse(wish)
    terms = tuple(_terms(name, weights, gradients, wish) for name in sorted(mask))
    size = wish.block
    public = Public(masked(mask, terms, size), whole_direction(direction, terms, size))
    numbers = {t.name: gradients[t.name].shape[0] for t in terms}
    if len(set(numbers.values())) != 1:
        raise BadParameter(f"Tensors have different numbers of gradients: {numbers}.")
    epoch, order = _draft(terms, public, max(numbers.values()), wish)
    own = whole(weights, terms, size), whole_gradients(gradients, terms, size)
    first = carried_out(*own, public, _simulated(epoch, order))
    bits = max(8, ceil(log2(max(1, MORE * first.residual))) + 1)
    epoch = _sound(replace(epoch, residual_bits=bits), wish)
    simulated = carried_out(*own, public, _simulated(epoch, order))
    order = replace(
        order,
        floors=_floors(own[0], simulated, public, epoch, wish.reached),
        exceptions=2 * len(simulated.exceptions) + ceil(SPARE * int(public.mask.any(1).sum())),
    )
    epoch = replace(epoch, seal=order.seal)
    check_slack(epoch.statement(order, (), NO_ROOTS), public)
    return Made(epoch, order, public, simulated)


def _draft(
    terms: tuple[TensorTerms, ...], public: Public, count: int, wish: Wish
) -> tuple[Epoch, MaskOrder]:
    """Both before the simulation: with room for any residual, any rows, no floors, not sealed."""
    epoch = Epoch(
        id=secrets.token_hex(8),
        tensors=terms,
        block=wish.block,
        sketches=count,
        value_bytes=wish.value_bytes,
        residual_bits=32,
        degree=2 if wish.bits <= MOST_BITS_OF_TWO else 3,
        opened=columns_for(wish.bits),
        size=LARGEST,
        seal="",
    )
    mask, direction = public.digests()
    order = MaskOrder(
        goal=wish.goal,
        records=wish.records,
        mask=mask,
        direction=direction,
        pulls=tuple(_pull(t, wish) for t in terms),
        floors=(0,) * len(terms),
        exceptions=0,
        salt=secrets.token_hex(32),
    )
    return epoch, order


def _simulated(epoch: Epoch, order: MaskOrder) -> Statement:
    return replace(epoch, seal=order.seal).statement(order, (), NO_ROOTS)


def check_slack(statement: Statement, public: Public) -> float:
    """What share of the pull an accepted residual may be at most.

    Raises:
        BadParameter: more than 15 %.
    """
    share = slack(statement, public)
    if share > MOST:
        raise BadParameter(
            f"A residual that is accepted could be {share:.0%} of the pull.",
            f"Above {MOST:.0%} a client could undo a good part of it unseen.",
            "Use a larger alpha, or weights of 3 bytes.",
        )
    return share


def _refuse(wish: Wish) -> None:
    shares = wish.alpha > 0.0 and wish.damping >= 1e-2 and 0.0 <= wish.reached < 1.0
    rows = wish.row_size is None or SMALLEST <= wish.row_size <= LARGEST
    if not shares or not rows or not 40.0 <= wish.bits <= MOST_BITS or wish.block < 1:
        raise BadParameter(
            f"These choices cannot be: {wish}.",
            "alpha is above 0, damping at least .01, reached from 0 to 1, bits from 40 to 127, rows"
            f" of {SMALLEST} to {LARGEST:,} numbers.",
        )


def pulled_terms(
    weights: Tensors, gradients: Tensors, names: Sequence[str], wish: Wish
) -> dict[str, TensorTerms]:
    """The terms that ``make`` gives tensors of these names, with the pulls of its order: what a
    direction is learned for, before there is an order.

    Raises:
        BadParameter, InsufficientEvidence: as ``make``.
    """
    _refuse(wish)
    bare = {name: _terms(name, weights, gradients, wish) for name in names}
    return {name: replace(t, pull=_pull(t, wish)) for name, t in bare.items()}


def _pull(terms: TensorTerms, wish: Wish) -> int:
    """C = alpha mean(N F) 2^bits / rms(g), of the provider's numbers."""
    return round(wish.alpha * terms.damping / wish.damping * (1 << terms.weight_bits) / DIRECTION)


def _terms(name: str, weights: Tensors, gradients: Tensors, wish: Wish) -> TensorTerms:
    if name not in weights or name not in gradients:
        raise BadParameter(
            f"{name} has a mask, and no weight or no gradients.",
            do="Name the same tensors in all files.",
        )
    seen = np.abs(gradients[name].astype(np.float64))
    high = float(np.quantile(seen, CLIPPED))
    if not high > 0.0:
        raise InsufficientEvidence(
            f"The gradients of {name} are 0.", do="Leave this tensor out of the mask."
        )
    step = grid.up(high / 64)
    units = np.clip(np.rint(gradients[name] / step), -127, 127)
    largest = max(float(np.abs(weights[name]).max()) * ROOM, 1e-6)
    limit = 2 ** (8 * wish.value_bytes - 1) - 1
    return TensorTerms(
        name=name,
        shape=tuple(weights[name].shape),
        weight_bits=int(np.floor(np.log2(limit / largest))),
        gradient_step=step,
        damping=grid.up_whole(wish.damping * len(units) * float((units**2).mean())),
    )


def _floors(
    before: Whole, simulated: Carried, public: Public, epoch: Epoch, reached: float
) -> tuple[int, ...]:
    """What a client must reach of <g, D>; where the provider's own change is against g, which the
    mask alone may bring about, twice as much against it.
    """
    found, start = [], 0
    along = (simulated.weights - before) * public.direction.astype(np.int64)
    for t in epoch.tensors:
        end = start + t.blocks(epoch.block)
        total = int(along[start:end].sum())
        found.append(int(reached * total) if total > 0 else 2 * total)
        start = end
    return tuple(found)


def _sound(epoch: Epoch, wish: Wish) -> Epoch:
    """With rows as long as is asked for, and columns enough: what else can go wrong than columns
    takes a part of the bits, and where long rows take too much of them, the larger extension.
    """
    epoch = replace(epoch, size=_size(epoch.sized, wish))
    while soundness.bits(epoch.sized) < wish.bits:
        fewest = columns_for(wish.bits)
        if epoch.degree == 2 and epoch.opened - fewest > MORE_COLUMNS:
            epoch = replace(epoch, opened=fewest, degree=3)
        else:
            epoch = replace(epoch, opened=epoch.opened + 1)
        epoch = replace(epoch, size=_size(epoch.sized, wish))
    return epoch


def _size(statement: Statement, wish: Wish) -> int:
    """Of a row."""
    if wish.row_size is not None:
        return held(statement, wish.row_size)
    return sized(statement, wish.limits)
