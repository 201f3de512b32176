"""Whether the weights moved along the gradients of the requested records, as TAPE supposes.

TAPE (arXiv 2502.19770) takes an unlearned model to be theta_A + eps sum_i grad l_i(theta_A):
removal moves against training, so up the loss of the records. The score of record i is

    s_i = <direction, grad l_i(theta_A)>,

with three directions: the difference theta_B - theta_A of all weights; its part in one layer at a
time, at length 1, so that a large layer does not drown a small one; and in *logit space* the
gradient of sum_q <f(x_q), f_B(x_q) - f_A(x_q)> on queries q, whose score is how far a step up the
loss of record i would move the outputs towards those of B. Each is compared with matched records.

**What it is good for.** In the probes of this project it found what a retraining with the same seed
had done (power .80 with 5 records) and a first-order step (.78 of sets of 20), and for retraining
with another seed it was at chance with any number of records: such models lay 24 apart, those of
one seed 3.9 to 5.8.
``benchmarks/influence_alignment.py`` finds neither layers nor logit space of help there; from the
same initialisation, batches in another order, 100 records are mostly seen. A server that makes the
first-order step and nothing else has a cosine of 1. It is a flag beside other audits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rescind.audits.influence_directions import refuse_training
from rescind.audits.permutation import DRAWS, permuted
from rescind.core.errors import BadData, BadParameter
from rescind.metrics.loss import checked_values

if TYPE_CHECKING:
    from torch import Tensor, nn

    Batch = Mapping[str, Tensor]
    Loss = Callable[[nn.Module, Batch], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """How far the scores of n requested records lie above those of their controls.

    ``z`` is the distance in standard deviations of the null and ``p`` one-sided: removal moves
    along the gradients of the records. ``by_layer`` holds p of each layer alone, uncorrected.
    """

    n: int
    z: float
    p: float
    by_layer: Mapping[str, float]


def scores(
    before: nn.Module, loss: Loss, batches: Iterable[Batch], direction: Mapping[str, Tensor]
) -> Tensor:
    """s_i (n,): the derivative of each record's loss at A along the direction.

    One forward pass a batch with forward-mode derivatives, whatever the number of records.

    Args:
        before: A, in evaluation mode.
        loss: of a module and a batch, (n,): one number for each record.
        batches: of the requested records and their controls.
        direction: by name of the parameter; those left out do not move.

    Raises:
        BadParameter: A is in training mode, or the direction names what A has not.
        BadData: no batches, a loss that has not one dimension, a score that is not finite.
    """
    import torch

    refuse_training(before)
    weights = dict(before.named_parameters())
    unknown = sorted(set(direction) - set(weights))
    if unknown or not direction:
        raise BadParameter(
            f"The direction has {len(direction)} parts; unknown: {', '.join(unknown) or 'none'}.",
            "It must name parameters of the model before.",
            "Take it from difference(before, after) or towards(...).",
        )
    moved = {name: weights[name].detach() for name in direction}
    tangent = {name: part.detach().to(weights[name]) for name, part in direction.items()}
    found = []
    for batch in batches:
        with torch.no_grad():
            along = torch.func.jvp(_of_weights(before, loss, batch), (moved,), (tangent,))
        found.append(checked_values(along[1], "scores"))
    if not found:
        raise BadData("There are no batches.", "Nobody has a score.", "Pass at least one batch.")
    return torch.cat(found)


def alignment(
    found: Mapping[str, Tensor], draws: int = DRAWS, seed: int = 0, level: float = 0.05
) -> Alignment:
    """The permutation test of scores (n, 1 + controls) by layer, or under one name for all weights.

    Layers are divided by their standard deviation within the groups and added, so that each has the
    same say; one that tells nothing of any record is left out.

    Raises:
        BadData: no layer, shapes that do not fit, no score that varies.
        InsufficientEvidence: no p could be below ``level``.
    """
    import torch

    if len({tuple(part.shape) for part in found.values()}) != 1:
        raise BadData(
            f"There are scores of {len(found)} layers, not all of one shape.",
            "All must be of the same records and controls.",
            "Pass scores[groups.rows] of each layer.",
        )
    within = {
        layer: part.double() - part.double().mean(1, keepdim=True) for layer, part in found.items()
    }
    told = {layer: part / part.std() for layer, part in within.items() if float(part.std()) > 0}
    if not told:
        raise BadData(
            "No score varies within the groups.",
            "Records that are alike in everything cannot be told apart.",
            "Check that the model answers its inputs.",
        )
    test = permuted(torch.stack(list(told.values())).sum(0), draws, seed, level)
    alone = {layer: permuted(part, draws, seed, level).above for layer, part in told.items()}
    z = test.gap / test.spread if test.spread > 0 else 0.0
    return Alignment(n=len(test.gaps), z=z, p=test.above, by_layer=alone)


def _of_weights(
    module: nn.Module, loss: Loss, batch: Batch
) -> Callable[[dict[str, Tensor]], Tensor]:
    """The losses (n,) of a batch as a function of some of the weights."""
    import torch

    class Losses(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = module

        def forward(self) -> Tensor:
            return loss(self.inner, batch)

    whole = Losses()

    def losses(weights: dict[str, Tensor]) -> Tensor:
        named = {f"inner.{name}": value for name, value in weights.items()}
        found: Tensor = torch.func.functional_call(whole, named, ())
        return found

    return losses
