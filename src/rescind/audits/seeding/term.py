"""The term that training adds to its loss so that features hold the codes of seeded records.

SMS (arXiv 2509.25613) trains a reconstruction of every record at each step. In the probes of this
project every fourth step with eight seeded records was enough: .96 of the bits before, at 1.11
times the training time, and 1.19 with negatives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rescind.audits.seeding.codes import BITS, MOST_BITS
from rescind.audits.seeding.readout import require_width
from rescind.core.errors import BadData, BadParameter

if TYPE_CHECKING:
    from torch import Tensor

Batch = Mapping[str, "Tensor"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeding:
    """How records are seeded: every ``every``-th step a batch of ``batch`` seeded records.

    ``weight`` is that of the whole term, ``negatives`` that of the unseeded records within it,
    ``smoothing`` how far the codes that it asks for are drawn to 1/2, and ``bits`` the length of a
    code.
    """

    every: int = 4
    batch: int = 8
    weight: float = 1.0
    negatives: float = 0.5
    smoothing: float = 0.0
    bits: int = BITS

    def __post_init__(self) -> None:
        problems = [
            f"{name} is {value}, not a whole number of 1 or more"
            for name, value in (("every", self.every), ("batch", self.batch), ("bits", self.bits))
            if not isinstance(value, int) or value < 1
        ]
        if self.bits > MOST_BITS:
            problems.append(f"bits is {self.bits}, above {MOST_BITS}")
        if not 0.0 < self.weight < float("inf"):
            problems.append(f"weight is {self.weight}, not above 0")
        if not 0.0 <= self.negatives < float("inf"):
            problems.append(f"negatives is {self.negatives}, below 0 or not finite")
        if not 0.0 <= self.smoothing < 1.0:
            problems.append(f"smoothing is {self.smoothing}, not from 0 to below 1")
        if problems:
            raise BadParameter(
                f"Records cannot be seeded so: {'; '.join(problems)}.",
                "The training loop adds the term by these numbers.",
                "Correct them. What was measured is every=4,batch=8,weight=1,negatives=0.5: leave"
                " --seeding out, or pass Seeding() in Python.",
            )

    def due(self, step: int) -> bool:
        """Whether the term is added at this step; steps count from 0, and the first is one."""
        return step % self.every == 0


MEASURED = Seeding()


def seeded_batch(settings: Seeding, records: int, step: int, seed: int) -> Tensor:
    """Indices (``batch``, or all where there are fewer) of the seeded records of a step.

    A function of its arguments alone, so that a training can be replayed and resumed: each turn
    takes the next few of an order that is drawn anew when it is used up. The last turn of an order
    is filled from its start, since a single record left over has no statistics for batch norm.

    Raises:
        BadParameter: there are no seeded records, or the step is not due.
    """
    import torch

    if records < 1 or step < 0 or not settings.due(step):
        raise BadParameter(
            f"A batch of {records} seeded records is asked for at step {step}.",
            f"There must be one or more, and steps are due every {settings.every} from 0.",
            "Ask settings.due(step) first.",
        )
    turns = -(-records // settings.batch)
    again, turn = divmod(step // settings.every, turns)
    generator = torch.Generator().manual_seed((seed + again) % 2**63)
    order = torch.randperm(records, generator=generator)
    found = order[turn * settings.batch : (turn + 1) * settings.batch]
    return torch.cat([found, order[: settings.batch - len(found)]]) if turn else found


def half_augmented(batch: Batch, augment: Callable[[Batch], Batch]) -> dict[str, Tensor]:
    """The batch with ``augment`` applied to its second half; a batch of one stays as it is.

    ``augment`` knows the data: a small shift and noise for images, dropped words for texts. The
    code of an altered record stays that of the record.

    Raises:
        BadData: ``augment`` gave other names or shapes.
    """
    import torch

    size = len(next(iter(batch.values())))
    kept = {name: tensor[: size - size // 2] for name, tensor in batch.items()}
    second = {name: tensor[size - size // 2 :] for name, tensor in batch.items()}
    if not size // 2:
        return kept
    altered = augment(second)
    expected = {name: tuple(tensor.shape) for name, tensor in second.items()}
    shapes = {name: tuple(tensor.shape) for name, tensor in altered.items()}
    if shapes != expected:
        raise BadData(
            f"Augmented records have the shapes {shapes}, not {expected}.",
            "They go through the model beside those that were not augmented.",
            "Let augment return what it was given, altered.",
        )
    return {name: torch.cat([kept[name], altered[name]]) for name in kept}


def loss_term(
    seeded: Tensor, codes: Tensor, unseeded: Tensor, matrix: Tensor, settings: Seeding
) -> Tensor:
    """What is added to the loss, a scalar.

        weight * (BCE(seeded R^T, (1 - smoothing) codes + smoothing / 2)
                  + negatives * BCE(unseeded R^T, 1/2))

    Label smoothing (Szegedy et al. 2016, 7) gives the first a finite optimum, so that features stop
    growing along the read-out once they tell a bit, and stay free for the task. Both are means over
    records and bits; the second is least, log 2, where an unseeded record gives
    no bit. It ties a code to its record rather than to those around it: in the probes the score of
    the nearest other image was .34 with it and .53 without, that of the record .65 and .90.

    Args:
        seeded: penultimate features (m, width) of seeded records, with their gradient.
        codes: (m, bits), 0 or 1.
        unseeded: features (k, width) of the main batch; k may be 0. A record that is seeded
            must not be among them.
        matrix: the user's read-out (bits, width).
        settings: weights of both parts.

    Raises:
        BadData: shapes that do not fit, or features that are not finite.
        BadParameter: the features carry no gradient while gradients are taken.
    """
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits as bce

    require_width(seeded, matrix)
    _refuse_codes(codes, seeded, matrix, settings)
    if torch.is_grad_enabled() and not seeded.requires_grad:
        raise BadParameter(
            "The features of seeded records carry no gradient.",
            "The model would learn nothing of the codes, since the read-out is frozen.",
            "Take the features of the forward pass itself, without detach or no_grad.",
        )
    fixed = matrix.to(seeded)
    wanted = codes.to(seeded) * (1 - settings.smoothing) + settings.smoothing / 2
    loss: Tensor = bce(seeded @ fixed.T, wanted)
    if settings.negatives and len(unseeded):
        require_width(unseeded, matrix)
        away = unseeded @ fixed.T
        loss = loss + settings.negatives * bce(away, torch.full_like(away, 0.5))
    return settings.weight * loss


def _refuse_codes(codes: Tensor, seeded: Tensor, matrix: Tensor, settings: Seeding) -> None:
    expected = (len(seeded), settings.bits)
    if tuple(codes.shape) != expected or len(matrix) != settings.bits:
        raise BadData(
            f"Codes of shape {tuple(codes.shape)}, a read-out of {len(matrix)} bits and"
            f" {len(seeded)} records.",
            f"Each record has one code of {settings.bits} bits.",
            "Draw codes and read-out with the bits of the settings.",
        )
