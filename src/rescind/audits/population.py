"""Attacks without shadow models: one score, and a threshold from records held out of all training.

S. Yeom et al., CSF 2018 (arXiv 1709.01604), for the loss; A. Salem et al., NDSS 2019 (arXiv
1806.01246), for the entropy; L. Song and P. Mittal, USENIX Security 2021 (arXiv 2003.10595), for
the modified entropy. A threshold as a quantile of records that no model has seen is "attack P" of
J. Ye et al., CCS 2022 (arXiv 2111.09679).

A record that is easy for every model looks like a member to all of these. What they do not find may
still be there: ``lira`` and ``rmia`` compare each record with itself.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, get_args

from rescind.core.errors import BadParameter
from rescind.metrics.loss import checked_values, cross_entropy
from rescind.metrics.membership import (
    checked_rate,
    confidence,
    negative_entropy,
    negative_modified_entropy,
)

if TYPE_CHECKING:
    from torch import Tensor

Kind = Literal["loss", "confidence", "entropy", "modified_entropy"]


def population_scores(logits: Tensor, labels: Tensor, kind: Kind) -> Tensor:
    """Scores (n,) from logits (n, classes) and labels (n,); higher is more like a member.

    ``"loss"`` is minus the cross entropy and ranks as ``"confidence"`` does, without its ties.
    ``"entropy"`` does not see the labels.

    Raises:
        BadParameter: another kind.
        BadData: what ``checked_logits`` and ``checked_labels`` refuse.
    """
    if kind == "loss":
        return -cross_entropy(logits, labels)
    if kind == "confidence":
        return confidence(logits, labels)
    if kind == "entropy":
        return negative_entropy(logits)
    if kind == "modified_entropy":
        return negative_modified_entropy(logits, labels)
    known = ", ".join(get_args(Kind))
    raise BadParameter(f"There is no population score {kind!r}.", do=f"Use one of {known}.")


def threshold(holdout: Tensor, false_positive_rate: float) -> float:
    """The score above which at most that share of new records like the holdout set is expected.

    With m holdout scores it is the k-th largest, k = floor(rate (m + 1)); a record whose score is
    *above* it is taken for a member. For a record exchangeable with the holdout set the chance of
    that is k / (m + 1), and less with ties.

    Args:
        holdout: scores (m,) of records held out of all training, of the same kind.
        false_positive_rate: such as 0.01; at least 1 / (m + 1).

    Raises:
        BadData: no scores, or one that is not finite.
        BadParameter: a rate that is not in (0, 1), or too low for so few records.
    """
    scores = checked_values(holdout, "holdout scores")
    place = math.floor(checked_rate(false_positive_rate) * (len(scores) + 1) * (1 + 1e-12))
    if place < 1:
        raise BadParameter(
            f"A false-positive rate of {false_positive_rate:g} is asked of {len(scores)} records.",
            "Even above all of them a new record lies more often than that.",
            f"Hold out at least {math.ceil(1 / false_positive_rate - 1 - 1e-9)} records.",
        )
    return float(scores.sort(descending=True).values[place - 1])


def p_values(scores: Tensor, holdout: Tensor) -> Tensor:
    """For each of the scores (n,) the p-value (n,) of "as if held out", from holdout scores (m,).

        p = (1 + number of holdout scores that are at least as high) / (m + 1),

    exact where the record is exchangeable with the holdout set. p-values of one holdout set depend
    on each other. ``p <= rate`` is ``score > threshold(holdout, rate)``.

    Raises:
        BadData: no scores on one side, or one that is not finite.
    """
    import torch

    queried = checked_values(scores, "scores")
    sorted_out = checked_values(holdout, "holdout scores").to(queried.device).sort().values
    below = torch.searchsorted(sorted_out, queried, right=False)
    return (1 + len(sorted_out) - below).double() / (len(sorted_out) + 1)
