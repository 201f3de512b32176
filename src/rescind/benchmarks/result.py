"""What a benchmark found: plain records that are stored as JSON, drawn and compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rescind.benchmarks.setting import Kind, Ranking
from rescind.core.judgement import Judgement, Margin
from rescind.core.request import Goal
from rescind.core.search import Search
from rescind.metrics.scores import Cost, Scores
from rescind.metrics.subgroups import Damage


@dataclass(frozen=True, slots=True)
class Shown:
    """A measure that decides nothing: mean over seeds, its spread, the same of retrained models.

    Both spreads are standard deviations; None for a single seed. ``interval`` is the 95 % interval
    of ``gap`` (Welch's, ``equivalence.gap_interval``), None where there is one retrained figure.
    """

    value: float
    spread: float | None
    retrained: float
    retrained_spread: float | None
    interval: tuple[float, float] | None = None

    @property
    def gap(self) -> float:
        """Value minus that of retrained models, in the units of the measure."""
        return self.value - self.retrained


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of a profile: CKA on forget examples to retrained models, mean over seeds.

    ``floor`` is that of random initialisations, ``ceiling`` of retrained models with one another,
    ``normalised`` (value - floor) / (ceiling - floor), None where they are closer than two standard
    deviations. ``interval`` is the 95 % interval of ``gap``.
    """

    name: str
    value: float
    floor: float
    ceiling: float
    normalised: float | None
    interval: tuple[float, float] | None = None

    @property
    def gap(self) -> float:
        """Value minus that of retrained models with one another."""
        return self.value - self.ceiling


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean over seeds and its 95 % interval (Student's t); None for a single seed."""

    value: float
    interval: tuple[float, float] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One row of the table: a method or a control.

    ``judgement`` is None where the method refused the model (``refused`` says why) or the row is
    never judged. ``ranks`` is by weighting and None where the row is listed and not ranked,
    ``savings`` how many times less than retraining it took. ``scores`` are those of the means over
    seeds, ``seed_scores`` the means of each seed's own, by "AGL", "AGR" and "H-LR" where defined.
    """

    name: str
    control: bool
    judgement: Judgement | None = None
    refused: str = ""
    unchanged: bool = False
    parameters: Mapping[str, object] = field(default_factory=dict)
    search: Search | None = None
    shown: Mapping[str, Shown] = field(default_factory=dict)
    layers: tuple[Layer, ...] = ()
    scores: Scores | None = None
    seed_scores: Mapping[str, Mean] = field(default_factory=dict)
    damage: Mapping[str, Damage] = field(default_factory=dict)
    cost: Cost | None = None
    savings: Mapping[str, float] = field(default_factory=dict)
    ranks: Mapping[str, int | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """What CKA gives features that have nothing to do with one another, on as many examples."""

    biased: float
    unbiased: float
    examples: int
    width: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One benchmark, model and forget set; ``classes`` are those that go as a whole.

    ``metrics_share`` is what the core metrics of one model cost as a share of one retraining, in
    processor seconds measured in the same run. ``cpu_seconds`` is what its models and readings
    took, ``search_cpu_seconds`` what the search took that all parts of the model share; a model
    that was there already counts what it took when it was made.
    """

    benchmark: str
    model: str
    forget_set: str
    kind: Kind
    goal: Goal
    decides: bool
    forget: int
    retain: int
    test: int
    references: int
    seeds: int
    margins: tuple[Margin, ...]
    lines: tuple[Line, ...]
    retraining: Cost
    metrics_share: float
    floor: Floor
    cpu_seconds: float
    notes: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    search_cpu_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One method after a number of requests in a row, beside models retrained on what was left."""

    model: str
    method: str
    requests: int
    forgotten: int
    metric: str
    value: float
    retrained: float
    interval: tuple[float, float]
    margin: float
    retraining_due: bool
    goal: Goal = "influence"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A whole benchmark, or as much of it as has been computed."""

    benchmark: str
    what: str
    quick: bool
    command: str
    system: str
    threads: int
    parts: tuple[Part, ...] = ()
    sequence: tuple[Point, ...] = ()
    rankings: tuple[Ranking, ...] = ()
    not_applicable: tuple[str, ...] = ()
