"""A client that the provider simulates, edited again and again while g is learned."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rescind.core.errors import BadData, Diverged
from rescind.core.mask_terms import TensorTerms
from rescind.core.protocols import Editable
from rescind.methods.zk_apex.affine import Affine, affine

if TYPE_CHECKING:
    from torch import Generator, Tensor

AT_ONCE = 256  # records whose answers are computed together
NEVER_ZERO = 1e-6  # nats, of a loss: an answer is never certain


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SimulatedClient:
    """A personalised model of the provider's own, before the edit.

    ``sketches`` are (n, *shape) of the weights that are masked, by name; ``forget`` and ``retain``
    what its model should lose and keep.
    """

    model: Editable
    sketches: Mapping[str, Tensor]
    forget: Mapping[str, Tensor]
    retain: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Rehearsal:
    """A copy of the client's model with its edit as a function of g, what it answered before to
    the records that it retains, and its losses of those to forget where ``beta`` is given.
    """

    model: Editable
    client: SimulatedClient
    weights: Mapping[str, Tensor]
    edits: Mapping[str, Affine]
    before: Tensor
    beta: float | None = None
    losses: Tensor | None = None

    def slopes(
        self, g: Mapping[str, Tensor], keep: float, batch: int, draw: Generator
    ) -> dict[str, Tensor]:
        """The gradient by g of what is learned, on ``batch`` records of each set.

        Raises:
            Diverged: it was no finite number.
        """
        import torch

        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(self.edits[name].at(g[name]))
        loss = self._loss(keep, batch, draw)
        each = torch.autograd.grad(loss, list(self.weights.values()))
        if not bool(loss.isfinite()) or not all(bool(e.isfinite().all()) for e in each):
            raise Diverged("A gradient is no finite number.", do="Use a smaller rate or pull.")
        return {n: self.edits[n].back(e) for n, e in zip(self.weights, each, strict=True)}

    def _loss(self, keep: float, batch: int, draw: Generator) -> Tensor:
        import torch

        from rescind.methods.divergence import divergence
        from rescind.training.descent import rows, take

        sets = self.client.forget, self.client.retain
        index = [torch.randint(0, rows(s), (batch,), generator=draw) for s in sets]
        forget, retain = (take(s, i) for s, i in zip(sets, index, strict=True))
        kept = divergence(self.before[index[1]], self.model.outputs(retain), retain).mean()
        if self.beta is None or self.losses is None:
            return unlikelihood(self.model, forget).mean() + keep * kept
        return preference(self.model, forget, self.losses[index[0]], self.beta).mean() + keep * kept


def rehearsed(
    client: SimulatedClient,
    masks: Mapping[str, Tensor],
    terms: Mapping[str, TensorTerms],
    block: int,
    beta: float | None = None,
) -> Rehearsal:
    """Ready to be edited; with ``beta`` a record's loss is to rise above that before the edit.

    Raises:
        BadData: a weight, sketch or term is missing or does not fit, or there is nothing to forget
            or to retain.
        Diverged: the change without a pull is no finite number.
    """
    import torch

    from rescind.training.descent import rows

    model = copy.deepcopy(client.model)
    named = dict(model.module.named_parameters())
    missing = [n for n in masks if n not in named or n not in client.sketches or n not in terms]
    if missing or not rows(client.forget) or not rows(client.retain):
        raise BadData(
            f"Without weight, sketches or terms: {', '.join(missing) or 'none'}; records to forget:"
            f" {rows(client.forget)}, to retain: {rows(client.retain)}.",
            do="Give each masked weight all three, and each client records of both sets.",
        )
    with torch.no_grad():
        before = torch.cat([model.outputs(piece) for piece in pieces(client.retain)])
        losses = None
        if beta is not None:
            losses = torch.cat(
                [model.task.loss(model.outputs(piece), piece) for piece in pieces(client.forget)]
            )
    weights: dict[str, Tensor] = {n: named[n].requires_grad_() for n in masks}
    edits = {
        n: affine(w, masks[n], client.sketches[n], terms[n], block) for n, w in weights.items()
    }
    return Rehearsal(model, client, weights, edits, before, beta, losses)


def pieces(batch: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """The records, ``AT_ONCE`` at a time."""
    from rescind.training.descent import rows

    for start in range(0, rows(batch), AT_ONCE):
        yield {name: tensor[start : start + AT_ONCE] for name, tensor in batch.items()}


def unlikelihood(model: Editable, batch: Mapping[str, Tensor]) -> Tensor:
    """-log(1 - exp(-l)) of each record's loss l: large where the label is sure, 0 where it cannot
    be (Welleck et al., 1908.04319, equation 2).
    """
    losses = model.task.loss(model.outputs(dict(batch)), dict(batch))
    return -(-(-losses - NEVER_ZERO).expm1()).log()


def preference(model: Editable, batch: Mapping[str, Tensor], before: Tensor, beta: float) -> Tensor:
    """(2 / beta) log(1 + exp(-beta (l - l_before))) of each record's loss l, shape (n,): large
    where it is as likely as before, 0 where it is far less (2404.05868, equation 3).
    """
    from torch.nn.functional import softplus

    losses = model.task.loss(model.outputs(dict(batch)), dict(batch))
    return 2.0 / beta * softplus(beta * (before - losses))
