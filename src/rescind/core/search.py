"""A search for a method's parameters, written down: what was allowed, what was tried, what won."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rescind.core.errors import BadParameter

BUDGET = 8  # trials a method: more would favour whoever has more parameters


@dataclass(frozen=True, slots=True)
class Range:
    """The values that a search may give one parameter, both ends among them."""

    low: float
    high: float
    scale: Literal["linear", "log", "whole"] = "linear"

    def __post_init__(self) -> None:
        problems = []
        if not self.low < self.high:
            problems.append(f"it goes from {self.low} to {self.high}")
        if self.scale == "log" and not self.low > 0:
            problems.append("a logarithm needs values above 0")
        if problems:
            raise BadParameter(f"The range cannot be searched: {'; '.join(problems)}.")


@dataclass(frozen=True, slots=True)
class Trial:
    """One setting and how far from retrained models it ended, in margins; None if it failed."""

    parameters: Mapping[str, Any]
    distance: float | None
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Search:
    """All trials of one method in their order. ``chosen`` are the parameters of the nearest one.

    ``seeds`` are those of the models that were searched on: none of them may be reported.
    """

    method: str
    budget: int
    seed: int
    seeds: tuple[int, ...]
    trials: tuple[Trial, ...]
    chosen: Mapping[str, Any]
