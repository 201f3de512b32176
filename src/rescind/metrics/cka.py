"""How alike two models' features are: linear CKA from the unbiased HSIC, batch by batch.

S. Kornblith et al., ICML 2019, define CKA = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)) of the kernels
K = X X' and L = Y Y'. The HSIC here is the unbiased one, equation 5 of L. Song et al., JMLR
13:1393-1434 (2012): with K~ and L~ the kernels with zero diagonals and n examples,

    HSIC_1 = [tr(K~L~) + 1'K~1 1'L~1 / ((n-1)(n-2)) - 2/(n-2) 1'K~L~1] / (n(n-3)).

Batches are summed before anything is divided: T. Nguyen, M. Raghu and S. Kornblith, "Do Wide and
Deep Networks Learn the Same Things?", ICLR 2021, equations 2 and 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, sqrt
from statistics import mean, variance
from typing import TYPE_CHECKING

from rescind.core.errors import BadData, BadParameter

if TYPE_CHECKING:
    from torch import Tensor

SMALLEST = 4  # HSIC_1 divides by n - 3
APART = 2.0  # pooled standard deviations between floor and ceiling
NOISE = 64.0  # units of rounding below which a variation is none


@dataclass(slots=True)
class LinearCka:
    """CKA of feature batches that are added pair by pair; what it keeps is three sums.

    A batch of n examples weighs as n, so that a short last batch does not count like a full one;
    for batches of one size this is the plain mean of Nguyen et al. Products are taken in the
    features' precision (halves in float32), sums in float64.
    """

    examples: int = 0
    batches: int = 0
    cross: float = 0.0
    own: tuple[float, float] = (0.0, 0.0)
    _size: tuple[float, float] = (0.0, 0.0)  # what ``own`` would be before terms cancel
    _rounding: float = 0.0

    def add(self, first: Tensor, second: Tensor) -> None:
        """Add the features (n, d1) and (n, d2) of the same n examples, in the same order.

        Raises:
            BadData: fewer than 4 examples, not two dimensions, different n, a value that is not
                finite, features that are the same for all examples of the batch.
        """
        import torch

        with torch.no_grad():
            n = _refuse(first, second)
            x, y = _centre(first, "first"), _centre(second, "second")
            terms = _by_kernels(x, y) if _kernels_are_cheaper(x, y) else _by_features(x, y)
        xx, yy, xy = (_hsic(term, n) for term in terms)
        if not all(map(isfinite, (xx, yy, xy))):
            raise _not_finite(first, second)
        size = n / (n * (n - 3))
        self.cross += n * xy
        self.own = (self.own[0] + n * xx, self.own[1] + n * yy)
        self._size = (self._size[0] + terms[0][0] * size, self._size[1] + terms[1][0] * size)
        self._rounding = max(self._rounding, torch.finfo(x.dtype).eps, torch.finfo(y.dtype).eps)
        self.examples, self.batches = self.examples + n, self.batches + 1

    def value(self) -> float:
        """CKA, at most 1. Independent features give about 0, and as often below as above.

        Raises:
            BadData: nothing was added, or one side has no variation that HSIC_1 can see.
        """
        if not self.batches:
            raise BadData(
                "No features were added.",
                "There is nothing to compare.",
                "Add at least one batch of 4 examples.",
            )
        for name, own, size in zip(("first", "second"), self.own, self._size, strict=True):
            if own <= NOISE * self._rounding * size:
                raise BadData(
                    f"The HSIC of the {name} features with themselves is {own:.3g}, not positive.",
                    "The features are constant, or the batches are too small to tell.",
                    "Check that the model has not collapsed, and use batches of 64 or more.",
                )
        return self.cross / (sqrt(self.own[0]) * sqrt(self.own[1]))


def biased_cka(first: Tensor, second: Tensor) -> float:
    """CKA of (n, d1) and (n, d2) from the biased HSIC of Kornblith et al., for comparison only.

    Do not score with it: its floor depends on n and d. Independent Gaussian features of width 2048
    give 0.97 at n = 64, 0.80 at n = 512 and 0.33 at n = 4096, where ``LinearCka`` gives 0. Papers
    that print it, per batch and averaged, cannot be compared across batch sizes.

    Raises:
        BadData: as ``LinearCka.add``.
    """
    import torch

    with torch.no_grad():
        _refuse(first, second)
        x, y = _centre(first.double(), "first"), _centre(second.double(), "second")
        norm = torch.linalg.matrix_norm
        if _kernels_are_cheaper(x, y):
            k, l = x @ x.T, y @ y.T  # noqa: E741
            return float((k * l).sum() / (norm(k) * norm(l)))
        return float(norm(x.T @ y) ** 2 / (norm(x.T @ x) * norm(y.T @ y)))


@dataclass(frozen=True, slots=True)
class Normalised:
    """A value on the scale from floor (0) to ceiling (1); ``value`` is None where there is none.

    ``floor`` and ``ceiling`` are means, ``spread`` the pooled standard deviation about them.
    ``reason`` is empty unless the scale is undefined.
    """

    value: float | None
    floor: float
    ceiling: float
    spread: float
    reason: str = ""

    @property
    def undefined(self) -> bool:
        """Floor and ceiling cannot be told apart."""
        return self.value is None

    @property
    def clipped(self) -> float | None:
        """``value`` within [0, 1], for products and means of scores; None if undefined."""
        return None if self.value is None else min(max(self.value, 0.0), 1.0)


def normalised(value: float, floors: Sequence[float], ceilings: Sequence[float]) -> Normalised:
    """(value - mean floor) / (mean ceiling - mean floor), of CKA or of any other similarity.

    Floors are the similarity of models that share nothing to a retrained one, ceilings that of one
    retrained model to another. With n1 floors of variance s1^2 and n2 ceilings of variance s2^2 the
    pooled variance is ((n1-1) s1^2 + (n2-1) s2^2) / (n1 + n2 - 2). The scale is undefined if the
    mean ceiling is not above the mean floor by at least two of its roots.

    Raises:
        BadParameter: fewer than two floors or ceilings, or a value that is not finite.
    """
    if len(floors) < 2 or len(ceilings) < 2:
        raise BadParameter(
            f"There are {len(floors)} floors and {len(ceilings)} ceilings.",
            "Their spread is needed to tell them apart, and one value has none.",
            "Pass at least two of each, one for every seed.",
        )
    if not all(map(isfinite, (value, *floors, *ceilings))):
        raise BadParameter(
            "A value, floor or ceiling is not finite.",
            "It has no place on a scale.",
            "Leave out the model that gave it, and find out why it did.",
        )
    low, high = mean(floors), mean(ceilings)
    squares = (len(floors) - 1) * variance(floors) + (len(ceilings) - 1) * variance(ceilings)
    spread = sqrt(squares / (len(floors) + len(ceilings) - 2))
    gap = high - low
    if gap <= 0 or gap < APART * spread:
        reason = (
            f"The mean ceiling {high:.4g} is not {APART:g} pooled standard deviations"
            f" ({spread:.2g} each) above the mean floor {low:.4g}."
        )
        return Normalised(None, low, high, spread, reason)
    return Normalised((value - low) / gap, low, high, spread)


Terms = tuple[float, float, float]  # tr(K~L~), 1'K~1 1'L~1, 1'K~L~1


def _hsic(terms: Terms, n: int) -> float:
    trace, totals, both = terms
    return (trace + totals / ((n - 1) * (n - 2)) - 2 / (n - 2) * both) / (n * (n - 3))


def _kernels_are_cheaper(x: Tensor, y: Tensor) -> bool:
    """Two n x n kernels cost n^2 (d1 + d2), three covariances n (d1^2 + d2^2 + d1 d2)."""
    n, d1, d2 = len(x), x.shape[1], y.shape[1]
    return n * (d1 + d2) < d1 * d1 + d2 * d2 + d1 * d2


def _by_kernels(x: Tensor, y: Tensor) -> tuple[Terms, Terms, Terms]:
    """The terms of (x, x), (y, y) and (x, y), from each kernel once."""
    k, l = ((z @ z.T).fill_diagonal_(0.0).double() for z in (x, y))  # noqa: E741
    a, b = k.sum(1), l.sum(1)

    def of(p: Tensor, q: Tensor, s: Tensor, t: Tensor) -> Terms:
        # tr(PQ) is the sum of p * q, and 1'PQ1 that of the row sums' products: both are symmetric
        return float(p.flatten() @ q.flatten()), float(s.sum() * t.sum()), float(s @ t)

    return of(k, k, a, a), of(l, l, b, b), of(k, l, a, b)


def _by_features(x: Tensor, y: Tensor) -> tuple[Terms, Terms, Terms]:
    """The same without a kernel: tr(KL) = |X'Y|^2, K1 = X (X'1), and the diagonals are known."""
    import torch

    norm = torch.linalg.vector_norm
    diagonals = [norm(z, dim=1).double() ** 2 for z in (x, y)]
    rows = [(z @ z.sum(0)).double() - d for z, d in zip((x, y), diagonals, strict=True)]

    def of(i: int, j: int) -> Terms:
        p, q = (x, y)[i], (x, y)[j]
        trace = norm(p.T @ q, dtype=torch.float64) ** 2 - diagonals[i] @ diagonals[j]
        return float(trace), float(rows[i].sum() * rows[j].sum()), float(rows[i] @ rows[j])

    return of(0, 0), of(1, 1), of(0, 1)


def _centre(features: Tensor, name: str) -> Tensor:
    """Features minus their mean: HSIC_1 is the same, and large common parts do not cancel later."""
    import torch

    halves = features.dtype in (torch.float16, torch.bfloat16)
    x = features.float() if halves else features
    x = x if x.is_floating_point() else x.double()
    mean = x.mean(0)
    centred = x - mean
    norm = torch.linalg.vector_norm
    size, largest = float(norm(mean)), float(norm(centred, dim=1).max())
    if not isfinite(size) or not isfinite(largest):
        raise _not_finite(features)
    if largest <= NOISE / 8 * torch.finfo(x.dtype).eps * size:
        raise BadData(
            f"The {name} features are the same for all {len(x)} examples.",
            "CKA compares how features vary, and constant ones do not.",
            "Check that the model has not collapsed and that the batch holds different examples.",
        )
    return centred


def _refuse(first: Tensor, second: Tensor) -> int:
    """The number of examples, if there is something to compare."""
    if first.dim() != 2 or second.dim() != 2 or len(first) != len(second):
        raise BadData(
            f"Features of shape {tuple(first.shape)} and {tuple(second.shape)}.",
            "Both need one row for each of the same examples.",
            "Pool the features to (n, d) and pass the same batch to both models.",
        )
    if len(first) < SMALLEST or 0 in (first.shape[1], second.shape[1]):
        raise BadData(
            f"A batch of {len(first)} examples, {first.shape[1]} and {second.shape[1]} wide.",
            f"The unbiased HSIC needs {SMALLEST} examples and features at all.",
            "Use larger batches, and leave out or merge a last one that is too short.",
        )
    return len(first)


def _not_finite(*features: Tensor) -> BadData:
    """Looked for only after a sum was not finite: a look at every feature costs a third more."""
    if not all(x.isfinite().all() for x in features):
        return BadData(
            "A feature is NaN or infinite.",
            "One such value makes the whole sum NaN.",
            "Find the layer that gives it; half precision may overflow.",
        )
    return BadData(
        "The products of the features are not finite.",
        "Their squares do not fit the precision they are stored in.",
        "Pass the features as float64, or scale them down.",
    )
