"""How large epsilon must be at least, from releases of two worlds (Jagielski et al., 2020, arXiv
2006.07709): a method that claims a smaller one is refuted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rescind.audits.epsilon import epsilon_from_rates
from rescind.core.errors import BadParameter

if TYPE_CHECKING:
    from torch import Tensor

LEVEL = 0.05  # how often an honest method may be refuted by chance


def epsilon_at_least(one: Tensor, other: Tensor, delta: float) -> float:
    """A lower bound on epsilon, below the true one with probability 0.95; 0 where nothing shows.

    The first half of the releases of each world fixes a direction, the difference of the means, and
    a threshold on it; the second half says how often each world is beyond it.

    Args:
        one: weights of independent releases (draws, parameters) where the model saw a forget set.
        other: as many where it saw another, the retain set being the same.
        delta: of the claim that (one, other) are (epsilon, delta)-indistinguishable.

    Raises:
        BadParameter: fewer than four draws, or the worlds are not of one shape.
    """
    if one.shape != other.shape or len(one) < 4:
        raise BadParameter(
            f"The releases are of the shapes {tuple(one.shape)} and {tuple(other.shape)}.",
            "They must be of one shape, with at least four draws.",
        )
    half = len(one) // 2
    direction = one[:half].double().mean(dim=0) - other[:half].double().mean(dim=0)
    seen, unseen = ((world.double() @ direction).tolist() for world in (one, other))
    pilot = sorted({*seen[:half], *unseen[:half]})
    threshold = max(pilot, key=lambda t: _bound(seen[:half], unseen[:half], t, delta))
    return _bound(seen[half:], unseen[half:], threshold, delta)


def _bound(seen: list[float], unseen: list[float], threshold: float, delta: float) -> float:
    """From how often x >= threshold in each world."""
    true, false = (sum(x >= threshold for x in world) for world in (seen, unseen))
    return epsilon_from_rates(true, len(seen), false, len(unseen), delta, 1 - LEVEL)
