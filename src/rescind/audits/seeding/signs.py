"""The test of readings: do the read-outs of a few records have the signs of their codes?

Matched bits count a reading of nearly zero like any other. Here each weighs by its size, in

    T = sum over readings z with codes c of c sign(z) w(|z|),   c in -1 and 1,

w being |z| cut off at twice the median, so that no single reading decides, and rounded to whole
hundredths of that. It is a randomisation test (Fisher, The Design of Experiments, 1935, section
21) whose null is exact for any number of bits: codes are a keyed pseudo-random function of the
record, so for a model that was made without them they are fair bits, independent of its readings.
Given the readings, all 2^m choices of the signs are alike likely. Since weights are whole numbers,
T over all of them is counted and not drawn. The randomness is that of the user's key, and nothing
is asked of the model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rescind.audits.finding import Finding
from rescind.audits.seeding.bits import LEVEL, matches
from rescind.core.errors import BadData
from rescind.metrics.statistics import wilson

if TYPE_CHECKING:
    from torch import Tensor

AUDIT = "seeding_readings"
CUT, STEPS = 2.0, 100


def sign_test(
    readings: Tensor, codes: Tensor, level: float = LEVEL, power: float | None = None
) -> Finding:
    """The two-sided exact test of readings (n, bits), which are features times the read-out.

    Two-sided, as ``matched_bits`` is, and the effect is the same: the share of bits that match,
    with Wilson's interval. The ``power`` is passed on, and is 0 where so few readings weigh
    anything that no code could be seen at ``level``.

    Raises:
        BadData: as ``matched_bits``, or readings that are not finite.
    """
    if not readings.isfinite().all():
        raise BadData(
            "Readings are not finite.", "They have no sign.", "Look for a model that diverged."
        )
    shown = matches(readings > 0, codes)
    hits, total = int(shown.sum()), shown.numel()
    found = weights(readings.flatten())
    along = int(found[shown.flatten()].sum() - found[~shown.flatten()].sum())
    null = null_of(found)
    blind = two_sided(null, int(found.sum())) >= level
    return Finding(
        audit=AUDIT,
        null="no_trace",
        n=len(shown),
        p=two_sided(null, along),
        effect=hits / total,
        interval=wilson(hits, total),
        unit="share of bits matched",
        level=level,
        power=0.0 if blind else power,
    )


def weights(readings: Tensor) -> Tensor:
    """The w of each reading (m,), whole numbers of 0 to ``STEPS``; the median is of those not 0."""
    import torch

    sizes = readings.double().abs()
    if not sizes.any():
        return torch.zeros_like(sizes, dtype=torch.long)
    cut = CUT * sizes[sizes > 0].median()
    return (STEPS * (sizes / cut).clamp(max=1.0)).round().long()


def null_of(weights: Tensor) -> Tensor:
    """How likely (S + 1,) each T of S, S - 2, .. -S is where signs are fair, S the sum of weights.

    T is S less twice the weights whose sign is against the code, and these are added one by one.
    Nothing is ever subtracted, so that small values are as exact as large ones.
    """
    import torch

    null = torch.ones(1, dtype=torch.float64)
    for weight in sorted(weights.tolist()):
        wider = torch.zeros(len(null) + weight, dtype=torch.float64)
        wider[: len(null)] += null / 2
        wider[weight:] += null / 2
        null = wider
    return null


def two_sided(null: Tensor, along: int) -> float:
    """How likely a T is that is as far from 0 as ``along`` or farther."""
    import torch

    total = len(null) - 1
    far = (total - 2 * torch.arange(total + 1)).abs() >= abs(along)
    return min(1.0, float(null[far].sum()))
