"""Curves of true against false positives, with intervals, for attacks on single records.

Scores are higher the more a record looks like one the model was trained on. Counts are kept rather
than shares, so that ties and intervals are exact. N. Carlini et al., S&P 2022 (arXiv 2112.03570),
is why the low end counts and is drawn on a log scale.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rescind.audits.intervals import Z95
from rescind.core.errors import BadParameter
from rescind.metrics.membership import checked_rate, sorted_scores
from rescind.metrics.statistics import clopper_pearson

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Roc:
    """A point for every distinct score, after one at which nothing is taken for a member.

    ``thresholds`` (k,) fall from infinity, as float64. ``true`` and ``false`` (k,) count the
    ``members`` and ``non_members`` whose score is at least the threshold, as int64. The area
    ``auc`` has the 95 % interval ``interval``.
    """

    thresholds: Tensor
    true: Tensor
    false: Tensor
    members: int
    non_members: int
    auc: float
    interval: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Rate:
    """The share of members found at the lowest threshold with few enough false positives.

    Both intervals are Clopper and Pearson's at 95 %. They take the threshold as given, and it was
    set on these very non-members: where few of them are above it, ``false_interval`` is what says
    how well the false-positive rate is known.
    """

    at_most: float
    threshold: float
    true: float
    interval: tuple[float, float]
    false: float
    false_interval: tuple[float, float]


def roc(members: Tensor, non_members: Tensor) -> Roc:
    """The curve of scores (n,) of members and (m,) of records held out of all training.

    Raises:
        BadData: no scores on one side, or one that is not finite.
    """
    import torch

    inside, outside = sorted_scores(members, non_members)
    top = inside.new_tensor([math.inf])
    ordered = torch.cat([inside, outside]).sort(descending=True).values
    thresholds = torch.cat([top, ordered[ordered.diff(prepend=top) != 0]])
    true, false = (len(side) - torch.searchsorted(side, thresholds) for side in (inside, outside))
    area, interval = _area(inside, outside)
    return Roc(thresholds, true, false, len(inside), len(outside), area, interval)


def rate_at(curve: Roc, at_most: float) -> Rate | None:
    """The most members found where at most that share of non-members is, such as 0.001 or 0.01.

    None where fewer than 1 / ``at_most`` non-members were scored: a rate of 0 false positives among
    them does not show that it is below ``at_most``.

    Raises:
        BadParameter: a rate that is not in (0, 1).
    """
    if checked_rate(at_most) * curve.non_members < 1 - 1e-9:
        return None
    point = _last_point(curve, at_most)
    true, false = int(curve.true[point]), int(curve.false[point])
    return Rate(
        at_most,
        float(curve.thresholds[point]),
        true / curve.members,
        clopper_pearson(true, curve.members),
        false / curve.non_members,
        clopper_pearson(false, curve.non_members),
    )


def log_points(curve: Roc, points: int = 200) -> list[tuple[float, float]]:
    """(false, true positive rate) at rates that are even on a log scale, from 1/m to 1.

    Each is a point of the step curve: the most members found at no more than that false-positive
    rate. What lies left of one non-member is not drawn, for it cannot be measured.

    Raises:
        BadParameter: fewer than two points.
    """
    if points < 2:
        raise BadParameter(f"{points} points make no curve.", do="Ask for two or more.")
    lowest = -math.log(curve.non_members)
    rates = [math.exp(lowest * (1 - k / (points - 1))) for k in range(points)]
    return [(r, int(curve.true[_last_point(curve, r)]) / curve.members) for r in rates]


def _last_point(curve: Roc, rate: float) -> int:
    """The curve's last point with at most this false-positive rate; both counts only rise."""
    import torch

    # a rate such as 1 - 0.9 is a little below the 10 of 100 that are meant
    allowed = torch.tensor(math.floor(rate * curve.non_members * (1 + 1e-12)))
    return int(torch.searchsorted(curve.false, allowed.to(curve.false), right=True)) - 1


def _area(inside: Tensor, outside: Tensor) -> tuple[float, tuple[float, float]]:
    """The area with DeLong's interval on the logit scale, where it stays within (0, 1).

    E. R. DeLong et al., Biometrics 44:837-845 (1988), for one curve. Its variance is 0
    where all pairs are won, all are lost or all are ties. Then the members that can be paired with
    a non-member each are independent trials of one outcome, which Clopper and Pearson bound.
    """
    won, lost = _placements(inside, outside), 1 - _placements(outside, inside)
    area, pairs = float(won.mean()), min(len(won), len(lost))
    error = 0.0
    if pairs > 1:
        error = math.sqrt(float(won.var()) / len(won) + float(lost.var()) / len(lost))
    if error == 0.0:
        alike, _ = clopper_pearson(pairs, pairs)
        return area, (alike * area, 1 - alike * (1 - area))
    reach = Z95 * error / (area * (1 - area))
    centre = math.log(area / (1 - area))
    low, high = ((1 + math.tanh((centre + side * reach) / 2)) / 2 for side in (-1, 1))
    return area, (low, high)


def _placements(scores: Tensor, others: Tensor) -> Tensor:
    """Share of the others, sorted, that each score is above, ties counted half."""
    import torch

    below = torch.searchsorted(others, scores, right=False)
    not_above = torch.searchsorted(others, scores, right=True)
    return (below + not_above).double() / (2 * len(others))
