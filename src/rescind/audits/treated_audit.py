"""U-LiRA in a plan: shadow models that the audited method itself has treated.

``treated_shadows`` for a request. Eight models are trained for it, with fresh seeds; each has some
of the requested records and of three times as many retained ones. Of those that it has, as many as
are requested are then forgotten by the method of the request with its parameters. So it can see
what *this method* leaves behind, which models with and without the records cannot say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rescind.audits.finding import Finding
from rescind.audits.neighbours import NEIGHBOURS, centred, nearest_retained
from rescind.audits.results import result_of
from rescind.audits.treated_shadows import FEWEST, Pairs, Treated, measure
from rescind.core.audit import HAS, MODELS, AuditResult, Case, Need, Sizes
from rescind.core.errors import InsufficientEvidence

if TYPE_CHECKING:
    from torch import Tensor

NAME = "u_lira"
UNIT = "nats per record above models that never saw them"
UNSEEN = "along what the method changes, the model before does not show the records either"
RECORDS = 5  # of one record the effect would be its score, and stay in the certificate
NOT_CLAIMABLE = (
    "Beside models that the method itself has treated: a server that runs another method than it"
    " says is asked only along the direction in which that method differs from retraining; requests"
    " that were not drawn like the retained records are told from them for that alone."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TreatedAudit:
    """The model after, judged by models that forgot records by the same method."""

    needs: ClassVar[frozenset[Need]] = frozenset({"treated"})

    def refuses(self, sizes: Sizes) -> str:
        """Why it cannot be run, or nothing."""
        if sizes.untreated:
            return sizes.untreated
        if sizes.truncated:
            return "a part was cut or trained anew by itself, and no shadow model is like it"
        if sizes.retraining_seconds is None:
            return "the model is trained in several parts, which are not trained for an audit yet"
        if sizes.forget < RECORDS:
            return f"it needs {RECORDS} records to forget"
        if sizes.retain < 6 * sizes.forget + NEIGHBOURS:
            return "there are too few retained records beside the requested ones"
        return ""

    def seconds(self, sizes: Sizes) -> float:
        """Of one core: the trainings, and as much again for the method, which should take less."""
        return 2.0 + 2 * MODELS * (sizes.retraining_seconds or 0.0)

    def audit(self, case: Case, *, level: float, tests: int, seed: int) -> AuditResult:
        """The test, and its power at level / tests over models that were not unlearned.

        The power is unknown where the model before does not show the records, at level / tests.

        Raises:
            BadData: a class has too few retained neighbours.
            InsufficientEvidence: fewer than four pairs, or too few candidates.
        """
        if case.treated is None or case.untreated is None or case.fate is None:
            raise InsufficientEvidence("No shadow model was treated by the method.")
        if len(case.fate) < FEWEST:
            raise InsufficientEvidence(f"{len(case.fate)} shadow models were treated, of {FEWEST}.")
        rows = (case.requested | (case.fate != HAS).any(0)).nonzero().flatten()
        near = _neighbours(case, rows)
        untreated, treated = (centred(x, rows, near) for x in (case.untreated, case.treated))
        pairs = Pairs(untreated, treated, case.fate[:, rows])
        observed, asked = centred(case.after, rows, near), case.requested[rows]
        found = measure(pairs, observed, asked, level=level / tests, seed=seed)
        earlier = centred(case.before, rows, near)
        seen = measure(pairs, earlier, asked, level=level / tests, seed=seed).p < level / tests
        finding = Finding(
            audit=NAME,
            null="no_trace",
            n=found.n,
            p=found.p,
            effect=found.effect,
            interval=found.interval,
            unit=UNIT,
            level=level,
            power=found.power if seen else None,
        )
        note = _note(found) if seen else f"{UNSEEN}; {_note(found)}"
        return result_of(finding, NOT_CLAIMABLE, seed, note)


def _neighbours(case: Case, rows: Tensor) -> Tensor:
    retained = ~case.requested
    retained[rows] = False
    return nearest_retained(case.features, case.labels, rows, retained)


def _note(found: Treated) -> str:
    told = round(found.trace * found.pairs)
    return (
        f"the method leaves a trace in {told} of {found.pairs} models of the audit's own, and the"
        " power is over models that it has not treated"
    )
