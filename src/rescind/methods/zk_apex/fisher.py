"""The client's Fisher information in factor form: a few committed gradients a weight.

G_k is the sum of single gradients of ``samples / sketches`` records with random signs, divided by
the root of their number. Over the signs the mean of G_k^T G_k is the sum of g^T g of those records
over their number, so that (1/N) G^T G estimates the empirical Fisher of all samples with N rows
only. In the probes of this project 32 such sums of 480 records recovered more than 32 records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rescind.core.errors import BadParameter, Diverged, InsufficientEvidence

if TYPE_CHECKING:
    from torch import Tensor, nn

    from rescind.core.protocols import Editable

SKETCHES, SAMPLES = 32, 480


def sketches(
    model: Editable,
    batch: Mapping[str, Tensor],
    weights: Sequence[nn.Parameter],
    *,
    count: int = SKETCHES,
    samples: int = SAMPLES,
    seed: int = 0,
) -> list[Tensor]:
    """G of each weight, (count, *its shape), from records drawn without replacement by the seed.

    Args:
        model: whose loss is taken.
        batch: records.
        weights: of the model.
        count: of sketches.
        samples: at least so many records are used, the same number in each sketch.
        seed: of records and signs.

    Raises:
        BadParameter: no sketches, or fewer samples than sketches.
        InsufficientEvidence: fewer records than samples.
        Diverged: a gradient was no finite number.
    """
    import torch

    from rescind.training.descent import rows, take

    parts = drawn(rows(batch), count=count, samples=samples, seed=seed)
    found = [signed_sum(model, take(batch, index), signs, weights) for index, signs in parts]
    return [torch.stack(each) for each in zip(*found, strict=True)]


def drawn(
    records: int, *, count: int = SKETCHES, samples: int = SAMPLES, seed: int = 0
) -> list[tuple[Tensor, Tensor]]:
    """Which records each sketch sums, and their signs. No record is in two of them.

    Raises:
        BadParameter, InsufficientEvidence: as ``sketches``.
    """
    import torch

    if not 1 <= count <= samples:
        raise BadParameter(
            f"{count} sketches of {samples} samples are asked for.",
            "A sketch is a sum of one gradient or more.",
            "Use 32 of 480.",
        )
    used = samples + -samples % count  # as many in each sketch
    if records < used:
        raise InsufficientEvidence(
            f"There are {records} records, and {used} are to be sketched.",
            "A Fisher information of fewer records repairs what these need and nothing else.",
            "Use more records, or fewer samples.",
        )
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(records, generator=generator)[:used]
    signs = torch.randint(0, 2, (len(order),), generator=generator) * 2.0 - 1.0
    return list(zip(order.reshape(count, -1), signs.reshape(count, -1), strict=True))


def signed_sum(
    model: Editable, batch: Mapping[str, Tensor], signs: Tensor, weights: Sequence[nn.Parameter]
) -> list[Tensor]:
    """One sketch of each weight: the sum of signs times the gradient of each row's loss, divided by
    the root of the number of rows.

    Raises:
        Diverged: it was no finite number.
    """
    import torch

    losses = model.task.loss(model.outputs(dict(batch)), dict(batch))
    total = (losses * signs.to(losses)).sum() / len(signs) ** 0.5
    return _finite(
        torch.autograd.grad(total, list(weights), materialize_grads=True, allow_unused=True)
    )


def mean_gradient(
    model: Editable, batch: Mapping[str, Tensor], weights: Sequence[nn.Parameter], size: int = 256
) -> list[Tensor]:
    """The gradient of the mean loss of all rows, for each weight.

    Raises:
        Diverged: it was no finite number.
    """
    import torch

    from rescind.training.descent import rows

    found = [torch.zeros_like(w) for w in weights]
    for start in range(0, rows(batch), size):
        piece = {name: tensor[start : start + size] for name, tensor in batch.items()}
        loss = model.task.loss(model.outputs(piece), piece).sum() / rows(batch)
        each = torch.autograd.grad(loss, list(weights), materialize_grads=True, allow_unused=True)
        for total, one in zip(found, each, strict=True):
            total += one
    return _finite(found)


def matrices(model: Editable, parts: Sequence[str] = ()) -> dict[str, nn.Parameter]:
    """The weights that may be masked, by name: matrices and kernels that may change, but for the
    last of them, which holds the classes.

    Args:
        model: an edited copy.
        parts: where some are given, only names that hold one of them are taken.

    Raises:
        BadParameter: no weight has such a name.
    """
    from rescind.training.descent import parameters

    movable = {id(p) for p in parameters(model)}
    named = [(n, p) for n, p in model.module.named_parameters() if id(p) in movable and p.dim() > 1]
    found = {n: p for n, p in named[:-1] if not parts or any(part in n for part in parts)}
    if not found:
        raise BadParameter(
            f"No matrix that may change is named after {', '.join(parts) or 'anything'}.",
            f"There are: {', '.join(n for n, _ in named[:-1]) or 'none beside the last layer'}.",
            "Name some of these with --set targets=...",
        )
    return found


def _finite(found: Sequence[Tensor]) -> list[Tensor]:
    if not all(bool(f.isfinite().all()) for f in found):
        raise Diverged(
            "A gradient is no finite number.",
            "Nothing can be compensated with it.",
            "Check the records and the model: a loss or its gradient overflows.",
        )
    return list(found)
