"""A search for a method's parameters, written down: what was allowed, what was tried, what won."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, floor, isfinite, log
from typing import Any, Literal

from rescind.core.errors import BadParameter

BUDGET = 8  # trials a method: more would favour whoever has more parameters
DIGITS = 3  # of a searched number that is not whole: it is read and typed again by people


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
        if not all(map(isfinite, (self.low, self.high))):
            problems.append("both ends must be finite")
        elif self.scale == "whole" and not self.low % 1 == self.high % 1 == 0:
            problems.append("whole numbers need whole ends")
        if problems:
            raise BadParameter(f"The range cannot be searched: {'; '.join(problems)}.")

    def at(self, share: float) -> float:
        """The value at a share in [0, 1] of the way from ``low`` to ``high``, on the scale.

        Equal shares go to each whole number; others have three significant digits, or are an end.
        """
        if self.scale == "whole":
            return int(min(self.low + floor(share * (self.high - self.low + 1)), self.high))
        if self.scale == "log":
            value = exp(log(self.low) + share * (log(self.high) - log(self.low)))
        else:
            value = self.low + share * (self.high - self.low)
        return min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high)


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
