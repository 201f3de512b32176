"""What a reader is told about a request: counts and times, never content."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rescind.core.audit import AuditPlan, AuditVerdict
from rescind.core.control import Control
from rescind.core.evidence import ErasureReceipt, Measurement, Proof, Unmeasured
from rescind.core.guarantee import Guarantee
from rescind.core.judgement import Attempt, Judgement
from rescind.core.plan import Plan
from rescind.core.request import Request


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of the timeline, from the ledger."""

    at: str
    kind: str
    what: str


@dataclass(frozen=True, slots=True)
class StageMark:
    """One stage of one order in the picture: kept, served, cut by this request, or cut earlier."""

    shard: int
    order: int
    slice: int
    position: int
    state: str  # "served" | "kept" | "cut" | "gone" | "hit" (the slice that held the record)


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that ``render`` draws; nothing is computed for a page."""

    request: Request
    model: str
    parent: str | None
    plan: Plan
    timeline: tuple[Moment, ...]
    before: tuple[Measurement, ...]
    after: tuple[Measurement, ...]
    unmeasured: Unmeasured
    marks: tuple[StageMark, ...]
    proof: Proof | None
    guarantee: Guarantee | None
    erasure: ErasureReceipt | None
    certificate: str | None
    exports: tuple[str, ...]
    not_claimed: tuple[str, ...]
    exposure_seconds: float | None
    judgement: Judgement | None = None
    unjudged: str = ""
    attempts: tuple[Attempt, ...] = ()
    cpu_seconds: Mapping[str, Any] = field(default_factory=dict)
    controls: tuple[Control, ...] = ()
    audit_plan: AuditPlan | None = None
    audit: AuditVerdict | None = None
