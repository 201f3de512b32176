"""Errors of regressors: how large, which way, and whether they are distributed as after retraining.

An error is prediction minus target, in units of the target. Two models with the same mean squared
error may err on other records and by other amounts; on the forget set a model that still remembers
has small errors where a retrained one has large ones. Distances are read next to those between one
retrained model and another on the same records.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import TYPE_CHECKING

from rescind.core.errors import BadParameter
from rescind.metrics.loss import checked_pair, mean_squared_error

if TYPE_CHECKING:
    from torch import Tensor

LEVELS = (0.5, 0.9, 0.95, 0.99)


def errors(predictions: Tensor, targets: Tensor) -> Tensor:
    """Prediction minus target of each example, (n,), in units of the target.

    Raises:
        BadData: what ``checked_pair`` refuses; (n, 1) beside (n,) is among it.
    """
    p, t = checked_pair(predictions, targets, "predictions", "targets")
    return p - t


def bias(predictions: Tensor, targets: Tensor) -> float:
    """Mean error, in units of the target; above 0 the model predicts too much.

    Raises:
        BadData: as ``errors``.
    """
    return float(errors(predictions, targets).mean())


def rmse(predictions: Tensor, targets: Tensor) -> float:
    """Root of the mean squared error, in units of the target.

    Raises:
        BadData: as ``errors``.
    """
    return sqrt(mean_squared_error(predictions, targets))


def absolute_error_quantiles(
    predictions: Tensor, targets: Tensor, levels: Sequence[float] = LEVELS
) -> tuple[float, ...]:
    """Quantiles of |error|, one for each level, in units of the target.

    Between two examples they are interpolated linearly: type 7 of R. J. Hyndman and Y. Fan, Am.
    Stat. 50:361-365 (1996), the default of NumPy and PyTorch.

    Raises:
        BadData: as ``errors``.
        BadParameter: no level, or one outside [0, 1].
    """
    if not levels or not all(0.0 <= level <= 1.0 for level in levels):
        raise BadParameter(
            f"The levels are {tuple(levels)}.",
            "A level is the share of examples with a smaller error.",
            "Use numbers between 0 and 1, such as 0.5 and 0.95.",
        )
    ordered = errors(predictions, targets).abs().sort().values
    return tuple(_quantile(ordered, level) for level in levels)


def kolmogorov_smirnov(unlearned: Tensor, retrained: Tensor) -> float:
    """Largest difference of the two distribution functions, in [0, 1].

    sup over e of |F_unlearned(e) - F_retrained(e)| (N. V. Smirnov 1939). It does not ask which
    record has which error. No p-value is given: that of the two-sample test holds for independent
    samples, and these are the same records twice.

    Args:
        unlearned: errors (n,), signed or absolute, of the unlearned model.
        retrained: errors (n,) of the retrained model on the same records, of the same kind.

    Raises:
        BadData: no errors, different lengths, a value that is not finite.
    """
    import torch

    first, second = _sorted(unlearned, retrained)
    at = torch.cat([first, second])
    below = torch.searchsorted(first, at, right=True) - torch.searchsorted(second, at, right=True)
    return int(below.abs().max()) / len(first)


def wasserstein(unlearned: Tensor, retrained: Tensor) -> float:
    """Wasserstein-1 distance of the two distributions of errors, in units of the target.

    The integral of |F_unlearned - F_retrained|; for equally many errors the mean distance of the
    sorted ones (L. N. Vaserstein 1969). Unlike Kolmogorov-Smirnov it tells how far errors moved.

    Args:
        unlearned: errors (n,), signed or absolute, of the unlearned model.
        retrained: errors (n,) of the retrained model on the same records, of the same kind.

    Raises:
        BadData: no errors, different lengths, a value that is not finite.
    """
    first, second = _sorted(unlearned, retrained)
    return float((first - second).abs().mean())


def _sorted(unlearned: Tensor, retrained: Tensor) -> tuple[Tensor, Tensor]:
    first, second = checked_pair(
        unlearned, retrained, "errors of the unlearned model", "errors of the retrained model"
    )
    return first.sort().values, second.sort().values


def _quantile(ordered: Tensor, level: float) -> float:
    """By hand: torch.quantile refuses more than 2^24 values."""
    place = level * (len(ordered) - 1)
    low = int(place)
    first, second = float(ordered[low]), float(ordered[min(low + 1, len(ordered) - 1)])
    return first + (place - low) * (second - first)
