"""How large epsilon must be at least, given how well an attack did.

Under (epsilon, delta)-indistinguishability of the two worlds no test has

    TPR > exp(epsilon) FPR + delta    or    1 - FPR > exp(epsilon) (1 - TPR) + delta

(P. Kairouz et al., ICML 2015, arXiv 1311.0776). M. Jagielski et al., NeurIPS 2020 (arXiv
2006.07709), put ends of exact intervals in place of the rates, which bounds epsilon from below.

The scores must be independent: each of a model trained for it. Records of one model share it; with
them this is an estimate and no bound, and auditing with one run needs another theorem (T. Steinke
et al., NeurIPS 2023, arXiv 2305.08846).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rescind.core.errors import BadParameter, InsufficientEvidence
from rescind.metrics.loss import checked_values
from rescind.metrics.statistics import clopper_pearson

if TYPE_CHECKING:
    from torch import Tensor

FEWEST = 8  # scores of each world, four to choose the threshold and four to measure
THRESHOLDS = 200  # at most that many are tried


@dataclass(frozen=True, slots=True)
class EpsilonBound:
    """``epsilon`` is below the true one with probability ``level`` or more; 0 shows nothing.

    ``true`` of ``members`` and ``false`` of ``non_members`` scores reached ``threshold``, in the
    half that did not choose it.
    """

    epsilon: float
    delta: float
    level: float
    threshold: float
    true: int
    members: int
    false: int
    non_members: int


def epsilon_from_rates(
    true: int, members: int, false: int, non_members: int, delta: float, level: float = 0.95
) -> float:
    """The larger bound of the two inequalities, 0 or more, from counts at one fixed threshold.

        max(ln((TPR_low - delta) / FPR_high), ln((TNR_low - delta) / FNR_high)),

    with Clopper and Pearson's ends. TNR_low is 1 - FPR_high and FNR_high is 1 - TPR_low: only two
    ends are used, each may fail with half of 1 - ``level``, and the larger bound costs nothing.

    Raises:
        BadParameter: counts that are none, a delta outside [0, 1) or a level outside (0, 1).
    """
    if not 0.0 <= delta < 1.0:
        raise BadParameter(
            f"delta is {delta}.",
            "It is the probability with which epsilon may be exceeded.",
            "Use a number from 0 to below 1, such as 1e-5.",
        )
    low, _ = clopper_pearson(true, members, level)
    _, high = clopper_pearson(false, non_members, level)
    pairs = ((low - delta, high), (1 - high - delta, 1 - low))
    return max(0.0, *(math.log(p / q) for p, q in pairs if p > 0))


def epsilon_at_least(
    members: Tensor, non_members: Tensor, delta: float, level: float = 0.95, seed: int = 0
) -> EpsilonBound:
    """A lower bound on epsilon from scores (n,) of one world and (m,) of the other.

    Each side is halved at random. One half chooses the threshold with the largest bound, the other
    measures it, so that the choice costs nothing.

    Args:
        members: one score for each independent model that saw the record.
        non_members: one for each that did not.
        delta: of the claim that is tested.
        level: with which the bound holds.
        seed: of the halves.

    Raises:
        BadData: scores that are not finite.
        BadParameter: as ``epsilon_from_rates``.
        InsufficientEvidence: fewer than 8 scores in a world.
    """
    first, second = (
        _halves(checked_values(scores, name), name, seed)
        for scores, name in ((members, "scores of members"), (non_members, "scores of non-members"))
    )
    threshold = max(
        _candidates(first[0], second[0]),
        key=lambda t: epsilon_from_rates(*_counts(first[0], second[0], t), delta, level),
    )
    counts = _counts(first[1], second[1], threshold)
    found = epsilon_from_rates(*counts, delta, level)
    return EpsilonBound(found, delta, level, threshold, *counts)


def _counts(members: Tensor, non_members: Tensor, threshold: float) -> tuple[int, int, int, int]:
    true, false = (int((side >= threshold).sum()) for side in (members, non_members))
    return true, len(members), false, len(non_members)


def _candidates(members: Tensor, non_members: Tensor) -> list[float]:
    """Scores of the pilot halves, thinned evenly by rank."""
    import torch

    ordered = torch.cat([members, non_members.to(members.device)]).sort().values
    step = max(1, len(ordered) // THRESHOLDS)
    return list(dict.fromkeys(ordered[::step].tolist()))


def _halves(scores: Tensor, name: str, seed: int) -> tuple[Tensor, Tensor]:
    import torch

    if len(scores) < FEWEST:
        raise InsufficientEvidence(
            f"There are {len(scores)} {name}.",
            "Half of them choose a threshold and half measure it.",
            f"Score at least {FEWEST} independent models of each world; hundreds show something.",
        )
    order = torch.randperm(len(scores), generator=torch.Generator().manual_seed(seed))
    shuffled = scores[order.to(scores.device)]
    return shuffled[: len(scores) // 2], shuffled[len(scores) // 2 :]
