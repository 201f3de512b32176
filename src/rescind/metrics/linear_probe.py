"""How well frozen features transfer: accuracy of a linear classifier fitted to them.

"Are We Truly Forgetting?" (arXiv 2503.06991) names a linear probe and does not give its details; it
is multinomial logistic regression here. W and b minimise

    mean_i [ logsumexp(W z_i + b) - (W z_i + b)_{y_i} ] + l2/2 |W|^2

over features z that are standardised by the training features' mean and standard deviation. The
bias b is not penalised.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite
from typing import TYPE_CHECKING

from rescind.core.errors import BadData, BadParameter

if TYPE_CHECKING:
    from torch import Tensor

GRID = (1.0, 0.1, 0.01, 0.001, 0.0001)
STEPS = 1000  # of L-BFGS
FLAT = 1e-5  # largest entry of the gradient where L-BFGS stops
STEEP = 1e-3  # and above which it has not found the minimum


@dataclass(frozen=True, slots=True)
class Probe:
    """``accuracy`` on the test features; ``l2``, and the accuracy by which it was chosen."""

    accuracy: float
    l2: float
    held_out: float | None


def probe(
    features: Tensor,
    labels: Tensor,
    test_features: Tensor,
    test_labels: Tensor,
    *,
    grid: Sequence[float] = GRID,
    share: float = 0.2,
    seed: int = 0,
) -> Probe:
    """Fit on training features, score on test features, which have no say in anything else.

    The penalty is chosen by accuracy on a share of the training features that is held out, drawn
    with ``seed`` within each class; of equally good ones the largest is taken. With it the
    classifier is fitted again to all training features. Full-batch L-BFGS in float64.

    Args:
        features: pooled features (n, d).
        labels: whole numbers (n,).
        test_features: (m, d).
        test_labels: (m,).
        grid: penalties ``l2`` to choose from; a single one is taken and nothing is held out.
        share: share of each class that is held out, at least one example and never all.
        seed: of the draw.

    Raises:
        BadData: shapes or labels that do not fit, a value that is not finite, constant features, a
            single class, a class of the test labels that the training labels lack, or no minimum
            was found.
        BadParameter: a penalty that is not above 0, or a share outside (0, 1).
    """
    import torch

    _refuse_choice(grid, share)
    _refuse(features, labels, "training")
    _refuse(test_features, test_labels, "test")
    classes = _classes(features, labels, test_features, test_labels)
    device = features.device
    # labels by their place in ``classes``
    y, y_test = (
        torch.searchsorted(classes.to(device), t.long().to(device).contiguous())
        for t in (labels, test_labels)
    )
    with torch.no_grad():
        x, x_test = _standardise(features, test_features.to(device))
        single = len(set(grid)) == 1
        l2, held_out = (grid[0], None) if single else _choose(x, y, grid, share, seed)
        weights = _fit(x, y, l2, None, len(classes))
        return Probe(_score(weights, x_test, y_test), l2, held_out)


def _choose(
    x: Tensor, y: Tensor, grid: Sequence[float], share: float, seed: int
) -> tuple[float, float]:
    """The penalty and its accuracy on what was held out."""
    kept, held = _split(y, share, seed)
    if not len(held):
        raise BadData(
            "No class has two training examples.",
            "Nothing can be held out to choose the penalty by.",
            "Pass a grid of one penalty, or more examples.",
        )
    best, chosen, weights = -inf, 0.0, None
    for l2 in sorted(set(grid), reverse=True):
        # each starts where the stronger penalty ended
        weights = _fit(x[kept], y[kept], l2, weights, int(y.max()) + 1)
        score = _score(weights, x[held], y[held])
        if score > best:
            best, chosen = score, l2
    return chosen, best


def _split(y: Tensor, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Indices that are kept and held out; a class of one example is kept."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    held = torch.zeros(len(y), dtype=torch.bool)
    for c in torch.unique(y).tolist():
        rows = (y == c).nonzero().flatten().cpu()
        count = min(max(round(share * len(rows)), 1), len(rows) - 1)
        held[rows[torch.randperm(len(rows), generator=generator)[:count]]] = True
    return tuple(m.nonzero().flatten().to(y.device) for m in (~held, held))  # type: ignore[return-value]


def _fit(x: Tensor, y: Tensor, l2: float, start: Tensor | None, classes: int) -> Tensor:
    """Weights (d + 1, classes), the bias last, that minimise the penalised mean loss."""
    import torch

    empty = torch.zeros(x.shape[1] + 1, classes, dtype=x.dtype, device=x.device)
    weights = empty if start is None else start.clone()
    target = torch.nn.functional.one_hot(y, classes).to(x.dtype)
    optimiser = torch.optim.LBFGS(
        [weights],
        max_iter=STEPS,
        tolerance_grad=FLAT,
        tolerance_change=1e-12,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def loss() -> float:
        log_p = torch.log_softmax(_logits(weights, x), 1)
        slope = (log_p.exp() - target) / len(x)
        grad = torch.cat([x.T @ slope, slope.sum(0, keepdim=True)])
        grad[:-1] += l2 * weights[:-1]
        weights.grad = grad
        return float(l2 / 2 * (weights[:-1] ** 2).sum() - (target * log_p).sum() / len(x))

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    loss()
    left = inf if weights.grad is None else float(weights.grad.abs().max())
    if not left <= STEEP:
        raise BadData(
            f"With l2 = {l2:g} the fit has a gradient of {left:.2g} after {STEPS} steps.",
            "A classifier that has not converged says nothing about the features.",
            "Leave the smallest penalties out of the grid.",
        )
    return weights


def _logits(weights: Tensor, x: Tensor) -> Tensor:
    return x @ weights[:-1] + weights[-1]


def _score(weights: Tensor, x: Tensor, y: Tensor) -> float:
    return float((_logits(weights, x).argmax(1) == y).double().mean())


def _standardise(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Both by the training mean and standard deviation; features that never vary become 0."""
    import torch

    x = train.double()
    centre, spread = x.mean(0), x.std(0, correction=0)
    rounding = 8 * torch.finfo(torch.float32).eps * x.abs().amax(0)
    varies = spread > rounding
    if not varies.any():
        raise BadData(
            f"All {len(x)} training features are the same.",
            "Constant features separate no classes.",
            "Check that the model has not collapsed.",
        )
    scale = torch.where(varies, 1 / spread.clamp(min=1e-300), 0.0)
    return (x - centre) * scale, (test.double() - centre) * scale


