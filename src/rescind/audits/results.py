"""From what an audit saw to its result: the outcome, in words."""

from __future__ import annotations

from math import isfinite

from rescind.audits.finding import Finding
from rescind.core.audit import AuditOutcome, AuditResult

SAID: dict[AuditOutcome, str] = {
    "removed_supported": "what it saw is what a removal looks like",
    "residue_found": "it saw a residue",
    "no_power": "not enough power to tell",
}
UNSEEN = (
    "there is no evidence that the records were in the model before: they look like held-out ones"
)


def result_of(finding: Finding, limits: str, seed: int, note: str = "") -> AuditResult:
    """The result of one audit by itself; ``note`` is what else a reader must know.

    ``limits`` says what it cannot show and stands in the verdict.
    """
    power = "unknown" if finding.power is None else f"{finding.power:.2f}"
    told = f"{SAID[finding.outcome]} (p {finding.p:.3g}, power {power})"
    return AuditResult(
        audit=finding.audit,
        outcome=finding.outcome,
        told=f"{told}; {note}" if note else told,
        null=finding.null,
        n=finding.n,
        level=finding.level,
        p=finding.p,
        effect=finding.effect if isfinite(finding.effect) else None,
        interval=finding.interval if all(map(isfinite, finding.interval)) else None,
        unit=finding.unit,
        power=finding.power,
        as_removal=finding.as_removal,
        seed=seed,
        limits=limits,
    )


def refused(audit: str, why: str, seed: int, *, exploratory: bool = False) -> AuditResult:
    """An audit that could not be run: it says nothing."""
    told = f"not run: {why}"
    return AuditResult(
        audit=audit, outcome="no_power", told=told, seed=seed, exploratory=exploratory, refused=why
    )
