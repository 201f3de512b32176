"""The audit of seeded records: does the model still show the codes of those that are asked for?

The codes and read-outs that users handed over for training lie in the workspace until the erasure.
Both models are read where they would show them, and the bits are counted (``seeding.bits``); those
of under 20 records are weighed by their readings (``seeding.signs``). From 20 on the kernel test is
put to the features too (``seeding.kernel``): it sees codes in whatever order the hidden units are,
which the bits do not. Both share the level by Holm's rule. The power is that of the bits against
codes that are held as the model before holds them; the kernel test can only add to it. It is the
one audit that needs no model of one part and no held-out records like the requested ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from rescind.audits.finding import Finding
from rescind.audits.results import result_of
from rescind.audits.seeding.bits import matched_bits, power
from rescind.audits.seeding.kernel import AUDIT as KERNEL
from rescind.audits.seeding.kernel import FEWEST, apart, kernel_test
from rescind.audits.seeding.signs import sign_test
from rescind.core.audit import AuditResult, Case, Need, Sizes
from rescind.core.errors import InsufficientEvidence
from rescind.metrics.equivalence import holm

if TYPE_CHECKING:
    from torch import Tensor

NOT_CLAIMABLE = (
    "Seeds: that the codes of the records are gone does not show that the records are. A model that"
    " was trained again on all data without the codes passes, and whoever trained with the codes"
    " could have scrubbed them. Hidden units in another order hide the codes from the bits: the"
    " kernel test sees that, and needs 20 marked records whose codes it saw in the model before."
)
UNSEEN = "there is no evidence that the codes were in the model before"
HELD = "the codes of the records are still shown"
PUSHED = "fewer bits match than by chance: the codes were pushed away"
GONE = "the codes that the model before showed are not shown any more"
REORDERED = (
    "the features of the records still foretell their codes, in whatever order the units are"
)
BITS_ALONE = "no kernel test saw the codes before, so that hidden units in another order would pass"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedingAudit:
    """Bits of the seeded records among the requested ones, before and after."""

    needs: ClassVar[frozenset[Need]] = frozenset({"codes"})

    def refuses(self, sizes: Sizes) -> str:
        """Why it cannot be run, or nothing."""
        return "" if sizes.seeded else "none of the records was seeded"

    def seconds(self, sizes: Sizes) -> float:
        """Of one core, without reading the models."""
        return 1.0 if sizes.seeded < FEWEST else 6.0

    def audit(self, case: Case, *, level: float, tests: int, seed: int) -> AuditResult:
        """The two-sided exact test of all bits or readings and, where features were read, the
        kernel test: the smaller p, corrected by Holm's rule. The power is that of bits, at their
        share of level / tests.

        Raises:
            InsufficientEvidence: no codes were read.
            BadData: as ``sign_test`` and ``kernel_test``.
        """
        earlier, later = case.code_readings_before, case.code_readings_after
        if case.codes is None or earlier is None or later is None:
            raise InsufficientEvidence("No codes of the requested records were read.")
        before = _tested(case, case.codes, earlier, case.code_features_before, level, seed)
        signal = _seen(before, level)
        share = level / tests / len(before)
        held = before[0].audit in signal
        strength = power(before[0].effect, 1, len(case.codes), share) if held else None
        after = _tested(case, case.codes, later, case.code_features_after, level, seed, strength)
        # what rejects is told; where nothing does, the share of bits, which has the power
        told = min(after, key=lambda one: one.p) if _seen(after, level) else after[0]
        p = min(holm([one.p for one in after]))
        note = _note(told, p < level, signal)
        return result_of(replace(told, p=p, power=after[0].power), NOT_CLAIMABLE, seed, note)


def _tested(
    case: Case,
    codes: Tensor,
    readings: Tensor,
    features: Tensor | None,
    level: float,
    seed: int,
    power: float | None = None,
) -> tuple[Finding, ...]:
    """The bits or readings, and the kernel test where there are features."""
    if case.sizes.seeded < FEWEST:
        return (sign_test(readings[None], codes[None], level, power),)
    bits = matched_bits(readings[None] > 0, codes[None], level, power)
    if features is None or case.code_rows is None or case.code_blocks is None:
        return (bits,)
    rows = apart(features, case.code_blocks.tolist())
    return bits, kernel_test(rows, case.code_rows.int(), seed=seed, level=level)


def _seen(found: Sequence[Finding], level: float) -> list[str]:
    corrected = holm([one.p for one in found])
    return [one.audit for one, p in zip(found, corrected, strict=True) if p < level]


def _note(told: Finding, rejected: bool, signal: Sequence[str]) -> str:
    if rejected and told.audit == KERNEL:
        return REORDERED
    if rejected:
        return HELD if told.effect > 0.5 else PUSHED
    if not signal:
        return UNSEEN
    return GONE if KERNEL in signal else f"{GONE}; {BITS_ALONE}"
