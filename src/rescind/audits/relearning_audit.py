"""Relearning in a plan: are the records learned again sooner than by models that never had them?

``relearning`` beside eight retrained models. All are shown the same third of the requested records
and scored on the others of them. The power is that over the model before *and* over models that
hide its knowledge of whole classes behind a last layer without their rows; both must be found.

For single records of classes that stay there is none: retrained models answer them from the start,
or learn them as soon. The audit then says that it could not be run. In the project's probes, too,
naive relearning told no method from retraining there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rescind.audits.relearning import relearning_finding, savings
from rescind.audits.results import result_of
from rescind.core.audit import MODELS as RETRAINED
from rescind.core.audit import AuditResult, Case, Need, Sizes
from rescind.core.errors import InsufficientEvidence
from rescind.metrics.relearning import Budget, Curve

if TYPE_CHECKING:
    from torch import Tensor

STEPS, SHARE = 64, 0.3  # of the budget; of the records that are shown
MODELS = 4  # that hide the records
FEWEST = 10
PASSES = 3  # a step costs about three passes of its records
NOT_CLAIMABLE = (
    "By relearning: no power was found over single records of classes that stay; a model that was"
    " pushed away from the records learns them later, and is not told."
)
OPEN = "they were answered before any step"
HIDDEN = "it finds {} of {} models that hide whole classes behind a new last layer"
NONE_HIDDEN = "no class goes as a whole, and over models that hide single records the power is none"


@dataclass(frozen=True, slots=True, kw_only=True)
class RelearningAudit:
    """Steps saved in learning the records again, beside retrained models."""

    needs: ClassVar[frozenset[Need]] = frozenset({"retrained", "relearned"})

    def refuses(self, sizes: Sizes) -> str:
        """Why it cannot be run, or nothing."""
        if sizes.target != "classes":
            return "it scores the answers of classes, and the task has none"
        if sizes.adapted:
            return "adapters on a frozen encoder do not relearn yet"
        if sizes.truncated:
            return "a part was cut or trained anew by itself, and retraining gives no model like it"
        if sizes.retraining_seconds is None:
            return "the model is trained in several parts, which are not retrained for an audit yet"
        if sizes.forget < FEWEST:
            return f"it needs {FEWEST} records to forget: some are shown, and it scores the others"
        return ""

    def seconds(self, sizes: Sizes) -> float:
        """Of one core: the retrainings, and the steps and scores of each model."""
        budget, models = Budget(steps=STEPS), 2 + MODELS + RETRAINED
        each = PASSES * STEPS * budget.size + len(budget.marks) * sizes.forget
        learning = models * each * sizes.passing_seconds
        return 2.0 + learning + RETRAINED * (sizes.retraining_seconds or 0.0)

    def audit(self, case: Case, *, level: float, tests: int, seed: int) -> AuditResult:
        """The test, and its power at level / tests.

        Raises:
            InsufficientEvidence: no retrained model was read, or half of them know the records or
                do not learn them: then nothing can be told, whatever the model after does.
        """
        relearned, retrained = case.relearned, case.relearned_retrained
        if relearned is None or retrained is None:
            raise InsufficientEvidence("No retrained model has learned the records.")
        before, after, *hiding = (_curve(case, scores) for scores in relearned)
        others = [_curve(case, scores) for scores in retrained]
        found = [savings(c, others).p < level / tests for c in (before, *hiding)]
        hidden = sum(found[1:])
        power = min(float(found[0]), hidden / len(hiding)) if hiding else 0.0
        finding = relearning_finding(after, others, level=level, power=power)
        note = HIDDEN.format(hidden, len(hiding)) if hiding else NONE_HIDDEN
        opened = savings(after, others).open and finding.p < level
        return result_of(finding, NOT_CLAIMABLE, seed, f"{OPEN}; {note}" if opened else note)


def _curve(case: Case, scores: Tensor) -> Curve:
    if case.relearned_counts is None or case.relearned_lr is None:
        raise InsufficientEvidence("It is not known how the records were learned again.")
    shown, held_out = case.relearned_counts.tolist()
    budget = Budget(steps=STEPS, lr=float(case.relearned_lr[0]))
    return Curve(budget, tuple(scores.tolist()), shown, held_out)
