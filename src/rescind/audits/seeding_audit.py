"""The audit of seeded records: does the model still show the codes of those that are asked for?

The codes and read-outs that users handed over for training lie in the workspace until the erasure.
Both models are read where they would show them, and the bits are counted (``seeding.bits``); those
of under 20 records are weighed by their readings (``seeding.signs``). The power is that against
codes that are held as the model before holds them. It is the one audit that needs no model of one
part and no held-out records like the requested ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rescind.audits.finding import Finding
from rescind.audits.results import result_of
from rescind.audits.seeding.bits import matched_bits, power
from rescind.audits.seeding.kernel import FEWEST
from rescind.audits.seeding.signs import sign_test
from rescind.core.audit import AuditResult, Case, Need, Sizes
from rescind.core.errors import InsufficientEvidence

if TYPE_CHECKING:
    from torch import Tensor

NOT_CLAIMABLE = (
    "Seeds: that the codes of the records are gone does not show that the records are. A model that"
    " was trained again on all data without the codes passes, and whoever trained with the codes"
    " could have scrubbed them."
)
UNSEEN = "there is no evidence that the codes were in the model before"
HELD = "the codes of the records are still shown"
PUSHED = "fewer bits match than by chance: the codes were pushed away"
GONE = "the codes that the model before showed are not shown any more"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedingAudit:
    """Bits of the seeded records among the requested ones, before and after."""

    needs: ClassVar[frozenset[Need]] = frozenset({"codes"})

    def refuses(self, sizes: Sizes) -> str:
        """Why it cannot be run, or nothing."""
        return "" if sizes.seeded else "none of the records was seeded"

    def seconds(self, sizes: Sizes) -> float:
        """Of one core, without reading the models."""
        return 1.0

    def audit(self, case: Case, *, level: float, tests: int, seed: int) -> AuditResult:
        """The two-sided exact test of all bits or readings; the power is that of bits, at level /
        tests.

        Raises:
            InsufficientEvidence: no codes were read.
            BadData: as ``sign_test``.
        """
        earlier, later = case.code_readings_before, case.code_readings_after
        if case.codes is None or earlier is None or later is None:
            raise InsufficientEvidence("No codes of the requested records were read.")
        few = case.sizes.seeded < FEWEST
        before = _tested(earlier, case.codes, few, level)
        seen = before.p < level
        share = power(before.effect, 1, len(case.codes), level / tests) if seen else None
        after = _tested(later, case.codes, few, level, share)
        note = GONE if seen else UNSEEN
        if after.p < level:
            note = HELD if after.effect > 0.5 else PUSHED
        return result_of(after, NOT_CLAIMABLE, seed, note)


def _tested(
    readings: Tensor, codes: Tensor, few: bool, level: float, power: float | None = None
) -> Finding:
    if few:
        return sign_test(readings[None], codes[None], level, power)
    return matched_bits(readings[None] > 0, codes[None], level, power)
