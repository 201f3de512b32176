"""From the two tests before and after to one of three outcomes, and what none of them shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rescind.audits.finding import Finding
from rescind.audits.seeding.bits import AUDIT as BITS_AUDIT
from rescind.audits.seeding.bits import LEVEL, matched_bits, power
from rescind.audits.seeding.kernel import AUDIT as KERNEL_AUDIT
from rescind.audits.seeding.kernel import DRAWS, FEWEST, kernel_test
from rescind.audits.seeding.readout import read_out
from rescind.audits.seeding.signs import AUDIT as READINGS_AUDIT
from rescind.audits.seeding.signs import sign_test
from rescind.core.errors import BadParameter
from rescind.metrics.equivalence import holm

if TYPE_CHECKING:
    from torch import Tensor

Held = Literal["still_held", "no_evidence_of_codes", "not_testable"]

OF_BITS = (BITS_AUDIT, READINGS_AUDIT)  # whose effect is the share of bits that match

# printed under every result of this audit
NOT_CLAIMABLE = (
    "It was tested whether the model links the records to their codes. A code belongs to the"
    " neighbourhood of a record: images like it match many of its bits too, so it is not shown"
    " that this very record was remembered.",
    "It is not shown that the data were removed: a model trained again on all data without the"
    " term of the codes passes, and so does one whose codes were scrubbed, though both have"
    " learned the records.",
    "Nothing is shown against whoever knows the read-out, as whoever trained with it does: hidden"
    " units put in another order fool the bits, which the kernel test sees only with enough"
    " records, and the read-out can be attacked.",
)


@dataclass(frozen=True, slots=True)
class SeedingVerdict:
    """The outcome, the corrected p-values of the tests after, and what it rests on.

    ``signal`` names the tests that saw the codes before, ``because`` is the outcome in words.
    """

    outcome: Held
    because: str
    after: tuple[Finding, ...]
    p_corrected: tuple[float, ...]
    signal: tuple[str, ...]
    not_claimable: tuple[str, ...] = NOT_CLAIMABLE


def ask(
    features: Tensor,
    codes: Tensor,
    matrix: Tensor,
    *,
    seed: int,
    centred: Tensor | None = None,
    before: Sequence[Finding] = (),
    draws: int = DRAWS,
    level: float = LEVEL,
) -> tuple[Finding, ...]:
    """The tests of one model: of readings for under 20 records, of bits and the kernel from 20.

    Both first ones tell the share of bits that match. The bits of a few records tell more when they
    are weighed by their readings; many records have bits to spare. Read the findings with
    ``decide``: ``outcome`` of a single one speaks of the codes, never of the records.

    Args:
        features: penultimate features (n, width) of the records.
        codes: theirs, (n, bits), from the user's key.
        matrix: the user's read-out (bits, width).
        seed: of the codes that the kernel test draws.
        centred: features less the mean of public examples, for bits and readings alone.
        before: what the model showed before; its share of bits gives the power of the bits now
            against codes that are held as they were then, at ``level`` over the number of tests.
            For readings it is that of readings which are all alike: others are told more often.
        draws: how many codes it draws.
        level: at which both are read.

    Raises:
        BadData: as ``read_out``, ``matched_bits``, ``sign_test`` and ``kernel_test``.
        BadParameter: as ``kernel_test``.
        MissingExtra: scipy is not installed.
    """
    shown = read_out(features if centred is None else centred, matrix)
    shares = [one.effect for one in before if one.audit in OF_BITS]
    with_kernel = len(features) >= FEWEST
    # what Holm's rule asks of the smaller of two p-values
    share = level / (1 + with_kernel)
    strength = power(shares[0], len(codes), codes.shape[1], share) if shares else None
    if not with_kernel:
        return (sign_test(shown, codes, level, strength),)
    kernel = kernel_test(features, codes, seed=seed, draws=draws, level=level)
    return matched_bits(shown > 0, codes, level, strength), kernel


def decide(before: Sequence[Finding], after: Sequence[Finding]) -> SeedingVerdict:
    """Still held, no evidence of codes, or not testable.

    Tests are read at the level that they were made for and corrected by Holm's rule, before and
    after each for themselves. After decides first: a code that is seen is held, whatever was seen
    before. Where nothing is seen, that says something only if the same tests saw the codes before.

    Raises:
        BadParameter: not the same tests of the same number of records, none, or other levels.
    """
    level = _common_level(before, after)
    corrected = holm([one.p for one in after])
    seen = [one for one, p in zip(after, corrected, strict=True) if p < level]
    seen_before = zip(before, holm([one.p for one in before]), strict=True)
    signal = tuple(one.audit for one, p in seen_before if p < level)
    outcome: Held = "no_evidence_of_codes" if signal else "not_testable"
    because = _nothing(before, signal, after)
    if seen:
        outcome, because = "still_held", _seen(seen, signal, level)
    return SeedingVerdict(outcome, because, tuple(after), corrected, signal)


def _seen(seen: Sequence[Finding], signal: Sequence[str], level: float) -> str:
    told = ", ".join(f"{one.audit} {one.effect:.3g} {one.unit}" for one in seen)
    text = f"Codes are still in the model ({told}; p < {level} after Holm)."
    if any(one.audit in OF_BITS and one.effect < 0.5 for one in seen):
        text += " Fewer bits match than by chance: the codes were pushed away, not removed."
    if not signal:
        text += " Nothing was seen before: the two models may have been swapped."
    return text


def _nothing(before: Sequence[Finding], signal: Sequence[str], after: Sequence[Finding]) -> str:
    if not signal:
        return (
            "No test saw the codes before, so that none is seen now says nothing."
            " There is no evidence that the records were seeded in this model."
        )
    silent = [one.audit for one in before if one.audit not in signal]
    text = f"No code is seen any more by what saw them before: {', '.join(signal)}."
    if silent:
        text += f" Blind before, and no evidence now: {', '.join(silent)}."
    if KERNEL_AUDIT not in signal:
        text += " Without the kernel test, hidden units in another order pass."
    for one in after:
        if one.power is not None:
            text += f" Held as before, codes are seen by {one.audit} in {one.power:.2f} of cases."
    return text


def _common_level(before: Sequence[Finding], after: Sequence[Finding]) -> float:
    first, second = ([(one.audit, one.n) for one in side] for side in (before, after))
    if not first or first != second or len({name for name, _ in first}) < len(first):
        raise BadParameter(
            f"Before there are {_listed(first)}; after there are {_listed(second)}.",
            "The same tests of the same records are compared, each once.",
            "Ask about the same records both times.",
        )
    levels = sorted({one.level for one in (*before, *after)})
    if len(levels) > 1:
        raise BadParameter(
            f"The tests have the levels {', '.join(f'{level:g}' for level in levels)}.",
            "They are corrected together, for one level.",
            "Ask both times at the same level.",
        )
    return levels[0]


def _listed(tests: Sequence[tuple[str, int]]) -> str:
    return ", ".join(f"{name} of {n} records" for name, n in tests) or "no tests"
