"""How large epsilon must be at least, from a single training with planted records.

T. Steinke, M. Nasr and M. Jagielski, Privacy auditing with one (1) training run, NeurIPS 2023
(arXiv 2305.08846): each of m planted records is included or not by a coin of its own, an auditor
who sees the model guesses some of the coins, and under (epsilon, delta)-differential privacy the
number of right guesses is hardly above that of as many coins that fall right with probability
1 / (1 + exp(-epsilon)). Many models, as ``epsilon`` needs them, show less at a much higher price.

The theorem is about the training, whoever's records they are. It needs the coins to be fair and
independent, the number of guesses to be fixed before the coins are looked at, and records that are
there or not, the rest of the data being the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rescind.core.errors import BadData, BadParameter
from rescind.metrics.loss import checked_values

if TYPE_CHECKING:
    from torch import Tensor

MOST = 64.0  # so large an epsilon bounds nothing any more
HALVINGS = 40


@dataclass(frozen=True, slots=True)
class OneRunBound:
    """``epsilon`` is below the true one with probability ``level`` or more; 0 shows nothing.

    ``right`` of ``guesses`` about ``records`` planted ones were right.
    """

    epsilon: float
    delta: float
    level: float
    right: int
    guesses: int
    records: int


def epsilon_in_one_run(
    scores: Tensor, included: Tensor, guesses: int, delta: float, level: float = 0.95
) -> OneRunBound:
    """A lower bound on epsilon from one model's scores (m,) of planted records.

    Half of the guesses say that the records of the highest scores are in, and half that those of
    the lowest are not; of the others nothing is said.

    Args:
        scores: higher where the model looks as if it had seen the record.
        included: (m,) the coins, True where it was trained on.
        guesses: an even number, chosen before these scores were seen.
        delta: of the claim that is tested.
        level: with which the bound holds.

    Raises:
        BadData: scores that are not finite, or not one coin a score.
        BadParameter: a number of guesses that is odd, below 2 or above m, a delta outside [0, 1) or
            a level outside (0, 1).
    """
    import torch

    checked = checked_values(scores, "scores of planted records")
    if included.shape != checked.shape or included.dtype != torch.bool:
        raise BadData(
            f"There are {len(checked)} scores, and coins of shape {tuple(included.shape)} and type"
            f" {included.dtype}.",
            "Each planted record was included or not.",
            "Give one boolean a score, in the same order.",
        )
    if guesses < 2 or guesses % 2 or guesses > len(checked):
        raise BadParameter(
            f"{guesses} guesses about {len(checked)} planted records.",
            "Half are made at either end of the scores.",
            "Choose an even number, from 2 to the number of planted records.",
        )
    order = checked.argsort(descending=True, stable=True).to(included.device)
    top, bottom = order[: guesses // 2], order[len(order) - guesses // 2 :]
    right = int(included[top].sum()) + int((~included[bottom]).sum())
    found = epsilon_from_guesses(right, guesses, len(checked), delta, level)
    return OneRunBound(found, delta, level, right, guesses, len(checked))


def epsilon_from_guesses(
    right: int, guesses: int, records: int, delta: float, level: float = 0.95
) -> float:
    """The largest epsilon, 0 or more, at which so many right guesses are too many by the level.

    Raises:
        BadParameter: counts that are none, a delta outside [0, 1) or a level outside (0, 1).
    """
    if not (0 <= right <= guesses <= records and guesses and 0 <= delta < 1 and 0 < level < 1):
        raise BadParameter(
            f"{right} of {guesses} guesses about {records} records were right, at a delta of"
            f" {delta} and a level of {level}.",
            "Right guesses are some of the guesses, and these are about some of the records.",
            "Count them again; use a delta from 0 to below 1 and a level between 0 and 1.",
        )
    low, high = 0.0, MOST
    if p_value(right, guesses, records, low, delta) > 1 - level:
        return 0.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if p_value(right, guesses, records, middle, delta) > 1 - level:
            high = middle
        else:
            low = middle
    return low


def p_value(right: int, guesses: int, records: int, epsilon: float, delta: float) -> float:
    """The most that (epsilon, delta) allows for the probability of so many right guesses.

    Theorem 5.2 of the paper:

        P(B >= v) + 2 m delta max_i P(v > B >= v - i) / i,

    with B binomial of all guesses and 1 / (1 + exp(-epsilon)), v the right ones and m the records.
    """
    import numpy as np
    from scipy.special import expit
    from scipy.stats import binom

    one = float(expit(epsilon))
    below = binom.pmf(np.arange(right - 1, -1, -1), guesses, one)
    slopes = np.cumsum(below) / np.arange(1, right + 1)
    slack = 2 * records * delta * float(slopes.max(initial=0.0))
    return min(1.0, float(binom.sf(right - 1, guesses, one)) + slack)
