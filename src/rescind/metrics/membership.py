"""How well simple scores tell forgotten records from records no model has seen.

Every score has one direction: higher is more like a record the model was trained on. The forgotten
records are the members, records held out of all training the non-members; both are drawn alike, and
there is no default for either. An AUC of 0.5 is not the goal: a retrained model need not give it,
where forget set and holdout set differ. The goal is the retrained model's own number. An AUC below
that of retrained models says as much about a method as one above (over-forgetting).

These attacks look at a population. One that is calibrated for each record by shadow models
(arXiv 2403.01218) finds more; nothing found here is not yet nothing to find.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rescind.core.errors import BadParameter
from rescind.metrics.loss import checked_labels, checked_logits, checked_values

if TYPE_CHECKING:
    from torch import Tensor


def confidence(logits: Tensor, labels: Tensor) -> Tensor:
    """Softmax probability of the label, (n,) in [0, 1]; higher is more like a member.

    S. Yeom et al., CSF 2018 (arXiv 1709.01604), whose loss is minus its log and ranks alike. Very
    sure answers round to 1 and become ties; ``margin`` keeps them apart.

    Raises:
        BadData: what ``checked_logits`` and ``checked_labels`` refuse.
    """
    z = checked_logits(logits)
    return z.softmax(1).gather(1, checked_labels(labels, z)[:, None])[:, 0]


def negative_entropy(logits: Tensor) -> Tensor:
    """Sum over classes of p log p, (n,) in [-log classes, 0]; higher is more like a member.

    Minus Shannon's entropy in nats (A. Salem et al., NDSS 2019, arXiv 1806.01246). It does not see
    the label: an answer that is sure and wrong counts as a member's.

    Raises:
        BadData: what ``checked_logits`` refuses.
    """
    log_p, _ = _logs(checked_logits(logits))
    return (log_p.exp() * log_p).sum(1)


def negative_modified_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Minus the modified entropy, (n,), at most 0; higher is more like a member.

    L. Song and P. Mittal, USENIX Security 2021 (arXiv 2003.10595): with the label y,

        Mentr = -(1 - p_y) log p_y - sum over i != y of p_i log(1 - p_i),

    which is 0 for a sure and right answer and grows without bound for a sure and wrong one. The
    published code floors probabilities at 1e-30; here log(1 - p) is taken from the other logits.

    Raises:
        BadData: what ``checked_logits`` and ``checked_labels`` refuse.
    """
    z = checked_logits(logits)
    y = checked_labels(labels, z)[:, None]
    log_p, log_rest = _logs(z)
    others = (log_p.exp() * log_rest).scatter(1, y, 0.0).sum(1)
    own = log_rest.gather(1, y).exp() * log_p.gather(1, y)
    return own[:, 0] + others


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Logit of the label minus log-sum-exp of the others, (n,); higher is more like a member.

    This is log(p / (1 - p)) of the label's probability p, the scaled loss of N. Carlini et al.,
    "Membership Inference Attacks From First Principles", S&P 2022 (arXiv 2112.03570),
    without its rounding: it ranks as ``confidence`` does and does not saturate.

    Raises:
        BadData: what ``checked_logits`` and ``checked_labels`` refuse.
    """
    z = checked_logits(logits)
    y = checked_labels(labels, z)[:, None]
    others = z.scatter(1, y, -float("inf"))
    return z.gather(1, y)[:, 0] - others.logsumexp(1)


def auc(members: Tensor, non_members: Tensor) -> float:
    """Share of pairs in which the member's score is higher, ties counted half, in [0, 1].

    The area under the curve of true against false positives, from the Mann-Whitney statistic.

    Args:
        members: scores (n,) of forgotten records.
        non_members: scores (m,) of records that were held out of all training.

    Raises:
        BadData: no scores on one side, or one that is not finite.
    """
    import torch

    inside, outside = sorted_scores(members, non_members)
    below = torch.searchsorted(outside, inside, right=False)
    not_above = torch.searchsorted(outside, inside, right=True)
    # whole numbers up to 2 n m are exact
    return int((below + not_above).sum()) / (2 * len(inside) * len(outside))


def advantage(members: Tensor, non_members: Tensor) -> float:
    """Largest true-positive minus false-positive rate over all thresholds, in [0, 1].

    Yeom et al. 2018, definition 4, at the best threshold for these very scores. It is never below
    0 and, for scores that tell nothing, about 0.63 sqrt(1/n + 1/m) too high by chance.

    Args:
        members: scores (n,) of forgotten records.
        non_members: scores (m,) of records that were held out of all training.

    Raises:
        BadData: no scores on one side, or one that is not finite.
    """
    import torch

    inside, outside = sorted_scores(members, non_members)
    thresholds = torch.cat([inside, outside])
    gaps = _share_from(inside, thresholds) - _share_from(outside, thresholds)
    return float(gaps.max())  # at least 0: all scores reach the lowest threshold


def true_positive_rate(members: Tensor, non_members: Tensor, false_positive_rate: float) -> float:
    """Largest share of members found where at most that share of non-members is, in [0, 1].

    Carlini et al. 2022 (arXiv 2112.03570): an attack that is right about few records, and surely,
    has an AUC near 0.5 and still harms them.

    Args:
        members: scores (n,) of forgotten records.
        non_members: scores (m,) of records that were held out of all training.
        false_positive_rate: such as 0.01; at least 1/m.

    Raises:
        BadData: no scores on one side, or one that is not finite.
        BadParameter: a rate that is not in (0, 1), or too low for so few non-members.
    """
    import torch

    inside, outside = sorted_scores(members, non_members)
    _refuse_rate(false_positive_rate, len(outside))
    thresholds = torch.cat([inside, outside])
    # a rate such as 1 - 0.9 is a little below the 10 of 100 that are meant
    low = _share_from(outside, thresholds) <= false_positive_rate * (1 + 1e-12)
    return float((_share_from(inside, thresholds) * low).max())


def _share_from(scores: Tensor, thresholds: Tensor) -> Tensor:
    """Share of the sorted scores that are at least the threshold."""
    import torch

    below = torch.searchsorted(scores, thresholds, right=False)
    return (len(scores) - below).double() / len(scores)


def sorted_scores(members: Tensor, non_members: Tensor) -> tuple[Tensor, Tensor]:
    """Both sides in float64, lowest first, on the device of the members.

    Raises:
        BadData: no scores on one side, or one that is not finite.
    """
    inside = checked_values(members, "scores of members")
    outside = checked_values(non_members, "scores of non-members")
    return inside.sort().values, outside.to(inside.device).sort().values


def _logs(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Log p and log(1 - p) of every class, exact also where p rounds to 1.

    Only the largest p can exceed a half; its 1 - p is the sum of the others.
    """
    import torch

    log_p, top = logits.log_softmax(1), logits.argmax(1, keepdim=True)
    others = log_p.scatter(1, top, -float("inf"))
    rest = others.logsumexp(1, keepdim=True)
    high = log_p.gather(1, top)
    high = torch.where(high > -0.69, (-rest.exp()).log1p(), high)
    return log_p.scatter(1, top, high), (-others.exp()).log1p().scatter(1, top, rest)


def checked_rate(rate: float) -> float:
    """A false-positive rate that can be asked for.

    Raises:
        BadParameter: it is not in (0, 1).
    """
    if not 0.0 < rate < 1.0:
        raise BadParameter(
            f"The false-positive rate is {rate}.",
            "It is the share of non-members that may be taken for members.",
            "Use a number between 0 and 1, such as 0.01.",
        )
    return rate


def _refuse_rate(rate: float, holdout: int) -> None:
    if checked_rate(rate) * holdout < 1 - 1e-9:
        raise BadParameter(
            f"A false-positive rate of {rate:g} is asked of {holdout} non-members.",
            "Less than one of them may be taken for a member, so the rate cannot be measured.",
            f"Hold out at least {int(-(-1 // rate))} records, or use a higher rate.",
        )
