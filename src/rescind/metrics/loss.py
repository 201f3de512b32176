"""Losses of single examples and their means; accuracy. What the other output metrics check first.

Losses are in nats (cross entropy) or squared units of the target. All is computed in float64,
whatever the precision of the model. These are numbers of one model; what they say about unlearning
is the gap to the same numbers of retrained models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rescind.core.errors import BadData

if TYPE_CHECKING:
    from torch import Tensor

LARGEST = 1e100  # beyond it, differences and squares leave float64


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Minus the log of the label's softmax probability: (n,) from (n, classes) and (n,), in nats.

    Raises:
        BadData: what ``checked_logits`` and ``checked_labels`` refuse.
    """
    z = checked_logits(logits)
    y = checked_labels(labels, z)
    return -z.log_softmax(1).gather(1, y[:, None])[:, 0]


def mean_cross_entropy(logits: Tensor, labels: Tensor) -> float:
    """Mean of ``cross_entropy`` over the examples, in nats."""
    return float(cross_entropy(logits, labels).mean())


def correct(logits: Tensor, labels: Tensor) -> Tensor:
    """1 where the largest logit is the label's, else 0: (n,) from (n, classes) and (n,).

    Of equally large logits the first counts, as in ``argmax``: a model that has collapsed to
    constant logits answers class 0.

    Raises:
        BadData: what ``checked_logits`` and ``checked_labels`` refuse.
    """
    z = checked_logits(logits)
    return (z.argmax(1) == checked_labels(labels, z)).double()


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Share of examples that are ``correct``, between 0 and 1."""
    return float(correct(logits, labels).mean())


def squared_error(predictions: Tensor, targets: Tensor) -> Tensor:
    """(prediction - target)^2 of each example, (n,), in squared units of the target.

    Raises:
        BadData: what ``checked_pair`` refuses.
    """
    p, t = checked_pair(predictions, targets, "predictions", "targets")
    return (p - t) ** 2


def mean_squared_error(predictions: Tensor, targets: Tensor) -> float:
    """Mean of ``squared_error``, in squared units of the target."""
    return float(squared_error(predictions, targets).mean())


def checked_logits(logits: Tensor, name: str = "logits") -> Tensor:
    """The logits (n, classes) as float64 without gradient.

    Raises:
        BadData: not two dimensions, no example, fewer than two classes, a value that is NaN,
            infinite or beyond 1e100.
    """
    if logits.dim() != 2 or len(logits) < 1 or logits.shape[1] < 2:
        raise BadData(
            f"The {name} have the shape {tuple(logits.shape)}.",
            "One row for each example and one column for each of two classes or more are needed.",
            "Pass (n, classes); a model of one output needs a column of zeros beside it.",
        )
    z = logits.detach().double()
    _refuse_wild(z, name)
    return z


def checked_labels(labels: Tensor, logits: Tensor) -> Tensor:
    """The labels (n,) as int64 on the device of the logits (n, classes).

    Raises:
        BadData: another number of them, no whole numbers, or one outside 0..classes-1.
    """
    n, classes = logits.shape
    fractional = labels.is_floating_point() or labels.is_complex()
    if tuple(labels.shape) != (n,) or fractional:
        raise BadData(
            f"The labels have the shape {tuple(labels.shape)} and the type {labels.dtype}.",
            f"Each of the {n} examples needs one whole number.",
            "Pass class numbers (n,), not one-hot rows.",
        )
    y = labels.detach().long().to(logits.device)
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= classes:
        raise BadData(
            f"The labels run from {low} to {high}, and there are {classes} logits.",
            "A label is the number of a column, from 0.",
            "Map the labels to the columns of the model; leave out padding such as -100.",
        )
    return y


def checked_values(values: Tensor, name: str) -> Tensor:
    """One value for each example, (n,), as float64 without gradient.

    Raises:
        BadData: not one dimension, none, or one that is NaN, infinite or beyond 1e100.
    """
    if values.dim() != 1 or len(values) < 1:
        raise BadData(
            f"The {name} have the shape {tuple(values.shape)}.",
            "One value is needed for each example, and at least one example.",
            "Pass (n,); flatten (n, 1), which would broadcast to (n, n).",
        )
    x = values.detach().double()
    _refuse_wild(x, name)
    return x


def checked_pair(first: Tensor, second: Tensor, name: str, other: str) -> tuple[Tensor, Tensor]:
    """Two values for each example, (n,) and (n,), as float64.

    Raises:
        BadData: what ``checked_values`` refuses, or different lengths.
    """
    x, y = checked_values(first, name), checked_values(second, other)
    if len(x) != len(y):
        raise BadData(
            f"There are {len(x)} {name} and {len(y)} {other}.",
            "Both are of the same examples, in the same order.",
            "Pass the values of the same records to both.",
        )
    return x, y.to(x.device)


def _refuse_wild(values: Tensor, name: str) -> None:
    wild = int((~(values.abs() <= LARGEST)).sum())  # a comparison with NaN is False
    if wild:
        raise BadData(
            f"{wild} of the {name} are NaN, infinite or beyond {LARGEST:g}.",
            "A single one makes the whole mean meaningless.",
            "Find the step that gave it; half precision may overflow.",
        )
