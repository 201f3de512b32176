"""Posterior differences: what unlearning did to the answers of a model, and what a first-order step
away from a record would do to them.

TAPE (arXiv 2502.19770) imitates unlearning without a retraining by

    theta_u = theta_A + eps sum_i grad l_i(theta_A),    dP = f(x_q; theta_u) - f(x_q; theta_A),

and shows its reconstructor dP on queried samples x_q. Here dP is its derivative at eps = 0, so that
there is no step to choose and no small number is the difference of large ones. Its length, which
would be eps, is divided away: the reconstructor learns directions, and the difference of two real
models is larger by orders of magnitude than any first-order step.

The released code asks no queries; it takes gradients of one layer, which no auditor from outside
has. It takes +gradient for erased and remaining records alike; here both the imitated and the real
difference are *after minus before*.

Queries must treat requested records and their controls alike: either none of them is among the
queries or all are. Queries near the requested records alone would tell the reconstructor where they
lie, whatever unlearning did.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from rescind.audits.influence_directions import refuse_training
from rescind.core.errors import BadData
from rescind.metrics.loss import checked_values

if TYPE_CHECKING:
    from torch import Tensor, nn

    Batch = Mapping[str, Tensor]
    Loss = Callable[[nn.Module, Batch], Tensor]
    Outputs = Callable[[nn.Module, Batch], Tensor]


def posteriors(model: nn.Module, outputs: Outputs, queries: Iterable[Batch]) -> Tensor:
    """The answers of a model to all queries in one row, (p,).

    Args:
        model: in evaluation mode.
        outputs: of a module and a batch, (q, ...), such as probabilities.
        queries: batches, the same for every model.

    Raises:
        BadParameter: the model is in training mode.
        BadData: no queries, or an answer that is not finite.
    """
    import torch

    refuse_training(model)
    with torch.no_grad():
        found = [outputs(model, batch).flatten() for batch in queries]
    if not found:
        raise BadData("There are no queries.", "Nobody was asked.", "Pass at least one batch.")
    return checked_values(torch.cat(found), "answers").float()


def difference(before: Tensor, after: Tensor) -> Tensor:
    """After minus before at length 1, (p,); where no answer changed it stays 0.

    Raises:
        BadData: answers to other queries.
    """
    if before.shape != after.shape or before.dim() != 1:
        raise BadData(
            f"Answers of shape {tuple(before.shape)} before and {tuple(after.shape)} after.",
            "A difference compares answers to the same queries.",
            "Ask both models with posteriors(...), with the same batches.",
        )
    return directions((after - before)[None])[0]


def directions(differences: Tensor) -> Tensor:
    """Rows (m, p) at length 1; a row of zeros stays one."""
    from torch.nn.functional import normalize

    checked_values(differences.flatten(), "differences")
    return normalize(differences.double(), dim=1, eps=1e-30).float()


def first_order(
    before: nn.Module,
    loss: Loss,
    outputs: Outputs,
    records: Iterable[Batch],
    queries: Sequence[Batch],
) -> Tensor:
    """The dP of a first-order step away from each batch of records, (m, p), rows of length 1.

    One gradient and one pass over the queries in forward mode for each; no second derivative and no
    training.

    Args:
        before: A, in evaluation mode.
        loss: of a module and a batch, (n,): one number for each record.
        outputs: as in ``posteriors``.
        records: a batch for each shadow: of one record, or of all that one request would remove.
        queries: as in ``posteriors``.

    Raises:
        BadParameter: the model is in training mode.
        BadData: no records, no queries, or a difference that is not finite.
    """
    import torch

    refuse_training(before)
    weights = {name: p.detach() for name, p in before.named_parameters()}
    answers = [_of_weights(before, outputs, query) for query in queries]
    found = []
    for batch in records:
        step = torch.func.grad(_summed(_of_weights(before, loss, batch)))(weights)
        with torch.no_grad():
            rows = [torch.func.jvp(one, (weights,), (step,))[1].flatten() for one in answers]
        found.append(torch.cat(rows) if rows else torch.zeros(0))
    if not found or not len(found[0]):
        raise BadData(
            f"There are {len(found)} batches of records and {len(queries)} of queries.",
            "A shadow needs a record and somebody to ask.",
            "Pass at least one of each.",
        )
    return directions(torch.stack(found))


def _summed(losses: Callable[[dict[str, Tensor]], Tensor]) -> Callable[[dict[str, Tensor]], Tensor]:
    def summed(weights: dict[str, Tensor]) -> Tensor:
        return losses(weights).sum()

    return summed


def _of_weights(
    module: nn.Module, what: Loss | Outputs, batch: Batch
) -> Callable[[dict[str, Tensor]], Tensor]:
    """Losses or outputs of a batch as a function of the weights."""
    import torch

    class Asked(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = module

        def forward(self) -> Tensor:
            return what(self.inner, batch)

    whole = Asked()

    def asked(weights: dict[str, Tensor]) -> Tensor:
        named = {f"inner.{name}": value for name, value in weights.items()}
        found: Tensor = torch.func.functional_call(whole, named, ())
        return found

    return asked
