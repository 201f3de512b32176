"""All results of one model to one verdict, by a rule that no further audit can soften."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from rescind.audits.results import SAID
from rescind.core.audit import AuditOutcome, AuditResult, AuditVerdict, outcome_of, verdict_of
from rescind.metrics.equivalence import holm

FOUND: AuditOutcome = "residue_found"
NEVER = (
    "No audit shows that data were removed: it shows what it would have found, with the power that"
    " stands beside it, and did not find."
)


def verdict(version: str, results: Sequence[AuditResult], none: str = "") -> AuditVerdict:
    """Planned audits are corrected by Holm, those of one null hypothesis together; those that were
    added are read as they are. The outcome is that of ``core.audit.verdict_of``. ``none`` says why
    there is no result, where that is known.
    """
    planned = [r for r in results if not r.exploratory]
    told = (*_corrected(planned), *(r for r in results if r.exploratory))
    outcome = verdict_of(told)
    named = [r for r in told if r.outcome == outcome and not (outcome != FOUND and r.exploratory)]
    limits = dict.fromkeys(r.limits for r in told if r.limits)
    because = _because([] if outcome == "no_power" else named, told, none)
    return AuditVerdict(version, outcome, because, told, (NEVER, *limits))


def _corrected(planned: Sequence[AuditResult]) -> list[AuditResult]:
    by_null: dict[str, list[int]] = defaultdict(list)
    for i, result in enumerate(planned):
        if result.p is not None:
            by_null[result.null].append(i)
    found = list(planned)
    for places in by_null.values():
        corrected = holm([planned[i].p or 0.0 for i in places])
        for i, p in zip(places, corrected, strict=True):
            found[i] = _read(planned[i], p)
    return found


def _read(result: AuditResult, p: float) -> AuditResult:
    outcome = outcome_of(result.null, p < result.level, result.power, result.as_removal)
    told = result.told.replace(SAID[result.outcome], SAID[outcome], 1)
    return replace(result, p_corrected=p, outcome=outcome, told=told)


def _because(named: Sequence[AuditResult], told: Sequence[AuditResult], none: str) -> str:
    if named:
        return "; ".join(f"{r.audit}: {r.told}" for r in named) + "."
    if not told:
        return f"No audit was run: {none}." if none else "No audit was run."
    return (
        "No audit had the power to tell: " + "; ".join(f"{r.audit}: {r.told}" for r in told) + "."
    )
