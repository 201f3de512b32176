"""Statements whose requests were audited: what the audits lower, and lies about what they saw."""

from __future__ import annotations

from dataclasses import replace

from rescind.core.audit import AuditResult, AuditVerdict
from rescind.core.certificate import Statement
from rescind.core.guarantee import Empirical

SUPPORTS = AuditResult(
    audit="margins",
    outcome="removed_supported",
    told="what it saw is what a removal looks like (p 0.0001, power 0.98); as removed",
    null="nothing_removed",
    n=60,
    p=0.0001,
    p_corrected=0.0001,
    effect=0.97,
    interval=(0.81, 1.16),
    unit="share of what retraining changes",
    power=0.98,
    as_removal=True,
    seed=7,
    cpu_seconds=3.5,
    limits="a server that fits the margins passes",
)
RESIDUE = replace(
    SUPPORTS,
    outcome="residue_found",
    told="it saw a residue (p 0.0001, power 0.98); partly",
    effect=0.31,
    interval=(0.22, 0.43),
    as_removal=False,
)
QUIET = AuditResult(
    audit="membership",
    outcome="no_power",
    told="not enough power to tell (p 0.4, power 0.11)",
    n=60,
    p=0.4,
    p_corrected=0.4,
    effect=0.51,
    interval=(0.44, 0.58),
    unit="AUC against held-out records",
    power=0.11,
    seed=8,
    cpu_seconds=1.5,
)
SUPPORTED = AuditVerdict(
    "news-2", "removed_supported", f"margins: {SUPPORTS.told}.", (SUPPORTS, QUIET), ("No audit.",)
)
FOUND = replace(
    SUPPORTED, outcome="residue_found", because=f"margins: {RESIDUE.told}.", results=(RESIDUE,)
)
ADDED = replace(SUPPORTS, exploratory=True, p_corrected=None)
LOWERED = Empirical("an audit found a residue of the records: margins")


def audited(exact: Statement, certified: Statement) -> dict[str, Statement]:
    """By name: three that can be, and a lie for each way to tell more than the audits saw."""
    found = replace(exact, audit=FOUND)
    return {
        "golden_audited": replace(exact, audit=SUPPORTED),
        "golden_exact_beside_a_residue": found,
        "golden_lowered_by_an_audit": replace(certified, guarantee=LOWERED, audit=FOUND),
        "audits_against_their_results": replace(
            found, audit=replace(SUPPORTED, results=(RESIDUE,))
        ),
        "an_audit_against_its_numbers": replace(
            exact,
            audit=replace(SUPPORTED, results=(replace(SUPPORTS, as_removal=False), QUIET)),
        ),
        "supported_by_an_added_audit_alone": replace(
            exact, audit=replace(SUPPORTED, results=(ADDED, QUIET))
        ),
        "certified_despite_a_residue": replace(certified, audit=FOUND),
    }
