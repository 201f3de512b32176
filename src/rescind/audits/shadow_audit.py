"""The audit beside shadow models: do the records look as in models that never had them?

``shadow_difference`` for a plan. Eight models are trained for it, with fresh seeds; each has about
half of the requested records and of as many retained ones, and all others. They say what removal
does to these records, which the audit of margins can only guess, and show the power.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from rescind.audits.margin_audit import SAID
from rescind.audits.neighbours import NEIGHBOURS, centred, nearest_retained
from rescind.audits.results import UNSEEN, result_of
from rescind.audits.shadow_difference import FEWEST, measure
from rescind.audits.shadows import trained_shadows
from rescind.core.audit import MODELS, AuditResult, Case, Need, Sizes
from rescind.core.errors import InsufficientEvidence

if TYPE_CHECKING:
    from torch import Tensor

RECORDS = 5  # of one record the effect would be its score, and stay in the certificate
NOT_CLAIMABLE = (
    "Beside shadow models: eight of them cannot show a rate of false positives below about a third,"
    " and a server that moves margins to where models without the records have them passes."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowAudit:
    """The model after, judged by models that had the records and by models that had not."""

    needs: ClassVar[frozenset[Need]] = frozenset({"shadows"})

    def refuses(self, sizes: Sizes) -> str:
        """Why it cannot be run, or nothing."""
        if sizes.truncated:
            return "a part was cut or trained anew by itself, and no shadow model is like it"
        if sizes.retraining_seconds is None:
            return "the model is trained in several parts, which are not trained for an audit yet"
        if sizes.forget < RECORDS:
            return f"it needs {RECORDS} records to forget"
        if sizes.retain < 2 * sizes.forget + NEIGHBOURS:
            return "there are too few retained records beside the requested ones"
        return ""

    def seconds(self, sizes: Sizes) -> float:
        """Of one core: the trainings; the test takes little."""
        return 2.0 + MODELS * (sizes.retraining_seconds or 0.0)

    def audit(self, case: Case, *, level: float, tests: int, seed: int) -> AuditResult:
        """The test, and its power at level / tests.

        Nothing is supported where the model before does not show the records, at level / tests.

        Raises:
            BadData: a class has too few retained neighbours.
            InsufficientEvidence: fewer than four shadow models, or they tell in from out not at
                all.
        """
        if case.shadows is None or case.inside is None or len(case.shadows) < FEWEST:
            raise InsufficientEvidence("Too few shadow models were read.")
        rows = _candidates(case.requested, case.inside)
        retained = ~case.requested
        retained[rows] = False
        near = nearest_retained(case.features, case.labels, rows, retained)
        shadows = trained_shadows(centred(case.shadows, rows, near), case.inside[:, rows])
        observed, asked = centred(case.after, rows, near), case.requested[rows]
        found = measure(shadows, observed, asked, level=level, seed=seed)
        power = measure(shadows, observed, asked, level=level / tests, seed=seed).power
        finding = replace(found.finding(), power=power)
        earlier = measure(shadows, centred(case.before, rows, near), asked, level=level, seed=seed)
        if finding.as_removal and earlier.p_present >= level / tests:
            return result_of(replace(finding, as_removal=None), NOT_CLAIMABLE, seed, UNSEEN)
        return result_of(finding, NOT_CLAIMABLE, seed, SAID[found.told])


def _candidates(requested: Tensor, inside: Tensor) -> Tensor:
    """Rows that shadow models had or had not; all others were in each of them."""
    return (requested | ~inside.all(0)).nonzero().flatten()
