"""Rounding in a plan: do weights of 8 or 4 bits bring back what an edit only hid?

``quantisation`` beside eight retrained models, for both widths; the smaller p counts, twice. It
finds edits below half a step of rounding where the weights before lay near the grid, and nothing
else. Of a model that was not unlearned at all rounding brings nothing back. So the power that can
support removal is that over the model before, which is about none: the audit finds residues.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from rescind.audits.finding import Finding
from rescind.audits.quantisation import UNIT, Recovery, quantisation_finding
from rescind.audits.results import result_of
from rescind.core.audit import MODELS, AuditResult, Case, Need, Sizes
from rescind.core.errors import InsufficientEvidence

if TYPE_CHECKING:
    from torch import Tensor

NAME = "quantisation"
WIDTHS = (4, 8)  # bits of a rounded weight
DRAWS = 399  # of noise: twice the least p is 1/200, enough for ten audits at a level of 5 %
HIDING = 2  # models that hide the records, for each width
RECORDS = 400  # requested ones that are read, at most
FEWEST = 5  # of one record the effect would be its loss, and stay in the certificate
COPYING = 1e-3  # seconds to copy and move the weights of a small model once
NOT_CLAIMABLE = (
    "By rounding: it shows edits below half a step of rounding where the weights before lay near"
    " the grid; elsewhere an edit survives rounding, and what is left of the records is not seen."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantisationAudit:
    """Losses of the records after rounding, beside noise and beside retrained models."""

    needs: ClassVar[frozenset[Need]] = frozenset({"retrained", "rounded"})

    def refuses(self, sizes: Sizes) -> str:
        """Why it cannot be run, or nothing."""
        if sizes.target != "classes":
            return "it reads the losses of classes, and the task has none"
        if sizes.adapted:
            return "adapters on a frozen encoder are not rounded yet"
        if sizes.truncated:
            return "a part was cut or trained anew by itself, and retraining gives no model like it"
        if sizes.retraining_seconds is None:
            return "the model is trained in several parts, which are not retrained for an audit yet"
        return "" if sizes.forget >= FEWEST else f"it needs {FEWEST} records to forget"

    def seconds(self, sizes: Sizes) -> float:
        """Of one core: the retrainings, and a pass of the records under each draw of noise.

        Copies of weights are priced as those of a small model.
        """
        copies = len(WIDTHS) * (2 + HIDING * len(WIDTHS)) * DRAWS
        passes = copies * min(sizes.forget, RECORDS) * sizes.passing_seconds
        return 1.0 + passes + COPYING * copies + MODELS * (sizes.retraining_seconds or 0.0)

    def audit(self, case: Case, *, level: float, tests: int, seed: int) -> AuditResult:
        """The test, and its power at level / tests over the model before and models that hide it.

        Raises:
            InsufficientEvidence: no retrained model was read.
        """
        if case.rounded is None or case.rounded_retrained is None:
            raise InsufficientEvidence("No retrained model was rounded.")
        others = _recoveries(case.rounded_retrained)
        before, after, *hiding = [
            _of_widths(model, others, level) for model in _recoveries(case.rounded)
        ]
        below = level / tests
        power = float(before.p < below)
        finding = replace(after, audit=NAME, power=power)
        return result_of(finding, NOT_CLAIMABLE, seed, _note(hiding, below))


def _recoveries(models: Tensor) -> list[list[Recovery]]:
    """Of each model (widths, 2 + draws, r) one by width."""
    return [
        [
            Recovery(bits=bits, losses=part[0], rounded=part[1], noisy=part[2:])
            for bits, part in zip(WIDTHS, model.double(), strict=True)
        ]
        for model in models
    ]


def _of_widths(model: Sequence[Recovery], others: list[list[Recovery]], level: float) -> Finding:
    """The finding of the width with the smaller p, corrected for there being several."""
    found = [
        quantisation_finding(own, [other[i] for other in others], level)
        for i, own in enumerate(model)
    ]
    least = min(found, key=lambda one: one.p)
    return replace(least, p=min(1.0, len(found) * least.p), unit=f"{UNIT}; {least.audit}")


def _note(hiding: Sequence[Finding], level: float) -> str:
    told = [
        f"{sum(one.p < level for one in hiding[i * HIDING : (i + 1) * HIDING])} of {HIDING}"
        f" planted below half a step of {bits} bits"
        for i, bits in enumerate(WIDTHS)
    ]
    return (
        f"of models that hide the records it finds {' and '.join(told)}; the power is over the"
        " model before, which hides nothing"
    )
