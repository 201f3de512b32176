"""KLOM: whether the margins of unlearned models are distributed like those of retrained ones.

K. Georgiev et al., "Attribute-to-Delete: Machine Unlearning via Datamodel Matching", ICLR 2025
(arXiv 2410.23232), appendix E.1. For each example x and its label, the margin of a model is the
label's logit minus the log-sum-exp of the others (``membership.margin``). Over models of different
seeds it has a distribution, U after unlearning and O after retraining (the oracle), and

    KLOM(x) = KL(U(x) || O(x))

from histograms of 20 bins of equal width over the range of both, margins being clipped to
[-100, 100]. Low on forget, retain and test records alike is what is wanted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rescind.core.errors import BadData, BadParameter, InsufficientEvidence

if TYPE_CHECKING:
    from torch import Tensor

MODELS = 8  # on each side; the paper has about 100
BINS = 20
CLIP = 100.0
FLOOR = 1e-5  # of the oracle's probability, in the published code
PSEUDO = 0.5  # examples added to a bin: Krichevsky and Trofimov 1981
LEVELS = (0.50, 0.95, 0.99)

Smoothing = Literal["counts", "floor"]


@dataclass(frozen=True, slots=True, eq=False)
class Klom:
    """``each`` example's divergence (n,) in nats; its 50th, 95th and 99th percentile over them.

    ``models`` are the numbers of unlearned and retrained models, on which the values depend.
    """

    each: Tensor
    quantiles: tuple[float, float, float]
    models: tuple[int, int]


def klom(unlearned: Tensor, retrained: Tensor, smoothing: Smoothing = "counts") -> Klom:
    """KL(unlearned || retrained) of the margins of each example, and its quantiles, in nats.

    Read it next to the KLOM of one half of the retrained models against the other: it is not 0 for
    equal distributions, and depends on the number of models. On Gaussian margins of one
    distribution the median is, with 8, 32 and 100 models on each side, 0.38, 0.32 and 0.15 with
    ``"counts"`` and 6.2, 1.6 and 0.32 with ``"floor"``; unlearned margins 3 standard deviations
    away give 0.60, 1.4 and 2.3, and 9.8, 7.8 and 6.6 (tests/metrics/test_klom_metric.py). Eight
    models show gross differences only.

    Where it differs from the published code (github.com/RoyRin/data-unlearning-bench, read): with
    ``"counts"`` half an example is added to every bin of both sides, because the published floor of
    1e-5 under the oracle's share, where the unlearned one is above 0, drowns what few models tell;
    ``"floor"`` is that floor, for comparison with published numbers. In both, the largest margin is
    in the last bin, while the published code drops it; and the two sides may have different numbers
    of models.

    Args:
        unlearned: margins (m, n), a row for each model that was unlearned.
        retrained: margins (r, n) of models retrained without the forget set, same examples.
        smoothing: ``"counts"`` or ``"floor"``.

    Raises:
        BadData: not two dimensions, no or different examples, a margin that is NaN. Infinite ones
            are clipped as all others.
        InsufficientEvidence: fewer than 8 models on a side.
        BadParameter: another smoothing.
    """
    import torch

    if smoothing not in ("counts", "floor"):
        raise BadParameter(f"There is no smoothing {smoothing!r}.", do='Use "counts" or "floor".')
    u, o = _checked(unlearned, retrained)
    edges = _edges(u, o)
    p, q = _shares(_counts(u, edges), _counts(o, edges), smoothing)
    each = torch.xlogy(p, p / q).sum(0).clamp(min=0.0)
    median, high, highest = each.quantile(each.new_tensor(LEVELS)).tolist()
    return Klom(each, (median, high, highest), (len(u), len(o)))


def _edges(u: Tensor, o: Tensor) -> Tensor:
    """Inner edges (n, bins - 1) of equal width between the least and the largest of both."""
    import torch

    both = torch.cat([u, o])
    low, high = both.amin(0), both.amax(0)
    width = torch.where(high > low, high - low, torch.ones_like(low))
    steps = torch.arange(1, BINS, dtype=u.dtype, device=u.device)
    return low[:, None] + width[:, None] * steps / BINS


def _counts(margins: Tensor, edges: Tensor) -> Tensor:
    """(bins, n): how many models have their margin of an example in a bin, left ends included."""
    import torch

    place = torch.searchsorted(edges, margins.T.contiguous(), right=True)
    counts = margins.new_zeros(margins.shape[1], BINS)
    return counts.scatter_add_(1, place, torch.ones_like(margins.T)).T


def _shares(u: Tensor, o: Tensor, smoothing: Smoothing) -> tuple[Tensor, Tensor]:
    """(bins, n) each, from counts; the second is above 0 wherever it is divided by."""
    import torch

    if smoothing == "counts":
        p, q = u + PSEUDO, o + PSEUDO
    else:
        # a bin that is empty on both sides adds nothing; there 1 only keeps 0/0 away
        q = (o / o.sum(0)).clamp(min=FLOOR)
        p, q = u, torch.where(u > 0, q, o / o.sum(0))
    return p / p.sum(0), (q / q.sum(0)).where((p > 0) | (q > 0), torch.ones_like(q))


def _checked(unlearned: Tensor, retrained: Tensor) -> tuple[Tensor, Tensor]:
    sides = {"unlearned": unlearned, "retrained": retrained}
    shapes = [tuple(side.shape) for side in sides.values()]
    if any(len(s) != 2 or s[1] < 1 for s in shapes) or shapes[0][1:] != shapes[1][1:]:
        raise BadData(
            f"Margins of shape {shapes[0]} of unlearned and {shapes[1]} of retrained models.",
            "Both need one row for each model and one column for each of the same examples.",
            "Stack the margins of the models, (models, examples).",
        )
    for name, side in sides.items():
        if len(side) < MODELS:
            raise InsufficientEvidence(
                f"There are {len(side)} {name} models.",
                f"A distribution over models is not seen from fewer than {MODELS}.",
                f"Add {MODELS - len(side)} more with other seeds.",
            )
        if bool(side.isnan().any()):
            raise BadData(
                f"{int(side.isnan().sum())} margins of {name} models are NaN.",
                "They belong in no bin.",
                "Find the model that gives them; half precision may overflow.",
            )
    u, o = (side.detach().double().clamp(-CLIP, CLIP) for side in sides.values())
    return u, o.to(u.device)
