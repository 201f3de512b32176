"""A model of one linear layer as a strongly convex problem in double precision, and its minimum."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rescind.core.errors import Diverged, UnsupportedModel
from rescind.core.protocols import Editable

if TYPE_CHECKING:
    from torch import Tensor, nn

SAME = 1e-3  # of a loss in single precision and its formula in double; another loss is further off
FORCING = 1e-3  # of the gradient, which conjugate gradients leave over in each step
INNER = 1_000
OWN = {
    "weight",
    "bias",
}  # a weight or spectral norm keeps others, and makes the weight anew from them
HALVINGS = 40


@dataclass(frozen=True, slots=True)
class LinearProblem:
    """F(w) = 1/n sum_i loss(x_i w^T; y_i) + l2/2 |w|^2, all in float64.

    ``x`` (n, columns), its last column ones where the layer has a bias, so that l2 weighs the bias
    too; ``w`` (outputs, columns). The loss is the cross entropy where ``y`` (n,) holds classes
    (int64), else the squared error. Both are convex in w, so F is l2-strongly convex.
    """

    x: Tensor
    y: Tensor
    l2: float

    @property
    def classes(self) -> bool:
        """Whether the loss is the cross entropy."""
        return not self.y.is_floating_point()

    def losses(self, w: Tensor) -> Tensor:
        """Each row's loss without the l2 term, shape (n,)."""
        from torch.nn.functional import cross_entropy

        if self.classes:
            return cross_entropy(self.x @ w.T, self.y, reduction="none")
        error: Tensor = (self.x @ w.T)[:, 0] - self.y
        return error**2

    def gradient(self, w: Tensor) -> Tensor:
        """The gradient of F, as w's shape.

        Raises:
            Diverged: it is no finite number.
        """
        import torch

        error = self.x @ w.T
        if self.classes:
            error = error.softmax(dim=1)
            error[torch.arange(len(self.y)), self.y] -= 1.0
        else:
            error = 2.0 * (error - self.y[:, None])
        found: Tensor = error.T @ self.x / len(self.x) + self.l2 * w
        if not math.isfinite(float(found.norm())):
            raise Diverged(
                "The gradient on the retain set is no finite number.",
                "No bound follows from it; the model that was served before serves on.",
                "Look for inputs that are not finite, or retrain.",
            )
        return found

    def bound(self, w: Tensor) -> float:
        """|grad F(w)| / l2, from which no minimum of an l2-strongly convex F is further away."""
        return float(self.gradient(w).norm()) / self.l2

    def hessian(self, w: Tensor) -> Callable[[Tensor], Tensor]:
        """The map v -> H v, H of F at w, v as w's shape; exact, and H is never held."""
        shares = (self.x @ w.T).softmax(dim=1)

        def times(v: Tensor) -> Tensor:
            moved = self.x @ v.T
            if self.classes:
                moved = shares * (moved - (shares * moved).sum(dim=1, keepdim=True))
            else:
                moved = 2.0 * moved
            found: Tensor = moved.T @ self.x / len(self.x) + self.l2 * v
            return found

        return times


def minimise(problem: LinearProblem, w: Tensor, enough: float, steps: int) -> Tensor:
    """At least one and at most ``steps`` Newton steps, until the bound is at most ``enough``.

    A step is halved until the gradient shrinks, which near enough to a whole Newton step always
    does. What is returned may still be further off than ``enough``: measure it.

    Raises:
        Diverged: a gradient is no finite number.
    """
    gradient = problem.gradient(w)
    for _ in range(steps):
        step = conjugate_gradients(problem.hessian(w), -gradient)
        w, gradient = _shortened(problem, w, gradient, step)
        if float(gradient.norm()) <= enough * problem.l2:
            break
    return w


def _shortened(
    problem: LinearProblem, w: Tensor, gradient: Tensor, step: Tensor
) -> tuple[Tensor, Tensor]:
    size, length = 1.0, float(gradient.norm())
    for _ in range(HALVINGS):
        found = problem.gradient(w + size * step)
        if float(found.norm()) <= (1.0 - 1e-4 * size) * length:
            return w + size * step, found
        size /= 2
    return w, gradient


def conjugate_gradients(times: Callable[[Tensor], Tensor], wanted: Tensor) -> Tensor:
    """The v with ``times(v)`` = ``wanted``, up to ``FORCING`` of its norm or ``INNER`` products
    (Hestenes and Stiefel, 1952).
    """
    import torch

    found, left = torch.zeros_like(wanted), wanted.clone()
    along, size = left.clone(), float((left * left).sum())
    enough = FORCING**2 * size
    for _ in range(INNER):
        if size <= enough:
            break
        moved = times(along)
        stride = size / float((along * moved).sum())
        found, left = found + stride * along, left - stride * moved
        size, before = float((left * left).sum()), size
        along = left + size / before * along
    return found


def problem_of(
    model: Editable, batch: Mapping[str, Tensor], l2: float
) -> tuple[LinearProblem, Tensor]:
    """The problem of the model's one layer on these rows, and the weights (outputs, columns) there.

    Raises:
        UnsupportedModel: the module is more than one linear layer, or the loss is another one.
    """
    import torch

    layer = linear_layer(model)
    seen: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with hook, torch.no_grad():
        said = model.task.loss(model.outputs(batch), dict(batch))
    x, y = seen[0].double(), batch["labels"]
    if layer.bias is not None:
        x = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], dim=1)
    y = y.double() if model.task.target == "numbers" else y
    problem, w = LinearProblem(x, y, l2), weights(layer)
    known = problem.losses(w)
    if bool(((known - said).abs() > SAME * (1.0 + known.abs())).any()):
        raise UnsupportedModel(
            "The task's loss is not the cross entropy, or the squared error, of one linear layer.",
            "Not yet: only for these two is the bound written down.",
            "Use another method: `rescind list methods` shows them.",
        )
    return problem, w


def linear_layer(model: Editable) -> nn.Linear:
    """The one layer of a module that flattens its input and multiplies it by a matrix.

    Raises:
        UnsupportedModel: there is anything else in it.
    """
    from torch import nn

    parts = [m for m in model.module.modules() if type(m) is not nn.Sequential]
    layers = [m for m in parts if isinstance(m, nn.Linear)]
    plain = all(type(m) in (nn.Flatten, nn.Identity, nn.Linear) for m in parts)
    plain &= {name.split(".")[-1] for name, _ in model.module.named_parameters()} <= OWN
    if not plain or len(layers) != 1 or parts[-1] is not layers[0]:
        raise UnsupportedModel(
            "The module is not one linear layer in an nn.Sequential, with at most nn.Flatten and"
            " nn.Identity before it.",
            "Never for others: their loss is not convex in the weights, and a small gradient does"
            " not bound how far they are from those of a retraining.",
            "Train such a layer (rescind.training.zoo:mlp with hidden = []), or use another"
            " method: `rescind list methods` shows them.",
        )
    return layers[0]


def weights(layer: nn.Linear) -> Tensor:
    """A copy (outputs, columns) in float64, the bias as the last column."""
    import torch

    parts = [layer.weight] if layer.bias is None else [layer.weight, layer.bias[:, None]]
    return torch.cat(parts, dim=1).detach().double()


def set_weights(layer: nn.Linear, w: Tensor) -> None:
    """Rounded to the layer's own precision."""
    import torch

    wide = layer.in_features
    with torch.no_grad():
        layer.weight.copy_(w[:, :wide])
        if layer.bias is not None:
            layer.bias.copy_(w[:, wide])
