"""Directed steps, and the rule by which one is chosen on clients that are not reported.

The rule: nearest to the client that was retrained. A model that never had what is to go says how
much of it there is to forget and what the rest may cost; an edit that loses more of it, or less, or
more of what stays, is farther away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from statistics import fmean
from typing import Any

RETRAINED = "retrained"
RULE = "least mean absolute difference from the retrained client, over all that is looked at"
Candidates = Mapping[str, Sequence["Step"]]  # by the rows that they are told in


@dataclass(frozen=True)
class Step:
    """A mask, the way its direction was learned (None: the provider's gradient), and alpha."""

    mask: str
    way: str | None
    alpha: float

    def __str__(self) -> str:
        pull = "gradient" if self.way is None else f"learned, {self.way}"
        return f"{self.mask} mask, {pull}, {self.alpha}"


def distance(simulated: Sequence[Mapping[str, Any]], name: str, keys: Sequence[str]) -> float:
    """Of an edit's figures from those of the same client retrained, over clients and keys."""
    both = [(c["edits"][name], c["edits"][RETRAINED]) for c in simulated]
    return round(fmean(abs(one[key] - other[key]) for one, other in both for key in keys), 4)


def chosen_of(
    simulated: Sequence[Mapping[str, Any]], candidates: Candidates, keys: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """The nearest step of each row, the first of equal ones, with all distances."""
    found = {}
    for row, steps in candidates.items():
        away = {str(step): distance(simulated, str(step), keys) for step in steps}
        found[row] = {"step": min(away.items(), key=itemgetter(1))[0], "distances": away}
    return found


def steps_of(chosen: Mapping[str, Mapping[str, Any]], candidates: Candidates) -> dict[str, Step]:
    """The chosen ones themselves."""
    return {
        row: next(step for step in candidates[row] if str(step) == told["step"])
        for row, told in chosen.items()
    }
