"""The audit beside retrained models: are the records scored as by models that never had them?

    T = mean over the requested records of (score - mean score of held-out records of the class),

in the model after and in models retrained without the records, with seeds that were drawn for this
audit. By Student's t for one more model of the same kind; two-sided, since what was pushed below
retraining is a trace too. What is common to all answers of a model, such as being surer, cancels
in T. The power is that of the model before: how often a model with its T would be told from the
retrained ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev
from typing import TYPE_CHECKING, ClassVar

from rescind.audits.finding import Finding
from rescind.audits.results import UNSEEN, result_of
from rescind.core.audit import AuditResult, Case, Need, Sizes
from rescind.core.errors import BadData, InsufficientEvidence, MissingExtra
from rescind.metrics.equivalence import DECIDES, compare, require_references

if TYPE_CHECKING:
    from torch import Tensor

NAME = "retrained"
FEWEST = 5  # of one record the effect would be its score, and stay in the certificate
NOT_CLAIMABLE = (
    "Beside retrained models: the mean over the records is compared, so that one record may be"
    " remembered while the others hide it; a server that fits the scores passes."
)
HIGHER = "the records are scored higher than by retrained models"
LOWER = "the records are scored lower than by retrained models: they were pushed away"
# standard errors from which nothing falls beyond the other end, where scipy finds no number
FAR = 4.0
WITHIN = "the records are scored as by retrained models"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainedAudit:
    """The model after as one more of eight retrained models."""

    needs: ClassVar[frozenset[Need]] = frozenset({"retrained"})

    def refuses(self, sizes: Sizes) -> str:
        """Why it cannot be run, or nothing."""
        if sizes.truncated:
            return "a part was cut or trained anew by itself, and retraining gives no model like it"
        if sizes.retraining_seconds is None:
            return "the model is trained in several parts, which are not retrained for an audit yet"
        if sizes.forget < FEWEST or not sizes.test:
            return f"it needs {FEWEST} records to forget, and held-out ones"
        return ""

    def seconds(self, sizes: Sizes) -> float:
        """Of one core: the retrainings; the test itself takes none to speak of."""
        return 1.0 + DECIDES * (sizes.retraining_seconds or 0.0)

    def audit(self, case: Case, *, level: float, tests: int, seed: int) -> AuditResult:
        """The test, and its power at level / tests.

        Raises:
            BadData: a class of the request has no held-out record.
            InsufficientEvidence: fewer than eight retrained models.
        """
        if case.retrained is None or case.retrained_outside is None:
            raise InsufficientEvidence("No retrained model was read.")
        require_references(len(case.retrained))
        retrained = [
            _statistic(case, own, outside)
            for own, outside in zip(case.retrained, case.retrained_outside, strict=True)
        ]
        after = _statistic(case, case.after, case.outside_after)
        before = _statistic(case, case.before, case.outside_before)
        # of which the margin plays no part here
        found, earlier = (compare([one], retrained, margin=1.0) for one in (after, before))
        finding = Finding(
            audit=NAME,
            null="no_trace",
            n=int(case.requested.sum()),
            p=found.p_different,
            effect=found.gap,
            interval=found.interval,
            unit="nats above retrained models",
            level=level,
            power=power(before - fmean(retrained), retrained, level / tests),
        )
        apart = HIGHER if found.gap > 0 else LOWER
        within = WITHIN if earlier.p_different < level / tests else UNSEEN
        return result_of(finding, NOT_CLAIMABLE, seed, apart if finding.p < level else within)


def _statistic(case: Case, scores: Tensor, outside: Tensor) -> float:
    """T of one model."""
    asked = case.labels[case.requested]
    total = float(scores[case.requested].double().sum())
    for kind in sorted(set(asked.tolist())):
        held_out = outside[case.outside_labels == kind]
        if not len(held_out):
            raise BadData(
                f"No held-out record has the class {kind}.",
                "Requested records are compared with held-out ones of their class.",
                "Hold out more records, or use another audit.",
            )
        total -= int((asked == kind).sum()) * float(held_out.double().mean())
    return total / len(asked)


def power(shift: float, retrained: list[float], level: float) -> float:
    """How often one model whose T lies ``shift`` from the mean of retrained ones is told from them,
    if it varies as they do.

    Raises:
        MissingExtra: scipy is not installed.
    """
    try:
        from scipy.stats import nct, t
    except ImportError as error:
        raise MissingExtra(
            f"{error.name} is not installed.",
            "The power of the t-test comes from scipy.",
            'Type: pip install "rescind[train]"',
        ) from error
    k = len(retrained)
    error_ = stdev(retrained) * sqrt(1 + 1 / k)
    if error_ == 0.0:
        return float(shift != 0.0)
    edge, away = t.ppf(1 - level / 2, k - 1), abs(shift) / error_
    other_side = nct.cdf(-edge, k - 1, away) if away < FAR else 0.0
    return float(nct.sf(edge, k - 1, away) + other_side)
