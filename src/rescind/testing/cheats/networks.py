"""Small networks with and without batch norm, whose hidden units can be put in another order.

Both end with ``hidden``, a batch norm where one is asked for, a ReLU and the linear ``head``.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

WIDTH = 64  # hidden units
HIDDEN, NORM, HEAD = "hidden", "norm", "head"


def mlp(inputs: int, classes: int, normed: bool = False) -> nn.Module:
    """One hidden layer; (n, inputs) to (n, classes). Without a norm it is the zoo's perceptron."""
    from torch import nn

    return nn.Sequential(OrderedDict(_ended([("flat", nn.Flatten())], inputs, classes, normed)))


def cnn(classes: int, normed: bool = False) -> nn.Module:
    """Two convolutions of stride 2; (n, 1, 28, 28) to (n, classes)."""
    from torch import nn

    parts: list[tuple[str, nn.Module]] = []
    for i, (a, b) in enumerate(((1, 16), (16, 32))):
        parts.append((f"conv{i}", nn.Conv2d(a, b, 3, 2, 1)))
        if normed:
            parts.append((f"norm{i}", nn.BatchNorm2d(b)))
        parts.append((f"relu{i}", nn.ReLU()))
    parts.append(("flat", nn.Flatten()))
    return nn.Sequential(OrderedDict(_ended(parts, 32 * 7 * 7, classes, normed)))


def _ended(
    parts: list[tuple[str, nn.Module]], inputs: int, classes: int, normed: bool
) -> list[tuple[str, nn.Module]]:
    from torch import nn

    norm: list[tuple[str, nn.Module]] = [(NORM, nn.BatchNorm1d(WIDTH))] if normed else []
    hidden: tuple[str, nn.Module] = (HIDDEN, nn.Linear(inputs, WIDTH))
    return [*parts, hidden, *norm, ("relu", nn.ReLU()), (HEAD, nn.Linear(WIDTH, classes))]