def _classes(x: Tensor, y: Tensor, x_test: Tensor, y_test: Tensor) -> Tensor:
    """The training labels, each once and sorted, if they will do."""
    import torch

    known: Tensor = torch.unique(y.long())
    asked = torch.unique(y_test.long())
    missing = sorted({*asked.tolist()} - {*known.tolist()})
    if missing:
        raise BadData(
            f"No training example has label {', '.join(map(str, missing))}.",
            "A probe cannot find a class that it was not shown.",
            "Split within each class, or leave these classes out of the test features.",
        )
    if len(known) < 2:
        raise BadData(
            f"All training examples have label {int(known[0])}.",
            "There is nothing to tell apart.",
            "Pass examples of at least two classes.",
        )
    if x.shape[1] != x_test.shape[1]:
        raise BadData(
            f"Training features are {x.shape[1]} wide and test features {x_test.shape[1]}.",
            "One classifier reads both.",
            "Take both from the same layer of the same model.",
        )
    return known


def _refuse(features: Tensor, labels: Tensor, name: str) -> None:
    if features.dim() != 2 or 0 in features.shape or labels.shape != features.shape[:1]:
        raise BadData(
            f"{name.capitalize()} features of shape {tuple(features.shape)} and labels of shape"
            f" {tuple(labels.shape)}.",
            "There must be features, one row and one label for each example.",
            "Pool the features to (n, d) and pass the labels of the same examples.",
        )
    if labels.is_floating_point() or labels.is_complex():
        raise BadData(
            f"The {name} labels are {labels.dtype}.",
            "A class is a whole number.",
            "Number the classes and pass them as int64.",
        )
    if not features.isfinite().all():
        raise BadData(
            f"A {name} feature is NaN or infinite.",
            "One such value makes every weight NaN.",
            "Find the layer that gives it; half precision may overflow.",
        )


def _refuse_choice(grid: Sequence[float], share: float) -> None:
    if not grid or not all(isfinite(l2) and l2 > 0 for l2 in grid):
        raise BadParameter(
            f"The grid is {tuple(grid)}.",
            "Without a penalty the weights of classes that can be separated grow for ever.",
            "Pass penalties above 0, such as 0.01.",
        )
    if not 0 < share < 1:
        raise BadParameter(
            f"share is {share}.",
            "It is the part of the training features that chooses the penalty.",
            "Use a number between 0 and 1, such as 0.2.",
        )
