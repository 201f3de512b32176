"""Zero retrain forgetting: how near the forget set's answers are to those of an untrained model.

V. S. Chundawat et al., "Can Bad Teaching Induce Forgetting?", AAAI 2023 (arXiv 2205.08096): with M
the unlearned model, T an incompetent one (randomly initialised) and JS the Jensen-Shannon
divergence,

    ZRF = 1 - 1/n sum over the forget set of JS(M(x), T(x)).

It rewards randomness. A retrained model does not answer at random where the rest of the data tells
it better: an unlearned model whose ZRF is above that of retrained models has destroyed what it
should have kept, and can be told from them by it. High is therefore not good, and the number alone
says nothing; read it next to the retrained model's own ZRF, with the same incompetent model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rescind.metrics.divergence import mean_jensen_shannon

if TYPE_CHECKING:
    from torch import Tensor


def zrf(unlearned: Tensor, incompetent: Tensor) -> float:
    """1 minus the mean Jensen-Shannon divergence, from 1 - log 2 = 0.307 to 1.

    The divergence is in nats. The code in circulation (copied from
    github.com/vikram2000b/bad-teaching-unlearning) averages over examples and classes rather than
    over examples, and swaps the arguments of its KL: its values lie nearer to 1 the more classes
    there are, and cannot be compared with these.

    Args:
        unlearned: logits (n, classes) on the forget set.
        incompetent: logits (n, classes) of a randomly initialised model on the same examples.

    Raises:
        BadData: no examples, different shapes, a value that is not finite.
    """
    return 1.0 - mean_jensen_shannon(unlearned, incompetent)
