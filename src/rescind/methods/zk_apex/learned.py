"""A learned pull: the provider's public direction g, learned on clients that it simulates.

A client proves (F d)_R = c g_R for whatever g is published, so that the provider may choose it. The
forget gradient of its own model is the first choice; here it is where learning starts:

    min_g  1/K sum_k  E_forget[ -log(1 - exp(-l)) ]  +  keep E_retain[ KL(w_k || w_k(g)) ]

over K simulated clients, w_k their weights before and w_k(g) after the edit with g, l the loss of a
record under w_k(g). The first term is that of unlikelihood training (Welleck et al., 1908.04319):
it ends where the label is improbable, and so cannot run away. A text is never probable as a whole,
so that this term hardly sees it; with ``beta`` the first term is

    E_forget (2 / beta) log(1 + exp(-beta (l - l_before))),

negative preference optimisation (2404.05868, equation 3) with the loss a token in place of that of
the whole text: it ends where a record's loss is some 1 / beta above that before the edit. g keeps
its root mean square, tensor by tensor: what is published has that of 32 units whatever is learned,
and the pull c says how far weights may move.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rescind.core.errors import BadData, BadParameter
from rescind.core.mask_terms import TensorTerms
from rescind.methods.zk_apex.affine import movable
from rescind.methods.zk_apex.blocks import BLOCK
from rescind.methods.zk_apex.quantise import GRADIENT_LIMIT
from rescind.methods.zk_apex.simulated import SimulatedClient, rehearsed

if TYPE_CHECKING:
    from torch import Tensor

UNITS = 32.0  # root mean square of g, as it is published


@dataclass(frozen=True, slots=True, kw_only=True)
class Learning:
    """Adam with ``rate`` times the root mean square of g; each step takes ``batch`` records to
    forget and as many to retain of one client, all clients in turn. ``beta``, in 1 / nats of a
    record's loss, is for texts; without it a label is to become improbable.
    """

    steps: int = 200
    rate: float = 0.1
    keep: float = 1.0
    batch: int = 64
    seed: int = 0
    beta: float | None = None

    def __post_init__(self) -> None:
        small = self.steps < 0 or self.keep < 0.0 or self.batch < 1
        if small or not self.rate > 0.0 or not (self.beta is None or self.beta > 0.0):
            raise BadParameter(
                f"These choices cannot be: {self}.",
                "steps and keep are at least 0, rate and beta above 0, and a batch has a record.",
            )


def learned_pull(
    clients: Sequence[SimulatedClient],
    masks: Mapping[str, Tensor],
    start: Mapping[str, Tensor],
    terms: Mapping[str, TensorTerms],
    learning: Learning,
    block: int = BLOCK,
) -> dict[str, Tensor]:
    """The direction g of each masked weight, in units and of its shape, not rounded yet.

    Args:
        clients: simulated by the provider; their models are left as they are.
        masks: bool, by the names of weights.
        start: the forget gradient, or another direction, of the same names.
        terms: of the same names, each with the pull c.
        learning: the choices.
        block: weights a block.

    Raises:
        BadParameter: there is no client, or a tensor has no pull.
        BadData: a direction is 0, shapes do not fit, or weights do not fit the terms.
        Diverged: a loss or a gradient was no finite number.
    """
    import torch

    _refuse(clients, masks, start, terms)
    rehearsals = [rehearsed(client, masks, terms, block, learning.beta) for client in clients]
    free = {n: _first(n, start[n], movable(masks[n], block)) for n in masks}
    optimizer = torch.optim.Adam(list(free.values()), lr=learning.rate, foreach=False)
    draw = torch.Generator().manual_seed(learning.seed)
    for step in range(learning.steps):
        g = {name: in_units(value) for name, value in free.items()}
        published = {n: v.detach().clamp(-GRADIENT_LIMIT, GRADIENT_LIMIT) for n, v in g.items()}
        client = rehearsals[step % len(rehearsals)]
        slopes = client.slopes(published, learning.keep, learning.batch, draw)
        optimizer.zero_grad()
        torch.autograd.backward(list(g.values()), [slopes[name] for name in g])
        optimizer.step()
    return {name: in_units(value).detach() for name, value in free.items()}


def in_units(direction: Tensor) -> Tensor:
    """With the root mean square of 32 that it is published with."""
    return direction * (UNITS / (direction**2).mean().sqrt())


def _first(name: str, start: Tensor, where: Tensor) -> Tensor:
    """Where learning starts: 0 where g has no effect, so that nothing is published there."""
    found = start.detach() * where
    if not bool(found.any()):
        raise BadData(
            f"The direction of {name} is 0 wherever it could have an effect.",
            "It is learned from its first value, and has none.",
            "Leave this tensor out of the mask.",
        )
    return (in_units(found) / UNITS).requires_grad_()


def _refuse(
    clients: Sequence[SimulatedClient],
    masks: Mapping[str, Tensor],
    start: Mapping[str, Tensor],
    terms: Mapping[str, TensorTerms],
) -> None:
    bare = [n for n in masks if n not in start or n not in terms or terms[n].pull <= 0]
    if not clients or not masks or bare:
        raise BadParameter(
            f"There are {len(clients)} simulated clients and {len(masks)} masks; without a"
            f" direction or a pull: {', '.join(bare) or 'none'}.",
            "A pull is learned on clients, for tensors that are pulled.",
            "Simulate a client or more, and give each masked tensor a direction and terms.",
        )
