"""Audits of an unlearned model: what was planned before, what each saw, and the one verdict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from rescind.core.task import Target

if TYPE_CHECKING:
    from torch import Tensor

# the null hypothesis: the records left no trace, or nothing was done about them
Null = Literal["no_trace", "nothing_removed"]
# models trained for the audit alone: without the records, with a random half of them each, or with
# some that the audited method then forgets; the codes that users handed over; losses after the
# weights were rounded; scores while the records are learned again; features of the model before
Need = Literal["retrained", "shadows", "treated", "codes", "rounded", "relearned", "features"]
# what an auditor may be given, the least first: each holds those before it
Access = Literal["answers", "weights", "data"]
ACCESS: dict[Access, str] = {
    "answers": "answers of the models to the records",
    "weights": "weights or features of the models",
    "data": "the training data, to train models on",
}
TAKES: dict[Need, Access] = {
    "retrained": "data",
    "shadows": "data",
    "treated": "data",
    "codes": "weights",
    "rounded": "weights",
    "relearned": "weights",
    "features": "weights",
}
MODELS = 8  # shadow models
# what a treated shadow model is to a record: it has it, forgot it by the method, or never saw it
HAS, FORGOT, NEVER = range(3)
AuditOutcome = Literal["removed_supported", "residue_found", "no_power"]
LEVEL = 0.05
OUTCOMES: dict[AuditOutcome, str] = {
    "removed_supported": "removal supported",
    "residue_found": "residue found",
    "no_power": "not enough power to tell",
}
ENOUGH = 0.8  # power below which an audit that saw nothing says nothing


@dataclass(frozen=True, slots=True)
class Sizes:
    """What an audit would have: counts of records, and what kind of answer the task gives.

    ``truncated`` says that parts of a model of several were cut, or trained anew by themselves.
    ``retraining_seconds`` of one core is what one retraining should take, None where the model is
    trained in several parts; ``passing_seconds`` what one record takes in one pass of the model.
    ``seeded`` records of those to forget have a user's codes. ``adapted`` says that only adapters
    on a frozen encoder are trained, ``untreated`` why the audited method is not run on shadow
    models, or nothing.
    """

    target: Target
    forget: int
    retain: int
    test: int
    truncated: bool
    retraining_seconds: float | None = None
    seeded: int = 0
    passing_seconds: float = 0.0
    adapted: bool = False
    untreated: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """What audits read of both models. Higher scores are more like a record that was trained on:
    the margin of the true class, or minus the loss where the task has no classes.

    ``before`` and ``after`` (n,) are scores of records that were trained on, ``labels`` (n,) their
    classes (0 where there are none), ``features`` (n, d) penultimate ones of the model before, and
    ``requested`` (n,) marks the forget set; the others are retained and in no cell that was cut.
    ``outside_before``, ``outside_after`` and ``outside_labels`` (m,) are of records held out of all
    training. ``retrained`` (k, n) and ``retrained_outside`` (k, m) are of k retrained models,
    ``shadows`` (s, n) of s shadow models, and ``inside`` (s, n) marks what these were trained on;
    ``untreated`` (s, n) are of s shadow models and ``treated`` (s, n) of the same ones after the
    audited method, and ``fate`` (s, n) is ``HAS``, ``FORGOT`` or ``NEVER``;
    ``codes`` (t,) are all bits of the codes of requested records, ``code_readings_before`` and
    ``code_readings_after`` what the models show of them, a bit each by its sign; ``code_rows`` (k,
    bits) are codes of 20 records or more, ``code_features_before`` and ``code_features_after`` (k,
    width) their features, and ``code_blocks`` (k,) numbers of their users and shards. Of the models
    before, after, and h that hide what the model before holds, ``rounded`` (2 + h, widths, 2 +
    draws, r) are losses of r requested records as the models are, rounded, and under noise, and
    ``relearned`` (2 + h, marks) scores while they learn some of them again; the same of k retrained
    models has ``_retrained`` in its name, and ``relearned_counts`` (2,) are the records shown and
    scored. ``relearned_lr`` (1,) is the rate. Each is there where an audit needs it.
    """

    sizes: Sizes
    before: Tensor
    after: Tensor
    labels: Tensor
    features: Tensor
    requested: Tensor
    outside_before: Tensor
    outside_after: Tensor
    outside_labels: Tensor
    retrained: Tensor | None = None
    retrained_outside: Tensor | None = None
    shadows: Tensor | None = None
    inside: Tensor | None = None
    codes: Tensor | None = None
    code_readings_before: Tensor | None = None
    code_readings_after: Tensor | None = None
    code_rows: Tensor | None = None
    code_blocks: Tensor | None = None
    code_features_before: Tensor | None = None
    code_features_after: Tensor | None = None
    untreated: Tensor | None = None
    treated: Tensor | None = None
    fate: Tensor | None = None
    rounded: Tensor | None = None
    rounded_retrained: Tensor | None = None
    relearned: Tensor | None = None
    relearned_retrained: Tensor | None = None
    relearned_counts: Tensor | None = None
    relearned_lr: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """An audit that will be run: its parameters, its own seed, and the seconds it should take."""

    audit: str
    parameters: Mapping[str, Any]
    seed: int
    seconds: float


@dataclass(frozen=True, slots=True)
class AuditPlan:
    """What was chosen before the model was unlearned, and why the others were left out.

    None of them needs more than ``access``.
    """

    budget_seconds: float
    level: float
    choices: tuple[Choice, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)
    access: Access = "data"


@dataclass(frozen=True, slots=True)
class Curve:
    """Of one model: (false positive rate, true positive rate) at rates even on a log scale.

    ``rates`` are (false positive rate at most, true positive rate, its 95 % interval), of those low
    rates that so many held-out records can show.
    """

    model: Literal["before", "after"]
    points: tuple[tuple[float, float], ...]
    rates: tuple[tuple[float, float, float, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditResult:
    """What one audit saw of ``n`` records.

    ``p`` belongs to ``null``; ``p_corrected`` is after Holm over the planned audits of one null.
    ``power`` is how often the audit rejects a false null, None where that is not known.
    ``interval`` (95 %) is that of ``effect``, None where it has no bound. ``exploratory`` audits
    were added after the model was unlearned. ``refused`` says why there is no result, ``limits``
    what it cannot show. ``curves`` are of an audit that tells records apart by a score.
    """

    audit: str
    outcome: AuditOutcome
    told: str
    null: Null = "no_trace"
    n: int = 0
    level: float = LEVEL
    p: float | None = None
    p_corrected: float | None = None
    effect: float | None = None
    interval: tuple[float, float] | None = None
    unit: str = ""
    power: float | None = None
    as_removal: bool | None = None
    seed: int = 0
    cpu_seconds: float = 0.0
    exploratory: bool = False
    refused: str = ""
    limits: str = ""
    curves: tuple[Curve, ...] = ()


@dataclass(frozen=True, slots=True)
class AuditVerdict:
    """One outcome from all results, in words too, with what none of them can show.

    ``earlier`` are the outcomes of models of the same request that were made before and given up.
    """

    version: str
    outcome: AuditOutcome
    because: str
    results: tuple[AuditResult, ...]
    not_claimable: tuple[str, ...] = ()
    earlier: tuple[AuditOutcome, ...] = ()


def beyond(needs: Iterable[Need], access: Access) -> str:
    """Why an audit with these needs cannot be run with this access, or nothing; answers of both
    models are what every audit needs.
    """
    order = list(ACCESS)
    least = max((TAKES.get(n, "data") for n in needs), key=order.index, default=order[0])
    if order.index(least) <= order.index(access):
        return ""
    return f"it needs {ACCESS[least]}, and the access planned for is {ACCESS[access]}"


def outcome_of(
    null: Null, rejected: bool, power: float | None, as_removal: bool | None
) -> AuditOutcome:
    """What a rejected null says, or, where it stands, what the power lets it say.

    A trace that was seen is a residue. To have been changed is not to have been removed: that is
    supported only where the effect is that of a removal (``as_removal``), and too little and too
    much of it are residues alike; where that is not known, it is neither.
    """
    if not rejected and (power is None or power < ENOUGH):
        return "no_power"
    if null == "no_trace":
        return "residue_found" if rejected else "removed_supported"
    if as_removal is None:
        return "no_power"
    return "removed_supported" if rejected and as_removal else "residue_found"


def verdict_of(results: Sequence[AuditResult]) -> AuditOutcome:
    """Any residue decides. Without one, support needs an audit that was planned: those that were
    added later can find a residue and support nothing.
    """
    if any(r.outcome == "residue_found" for r in results):
        return "residue_found"
    supported = any(r.outcome == "removed_supported" and not r.exploratory for r in results)
    return "removed_supported" if supported else "no_power"
