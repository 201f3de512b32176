"""Models of which it is known what to say, and what the rule of a judgement says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["original", "random_weights", "last_layer", "retrained"]
Ruling = Literal["admissible", "not_admissible", "no_power", "display_only", "refused"]

CONTROLS: dict[Kind, str] = {
    "original": "original (no-op)",
    "random_weights": "random weights",
    "last_layer": "last layer only",
    "retrained": "retrained against retrained",
}


@dataclass(frozen=True, slots=True)
class ControlGap:
    """One metric of a control: its gap to the retrained models, as in ``Gap``, and whether it is
    equivalent; never where the metric does not count.
    """

    metric: str
    gap: float
    equivalent: bool


@dataclass(frozen=True, slots=True)
class Control:
    """A model of which it is known what to say, judged by the same rule as the candidate.

    "original" is the model before the request, so a no-op; "random_weights" the recipe's model as
    it is before training, under a seed of its own; "last_layer" the original whose last layer alone
    was trained anew on the retain set. "retrained" are the retrained models, each as a candidate
    beside the others: ``gap`` is then the mean size of their gaps, a metric is equivalent where all
    of them are, and the verdict is "admissible" where none is rejected. "refused" means that there
    is no such model or no number of it, and ``because`` says why.
    """

    kind: Kind
    verdict: Ruling
    gaps: tuple[ControlGap, ...] = ()
    because: str = ""


def warning(controls: Sequence[Control]) -> str:
    """A sentence where a control passes that must not; nothing where none does."""
    passed = [c for c in controls if c.kind != "retrained" and c.verdict == "admissible"]
    if not passed:
        return ""
    named = " and ".join(CONTROLS[c.kind] for c in passed)
    return (
        f"A control passes ({named}): the margins are too wide, nothing was learnt, or the metrics"
        " see too little. A verdict of admissible says little here."
    )
