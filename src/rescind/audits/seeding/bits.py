"""Matched bits: do the bits that a model shows for records match their codes more than by chance?

Codes are fair and independent bits, so for a model that was made without them the number of matches
is binomial with 1/2 exactly, whatever its features are and however they depend on each other.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from rescind.audits.finding import Finding
from rescind.audits.seeding.codes import BITS
from rescind.core.errors import BadData, BadParameter, MissingExtra
from rescind.metrics.statistics import wilson

if TYPE_CHECKING:
    from torch import Tensor

AUDIT = "seeding_bits"
LEVEL = 0.001  # one model in a thousand is accused falsely


def matched_bits(
    bits: Tensor, codes: Tensor, level: float = LEVEL, power: float | None = None
) -> Finding:
    """The two-sided exact binomial test of the share of bits (n, bits) that match the codes.

    Two-sided, because codes that were pushed away leave a trace too. The interval is Wilson's: it
    takes bits as independent, which they are under the null and only roughly where codes are held.

    Raises:
        BadData: shapes that differ, no records, or codes other than 0 and 1.
        MissingExtra: scipy is not installed.
    """
    found = matches(bits, codes)
    hits, total = int(found.sum()), found.numel()
    return Finding(
        audit=AUDIT,
        null="no_trace",
        n=len(found),
        p=p_value(hits, total),
        effect=hits / total,
        interval=wilson(hits, total),
        unit="share of bits matched",
        level=level,
        power=power,
    )


def matches(bits: Tensor, codes: Tensor) -> Tensor:
    """Which bits match, bool (n, bits).

    Raises:
        BadData: as ``matched_bits``.
    """
    if bits.shape != codes.shape or bits.dim() != 2 or not bits.numel():
        raise BadData(
            f"Bits of shape {tuple(bits.shape)} and codes of shape {tuple(codes.shape)}.",
            "Each record shows as many bits as its code has.",
            "Pass (n, bits) for the same records in the same order.",
        )
    if not ((codes == 0) | (codes == 1)).all():
        raise BadData(
            "Codes hold values other than 0 and 1.",
            "A bit matches or does not.",
            "Take the codes that codes_of(key, rows) gives.",
        )
    same: Tensor = bits.bool() == codes.bool()
    return same


def p_value(hits: int, total: int) -> float:
    """Two-sided exact binomial p of ``hits`` among ``total`` fair bits.

    Raises:
        BadParameter: hits outside 0..total, or no bits.
        MissingExtra: scipy is not installed.
    """
    if not 0 <= hits <= total or total < 1:
        raise BadParameter(
            f"{hits} of {total} bits match.",
            "A count lies between 0 and the number of bits.",
            "Pass the matches first and all bits second.",
        )
    return float(_stats().binomtest(hits, total).pvalue)


def power(match_rate: float, n: int, bits: int = BITS, alpha: float = LEVEL) -> float:
    """How often the test of ``n`` records rejects at ``alpha``, if each bit matches by this rate.

    Exact for independent bits; records that differ in how well they are held make it smaller. At a
    rate of 1/2 it is the test's true size, which is below ``alpha``.

    Raises:
        BadParameter: a rate or alpha outside [0, 1], or fewer than one record or bit.
        MissingExtra: scipy is not installed.
    """
    if not (0.0 <= match_rate <= 1.0 and 0.0 < alpha < 1.0 and n >= 1 and bits >= 1):
        raise BadParameter(
            f"The power of {n} records with {bits} bits at the rate {match_rate} and alpha {alpha}"
            " is asked for.",
            "Rates lie between 0 and 1, and there is at least one bit.",
            "Use the share that matched before, and the number of records.",
        )
    total = n * bits
    above = rejects_from(total, alpha)
    binomial = _stats().binom(total, match_rate)
    return float(binomial.cdf(total - above) + binomial.sf(above - 1))


@cache
def rejects_from(total: int, alpha: float) -> int:
    """The fewest matches above the half that give p < ``alpha``; ``total`` + 1 where none do."""
    half = total // 2 + 1
    return next((k for k in range(half, total + 1) if p_value(k, total) < alpha), total + 1)


def _stats() -> Any:
    try:
        from scipy import stats
    except ImportError as error:
        raise MissingExtra(
            "scipy is not installed.",
            "The exact binomial test comes from it.",
            'Type: pip install "rescind[train]"',
        ) from error
    return stats
