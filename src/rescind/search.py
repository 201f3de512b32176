"""A method's parameters from a search that is written down, never by hand.

The trials are laid out before the first is run, so that no result can lead to another trial: the
defaults, then points of a scrambled Sobol sequence (A. B. Owen, J. Complexity 14:466-489 (1998))
over the ranges that the method declares as ``searched``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from math import isfinite
from typing import Any

from rescind.core.canonical import build, digest
from rescind.core.errors import (
    BadParameter,
    Busy,
    DamagedArtifact,
    Diverged,
    MissingExtra,
    MissingSource,
    RescindError,
    StorageFailed,
)
from rescind.core.protocols import Progress, Unlearner
from rescind.core.search import BUDGET, Range, Search, Trial
from rescind.methods_of import METHODS, make

PARAMETERS = 4  # of a method that are searched: eight trials say little about more
NEVER = frozenset({"seed", "batch_size"})  # a searched seed is a chosen result
# what no setting can be blamed for: it ends the search, and the search can be started again
OUTSIDE = (Busy, DamagedArtifact, MissingExtra, MissingSource, StorageFailed)


def ranges(method: type) -> Mapping[str, Range]:
    """What may be searched of a method: its ``searched``, empty where it declares none.

    Raises:
        BadParameter: more than four, one that is no parameter or is never searched, a default
            outside its range, or a scale that does not fit the type.
    """
    declared: Mapping[str, Range] = getattr(method, "searched", {})
    problems = []
    if len(declared) > PARAMETERS:
        problems.append(f"{len(declared)} are declared, and at most {PARAMETERS} are searched")
    if declared:
        made: Any = build(method, {})
        for name, values in declared.items():
            problems += [f"{name} {problem}" for problem in _problems(made, name, values)]
    if problems:
        raise BadParameter(
            f"The parameters of {method.__qualname__} cannot be searched: {'; '.join(problems)}.",
            "A search starts from the defaults and moves parameters within their ranges.",
            "Correct its `searched`.",
        )
    return declared


def _problems(made: Any, name: str, values: Range) -> list[str]:
    if name in NEVER or name not in {f.name for f in fields(made)}:
        return ["is never searched" if name in NEVER else "is no parameter"]
    default, whole = getattr(made, name), values.scale == "whole"
    if type(default) is not (int if whole else float):
        return [f"is {default!r}, which is no {'whole' if whole else 'decimal'} number"]
    if not values.low <= default <= values.high:
        return [f"is {default} by default, outside {values.low} to {values.high}"]
    return []


def settings(method: type, budget: int = BUDGET, seed: int = 0) -> tuple[dict[str, Any], ...]:
    """The parameters of each trial: the defaults first, then what the seed lays out.

    A smaller budget gets the first of them. A setting that comes twice is left out, so a method
    with few whole numbers gets fewer; one that declares no range gets one, which is empty.

    Raises:
        BadParameter: a budget outside 1 to 8, a seed below 0, or as for ``ranges``.
        MissingExtra: scipy is not installed.
    """
    if not 1 <= budget <= BUDGET or seed < 0:
        raise BadParameter(
            f"The budget is {budget} trials, the seed {seed}.",
            f"All methods get the same: at least 1 trial and at most {BUDGET}. A seed is not"
            " negative.",
            f"Use a budget from 1 to {BUDGET}.",
        )
    declared = ranges(method)
    if not declared:
        return ({},)
    made: Any = build(method, {})
    found = [{name: getattr(made, name) for name in declared}]
    for point in _points(len(declared), f"{seed} {method.__qualname__}")[: budget - 1]:
        setting = {n: r.at(u) for (n, r), u in zip(declared.items(), point, strict=True)}
        if setting not in found:
            found.append(setting)
    return tuple(found)


def _points(dimensions: int, name: str) -> list[list[float]]:
    """Eight points in [0, 1)^dimensions, with one in each eighth of every dimension."""
    try:
        from numpy.random import default_rng
        from scipy.stats import qmc
    except ImportError as error:
        raise MissingExtra(
            f"{error.name} is not installed.",
            "The sequence of trials comes from scipy.",
            'Type: pip install "rescind[train]"',
        ) from error
    generator = default_rng(int(digest(name), 16))
    sequence = qmc.Sobol(dimensions, scramble=True, seed=generator)
    points: list[list[float]] = sequence.random_base2((BUDGET - 1).bit_length()).tolist()
    return points


def search(
    name: str,
    distance: Callable[[Unlearner], float],
    *,
    budget: int = BUDGET,
    seed: int = 0,
    seeds: tuple[int, ...],
    progress: Progress | None = None,
) -> Search:
    """Try every setting of the method and choose the one that ends nearest to retrained models.

    ``distance`` gets the method and says how far it ends, in margins (``rescind.metrics.distance``)
    and on data that are not reported, from models trained with ``seeds``. A trial that raises, or
    whose distance is not a finite number of at least 0, has failed and is written down with the
    reason. Of equals the first is chosen.

    Raises:
        BadParameter: a budget outside 1 to 8, no seeds, or as for ``ranges``.
        RescindError: all trials failed: the error of the last that raised one, so of a model that
            the method cannot serve ``UnsupportedModel``. At once, what no setting causes: a full
            disk, a missing package or source, a damaged artifact, another process at work.
        Diverged: all trials failed and none raised.
    """
    if not seeds:
        raise BadParameter(
            "The search names no seeds.",
            "Those it used may not be reported, so they are written down.",
            "Give the seeds of the models that are searched on.",
        )
    laid_out = settings(METHODS.load(name), budget, seed)
    trials: list[Trial] = []
    last: RescindError | None = None
    for index, setting in enumerate(laid_out):
        trial, error = _try(name, setting, distance)
        trials.append(trial)
        last = error or last
        if progress is not None:
            progress(f"search {name}", index + 1, len(laid_out))
    return Search(name, budget, seed, seeds, tuple(trials), _nearest(trials, last).parameters)


def _try(
    name: str, setting: dict[str, Any], distance: Callable[[Unlearner], float]
) -> tuple[Trial, RescindError | None]:
    try:
        found = float(distance(make(name, setting)))
    except OUTSIDE:
        raise
    except RescindError as error:
        return Trial(setting, None, f"{type(error).__name__}: {error}"), error
    if not (isfinite(found) and found >= 0.0):
        return Trial(setting, None, f"The distance is {found}."), None
    return Trial(setting, found), None


def _nearest(trials: Sequence[Trial], last: RescindError | None) -> Trial:
    """The first of the nearest trials, or the error that says why there is none."""
    measured = [(t.distance, i) for i, t in enumerate(trials) if t.distance is not None]
    if measured:
        return trials[min(measured)[1]]
    if last is not None:
        raise last
    raise Diverged(
        f"None of {len(trials)} trials has a distance. {trials[-1].failure}",
        "There is nothing to choose by.",
        "Check what is measured: a metric gives no finite number.",
    )


def apart(searched: Sequence[int], reported: Sequence[int]) -> None:
    """Refuse seeds that were searched on and are to be reported.

    Raises:
        BadParameter: there are such seeds.
    """
    both = sorted({*searched} & {*reported})
    if both:
        raise BadParameter(
            f"The seeds {', '.join(map(str, both))} were searched on and are to be reported.",
            "A figure on the models that chose the parameters flatters the method.",
            "Report other seeds.",
        )
