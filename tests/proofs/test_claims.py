"""Every claim against every evidence: the table, and that no claim is ever raised."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Literal

import pytest

from rescind.core.audit import AuditOutcome, AuditResult, AuditVerdict
from rescind.core.evidence import ErasureReceipt, Proof
from rescind.core.guarantee import STRENGTH, Certified, Empirical, Exact, Guarantee, Sense
from rescind.proofs.claims import supported

CERTIFIED = Certified(1.0, 1e-5, "convex loss")
EMPIRICAL = Empirical("as claimed")
CLAIMS: list[Guarantee] = [Exact("retrain"), Exact("never_saw"), CERTIFIED, EMPIRICAL]
GOOD = Proof("replay", "identical", "", "retrain", "ab" * 32, 9, "here")
OUTCOMES: list[Literal["identical", "not_run", "not_possible"]] = [
    "identical",
    "not_run",
    "not_possible",
]
SENSES: list[Sense | None] = ["retrain", "never_saw", None]
PROOFS = [
    replace(GOOD, outcome=outcome, sense=sense, compared=compared, weights=weights)
    for outcome, sense, compared, weights in product(OUTCOMES, SENSES, (0, 1, 9), ("", "ab" * 32))
]
DONE = ErasureReceipt({"snapshot": 1}, {"manifest": 1})
LEFT = replace(DONE, left=("snapshot 0/0/1",))
ERASURES = [
    DONE,
    LEFT,
    ErasureReceipt(),
    ErasureReceipt({"snapshot": 0}, {"manifest": 0}),
    ErasureReceipt({}, {"manifest": 1}),
    replace(DONE, encrypted=False),
    replace(DONE, recipients=("a backup",)),
]


RESIDUE: AuditOutcome = "residue_found"
QUIET: list[AuditOutcome] = ["removed_supported", "no_power"]


def seen(outcome: AuditOutcome, *names: str) -> AuditVerdict:
    """The verdict of audits that saw it, beside one that had no power."""
    rows = [AuditResult(audit=name, outcome=outcome, told="so") for name in names]
    quiet = AuditResult(audit="quiet", outcome="no_power", told="so")
    return AuditVerdict("v2", outcome, "so", (*rows, quiet))


def rank(claim: Guarantee) -> tuple[int, bool]:
    """Strength, the two senses of exact apart."""
    return STRENGTH[claim.kind], isinstance(claim, Exact) and claim.sense == "retrain"


def carries(proof: Proof, erasure: ErasureReceipt) -> bool:
    replayed = proof.outcome == "identical" and proof.compared >= 1 and proof.weights != ""
    done = any(erasure.destroyed.values()) or any(erasure.rewritten.values())
    return replayed and proof.sense is not None and done and not erasure.left


def certifies(proof: Proof, erasure: ErasureReceipt) -> bool:
    """Noise is replayed by nothing; a replay that did take place must have shown retraining."""
    if proof.outcome == "not_run":
        return carries(GOOD, erasure)
    return carries(proof, erasure) and proof.sense == "retrain"


@pytest.mark.parametrize("erasure", ERASURES, ids=range(len(ERASURES)))
@pytest.mark.parametrize("claim", CLAIMS, ids=str)
def test_whole_table(claim: Guarantee, erasure: ErasureReceipt) -> None:
    for proof in PROOFS:
        got = supported(claim, proof, erasure)
        assert rank(got) <= rank(claim)
        assert supported(got, proof, erasure) == got
        if claim == EMPIRICAL:
            assert got == EMPIRICAL
        elif not (certifies if isinstance(claim, Certified) else carries)(proof, erasure):
            assert isinstance(got, Empirical)
            assert got.because
        elif claim == Exact("retrain") and proof.sense == "never_saw":
            assert got == Exact("never_saw")
        else:
            assert got == claim


@pytest.mark.parametrize(
    ("proof", "erasure", "because"),
    [
        (Proof("replay", "not_run"), DONE, "the replay was not run"),
        (Proof("replay", "not_run", "asked"), DONE, "the replay was not run: asked"),
        (Proof("replay", "not_possible", "no source"), DONE, "not possible: no source"),
        (replace(GOOD, compared=0), DONE, "compared no stored weights"),
        (replace(GOOD, weights=""), DONE, "compared no stored weights"),
        (replace(GOOD, sense=None), DONE, "in which sense"),
        (GOOD, LEFT, "1 artifacts made from the forget set are still stored"),
        (GOOD, ErasureReceipt(), "nothing was destroyed or rewritten"),
    ],
)
def test_the_reason_is_named(proof: Proof, erasure: ErasureReceipt, because: str) -> None:
    got = supported(Exact("never_saw"), proof, erasure)
    assert isinstance(got, Empirical)
    assert because in got.because


@pytest.mark.parametrize(
    ("claim", "because"),
    [
        (Certified(-1.0, 1e-5, "convex loss"), "an epsilon of -1 is below 0"),
        (Certified(1.0, -5.0, "convex loss"), "a delta of -5 is not between 0 and 1"),
        (Certified(1.0, 9.0, "convex loss"), "a delta of 9 is not between 0 and 1"),
        (Certified(1.0, 1e-5, ""), "no assumption is named"),
        (Certified(1.0, 1e-5, " \n"), "no assumption is named"),
    ],
)
def test_numbers_that_no_theorem_gives_are_carried_by_nothing(
    claim: Certified, because: str
) -> None:
    assert supported(claim, GOOD, DONE) == Empirical(because)


@pytest.mark.parametrize(("epsilon", "delta"), [(0.0, 0.0), (0.0, 1.0), (50.0, 1.0)])
def test_the_ends_of_the_ranges_belong_to_them(epsilon: float, delta: float) -> None:
    claim = Certified(epsilon, delta, "convex loss")
    assert supported(claim, GOOD, DONE) == claim


def test_weaker_evidence_never_gives_a_stronger_claim() -> None:
    """Taking away from the evidence, one thing at a time, only ever lowers what is carried."""
    worse = [
        (replace(GOOD, sense="never_saw"), DONE),
        (replace(GOOD, sense=None), DONE),
        (replace(GOOD, compared=0), DONE),
        (replace(GOOD, outcome="not_run"), DONE),
        (GOOD, LEFT),
    ]
    for claim, (proof, erasure) in product(CLAIMS, worse):
        assert rank(supported(claim, proof, erasure)) <= rank(supported(claim, GOOD, DONE))


@pytest.mark.parametrize("claim", CLAIMS, ids=str)
def test_a_residue_lowers_all_but_an_exact_claim(claim: Guarantee) -> None:
    got = supported(claim, GOOD, DONE, seen(RESIDUE, "margins", "membership"))
    lowered = Empirical("an audit found a residue of the records: margins, membership")
    assert got == (claim if isinstance(claim, Exact) else lowered)
    assert supported(got, GOOD, DONE, seen(RESIDUE, "margins", "membership")) == got


@pytest.mark.parametrize("proof", [Proof("replay", "not_run", "asked"), replace(GOOD, compared=0)])
def test_an_exact_claim_without_its_bytes_is_lowered_like_others(proof: Proof) -> None:
    got = supported(Exact("retrain"), proof, DONE, seen(RESIDUE, "margins"))
    assert got == Empirical("an audit found a residue of the records: margins")


@pytest.mark.parametrize("outcome", QUIET)
def test_an_audit_that_finds_nothing_changes_no_claim(outcome: AuditOutcome) -> None:
    for claim, proof, erasure in product(CLAIMS, PROOFS, ERASURES):
        audited = supported(claim, proof, erasure, seen(outcome, "margins"))
        assert audited == supported(claim, proof, erasure)


def test_no_verdict_raises_a_claim() -> None:
    for claim, proof, outcome in product(CLAIMS, PROOFS, [RESIDUE, *QUIET]):
        audited = supported(claim, proof, DONE, seen(outcome, "margins"))
        assert rank(audited) <= rank(supported(claim, proof, DONE))
