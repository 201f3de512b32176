"""What was measured, attacked, proved and destroyed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from rescind.core.control import Control
from rescind.core.guarantee import Sense
from rescind.core.judgement import Attempt, Judgement
from rescind.core.request import Goal

Unmeasured = Literal["no", "nothing_served", "no_test_record"]


@dataclass(frozen=True, slots=True)
class Measurement:
    """One number about one version, with its 95 % interval over ``n`` examples.

    ``passed`` is None where the number decides nothing.
    """

    name: str
    version: str
    value: float
    interval: tuple[float, float]
    n: int
    compared_with: Literal["retrained", "original", "none"] = "none"
    passed: bool | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All measurements of a version, scored on the test records that are left.

    ``unmeasured`` says why there are none, and "no" where there are some. ``judgement`` compares
    with retrained models; without it ``unjudged`` says which question is open. ``attempts`` are all
    that ``Auto`` tried. ``cpu_seconds`` are processor seconds by what they were spent on.
    ``controls`` were judged by the same rule as the version.
    """

    version: str
    measurements: tuple[Measurement, ...]
    unmeasured: Unmeasured = "no"
    goal: Goal = "influence"
    judgement: Judgement | None = None
    unjudged: str = ""
    attempts: tuple[Attempt, ...] = ()
    cpu_seconds: Mapping[str, Any] = field(default_factory=dict)
    controls: tuple[Control, ...] = ()


@dataclass(frozen=True, slots=True)
class Proof:
    """A replay, or why there is none.

    ``weights`` is the digest of the served selection that the replay arrived at by itself and
    ``compared`` the number of stored snapshots whose bytes it met.
    """

    kind: Literal["replay"]
    outcome: Literal["identical", "not_run", "not_possible"]
    reason: str = ""
    sense: Sense | None = None
    weights: str = ""
    compared: int = 0
    environment: str = ""


@dataclass(frozen=True, slots=True)
class ErasureReceipt:
    """What was destroyed or rewritten, by artifact kind, and what is left (which must be nothing).

    ``encrypted`` is False when encryption at rest is turned off: then only the bytes were unlinked.
    ``recipients`` are exports and backups outside the workspace that still hold the records.
    """

    destroyed: Mapping[str, int] = field(default_factory=dict)
    rewritten: Mapping[str, int] = field(default_factory=dict)
    left: tuple[str, ...] = ()
    encrypted: bool = True
    recipients: tuple[str, ...] = ()
