"""Whether all that a statement says can be true at once; neither a key nor a file is looked at."""

from __future__ import annotations

from collections.abc import Callable

from rescind.core.audit import AuditResult, outcome_of, verdict_of
from rescind.core.certificate import Statement
from rescind.core.evidence import Measurement
from rescind.core.version import weights_digest
from rescind.proofs import claims
from rescind.proofs.merkle import root
from rescind.proofs.reading import moment

NOTHING_SERVED = weights_digest(())  # after an outage there is nothing to measure
NOTHING_FORGOTTEN = root(())
# what this version measures; a measurement of another name has no range that a verifier could know
RANGES: dict[str, tuple[float, float]] = {
    "test_accuracy": (0.0, 1.0),
    "accuracy_change": (-1.0, 1.0),
    "agreement": (0.0, 1.0),
    "concept_accuracy": (0.0, 1.0),
    "concept_accuracy_change": (-1.0, 1.0),
    "utility_accuracy": (0.0, 1.0),
    "utility_accuracy_change": (-1.0, 1.0),
}


def contradictions(said: Statement) -> list[str]:
    """Every way in which the statement cannot be true, whoever signed it."""
    return [problem for rule in RULES.values() for problem in rule(said)]


def _request(said: Statement) -> list[str]:
    return [] if said.request else ["no request is named"]


def _counts(said: Statement) -> list[str]:
    """Test records are counted among the records, and each record has at least one copy."""
    target, problems = said.target, []
    if target.records < 1:
        problems.append("the request is for no record")
    if target.test_records > target.records:
        problems.append(f"{target.test_records} of {target.records} records are test records")
    if target.records > target.copies:
        problems.append(f"{target.records} records have only {target.copies} copies")
    return problems


def _times(said: Statement) -> list[str]:
    if moment(said.received_at) <= moment(said.withdrawn_at) <= moment(said.issued_at):
        return []
    return ["it was not received, withdrawn and issued in this order"]


def _weights(said: Statement) -> list[str]:
    problems = []
    if said.unlearned == said.original and not _excused(said):
        problems.append("the unlearned model is the original model")
    if said.unlearned != said.original and said.unchanged != "no":
        problems.append("it calls the model unchanged and names another")
    return problems


def _excused(said: Statement) -> bool:
    """Whether equal weights are no no-op: by its lineage nothing served had used the records."""
    only_test = said.target.records == said.target.test_records
    return only_test if said.unchanged == "test_only" else said.unchanged == "not_served"


def _replay(said: Statement) -> list[str]:
    """An identical replay arrived at the model, and needs no reason why there is none."""
    if said.proof.outcome != "identical":
        return []
    problems = []
    if said.proof.weights != said.unlearned:
        problems.append(f"the replay arrived at {said.proof.weights}, another model")
    if said.proof.reason:
        problems.append(f"the replay is called identical, yet: {said.proof.reason}")
    return problems


def _forgotten(said: Statement) -> list[str]:
    """A list that was kept has the records of this very request on it."""
    if said.forgotten == NOTHING_FORGOTTEN:
        return ["the list of what was forgotten is empty"]
    return []


def _erasure(said: Statement) -> list[str]:
    problems = []
    if said.erasure.left:
        problems.append(f"the erasure left {len(said.erasure.left)} artifacts")
    if not claims.erased(said.erasure):
        problems.append("nothing was destroyed or rewritten")
    return problems


def _measured(said: Statement) -> list[str]:
    problems = []
    if not said.measurements and said.unmeasured == "no":
        problems.append("nothing was measured")
    if said.measurements and said.unmeasured == "no_test_record":
        problems.append("it says that no test record was left and measures on some")
    if (said.unmeasured == "nothing_served") != (said.unlearned == NOTHING_SERVED):
        problems.append("what is served and why nothing was measured contradict each other")
    return problems


def _values(said: Statement) -> list[str]:
    return [
        f"the measurement {one.name} contradicts itself"
        for one in said.measurements
        if one.n < 1 or not one.interval[0] <= one.value <= one.interval[1]
    ]


def _audited(said: Statement) -> list[str]:
    """Each outcome follows from its numbers, the verdict from the outcomes: any residue decides,
    and support needs an audit that was planned.
    """
    if said.audit is None:
        return []
    wrong = [r.audit for r in said.audit.results if not _follows(r)]
    if wrong:
        return [f"the outcome of {', '.join(wrong)} does not follow from its numbers"]
    follows, told = verdict_of(said.audit.results), said.audit.outcome
    return [] if told == follows else [f"the audits say {follows}, and their verdict {told}"]


def _follows(one: AuditResult) -> bool:
    """Planned audits are read after their correction; one that was refused says nothing."""
    p = one.p if one.exploratory else one.p_corrected
    shares = [x for x in (one.p, one.p_corrected, one.power, one.level) if x is not None]
    if not all(0.0 <= x <= 1.0 for x in shares) or (one.p_corrected or 1.0) < (one.p or 0.0):
        return False
    if one.refused or p is None:
        return one.outcome == "no_power"
    return one.outcome == outcome_of(one.null, p < one.level, one.power, one.as_removal)


def _ranges(said: Statement) -> list[str]:
    return [problem for one in said.measurements for problem in _outside(one)]


def _outside(one: Measurement) -> list[str]:
    if one.name not in RANGES:
        return []
    low, high = RANGES[one.name]
    found = (one.value, *one.interval)
    if low <= min(found) and max(found) <= high:
        return []
    return [f"the measurement {one.name} leaves the range from {low:g} to {high:g}"]


RULES: dict[str, Callable[[Statement], list[str]]] = {
    "request": _request,
    "counts": _counts,
    "times": _times,
    "weights": _weights,
    "replay": _replay,
    "forgotten": _forgotten,
    "erasure": _erasure,
    "measured": _measured,
    "audited": _audited,
    "values": _values,
    "ranges": _ranges,
}
