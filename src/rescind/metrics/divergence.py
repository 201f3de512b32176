"""How far the answers of an unlearned model are from those of a retrained one, record by record.

Both get the same examples in the same order. Divergences are in nats, from logits, without a
probability ever being rounded to 0 or floored. Two retrained models differ too: a divergence is
read next to that between one retrained model and another.
"""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING

from rescind.core.errors import BadData
from rescind.metrics.loss import checked_logits

if TYPE_CHECKING:
    from torch import Tensor


def same_answer(retrained: Tensor, unlearned: Tensor) -> Tensor:
    """1 where both models' largest logits are of the same class, else 0: (n,).

    Of equally large logits the first counts, as in ``argmax``.

    Args:
        retrained: logits (n, classes).
        unlearned: logits (n, classes) of the same examples.

    Raises:
        BadData: what ``checked_logits`` refuses, or different shapes.
    """
    p, q = _both(retrained, unlearned)
    return (p.argmax(1) == q.argmax(1)).double()


def agreement(retrained: Tensor, unlearned: Tensor) -> float:
    """Share of examples with the ``same_answer``, between 0 and 1."""
    return float(same_answer(retrained, unlearned).mean())


def kl(retrained: Tensor, unlearned: Tensor) -> Tensor:
    """KL(retrained || unlearned) = sum over classes of p log(p / q), (n,) in nats, at least 0.

    S. Kullback and R. A. Leibler, Ann. Math. Stat. 22:79-86 (1951). In this direction an unlearned
    model pays for what it rules out and a retrained one holds possible; there is no upper bound.

    Args:
        retrained: logits (n, classes) of p.
        unlearned: logits (n, classes) of q, of the same examples.

    Raises:
        BadData: what ``checked_logits`` refuses, or different shapes.
    """
    p, q = (z.log_softmax(1) for z in _both(retrained, unlearned))
    return _kl(p, q)


def mean_kl(retrained: Tensor, unlearned: Tensor) -> float:
    """Mean of ``kl`` over the examples, in nats; one example may dominate it."""
    return float(kl(retrained, unlearned).mean())


def jensen_shannon(first: Tensor, second: Tensor) -> Tensor:
    """Half of KL(p || m) + KL(q || m) with m = (p + q) / 2: (n,) in nats, from 0 to log 2.

    J. Lin, IEEE Trans. Inf. Theory 37:145-151 (1991). It is symmetric and bounded, so no single
    example can dominate a mean. Its square root is the distance that some packages return.

    Raises:
        BadData: as ``kl``.
    """
    import torch

    p, q = (z.log_softmax(1) for z in _both(first, second))
    m = torch.logaddexp(p, q) - log(2)
    return ((_kl(p, m) + _kl(q, m)) / 2).clamp(max=log(2))


def mean_jensen_shannon(first: Tensor, second: Tensor) -> float:
    """Mean of ``jensen_shannon`` over the examples, in nats, from 0 to log 2."""
    return float(jensen_shannon(first, second).mean())


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL by rows, as the sum of p (q/p - 1 - log(q/p)): the added q - p are 0 in sum.

    Each term is at least 0, so that nothing cancels where the models are nearly alike.
    """
    import torch

    p, d = log_p.exp(), log_q - log_p
    far = log_q.exp() - p - p * d
    near = p * (d.clamp(-1.0, 1.0).expm1() - d)
    return torch.where(d.abs() < 1.0, near, far).clamp(min=0.0).sum(1)


def _both(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    if first.shape != second.shape:
        raise BadData(
            f"The logits have the shapes {tuple(first.shape)} and {tuple(second.shape)}.",
            "Both models answer the same examples with the same classes.",
            "Pass logits of the same records, the columns in the same order.",
        )
    p = checked_logits(first, "logits of the first model")
    return p, checked_logits(second, "logits of the second model").to(p.device)
