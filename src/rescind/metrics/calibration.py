"""Whether confidence is accuracy: calibration error, Brier score.

An unlearned model may answer like a retrained one and be surer or less sure of it than that one. As
always the gap to retrained models on the same records counts, not the number itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from rescind.core.errors import BadData, BadParameter
from rescind.metrics.loss import checked_labels, checked_logits

if TYPE_CHECKING:
    from torch import Tensor

Binning = Literal["mass", "width"]
BINS = 15  # Guo et al. 2017


def calibration_error(
    logits: Tensor, labels: Tensor, bins: int = BINS, binning: Binning = "mass"
) -> float:
    """Expected calibration error: sum over bins of n_b/n |accuracy_b - confidence_b|, in [0, 1].

    Equation 3 of C. Guo et al., ICML 2017 (arXiv 1706.04599): confidence is the largest softmax
    probability, accuracy the share of examples whose label has it. Guo's bins are of equal width
    (``"width"``, the right end included); a model that is sure of itself puts nearly all examples
    into the last, so bins of equally many examples are the default: M. P. Naeini et al., AAAI 2015.
    Examples of the same confidence share a bin, whatever their order, so that bins of equal mass
    may be fewer and less equal.

    It is not debiased: a perfectly calibrated model gets more than 0, and the more the fewer
    examples a bin has. Compare models on equally many examples, or take
    ``squared_calibration_error``.

    Args:
        logits: (n, classes).
        labels: whole numbers (n,).
        bins: how many, at most n.
        binning: ``"mass"`` or ``"width"``.

    Raises:
        BadData: what ``checked_logits`` and ``checked_labels`` refuse.
        BadParameter: fewer than one bin, more bins than examples, an unknown binning.
    """
    size, confidence, right = _per_bin(logits, labels, bins, binning)
    return float((size / size.sum() * (right - confidence).abs()).sum())


def squared_calibration_error(logits: Tensor, labels: Tensor, bins: int = BINS) -> float:
    """Debiased squared calibration error over bins of equal mass; about 0 if calibrated.

    A. Kumar, P. Liang and T. Ma, NeurIPS 2019 (arXiv 1909.10155), section 5: sum over bins of
    n_b/n [ (accuracy_b - confidence_b)^2 - accuracy_b (1 - accuracy_b) / (n_b - 1) ]. It may be
    negative. Bins are those of ``calibration_error``.

    Raises:
        BadData: as ``calibration_error``, or a bin of one example.
        BadParameter: as ``calibration_error``.
    """
    size, confidence, right = _per_bin(logits, labels, bins, "mass")
    if int(size.min()) < 2:
        raise BadData(
            f"One of {len(size)} bins holds a single of the {len(logits)} examples.",
            "The noise of a bin is estimated from two examples or more.",
            "Use fewer bins or more examples.",
        )
    noise = right * (1 - right) / (size - 1)
    return float((size / size.sum() * ((right - confidence) ** 2 - noise)).sum())


def brier(logits: Tensor, labels: Tensor) -> Tensor:
    """Sum over classes of (p_c - [c is the label])^2 of each example: (n,), between 0 and 2.

    G. W. Brier, Monthly Weather Review 78:1-3 (1950), over all classes; the form of one
    probability that is common for two classes is half of it.

    Raises:
        BadData: what ``checked_logits`` and ``checked_labels`` refuse.
    """
    import torch

    z = checked_logits(logits)
    y = checked_labels(labels, z)
    p = z.softmax(1)
    return ((p - torch.nn.functional.one_hot(y, z.shape[1])) ** 2).sum(1)


def brier_score(logits: Tensor, labels: Tensor) -> float:
    """Mean of ``brier`` over the examples."""
    return float(brier(logits, labels).mean())


def _per_bin(
    logits: Tensor, labels: Tensor, bins: int, binning: Binning
) -> tuple[Tensor, Tensor, Tensor]:
    """Number of examples, mean confidence and accuracy of every bin that is not empty."""
    z = checked_logits(logits)
    y = checked_labels(labels, z)
    _refuse(len(z), bins, binning)
    confidence, answer = z.softmax(1).max(1)
    confidence, order = confidence.sort(stable=True)
    right = (answer == y)[order].double()
    place = _by_mass(confidence, bins) if binning == "mass" else _by_width(confidence, bins)
    sums = z.new_zeros(3, bins)
    for row, values in zip(sums, (z.new_ones(len(z)), confidence, right), strict=True):
        row.index_add_(0, place, values)
    size, total, hits = sums[:, sums[0] > 0]
    return size, total / size, hits / size


def _by_mass(confidence: Tensor, bins: int) -> Tensor:
    """The bin of each of the sorted confidences; equal ones go to that of the first of them."""
    import torch

    n = len(confidence)
    first = torch.searchsorted(confidence, confidence, right=False)
    return (first * bins).div(n, rounding_mode="floor")


def _by_width(confidence: Tensor, bins: int) -> Tensor:
    """Bin b holds (b/bins, (b+1)/bins]."""
    return ((confidence * bins).ceil() - 1).long().clamp(0, bins - 1)


def _refuse(n: int, bins: int, binning: str) -> None:
    if not 1 <= bins <= n:
        raise BadParameter(
            f"{bins} bins for {n} examples.",
            "Each bin needs an example to have an accuracy.",
            "Use at least one bin and at most as many as examples.",
        )
    if binning not in ("mass", "width"):
        raise BadParameter(f"There is no binning {binning!r}.", do='Use "mass" or "width".')
