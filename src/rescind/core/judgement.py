"""Whether a model is near enough to retrained ones: margins set before, gaps, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rescind.core.request import Goal

Role = Literal["forgetting", "utility"]
Verdict = Literal["admissible", "not_admissible", "no_power", "display_only"]
Round = Literal["first", "fresh", "exact"]
Outcome = Literal[
    "admissible",
    "not_admissible",
    "no_power",
    "display_only",
    "refused",
    "residue_found",
    "exact",
]


@dataclass(frozen=True, slots=True)
class Margin:
    """How far from retrained models a metric may lie, fixed in the recipe before anything is run.

    ``width`` is in the units of the metric, above 0, and holds in both directions.
    """

    metric: str
    width: float
    role: Role


@dataclass(frozen=True, slots=True)
class Gap:
    """One metric of a candidate next to the same metric of the retrained models.

    ``value`` is the mean over the candidate's seeds and ``gap`` is ``value - retrained_mean``, with
    its 95 % interval; ``natural_spread`` is the standard deviation between retrained models. All of
    these and ``margin`` are in the units of the metric. ``power`` says that the metric separates
    the original model from the retrained ones. ``p_equivalent`` is the p-value of the equivalence
    test and ``p_corrected`` the same after Holm's correction; it is None, and ``equivalent`` False,
    where the metric does not count.
    """

    metric: str
    role: Role
    value: float
    retrained_mean: float
    gap: float
    interval: tuple[float, float]
    natural_spread: float
    margin: float
    p_equivalent: float
    p_corrected: float | None
    power: bool
    equivalent: bool

    @property
    def counts(self) -> bool:
        """Utility always counts; a forgetting metric only where it has power."""
        return self.role == "utility" or self.power


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict on one candidate, its gaps in an order of their own, and the reason.

    ``references`` are the retrained models and ``seeds`` those of the candidate.
    ``rejection_rate_of_retrained`` is the share of retrained models that the same rules, each time
    with one left out as the candidate, would not admit: a verdict "not_admissible" says little
    where it is high. It is None where no metric counts.
    """

    verdict: Verdict
    goal: Goal
    gaps: tuple[Gap, ...]
    references: int
    seeds: int
    rejection_rate_of_retrained: float | None
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One method that ``Auto`` tried, and how it ended.

    ``round`` is "first", or "fresh" where seeds never used before decide, or "exact" for the end.
    ``tuned`` is "defaults", or the digest of the file of the search whose parameters were used.
    ``outcome`` is the verdict, or "refused", or "exact", or "residue_found" where a planned audit
    saw one in a model that was admissible; ``because`` its reason. ``cpu_seconds``
    are those of the method and of the reading, the start of worker processes included, without the
    retrained models.
    """

    method: str
    parameters: Mapping[str, Any]
    tuned: str
    seeds: tuple[int, ...]
    round: Round
    outcome: Outcome
    because: str
    cpu_seconds: float
    judgement: Judgement | None = None
