"""The audit of margins: did the records change as retraining would have changed them?

``margin_difference`` with its extent, for a plan. Its power is simulated: retained records, as many
as are requested, have their scores in the model after lowered by what retraining is expected to
take (the holdout gap), and the test is put to them. Real retraining takes most from hard records,
which the test weighs: on the models that it was chosen on, more was found than was simulated, with
5 records and with 20.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rescind.audits.extent import Told
from rescind.audits.holdout_gap import Holdout
from rescind.audits.intervals import Z95
from rescind.audits.margin_difference import Question, measure, prepare
from rescind.audits.neighbours import NEIGHBOURS
from rescind.audits.results import UNSEEN, result_of
from rescind.core.audit import AuditResult, Case, Need, Sizes
from rescind.core.errors import BadData, InsufficientEvidence

if TYPE_CHECKING:
    from torch import Generator, Tensor

FEWEST = 5
SIMULATED = 40  # sets of retained records
DRAWS = 999  # of the test in a simulation
NOT_CLAIMABLE = (
    "Margins: records that changed as much as a removal changes them need not have been removed;"
    " a server that fits the margins passes."
)

SAID: dict[Told, str] = {
    "nothing_seen": "the margins of the records did not change beside those of others",
    "strengthened": "their margins rose, and a removal lets them fall",
    "changed": "their margins fell, by what share of a removal is not known",
    "partly": "their margins fell, by less than half of what a removal takes in the mean",
    "as_removed": "their margins fell as in a removal",
    "overshoot": "their margins fell by more than a removal takes, which is a trace of its own",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MarginAudit:
    """Requested records beside their matches, in both models; ``controls`` of each, at most."""

    controls: int = 30

    needs: ClassVar[frozenset[Need]] = frozenset({"features"})

    def refuses(self, sizes: Sizes) -> str:
        """Why it cannot be run, or nothing."""
        if sizes.truncated:
            return (
                "a part was cut or trained anew by itself, which changes all records that it was"
                " trained on: beside them an honest removal looks like a quarter of one, or none"
            )
        if sizes.forget < FEWEST or sizes.test < 2 * FEWEST:
            return f"it needs {FEWEST} records to forget and {2 * FEWEST} held out"
        if sizes.retain < 2 * sizes.forget + NEIGHBOURS:
            return "there are too few retained records to match the requested ones with"
        return ""

    def seconds(self, sizes: Sizes) -> float:
        """Of one core, without reading the models."""
        return 2.0 + 1e-3 * SIMULATED * sizes.forget

    def audit(self, case: Case, *, level: float, tests: int, seed: int) -> AuditResult:
        """The test with its extent, and its simulated power at level / tests.

        Raises:
            BadData, InsufficientEvidence: as ``margin_difference.prepare`` and ``measure``.
        """
        question = self._question(case, case.requested, seed)
        found = measure(question, case.after, level=level, seed=seed)
        absent = question.gap is not None and question.gap.p_present >= level
        # what the test would see of other records says nothing of these, which were not seen before
        # and did not surely fall: a later correction for all audits may leave nothing of their fall
        silent = absent and found.p_fell >= level / tests
        power = None if silent else self._power(case, question, level / tests, seed)
        note = UNSEEN if absent and found.told == "nothing_seen" else SAID[found.told]
        return result_of(found.finding(power), NOT_CLAIMABLE, seed, note)

    def _question(self, case: Case, requested: Tensor, seed: int) -> Question:
        holdout = Holdout(case.outside_before, case.outside_labels)
        return prepare(
            case.before,
            case.labels,
            case.features,
            requested,
            excluded=case.requested & ~requested,
            holdout=holdout,
            controls=self.controls,
            seed=seed,
        )

    def _power(self, case: Case, question: Question, level: float, seed: int) -> float | None:
        """None where the model before tells members no better from the holdout than by chance."""
        import torch

        gap = question.gap
        if gap is None or gap.expected <= Z95 * gap.error:
            return None
        generator, seen = torch.Generator().manual_seed(seed), 0
        try:
            for _ in range(SIMULATED):
                chosen = _alike(case, generator)
                after = case.after - gap.expected * chosen.to(case.after)
                simulated = self._question(case, chosen, seed)
                test = measure(simulated, after, level=level, draws=DRAWS, seed=seed)
                seen += test.p_fell < level
        except (BadData, InsufficientEvidence):
            return None  # retained records are too few, or a class lacks matches
        return seen / SIMULATED


def _alike(case: Case, generator: Generator) -> Tensor:
    """A mask (n,) of retained records, as many of each class as are requested."""
    import torch

    chosen = torch.zeros(len(case.labels), dtype=torch.bool)
    asked = case.labels[case.requested]
    for kind in torch.unique(asked).tolist():
        pool = (~case.requested & (case.labels == kind)).nonzero().flatten()
        count = int((asked == kind).sum())
        chosen[pool[torch.randperm(len(pool), generator=generator)[:count]]] = True
    return chosen
