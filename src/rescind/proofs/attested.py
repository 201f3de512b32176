"""The two lists beside the checks: what rests on the signer's word, and what nobody vouches for."""

from __future__ import annotations

from collections.abc import Mapping

from rescind.core.audit import AuditResult, AuditVerdict
from rescind.core.certificate import Statement
from rescind.core.control import CONTROLS, Control, warning
from rescind.core.evidence import ErasureReceipt, Measurement, Proof
from rescind.core.guarantee import SENSES, Certified, Exact, Guarantee
from rescind.core.judgement import Attempt, Gap, Judgement

STANDING: tuple[str, ...] = (
    "What the pretrained base may have seen before this training.",
    "Answers that the model gave, and copies of it that were made, before the withdrawal.",
    "Whether the model in service is the certified one; only a folder you hold can be compared.",
    "Whether the signer did what is attested. Who holds the source data and the recipe can run the"
    " replay again.",
)
COMPARED = {
    "retrained": ", compared with the retrained model",
    "original": ", compared with the original model",
    "none": "",
}
PASSED = {True: "; met its limit", False: "; missed its limit", None: ""}


def attested_by_signer(said: Statement) -> tuple[str, ...]:
    """Claim, replay, erasure and measurements with their numbers, a line each."""
    lines = [
        f"Claim: {describe(said.guarantee)}",
        f"Request {said.request} ({said.basis}), aimed at {said.goal}: {said.target.records}"
        f" records in {said.target.copies} copies, received {said.received_at}, withdrawn"
        f" {said.withdrawn_at}, by the method {said.method}.",
        _replay(said.proof),
        _erasure(said.erasure),
        *(_measurement(one) for one in said.measurements),
        *_judged(said.judgement, said.unjudged),
        *(_control(one) for one in said.controls),
        *filter(None, [warning(said.controls)]),
        *(_attempt(one) for one in said.attempts),
        *_audits(said.audit),
        *(_sealed(seal) for seal in said.mask_seals),
    ]
    return tuple(readable(line) for line in lines)


def not_covered(said: Statement | None) -> tuple[str, ...]:
    """The certificate's own scope, then what its facts leave open, then what always stays out."""
    lines = [] if said is None else [*said.scope, *_open(said)]
    return tuple(dict.fromkeys(readable(line) for line in (*lines, *STANDING)))


def describe(guarantee: Guarantee) -> str:
    """The claim in words."""
    if isinstance(guarantee, Exact):
        return f"exact ({guarantee.sense}). {SENSES[guarantee.sense]}"
    if isinstance(guarantee, Certified):
        return (
            f"certified (epsilon {guarantee.epsilon:g}, delta {guarantee.delta:g}), assuming"
            f" {guarantee.assumption}"
        )
    return f"empirical, because {guarantee.because}"


def readable(text: str) -> str:
    """One line of at most 600 printable characters: a signed text must not move the cursor."""
    line = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return line if len(line) <= 600 else line[:599] + "…"


def _replay(proof: Proof) -> str:
    if proof.outcome != "identical":
        return f"Replay: {proof.outcome.replace('_', ' ')}. {proof.reason}"
    return (
        f"Replay: identical in {proof.compared} stored snapshots, in the sense {proof.sense},"
        f" in the environment {proof.environment}."
    )


def _erasure(receipt: ErasureReceipt) -> str:
    return (
        f"Erasure: destroyed {_counts(receipt.destroyed)}; rewrote {_counts(receipt.rewritten)};"
        f" left {len(receipt.left)}."
    )


def _sealed(seal: str) -> str:
    return f"Order: to mask models of others, made of these records, under the seal {seal}."


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n} {kind}" for kind, n in sorted(counts.items())) or "nothing"


def _measurement(one: Measurement) -> str:
    low, high = one.interval
    return (
        f"Measured: {one.name} = {one.value:.4g}, 95 % interval {low:.4g} to {high:.4g}, n ="
        f" {one.n}{COMPARED[one.compared_with]}{PASSED[one.passed]}."
    )


def _judged(judgement: Judgement | None, unjudged: str) -> list[str]:
    """The verdict and each gap; a certificate that lacks both is older than judgements."""
    if judgement is None:
        return [f"Not judged against retrained models: {unjudged}"] if unjudged else []
    rejected = judgement.rejection_rate_of_retrained
    rate = "none" if rejected is None else f"{rejected:.0%}"
    return [
        f"Judged: {judgement.verdict.replace('_', ' ')}, {judgement.seeds} seeds against"
        f" {judgement.references} retrained models, of which the same rules reject {rate}."
        f" {judgement.because}",
        *(_gap(one) for one in judgement.gaps),
    ]


def _gap(one: Gap) -> str:
    low, high = one.interval
    power = "" if one.power else "; no power" + ("" if one.counts else ", does not count")
    return (
        f"Gap to retrained: {one.metric} {one.gap:+.4g}, 95 % interval {low:.4g} to {high:.4g},"
        f" spread of retrained {one.natural_spread:.4g}, margin {one.margin:g}{power}."
    )


def _control(one: Control) -> str:
    style = ".4g" if one.kind == "retrained" else "+.4g"  # a mean size has no sign
    gaps = ", ".join(f"{gap.metric} {gap.gap:{style}}" for gap in one.gaps)
    told = one.because or f"gaps to retrained: {gaps}."
    return f"Control, {CONTROLS[one.kind]}: {one.verdict.replace('_', ' ')}; {told}"


def _attempt(one: Attempt) -> str:
    return (
        f"Tried: {one.method} ({one.tuned}, {one.round}, seeds {list(one.seeds)}):"
        f" {one.outcome.replace('_', ' ')}. {one.because}"
    )


def _audits(found: AuditVerdict | None) -> list[str]:
    """The verdict and each audit; none are told where none was planned or added."""
    if found is None:
        return ["Audits: none was planned before the model was unlearned."]
    return [
        f"Audited: {found.outcome.replace('_', ' ')}. {found.because}",
        *(_result(one) for one in found.results),
        *_earlier(found),
    ]


def _earlier(found: AuditVerdict) -> list[str]:
    if not found.earlier:
        return []
    told = ", ".join(outcome.replace("_", " ") for outcome in found.earlier)
    return [f"Audited before, in models of this request that were given up: {told}."]


def _result(one: AuditResult) -> str:
    kind = "Added afterwards, can only lower" if one.exploratory else "Planned"
    return f"{kind}: audit {one.audit}, level {one.level:g}, n = {one.n}: {one.told}."


def _open(said: Statement) -> list[str]:
    target, erasure = said.target, said.erasure
    lines = [f"A copy outside the workspace: {name}." for name in erasure.recipients]
    lines += said.audit.not_claimable if said.audit else ()
    if not erasure.encrypted:
        lines.append("Destroyed bytes may be recovered from the disk: they were not encrypted.")
    if said.forgotten is None:
        lines.append("A later import of the same records: no list of what was forgotten is kept.")
    if said.unmeasured == "no_test_record":
        lines.append("How well the model answers now: no test record was left to measure it on.")
    if not target.searched:
        lines.append("Duplicates of the records: the source was missing, so nobody could look.")
    if target.near_kept or target.exact_kept:
        lines.append(
            f"{target.near_kept} near duplicates and {target.exact_kept} equal records of others"
            " stay in the data by choice of the requester."
        )
    return lines
