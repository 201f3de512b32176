"""Normal distributions of each record's margin in two worlds, from few or many shadow models.

The first step of LiRA (N. Carlini et al., S&P 2022, arXiv 2112.03570). With few models a record's
own variance and mean are mostly noise: so variances can be pooled over records, and means shrunk.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from rescind.audits.shadows import Shadows
from rescind.core.errors import BadData, BadParameter, InsufficientEvidence

if TYPE_CHECKING:
    from torch import Tensor

    # how many models, their mean and the sum of squares about it, for each record
    Moments = tuple[Tensor, Tensor, Tensor]

Variance = Literal["pooled", "record"]
FEWEST = 4  # records; shrinking fewer towards their mean may make them worse (James and Stein)


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """A normal distribution of each record's margin, (..., n), from ``models`` shadow models."""

    mean: Tensor
    variance: Tensor
    models: Tensor

    def log_density(self, x: Tensor) -> Tensor:
        """Up to a constant."""
        return -(((x - self.mean) ** 2) / self.variance + self.variance.log()) / 2


@dataclass(frozen=True, slots=True, eq=False)
class Worlds:
    """Each record with and without its influence."""

    inside: World
    outside: World

    def log_ratio(self, x: Tensor) -> Tensor:
        """Of margins (..., n), in nats."""
        return self.inside.log_density(x) - self.outside.log_density(x)


def worlds(shadows: Shadows, variance: Variance = "pooled", shrink: bool = True) -> Worlds:
    """Both worlds of each record (n,), from all models.

    Args:
        shadows: margins and worlds (models, n).
        variance: ``"pooled"`` over records or of each ``"record"``, in both for each world.
        shrink: move each record's gap between the worlds, and its level, towards the mean of all.

    Raises:
        BadData: margins that do not vary.
        BadParameter: another variance.
        InsufficientEvidence: a record has no model (with ``"record"``: one model) in a world.
    """
    inside = _moments(shadows.margins, shadows.inside)
    outside = _moments(shadows.margins, shadows.outside)
    return _worlds(inside, outside, variance, shrink)


def held_out_worlds(
    shadows: Shadows,
    variance: Variance = "pooled",
    shrink: bool = True,
    models: list[int] | None = None,
) -> Worlds:
    """Both worlds (k, n) without each of the k ``models`` in turn; by default, all.

    Raises:
        BadData, BadParameter, InsufficientEvidence: as ``worlds``, with a model held out.
    """
    rows = list(range(len(shadows.margins))) if models is None else models
    inside, outside = (
        _without(_moments(shadows.margins, mask), shadows.margins[rows], mask[rows])
        for mask in (shadows.inside, shadows.outside)
    )
    return _worlds(inside, outside, variance, shrink)


def _worlds(inside: Moments, outside: Moments, variance: Variance, shrink: bool) -> Worlds:
    first, second = _world(inside, variance, "inside"), _world(outside, variance, "outside")
    if not shrink:
        return Worlds(first, second)
    noise = first.variance / first.models + second.variance / second.models
    gap = _shrunk(first.mean - second.mean, noise)
    # with the gap known, models of both worlds tell the record's level
    models = first.models + second.models
    level = (first.models * (first.mean - gap) + second.models * second.mean) / models
    noise = (first.models * first.variance + second.models * second.variance) / models**2
    mean = _shrunk(level, noise)
    return Worlds(replace(first, mean=mean + gap), replace(second, mean=mean))


def outside_world(shadows: Shadows, variance: Variance = "pooled", shrink: bool = True) -> World:
    """The outside world (n,) alone, where no model need be inside.

    Raises:
        BadData, BadParameter, InsufficientEvidence: as ``worlds``, for this world.
    """
    world = _world(_moments(shadows.margins, shadows.outside), variance, "outside")
    if not shrink:
        return world
    return replace(world, mean=_shrunk(world.mean, world.variance / world.models))


def _shrunk(values: Tensor, noise: Tensor) -> Tensor:
    """Posterior means under a normal prior over records whose moments are those of ``values``.

    B. Efron and C. Morris, J. Am. Stat. Assoc. 68:117-130 (1973); ``noise`` is the variance of each
    value about what it estimates.
    """
    if values.shape[-1] < FEWEST:
        return values
    middle = values.mean(-1, keepdim=True)
    spread = (values.var(-1, keepdim=True) - noise.mean(-1, keepdim=True)).clamp(min=0.0)
    return middle + spread / (spread + noise) * (values - middle)


def _moments(margins: Tensor, mask: Tensor) -> Moments:
    models, zero = mask.sum(0), margins.new_zeros(())
    mean = margins.where(mask, zero).sum(0) / models
    return models, mean, ((margins - mean) ** 2).where(mask, zero).sum(0)


def _without(moments: Moments, margins: Tensor, mask: Tensor) -> Moments:
    """The moments (k, n) that are left without each of the models (k, n) in turn."""
    models, mean, squares = moments
    left = models - mask.long()
    away = (margins - mean).where(mask, margins.new_zeros(()))
    rest = squares - away**2 * models / left
    # what is left of equal margins by rounding is no spread
    return left, mean - away / left, rest.where(rest > 1e-12 * squares, margins.new_zeros(()))


def _world(moments: Moments, variance: Variance, name: str) -> World:
    models, mean, squares = moments
    _refuse_few(models, variance, name)
    freedom = models - 1
    if variance == "pooled":
        each = (squares.sum(-1, keepdim=True) / freedom.sum(-1, keepdim=True)).expand_as(mean)
    else:
        each = squares / freedom
    if not bool((each > 0).all()):
        raise BadData(
            f"{_records(each <= 0)} records have one margin in all {name} shadow models.",
            "Models of different seeds differ; without a spread there is no likelihood.",
            "Give each shadow model its own seed, and margins that do not saturate.",
        )
    return World(mean, each, models)


def _refuse_few(models: Tensor, variance: str, name: str) -> None:
    if variance not in ("pooled", "record"):
        raise BadParameter(f"There is no variance {variance!r}.", do='Use "pooled" or "record".')
    least = 1 if variance == "pooled" else 2
    short, most = _records(models < least), int(models.amax(-1).min())
    if short or most < 2:
        raise InsufficientEvidence(
            f"{short} records have fewer than {least} {name} shadow models, and the best known "
            f"has {most}, where one is held out without it.",
            f"A {variance} variance needs {least} for each record, and two for one.",
            "Train more shadow models, each record in half of them.",
        )


def _records(faulty: Tensor) -> int:
    return int(faulty.reshape(-1, faulty.shape[-1]).any(0).sum())
