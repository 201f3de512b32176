"""Lower what a method claims to what the evidence carries; nothing here can raise a claim."""

from __future__ import annotations

from rescind.core.audit import AuditVerdict
from rescind.core.evidence import ErasureReceipt, Proof
from rescind.core.guarantee import Certified, Empirical, Exact, Guarantee

UNPROVEN: dict[str, str] = {
    "not_run": "the replay was not run",
    "not_possible": "a replay is not possible",
}
UNCERTIFIED = "the evidence compares with no retraining, which (epsilon, delta) is about"


def supported(
    claim: Guarantee, proof: Proof, erasure: ErasureReceipt, audit: AuditVerdict | None = None
) -> Guarantee:
    """The strongest guarantee, never above ``claim``, that this evidence carries.

    Exact needs an identical replay and a finished erasure. A replay that shows only ``never_saw``
    lowers ``retrain`` to it; one that shows ``retrain`` carries ``never_saw`` too, since bytes that
    the algorithm gives on the retain set are a function of retained records.

    Certified needs numbers that a theorem can give, a named assumption and a finished erasure. It
    speaks of weights under noise, which no replay meets, so none is asked for; that the assumption
    was met rests, as all that is attested, on the signer's word. Where a replay took place it must
    have shown ``retrain``.

    A residue that an audit found lowers all but an exact claim, which stands by its bytes: audits
    flag honest models too, at their level (decision 11).
    """
    carried = _proved(claim, proof, erasure)
    if audit is None or audit.outcome != "residue_found" or isinstance(carried, Exact):
        return carried
    found = ", ".join(r.audit for r in audit.results if r.outcome == "residue_found")
    return Empirical(f"an audit found a residue of the records: {found}")


def _proved(claim: Guarantee, proof: Proof, erasure: ErasureReceipt) -> Guarantee:
    if isinstance(claim, Empirical):
        return claim
    if isinstance(claim, Certified):
        because = _impossible(claim) or _uncertified(proof) or _unerased(erasure)
        return Empirical(because) if because else claim
    because = _gap(proof, erasure)
    if because:
        return Empirical(because)
    return claim if proof.sense == "retrain" else Exact("never_saw")


def _impossible(claim: Certified) -> str:
    """What no (epsilon, delta) theorem can say, or nothing."""
    if claim.epsilon < 0:
        return f"an epsilon of {claim.epsilon:g} is below 0"
    if not 0 <= claim.delta <= 1:
        return f"a delta of {claim.delta:g} is not between 0 and 1"
    return "" if claim.assumption.strip() else "no assumption is named"


def _gap(proof: Proof, erasure: ErasureReceipt) -> str:
    """What is missing for a claim of exactness, or nothing."""
    return _unreplayed(proof) or _unerased(erasure)


def _unreplayed(proof: Proof) -> str:
    if proof.outcome != "identical":
        said = UNPROVEN.get(proof.outcome, "the replay did not end identical")
        return f"{said}: {proof.reason}" if proof.reason else said
    if proof.sense is None:
        return "the replay does not say in which sense it is identical"
    if proof.compared < 1 or not proof.weights:
        return "the replay compared no stored weights"
    return ""


def _uncertified(proof: Proof) -> str:
    """How the replay, if one was tried, contradicts nearness to retraining, or nothing."""
    if proof.outcome == "not_run":
        return ""
    return _unreplayed(proof) or ("" if proof.sense == "retrain" else UNCERTIFIED)


def _unerased(erasure: ErasureReceipt) -> str:
    if erasure.left:
        return f"{len(erasure.left)} artifacts made from the forget set are still stored"
    return "" if erased(erasure) else "nothing was destroyed or rewritten"


def erased(receipt: ErasureReceipt) -> int:
    """How many artifacts were destroyed or rewritten; 0 means that no erasure took place."""
    return sum(receipt.destroyed.values()) + sum(receipt.rewritten.values())
